//! What a cleanup found and did.

use super::table::{Grid, Paint, painted};
use super::{Output, Style, escape, holder, units};
use crate::cli::exit::ExitCode;
use crate::model::{CleanupAction, CleanupItem, CleanupReport, PortState};
use crate::text;

impl Output {
    /// `cleanup`: what became of servers that never said goodbye, a row for each service, what was
    /// left on standard error. The exit code is the worst of them.
    pub fn cleanup_report(&self, report: &CleanupReport) -> ExitCode {
        if self.is_json() {
            self.document(report);
            return report.into();
        }
        for node in report.nodes.iter().filter(|node| node.fault.is_none()) {
            self.line_out(&self.sentence(&node.message));
        }
        if !report.services.is_empty() {
            self.write_out(&table(report, self.style()));
        }
        for instance in report.instances.iter().filter(|instance| instance.fault.is_none()) {
            self.line_out(&self.sentence(&instance.message));
        }
        self.line_out(&self.sentence(&report.message));
        let nodes = report.nodes.iter().map(|node| &node.fault);
        let services = report.services.iter().map(|item| &item.fault);
        let instances = report.instances.iter().map(|instance| &instance.fault);
        for fault in nodes.chain(services).chain(instances).flatten() {
            self.fault_lines(fault);
        }
        report.into()
    }
}

fn table(report: &CleanupReport, style: Style) -> String {
    let action = match report.dry_run {
        true => text::cli::column_would_be(),
        false => text::cli::column_action(),
    };
    let headings = [
        text::cli::column_service(),
        text::cli::column_port(),
        text::cli::column_before(),
        text::cli::column_found(),
        action,
        text::cli::column_after(),
    ];
    let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
    grid = grid.one_line_rows();
    let mut below = vec![Vec::new()];
    for item in &report.services {
        let word = |word: &str| units::word(word, style.lang);
        grid.row(vec![
            escape::line(item.service.as_str()).into_owned(),
            item.port.to_string(),
            word(item.before.as_str()),
            word(item.found.as_str()),
            painted(paint(item.action), &word(item.action.as_str())),
            word(item.after.as_str()),
        ]);
        below.push(notes(item, style));
    }
    grid.right(&[1]).render_with(&[1, 2, 3, 4, 5], &below)
}

fn paint(action: CleanupAction) -> Paint {
    match action {
        CleanupAction::Nothing => Paint::Faint,
        CleanupAction::RowRepaired | CleanupAction::HolderEnded | CleanupAction::Healed => {
            Paint::Good
        }
        CleanupAction::Left => Paint::Bad,
    }
}

/// What the row does not say already and no fault will; who sits on the port, if not the server.
fn notes(item: &CleanupItem, style: Style) -> Vec<String> {
    let is_foreign = !matches!(item.found, PortState::Free | PortState::Serving);
    let mut said = Vec::new();
    if item.fault.is_none() && (item.action != CleanupAction::Nothing || is_foreign) {
        said.push(holder::line(&item.message, style));
    }
    if is_foreign {
        said.extend(item.holders.iter().map(|holder| holder::named(holder, style)));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ago, capture, json_style, zh};
    use super::*;
    use crate::model::{Actual, CleanupNode, Fault, FaultKind, HolderView, Source, Success};

    fn report() -> CleanupReport {
        let item = |service: &str, found, action, fault| CleanupItem {
            service: service.parse().unwrap(),
            port: crate::model::Port::new(8080).unwrap(),
            before: Actual::Running,
            found,
            holders: match found {
                PortState::Foreign => vec![HolderView {
                    pid: 7,
                    user: None,
                    command: Some("nginx\u{1b}".into()),
                    start_time: Some(ago(5)),
                    details: None,
                }],
                _ => Vec::new(),
            },
            action,
            after: Actual::Stopped,
            message: text::cli::word_yes(),
            fault,
        };
        let fault = Fault::new(FaultKind::LeftAlone, text::model::service_not_found("x"));
        CleanupReport {
            success: Success,
            source: Source::Database,
            dry_run: false,
            message: text::cli::word_ready(),
            nodes: vec![CleanupNode { pid: 4, message: text::cli::word_no(), fault: None }],
            services: vec![
                item("a", PortState::Free, CleanupAction::Nothing, None),
                item("订单", PortState::Foreign, CleanupAction::Left, Some(fault)),
                item("c", PortState::Free, CleanupAction::RowRepaired, None),
            ],
            instances: Vec::new(),
        }
    }

    #[test]
    fn each_service_says_what_was_found_and_done_and_who_is_in_the_way() {
        let (output, streams) = capture(Style::default());
        assert_eq!(output.cleanup_report(&report()), ExitCode::LeftAlone);
        let expected = concat!(
            "no\n",
            "SERVICE  PORT  BEFORE   FOUND    ACTION        AFTER\n",
            "a        8080  running  free     nothing       stopped\n",
            "订单     8080  running  foreign  left          stopped\n",
            "       pid 7 (?): nginx\\u{1b}\n",
            "c        8080  running  free     row repaired  stopped\n",
            "       yes\n",
            "ready\n",
        );
        assert_eq!(streams.out(), expected);
        assert!(streams.err().starts_with("error: no service is named `x`"), "{}", streams.err());
    }

    #[test]
    fn a_cleanup_reads_in_chinese() {
        let (output, streams) = capture(zh());
        output.cleanup_report(&report());
        for part in ["已修复记录", "未处理", "清理前"] {
            assert!(streams.out().contains(part), "{part} in\n{}", streams.out());
        }
    }

    #[test]
    fn the_document_is_the_report() {
        let (output, streams) = capture(json_style());
        assert_eq!(output.cleanup_report(&report()), ExitCode::LeftAlone);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!(document["nodes"][0]["pid"], 4);
        assert_eq!(document["services"][1]["action"], "left");
        assert_eq!(document["services"][1]["fault"]["code"], "service-not-found");
        assert_eq!(document["services"][2]["after"], "stopped");
    }
}
