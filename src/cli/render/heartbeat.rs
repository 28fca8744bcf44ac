//! Leases in the registry and the calls about them.

use std::time::Duration;

use super::table::{Grid, Paint, painted};
use super::{Output, Style, escape, holder, units};
use crate::model::{
    Heartbeat, HeartbeatHistory, HeartbeatView, HeartbeatsReport, LeaseCounts, LeaseState,
    Timestamp,
};
use crate::text;

impl Output {
    /// `heartbeat status`: a row for each service, what is to be said of it below.
    pub fn heartbeats(&self, report: &HeartbeatsReport) {
        if self.is_json() {
            return self.document(report);
        }
        match report.heartbeats.is_empty() {
            true => self.line_out(&self.sentence(&text::cli::services_none())),
            false => self.write_out(&table(report, self.style(), self.now())),
        }
    }

    /// `heartbeat history`: a row for each call, oldest first.
    pub fn heartbeat_history(&self, history: &HeartbeatHistory) {
        if self.is_json() {
            return self.document(history);
        }
        match history.heartbeats.is_empty() {
            true => {
                let none = text::heartbeat::history_none(&history.service_name);
                self.line_out(&self.sentence(&none));
            }
            false => self.write_out(&calls(&history.heartbeats, self.style())),
        }
    }
}

fn table(report: &HeartbeatsReport, style: Style, now: Timestamp) -> String {
    let headings = [
        text::cli::column_service(),
        text::cli::column_port(),
        text::cli::column_state(),
        text::heartbeat::column_last_success(),
        text::heartbeat::column_failures(),
        text::heartbeat::column_expires_in(),
        text::heartbeat::column_status(),
        text::heartbeat::column_instance(),
    ];
    let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
    grid = grid.one_line_rows();
    let mut below = vec![Vec::new()];
    for view in &report.heartbeats {
        grid.row(row(view, style, now));
        below.push(notes(view, style));
    }
    grid.right(&[1, 4]).render_with(&[1, 2, 3, 4, 5, 6], &below)
}

fn row(view: &HeartbeatView, style: Style, now: Timestamp) -> Vec<String> {
    let none = || "-".to_owned();
    let ago = |then| text::heartbeat::ago(units::age(then, now)).render(style.lang);
    let expires = match view.lease_expires_in_ms {
        // What is up to be dropped is not told in numbers of the future.
        Some(0) => painted(Paint::Bad, &text::heartbeat::passed().render(style.lang)),
        Some(ms) => units::span(Duration::from_millis(ms)),
        None => none(),
    };
    let failures = match view.state {
        LeaseState::Disabled => none(),
        _ => units::count(view.consecutive_failures),
    };
    vec![
        escape::line(view.service_name.as_str()).into_owned(),
        view.port.to_string(),
        painted(paint(view.state), &units::word(view.state.as_str(), style.lang)),
        view.last_success.map_or_else(none, ago),
        failures,
        expires,
        view.status.as_deref().map_or_else(none, |status| escape::line(status).into_owned()),
        view.instance_id.as_deref().map_or_else(none, |id| escape::line(id).into_owned()),
    ]
}

fn paint(state: LeaseState) -> Paint {
    match state {
        LeaseState::Up => Paint::Good,
        LeaseState::Failing => Paint::Pending,
        LeaseState::Expired | LeaseState::Unregistered => Paint::Bad,
        LeaseState::Disabled => Paint::Faint,
    }
}

fn notes(view: &HeartbeatView, style: Style) -> Vec<String> {
    let over = view.override_status.as_ref().map(text::heartbeat::override_set);
    view.reason.iter().chain(&over).map(|note| holder::line(note, style)).collect()
}

fn calls(calls: &[Heartbeat], style: Style) -> String {
    let headings = [
        text::cli::column_when(),
        text::heartbeat::column_call(),
        text::cli::column_took(),
        text::cli::column_outcome(),
        text::cli::column_detail(),
    ];
    let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
    for call in calls {
        let (paint, outcome) = match call.failure {
            None => (Paint::Good, "ok"),
            Some(_) => (Paint::Bad, "failed"),
        };
        let failure = call.failure.as_ref().map(|failure| failure.render(style.lang));
        grid.row(vec![
            units::moment(call.at),
            units::word(call.call.as_str(), style.lang),
            units::took(Duration::from_millis(call.latency_ms)),
            painted(paint, &units::word(outcome, style.lang)),
            escape::line(&failure.unwrap_or_default()).into_owned(),
        ]);
    }
    grid.right(&[2]).render(&[0, 1, 2, 3])
}

