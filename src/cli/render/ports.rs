//! Ports and who holds them.

use super::table::{Grid, Paint, painted};
use super::{Output, Style, escape, holder, units};
use crate::model::{HolderView, Port, PortState, PortView, PortsReport, Timestamp};
use crate::text;

impl Output {
    /// `ports status`: one row for each port, and one for each further holder; below a holder's row
    /// what is known of it, where that was asked for.
    pub fn ports(&self, report: &PortsReport) {
        if self.is_json() {
            return self.document(report);
        }
        match report.ports.is_empty() {
            true => self.line_out(&self.sentence(&text::cli::ports_none())),
            false => self.write_out(&table(report, self.style(), self.now())),
        }
    }
}

fn table(report: &PortsReport, style: Style, now: Timestamp) -> String {
    let headings = [
        text::cli::column_port(),
        text::cli::column_state(),
        text::cli::column_service(),
        text::cli::column_connections(),
        text::cli::column_pid(),
        text::cli::column_user(),
        text::cli::column_running_for(),
        text::cli::column_command(),
    ];
    let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
    grid = grid.one_line_rows();
    let mut below = vec![Vec::new()];
    for (port, view) in &report.ports {
        let mut first = Some((*port, view));
        if view.holders.is_empty() {
            grid.row(row(first, holder_unseen(view), style));
            below.push(Vec::new());
        }
        for holder in &view.holders {
            grid.row(row(first.take(), holder_cells(holder, now), style));
            let details = holder.details.as_ref();
            below.push(details.map_or_else(Vec::new, |details| holder::lines(details, style)));
        }
    }
    grid.right(&[0, 3, 4]).render_with(&[0, 1, 3, 4, 6], &below)
}

/// The cells of a port, empty for its second holder, before those of a holder.
fn row(port: Option<(Port, &PortView)>, holder: [String; 4], style: Style) -> Vec<String> {
    let mut cells = match port {
        None => vec![String::new(); 4],
        Some((port, view)) => {
            let service = view.service.as_ref().map_or("-", |name| name.as_str());
            let connections = match (view.connections, view.state) {
                (Some(count), _) => units::count(count),
                (None, PortState::Free) => "-".to_owned(),
                (None, _) => "?".to_owned(),
            };
            vec![
                port.to_string(),
                painted(paint(view.state), &units::word(view.state.as_str(), style.lang)),
                escape::line(service).into_owned(),
                connections,
            ]
        }
    };
    cells.extend(holder);
    cells
}

fn paint(state: PortState) -> Paint {
    match state {
        PortState::Serving => Paint::Good,
        PortState::Free => Paint::Faint,
        PortState::Residue => Paint::Bad,
        PortState::Foreign | PortState::Unknown => Paint::Pending,
    }
}

/// Nobody, or somebody who can't be seen: `-` and `?` are not the same.
fn holder_unseen(view: &PortView) -> [String; 4] {
    let mark = if view.in_use { "?" } else { "-" };
    let pid = view.pid.map_or_else(|| mark.to_owned(), |pid| pid.to_string());
    [pid, mark.to_owned(), mark.to_owned(), mark.to_owned()]
}

