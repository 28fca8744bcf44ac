//! The status screen.

use super::table::{Grid, Paint, painted};
use super::{Output, Style, escape, heartbeat, service, units};
use crate::model::{
    GuardianState, GuardianView, ServerState, ServerView, Source, StatusCounts, StatusReport,
    Timestamp,
};
use crate::text::{self, Message};

impl Output {
    /// `status`: the server, the counts, the services, what needs a person.
    pub fn status(&self, report: &StatusReport) {
        if self.is_json() {
            return self.document(report);
        }
        let (style, now) = (self.style(), self.now());
        let mut screen = facts(report, style, now);
        if !report.services.is_empty() {
            screen.push('\n');
            screen.push_str(&service::list(&report.services, style, now));
        }
        if !report.attention.is_empty() {
            let heading = text::cli::status_attention().render(style.lang);
            screen.push_str(&format!("\n{}\n", painted(Paint::Pending, &heading)));
            for message in &report.attention {
                screen.push_str(&format!("  - {}\n", self.sentence(message)));
            }
        }
        self.write_out(&screen);
    }
}

fn facts(report: &StatusReport, style: Style, now: Timestamp) -> String {
    let (lang, server) = (style.lang, &report.server);
    let mut grid = Grid::new(style, &[]);
    let mut put = |label: Message, value: String| {
        grid.row(vec![label.render(lang), value]);
    };
    put(text::cli::field_server(), server_line(server, style, now));
    if report.source == Source::Database {
        put(text::cli::field_source(), text::cli::status_from_database().render(lang));
    }
    if let Some(guardian) = &report.guardian {
        put(text::guardian::field_guardian(), guardian_line(guardian, style));
    }
    let mut node = escape::line(&server.node).into_owned();
    if let Some(version) = &server.version {
        let version = escape::line(version);
        node = format!("{node}, pmctl {version}");
    }
    put(text::cli::field_node(), node);
    let uuid = server.database_uuid.as_deref().map(|uuid| format!(" ({uuid})"));
    let database = format!("{}{}", server.database, uuid.unwrap_or_default());
    put(text::cli::field_database(), escape::line(&database).into_owned());
    put(text::cli::field_services(), counts(&report.counts, style));
    if let Some(leases) = &report.heartbeats {
        put(text::heartbeat::field_heartbeats(), heartbeat::counts(leases, style));
    }
    grid.render(&[0])
}

fn server_line(server: &ServerView, style: Style, now: Timestamp) -> String {
    let paint = match server.state {
        ServerState::Ready => Paint::Good,
        ServerState::Starting | ServerState::Draining => Paint::Pending,
        ServerState::Unresponsive => Paint::Bad,
        ServerState::Down => Paint::Faint,
    };
    let mut line = painted(paint, &units::word(server.state.as_str(), style.lang));
    let up = server.started_at.filter(|_| server.state != ServerState::Down);
    let parts = [
        server.pid.map(|pid| format!("pid {pid}")),
        up.map(|start| text::cli::up_for(units::age(start, now)).render(style.lang)),
        server.url.as_deref().map(|url| escape::line(url).into_owned()),
    ];
    for part in parts.into_iter().flatten() {
        line.push_str(", ");
        line.push_str(&part);
    }
    line
}

fn guardian_line(guardian: &GuardianView, style: Style) -> String {
    let paint = match guardian.state {
        GuardianState::Watching => Paint::Good,
        GuardianState::Restarting => Paint::Bad,
        GuardianState::Off => Paint::Faint,
    };
    let word = painted(paint, &units::word(guardian.state.as_str(), style.lang));
    guardian.pid.map_or_else(|| word.clone(), |pid| format!("{word}, pid {pid}"))
}

fn counts(counts: &StatusCounts, style: Style) -> String {
    let StatusCounts { services, running, stopped, failed, connections } = *counts;
    let [services, running, stopped, failed] =
        [services, running, stopped, failed].map(units::count);
    let mut line = text::cli::status_counts(services, running, stopped, failed).render(style.lang);
    if let Some(connections) = connections {
        let open = text::cli::status_connections(units::count(connections));
        line.push_str(&open.render(style.lang));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ago, capture, service, zh};
    use super::*;
    use crate::model::{Actual, LeaseCounts, Success};

    fn report() -> StatusReport {
        StatusReport {
            success: Success,
            source: Source::Server,
            server: ServerView {
                state: ServerState::Ready,
                pid: Some(4242),
                url: Some("http://127.0.0.1:3000".into()),
                node: "default".into(),
                version: Some("0.1.0".into()),
                started_at: Some(ago(3_725)),
                database: "sqlite:///x/pmctl.db".into(),
                database_uuid: Some("u-1".into()),
            },
            counts: StatusCounts {
                services: 1,
                running: 1,
                connections: Some(1_200),
                ..StatusCounts::default()
            },
            guardian: Some(GuardianView::watching(4243)),
            heartbeats: None,
            services: vec![service("shop", 8080, Actual::Running, None)],
            attention: vec![text::model::port_out_of_range("7\u{1b}")],
        }
    }

    #[test]
    fn one_screen_tells_server_counts_services_and_what_needs_attention() {
        let (output, streams) = capture(Style::default());
        output.status(&report());
        let expected = "\
server    ready, pid 4242, up 1h 2m, http://127.0.0.1:3000
guardian  watching, pid 4243
node      default, pmctl 0.1.0
database  sqlite:///x/pmctl.db (u-1)
services  1: 1 running, 0 stopped, 0 failed; 1,200 connections

NAME  LISTEN  STATE    SINCE  TARGET                      CONNECTIONS  REQUESTS
shop  *:8080  running  2m 5s  blue http://127.0.0.1:9001           12     1,236

needs attention
  - `7\\u{1b}` is not a port; a port is a number from 1 to 65535
";
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn with_a_registry_the_leases_are_counted() {
        let mut report = report();
        report.services.clear();
        report.heartbeats = Some(LeaseCounts { failing: 1_000, ..LeaseCounts::default() });
        let (output, streams) = capture(Style::default());
        output.status(&report);
        let line = streams.out().lines().find(|line| line.starts_with("heartbeats")).map(str::len);
        assert!(line.is_some(), "{}", streams.out());
        assert!(streams.out().contains("heartbeats  0 up, 1,000 failing\n"), "{}", streams.out());
    }

    #[test]
    fn a_server_that_is_down_is_said_to_be_so_and_where_the_facts_are_from() {
        let mut report = report();
        report.source = Source::Database;
        report.guardian = None;
        report.services.clear();
        report.attention.clear();
        report.counts.connections = None;
        report.server.state = ServerState::Down;
        (report.server.pid, report.server.url, report.server.version) = (None, None, None);
        report.server.database_uuid = None;
        let (output, streams) = capture(zh());
        output.status(&report);
        let expected = "\
服务器    未运行
来源      数据库和操作系统（未询问服务器）
节点      default
数据库    sqlite:///x/pmctl.db
服务      1 个：1 运行，0 停止，0 失败
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&streams.out()), squeeze(expected));
    }
}
