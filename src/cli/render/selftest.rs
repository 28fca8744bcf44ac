//! What a selftest does and found.

use super::table::{Grid, Paint, painted};
use super::{Output, Style, units};
use crate::cli::exit::ExitCode;
use crate::model::{SelftestCount, SelftestReport, Way};
use crate::text::{self, Message};

impl Output {
    /// A round begins: a line on standard error.
    pub fn selftest_round(&self, number: u32, total: u32, way: Way) {
        let way = name(way).render(self.style().lang);
        self.note(&text::selftest::selftest_round(number, total, way));
    }

    /// `selftest`: a row for each way, each broken promise, the verdict.
    pub fn selftest_report(&self, report: &SelftestReport) -> ExitCode {
        if self.is_json() {
            self.document(report);
            return report.into();
        }
        let style = self.style();
        self.write_out(&table(&report.counts, style));
        for violation in &report.violations {
            let what = violation.message.render(style.lang);
            let way = name(violation.way).render(style.lang);
            let line = text::selftest::violation_line(violation.round, way, what);
            self.line_out(&painted(Paint::Bad, &line.render(style.lang)));
        }
        self.line_out(&self.sentence(&text::selftest::selftest_seed(report.seed)));
        let paint = if report.is_kept() { Paint::Good } else { Paint::Bad };
        self.line_out(&painted(paint, &report.message.render(style.lang)));
        report.into()
    }
}

fn table(counts: &[SelftestCount], style: Style) -> String {
    let headings = [
        text::selftest::column_way(),
        text::selftest::column_rounds(),
        text::cli::column_requests(),
        text::selftest::column_writes(),
        text::selftest::column_slowest(),
        text::selftest::column_broken(),
    ];
    let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
    for of in counts {
        let broken = match of.violations {
            0 => painted(Paint::Good, "0"),
            count => painted(Paint::Bad, &units::count(count.into())),
        };
        grid.row(vec![
            name(of.way).render(style.lang),
            units::count(of.rounds.into()),
            units::count(of.requests),
            units::count(of.writes),
            units::took(std::time::Duration::from_millis(of.slowest_ms)),
            broken,
        ]);
    }
    grid.right(&[1, 2, 3, 4, 5]).render(&[1, 2, 3, 4, 5])
}

fn name(way: Way) -> Message {
    match way {
        Way::Stop => text::selftest::selftest_way_stop(),
        Way::Shutdown => text::selftest::selftest_way_shutdown(),
        Way::SecondSignal => text::selftest::selftest_way_second_signal(),
        Way::KillServer => text::selftest::selftest_way_kill_server(),
        Way::KillGuardian => text::selftest::selftest_way_kill_guardian(),
        Way::KillBoth => text::selftest::selftest_way_kill_both(),
        Way::KillStarting => text::selftest::selftest_way_kill_starting(),
        Way::Freeze => text::selftest::selftest_way_freeze(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{capture, json_style};
    use super::*;
    use crate::model::SelftestViolation;

    fn report(violations: Vec<SelftestViolation>) -> SelftestReport {
        let count = SelftestCount {
            way: Way::KillServer,
            rounds: 3,
            requests: 1_200,
            writes: 7,
            slowest_ms: 240,
            violations: 0,
        };
        let message = match violations.is_empty() {
            true => text::selftest::promises_kept(3),
            false => {
                text::selftest::promises_broken(violations.len(), 3, "pmctl selftest --seed 7")
            }
        };
        SelftestReport { seed: 7, message, counts: vec![count], violations, interrupted: false }
    }

    #[test]
    fn each_way_has_a_row_and_a_broken_promise_is_a_failure_with_its_seed() {
        let (output, streams) = capture(Style::default());
        assert_eq!(output.selftest_report(&report(vec![])), ExitCode::Success);
        let expected = "\
THE SERVER IS  ROUNDS  REQUESTS  CHANGES  SLOWEST  BROKEN
killed              3     1,200        7    240ms       0
seed 7
3 servers were ended, and every promise was kept
";
        assert_eq!(streams.out(), expected);
        let port = crate::model::Port::new(9).unwrap();
        let message = text::selftest::violation_port(port);
        let violation = SelftestViolation { round: 2, way: Way::KillServer, message };
        let (output, streams) = capture(json_style());
        assert_eq!(output.selftest_report(&report(vec![violation])), ExitCode::Failed);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!(document["success"], false);
        assert_eq!(document["code"], "promises-broken");
        assert_eq!(document["violations"][0]["round"], 2);
        assert_eq!(document["counts"][0]["way"], "kill-server");
    }
}
