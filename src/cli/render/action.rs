//! What was done to services.

use std::collections::BTreeMap;

use indicatif::ProgressBar;

use super::{Live, Output, Style, escape, units};
use crate::cli::exit::ExitCode;
use crate::model::{ActionReport, Applied, Cut, ServiceName};
use crate::rpc::ActionProgress;
use crate::text::{self, Lang};

/// How far a long action is, on a terminal: a line for each service that still drains. Dropping it
/// takes the lines away.
pub struct ActionView {
    live: Live,
    lang: Lang,
    services: BTreeMap<ServiceName, ProgressBar>,
}

impl Output {
    /// Begins to show how far an action is.
    pub fn action_view(&self) -> ActionView {
        ActionView { live: self.live(), lang: self.style().lang, services: BTreeMap::new() }
    }

    /// Any command that changes services: one line for each that was dealt with, the connections
    /// that were cut below it, what failed on standard error. The exit code is the worst of them.
    pub fn action(&self, report: &ActionReport) -> ExitCode {
        if self.is_json() {
            self.document(report);
            return report.into();
        }
        for item in &report.services {
            match &item.fault {
                Some(fault) => self.fault_lines(fault),
                None => self.line_out(&self.sentence(&item.message)),
            }
            for cut in &item.cut {
                self.line_out(&format!("  {}", cut_line(cut, self.style())));
            }
        }
        let was_done = report.services.iter().any(|item| item.fault.is_none());
        if report.applied == Applied::Desired && was_done {
            self.note(&text::cli::applied_desired());
        }
        report.into()
    }
}

impl ActionView {
    /// Shows how far the services are.
    pub fn show(&mut self, progress: &ActionProgress) {
        for service in &progress.services {
            let Some(counters) = &service.counters else {
                if let Some(line) = self.services.remove(&service.name) {
                    line.finish_and_clear();
                }
                continue;
            };
            let state = units::word(service.actual.as_str(), self.lang);
            let name = escape::line(service.name.as_str());
            let (open, busy) =
                (units::count(counters.connections), units::count(counters.in_flight));
            let message = text::cli::progress_service(name, state, open, busy).render(self.lang);
            let line = self.services.entry(service.name.clone());
            line.or_insert_with(|| self.live.line()).set_message(message);
        }
    }

    /// Takes the lines away.
    pub fn finish(self) {}
}

impl Drop for ActionView {
    fn drop(&mut self) {
        for line in self.services.values() {
            line.finish_and_clear();
        }
    }
}

/// A connection that was cut, as one sentence.
pub(super) fn cut_line(cut: &Cut, style: Style) -> String {
    let kind = units::word(&cut.kind, style.lang);
    let age = units::span(std::time::Duration::from_millis(cut.age_ms));
    let bytes = units::bytes(cut.bytes);
    let message =
        text::cli::connection_cut(&cut.service, kind, &cut.request, &cut.peer, age, bytes);
    escape::line(&message.render(style.lang)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{capture, json_style, service};
    use super::*;
    use crate::model::{ActionItem, Actual, Fault, FaultKind, Source, Success};

    fn report() -> ActionReport {
        let cut = Cut {
            service: "shop".parse().unwrap(),
            peer: "10.0.0.9:5555".into(),
            kind: "tunnel".into(),
            request: "GET /\u{1b}ws".into(),
            age_ms: 61_500,
            bytes: 4_096,
        };
        let item = |fault, cut| ActionItem {
            service: service("shop", 8080, Actual::Stopped, None),
            message: text::cli::word_yes(),
            cut,
            fault,
        };
        let fault = Fault::new(FaultKind::Denied, text::model::service_not_found("x"));
        ActionReport {
            success: Success,
            source: Source::Database,
            applied: Applied::Desired,
            services: vec![item(None, vec![cut]), item(Some(fault), vec![])],
        }
    }

    #[test]
    fn what_was_done_cut_and_failed_is_said_for_each_service() {
        let (output, streams) = capture(Style::default());
        assert_eq!(output.action(&report()), ExitCode::Denied);
        let cut = "cut shop: tunnel GET /\\u{1b}ws from 10.0.0.9:5555, open for 1m 1s, 4.0 KiB";
        assert_eq!(streams.out(), format!("yes\n  {cut}\n"));
        assert!(streams.err().starts_with("error: no service is named `x`"));
        assert!(streams.err().contains("\nnote: "), "{}", streams.err());
    }

    #[test]
    fn a_service_has_a_line_while_it_drains_and_none_when_nothing_of_it_runs() {
        let (output, _) = capture(Style::default());
        let mut view = output.action_view();
        let sign = |counters| ActionProgress {
            services: vec![crate::rpc::ServiceProgress {
                name: "shop".parse().unwrap(),
                actual: Actual::Draining,
                counters,
            }],
        };
        let counters = crate::model::Counters { connections: 3, ..Default::default() };
        view.show(&sign(Some(counters)));
        let lines: Vec<String> = view.services.values().map(ProgressBar::message).collect();
        assert_eq!(lines, ["shop: draining, 3 connections, 0 requests in flight"]);
        view.show(&sign(None));
        assert!(view.services.is_empty());
        view.finish();
    }

    #[test]
    fn the_document_has_each_fault_beside_its_service() {
        let (output, streams) = capture(json_style());
        assert_eq!(output.action(&report()), ExitCode::Denied);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!(document["applied"], "desired");
        assert_eq!(document["services"][0]["fault"], serde_json::Value::Null);
        assert_eq!(document["services"][1]["fault"]["code"], "service-not-found");
        assert_eq!(document["services"][0]["cut"][0]["ageMs"], 61_500);
        assert_eq!(streams.err(), "");
    }
}