/// `3 up, 1 failing`: what there is at all.
pub(super) fn counts(counts: &LeaseCounts, style: Style) -> String {
    let LeaseCounts { up, failing, expired, unregistered, disabled } = *counts;
    let states = [
        (LeaseState::Up, up),
        (LeaseState::Failing, failing),
        (LeaseState::Expired, expired),
        (LeaseState::Unregistered, unregistered),
        (LeaseState::Disabled, disabled),
    ];
    let shown = states.iter().filter(|(state, count)| *count > 0 || *state == LeaseState::Up);
    let part = |(state, count): &(LeaseState, u64)| {
        let word = units::word(state.as_str(), style.lang);
        let word = match count {
            0 => word,
            _ => painted(paint(*state), &word),
        };
        text::heartbeat::count_of_state(units::count(*count), word).render(style.lang)
    };
    let parts: Vec<String> = shown.map(part).collect();
    let separator = text::heartbeat::list_separator().render(style.lang);
    parts.join(&separator)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ago, capture, json_style, zh};
    use super::*;
    use crate::model::{HeartbeatCall, Port, Source, Success};

    fn view(name: &str, state: LeaseState) -> HeartbeatView {
        HeartbeatView {
            service_name: name.parse().unwrap(),
            port: Port::new(27721).unwrap(),
            is_active: true,
            interval: 30,
            instance_id: Some(format!("10.0.0.7:{name}:27721")),
            state,
            reason: None,
            status: Some("UP".into()),
            override_status: None,
            registry: Some("http://127.0.0.1:8761/eureka".into()),
            last_success: Some(ago(29)),
            consecutive_failures: 0,
            latency_ms: Some(4),
            next_in_ms: Some(1_000),
            lease_expires_in_ms: Some(61_000),
        }
    }

    fn report() -> HeartbeatsReport {
        let mut expired = view("订单", LeaseState::Expired);
        expired.reason = Some(text::model::port_out_of_range("7\u{1b}"));
        (expired.consecutive_failures, expired.lease_expires_in_ms) = (1_200, Some(0));
        (expired.status, expired.override_status) = (None, Some("OUT_OF_SERVICE".into()));
        let mut disabled = view("quiet", LeaseState::Disabled);
        (disabled.last_success, disabled.lease_expires_in_ms) = (None, None);
        (disabled.status, disabled.instance_id) = (None, None);
        let heartbeats = vec![view("dspapi", LeaseState::Up), expired, disabled];
        HeartbeatsReport { success: Success, source: Source::Server, heartbeats }
    }

    #[test]
    fn each_lease_shows_how_it_is_and_below_it_why() {
        let (output, streams) = capture(Style::default());
        output.heartbeats(&report());
        let expected = concat!(
            "SERVICE   PORT  STATE     LAST SUCCESS  FAILURES  EXPIRES IN  STATUS  INSTANCE\n",
            "dspapi   27721  up        29s ago              0  1m 1s       UP      10.0.0.7:dspapi:27721\n",
            "订单     27721  expired   29s ago          1,200  passed      -       10.0.0.7:订单:27721\n",
            "       `7\\u{1b}` is not a port; a port is a number from 1 to 65535\n",
            "       an operator has set OUT_OF_SERVICE over it; pmctl leaves that as it is\n",
            "quiet    27721  disabled  -                    -  -           -       -\n",
        );
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn every_state_and_call_has_a_word_in_both_languages() {
        use crate::text::{Lang, Message};
        let states = LeaseState::ALL.iter().map(|state| state.as_str());
        let calls = HeartbeatCall::ALL.iter().map(|call| call.as_str());
        let health = crate::model::HealthState::ALL.iter().map(|state| state.as_str());
        for word in states.chain(calls).chain(health) {
            assert!(Message::plain(&format!("word-{word}")).is_some(), "{word}");
            assert_ne!(units::word(word, Lang::ZhCn), word);
        }
    }

    #[test]
    fn leases_read_in_chinese() {
        let (output, streams) = capture(zh());
        output.heartbeats(&report());
        for part in ["续约正常", "已过期", "未启用", "29s前", "实例"] {
            assert!(streams.out().contains(part), "{part} in\n{}", streams.out());
        }
        let counted = LeaseCounts { up: 3, expired: 1, ..LeaseCounts::default() };
        let (output, streams) = capture(zh());
        output.write_out(&counts(&counted, zh()));
        assert_eq!(streams.out(), "续约正常 3，已过期 1");
    }

    #[test]
    fn the_document_is_that_of_the_contract() {
        let mut report = report();
        report.heartbeats.truncate(1);
        let (output, streams) = capture(json_style());
        output.heartbeats(&report);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        let expected = serde_json::json!({"success": true, "source": "server", "heartbeats": [{
            "serviceName": "dspapi", "port": 27721, "isActive": true, "interval": 30,
            "instanceId": "10.0.0.7:dspapi:27721", "state": "up", "reason": null,
            "status": "UP", "overrideStatus": null, "registry": "http://127.0.0.1:8761/eureka",
            "lastSuccess": "2025-12-31T23:59:31.000Z", "consecutiveFailures": 0, "latencyMs": 4,
            "nextInMs": 1_000, "leaseExpiresInMs": 61_000}]});
        assert_eq!(document, expected);
    }

    #[test]
    fn the_history_tells_each_call_and_why_it_failed() {
        let call = |secs, call, failure| Heartbeat { at: ago(secs), call, failure, latency_ms: 3 };
        let failure = text::model::port_out_of_range("x");
        let mut history = HeartbeatHistory {
            success: Success,
            source: Source::Database,
            service_name: "dspapi".parse().unwrap(),
            heartbeats: vec![
                call(60, HeartbeatCall::Register, None),
                call(30, HeartbeatCall::Renew, Some(failure)),
            ],
        };
        let (output, streams) = capture(Style::default());
        output.heartbeat_history(&history);
        let expected = concat!(
            "WHEN                  CALL      TOOK  OUTCOME  DETAIL\n",
            "2025-12-31 23:59:00Z  register   3ms  ok       \n",
            "2025-12-31 23:59:30Z  renew      3ms  failed   `x` is not a port; a port is a number from 1 to 65535\n",
        );
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&streams.out()), trimmed(expected));
        history.heartbeats.clear();
        let (output, streams) = capture(Style::default());
        output.heartbeat_history(&history);
        assert!(streams.out().contains("dspapi"), "{}", streams.out());
    }
}
