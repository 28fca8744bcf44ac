//! The receipt of a verification.

use super::table::{Grid, Paint, painted};
use super::{Output, Style, escape, holder, units};
use crate::cli::exit::ExitCode;
use crate::model::{Finding, VerifyCount, VerifyItem, VerifyReport, VerifySubject};
use crate::text::{self, Message};

impl Output {
    /// `verify`: what was looked at, how much of it is left, each finding in a sentence.
    pub fn verify_report(&self, report: &VerifyReport) -> ExitCode {
        if self.is_json() {
            self.document(report);
            return report.into();
        }
        let style = self.style();
        let mut receipt = facts(report, style);
        receipt.push('\n');
        receipt.push_str(&counts(&report.counts, style));
        let said = report.items.iter().filter(|item| item.finding != Finding::Clean);
        let lines: Vec<String> = said.flat_map(|item| lines(item, style)).collect();
        if !lines.is_empty() {
            receipt.push_str(&format!("\n{}\n", lines.join("\n")));
        }
        let paint = if report.is_clean() { Paint::Good } else { Paint::Bad };
        let verdict = painted(paint, &report.message.render(style.lang));
        self.write_out(&format!("{receipt}\n{verdict}\n"));
        report.into()
    }
}

fn facts(report: &VerifyReport, style: Style) -> String {
    let mut grid = Grid::new(style, &[]);
    let mut put = |label: Message, value: &str| {
        grid.row(vec![label.render(style.lang), escape::line(value).into_owned()]);
    };
    let uuid = report.database_uuid.as_deref().map_or_else(
        || text::verify::no_database_yet().render(style.lang),
        |uuid| format!("{} ({uuid})", report.database),
    );
    put(text::cli::field_database(), &uuid);
    put(text::cli::field_node(), &report.node);
    put(text::verify::receipt_checked_at(), &units::moment(report.checked_at));
    grid.render(&[0])
}

fn counts(counts: &[VerifyCount], style: Style) -> String {
    let headings = [
        text::verify::column_subject_checked(),
        text::verify::column_count(),
        text::verify::column_left(),
        text::verify::column_unproved(),
        text::verify::column_live(),
        text::verify::column_elsewhere(),
    ];
    let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
    for of in counts {
        let against = |number: u64, paint| match number {
            0 => "0".to_owned(),
            _ => painted(paint, &units::count(number)),
        };
        grid.row(vec![
            subject(of.subject).render(style.lang),
            units::count(of.checked),
            against(of.left, Paint::Bad),
            against(of.unproved, Paint::Bad),
            against(of.live, Paint::Pending),
            units::count(of.elsewhere),
        ]);
    }
    grid.right(&[1, 2, 3, 4, 5]).render(&[0, 1, 2, 3, 4, 5])
}

fn subject(subject: VerifySubject) -> Message {
    match subject {
        VerifySubject::Process => text::verify::verify_subject_process(),
        VerifySubject::Node => text::verify::verify_subject_node(),
        VerifySubject::Service => text::verify::verify_subject_service(),
        VerifySubject::Port => text::verify::verify_subject_port(),
        VerifySubject::Registration => text::verify::verify_subject_registration(),
        VerifySubject::Instance => text::verify::verify_subject_instance(),
    }
}

/// What was found, and who listens where it is somebody else.
fn lines(item: &VerifyItem, style: Style) -> Vec<String> {
    let message = item.message.render(style.lang);
    let (paint, line) = match item.finding {
        Finding::Clean => (Paint::Faint, text::verify::found_clean(message)),
        Finding::Elsewhere => (Paint::Faint, text::verify::found_elsewhere(message)),
        Finding::Live => (Paint::Pending, text::verify::found_live(message)),
        Finding::Unproved => (Paint::Bad, text::verify::found_unproved(message)),
        Finding::Left => (Paint::Bad, text::verify::found_left(message)),
    };
    let mut lines = vec![painted(paint, &line.render(style.lang))];
    if item.finding != Finding::Live {
        lines.extend(item.holders.iter().map(|of| holder::named(of, style)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, capture, json_style, zh};
    use super::*;
    use crate::model::{HolderView, Source, Timestamp};

    fn report(finding: Finding) -> VerifyReport {
        let item = |finding, message| VerifyItem {
            subject: VerifySubject::Port,
            name: "8080".into(),
            finding,
            message,
            holders: vec![HolderView {
                pid: 7,
                user: Some("ann".into()),
                command: Some("node \u{1b}".into()),
                start_time: None,
                details: None,
            }],
        };
        let none = VerifyCount {
            subject: VerifySubject::Node,
            checked: 1_200,
            elsewhere: 0,
            live: 0,
            unproved: 0,
            left: 0,
        };
        let ports =
            VerifyCount { subject: VerifySubject::Port, checked: 2, elsewhere: 1, left: 1, ..none };
        VerifyReport {
            source: Source::Database,
            checked_at: Timestamp::from_millis(NOW),
            database: "sqlite:///x/pmctl.db".into(),
            database_uuid: Some("u-1".into()),
            node: "default".into(),
            message: text::verify::verify_left(1),
            counts: vec![none, ports],
            items: vec![
                item(Finding::Clean, text::verify::port_free(8081)),
                item(finding, text::verify::port_residue(8080, 7)),
            ],
        }
    }

    #[test]
    fn the_receipt_names_database_time_counts_and_what_is_left() {
        let (output, streams) = capture(Style::default());
        assert_eq!(output.verify_report(&report(Finding::Left)), ExitCode::Failed);
        let expected = "\
database    sqlite:///x/pmctl.db (u-1)
node        default
checked at  2026-01-01 00:00:00Z

CHECKED          COUNT  LEFT  NOT PROVED  LIVE  IN USE ELSEWHERE
rows of servers  1,200     0           0     0                 0
ports                2     1           0     0                 1

left: port 8080 is still held by a server of this database (pid 7); `pmctl cleanup` frees it
       pid 7 (ann): node \\u{1b}

left behind: 1; `pmctl cleanup` puts right what it can
";
        assert_eq!(streams.out(), expected);
        assert_eq!(streams.err(), "");
    }

    #[test]
    fn the_receipt_reads_in_chinese() {
        let (output, streams) = capture(zh());
        output.verify_report(&report(Finding::Left));
        for part in ["检查项", "遗留：端口 8080", "服务器记录"] {
            assert!(streams.out().contains(part), "{part} in\n{}", streams.out());
        }
    }

    #[test]
    fn the_document_is_the_receipt() {
        let (output, streams) = capture(json_style());
        assert_eq!(output.verify_report(&report(Finding::Elsewhere)), ExitCode::Success);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!(
            (&document["success"], &document["databaseUuid"]),
            (&true.into(), &"u-1".into())
        );
        assert_eq!(document["counts"][1]["subject"], "port");
        assert_eq!(document["items"][1]["finding"], "elsewhere");
    }
}
