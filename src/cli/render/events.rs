//! The record of what happened.

use super::table::{Grid, Paint, finish, painted};
use super::{Output, Style, escape, units};
use crate::model::{Event, EventsReport, Outcome};
use crate::text;

impl Output {
    /// `events`: a row each, oldest first.
    pub fn events(&self, report: &EventsReport) {
        if self.is_json() {
            return self.document(report);
        }
        if report.events.is_empty() {
            return self.line_out(&self.sentence(&text::cli::events_none()));
        }
        let style = self.style();
        let headings = [
            text::cli::column_when(),
            text::cli::column_action(),
            text::cli::column_subject(),
            text::cli::column_by(),
            text::cli::column_outcome(),
            text::cli::column_detail(),
        ];
        let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
        for event in &report.events {
            grid.row(cells(event, style));
        }
        self.write_out(&grid.render(&[0, 1, 4]));
    }

    /// One event of `events -f`: a line, or a JSON document on one line.
    pub fn event(&self, event: &Event) {
        self.begin_stream();
        if self.is_json() {
            return self.document(event);
        }
        let cells = cells(event, self.style());
        let line = cells.join("  ");
        self.line_out(line.trim_end());
    }
}

fn cells(event: &Event, style: Style) -> Vec<String> {
    let lang = style.lang;
    let outcome = units::word(&event.outcome, lang);
    let outcome = match Outcome::from_word(&event.outcome) {
        Some(Outcome::Ok) => finish(&outcome, false),
        Some(Outcome::Failed) => painted(Paint::Bad, &outcome),
        Some(Outcome::Refused) => painted(Paint::Pending, &outcome),
        None => escape::line(&outcome).into_owned(),
    };
    let detail = event.detail.as_ref().map(|detail| detail.render(lang)).unwrap_or_default();
    vec![
        units::moment(event.at),
        escape::line(&units::word(&event.action, lang)).into_owned(),
        escape::line(&event.subject).into_owned(),
        escape::line(&event.actor).into_owned(),
        outcome,
        escape::line(&detail).into_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ago, capture, json_style, zh};
    use super::*;
    use crate::model::{Source, Success};

    fn report() -> EventsReport {
        let event = |id, action: &str, outcome: &str| Event {
            id,
            at: ago(60 - id),
            action: action.into(),
            subject: "shop".into(),
            actor: "cli:a\u{1b}nn".into(),
            outcome: outcome.into(),
            detail: (outcome == "failed").then(|| text::model::port_out_of_range("x")),
        };
        let events = vec![
            event(1, "service-added", "ok"),
            event(2, "service-failed", "failed"),
            event(3, "service-cloned", "half\u{7}"),
        ];
        EventsReport { success: Success, source: Source::Server, events }
    }

    #[test]
    fn each_event_is_a_row_and_words_of_a_newer_version_pass_as_they_are() {
        let (output, streams) = capture(Style::default());
        output.events(&report());
        let expected = "\
WHEN                  ACTION          SUBJECT  BY             OUTCOME    DETAIL
2025-12-31 23:59:01Z  service added   shop     cli:a\\u{1b}nn  ok
2025-12-31 23:59:02Z  service failed  shop     cli:a\\u{1b}nn  failed     `x` is not a port; a port is a number from 1 to 65535
2025-12-31 23:59:03Z  service-cloned  shop     cli:a\\u{1b}nn  half\\u{7}
";
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn followed_events_are_a_line_each() {
        let (output, streams) = capture(zh());
        for event in &report().events {
            output.event(event);
        }
        let first = "2025-12-31 23:59:01Z  登记服务  shop  cli:a\\u{1b}nn  成功";
        assert_eq!(streams.out().lines().next(), Some(first));
        let (output, streams) = capture(json_style());
        for event in &report().events {
            output.event(event);
        }
        let ids: Vec<i64> = streams
            .out()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_i64())
            .map(Option::unwrap_or_default)
            .collect();
        assert_eq!(ids, [1, 2, 3]);
    }
}