fn holder_cells(holder: &HolderView, now: Timestamp) -> [String; 4] {
    let or_unknown = |text: Option<&str>| match text {
        Some(text) => escape::line(text).into_owned(),
        None => "?".to_owned(),
    };
    [
        holder.pid.to_string(),
        or_unknown(holder.user.as_deref()),
        holder.start_time.map_or_else(|| "?".to_owned(), |start| units::age(start, now)),
        or_unknown(holder.command.as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ago, capture, json_style, zh};
    use super::*;
    use crate::model::{HolderDetails, Keeper, Source, Success};

    fn report() -> PortsReport {
        let holder = |pid, command: &str| HolderView {
            pid,
            user: Some("ann".into()),
            command: Some(command.into()),
            start_time: Some(ago(7_200)),
            details: None,
        };
        let view = |state, service: Option<&str>, holders: Vec<HolderView>, connections| PortView {
            in_use: state != PortState::Free,
            pid: holders.first().map(|holder| holder.pid),
            service: service.map(|name| name.parse().unwrap()),
            state,
            holders,
            connections,
        };
        let ports = [
            (80, view(PortState::Unknown, None, vec![], None)),
            (
                8080,
                view(
                    PortState::Foreign,
                    Some("admin"),
                    vec![holder(7, "nginx\u{1b}[2J -g"), holder(8, "nginx: worker")],
                    None,
                ),
            ),
            (9000, view(PortState::Free, Some("api"), vec![], None)),
            (
                27721,
                view(PortState::Serving, Some("订单"), vec![holder(4242, "pmctl serve")], Some(3)),
            ),
        ];
        let ports = ports.into_iter().map(|(port, view)| (Port::new(port).unwrap(), view));
        PortsReport { success: Success, source: Source::Server, ports: ports.collect() }
    }

    #[test]
    fn unknown_free_and_several_holders_are_told_apart() {
        let (output, streams) = capture(Style::default());
        output.ports(&report());
        let expected = concat!(
            " PORT  STATE    SERVICE  CONNECTIONS   PID  USER  UP  COMMAND\n",
            "   80  unknown  -                  ?     ?  ?     ?   ?\n",
            " 8080  foreign  admin              ?     7  ann   2h  nginx\\u{1b}[2J -g\n",
            "                                         8  ann   2h  nginx: worker\n",
            " 9000  free     api                -     -  -     -   -\n",
            "27721  serving  订单               3  4242  ann   2h  pmctl serve\n",
        );
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn what_is_known_of_a_holder_stands_below_its_row() {
        let mut report = report();
        report.ports.retain(|port, _| matches!(port.get(), 8080 | 9000));
        let details = HolderDetails {
            directory: Some("/srv/a\u{7}".into()),
            keeper: Some(Keeper::Container { runtime: "docker".into(), id: "0123456789ab".into() }),
            ..HolderDetails::default()
        };
        for view in report.ports.values_mut() {
            view.holders.truncate(1);
            view.holders.iter_mut().for_each(|holder| holder.details = Some(details.clone()));
        }
        let (output, streams) = capture(Style::default());
        output.ports(&report);
        let expected = concat!(
            "PORT  STATE    SERVICE  CONNECTIONS  PID  USER  UP  COMMAND\n",
            "8080  foreign  admin              ?    7  ann   2h  nginx\\u{1b}[2J -g\n",
            "       in /srv/a\\u{7}\n",
            "       runs in the docker container 0123456789ab\n",
            "9000  free     api                -    -  -     -   -\n",
        );
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn states_read_in_chinese() {
        let (output, streams) = capture(zh());
        output.ports(&report());
        let out = streams.out();
        for part in ["端口", "未知", "外部占用", "空闲", "服务中"] {
            assert!(out.contains(part), "{part} in\n{out}");
        }
    }

    #[test]
    fn on_a_terminal_a_long_command_is_cut_and_in_a_pipe_it_is_not() {
        let mut report = report();
        for view in report.ports.values_mut() {
            for holder in &mut view.holders {
                holder.command = Some("java ".repeat(60));
            }
        }
        let (output, streams) = capture(Style { width: Some(80), ..Style::default() });
        output.ports(&report);
        assert_eq!(streams.out().lines().count(), 6, "{}", streams.out());
        assert!(streams.out().contains('…'));
        let (output, streams) = capture(Style::default());
        output.ports(&report);
        assert!(streams.out().contains("java ".repeat(60).trim_end()));
    }

    #[test]
    fn the_document_is_that_of_the_contract() {
        let mut report = report();
        report.ports.retain(|port, _| port.get() == 27721);
        let (output, streams) = capture(json_style());
        output.ports(&report);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        let expected = serde_json::json!({"success": true, "source": "server", "ports": {"27721": {
            "inUse": true, "pid": 4242, "service": "订单", "state": "serving",
            "holders": [{"pid": 4242, "user": "ann", "command": "pmctl serve",
                "startTime": "2025-12-31T22:00:00.000Z"}],
            "connections": 3}}});
        assert_eq!(document, expected);
    }
}
