//! What was done to free ports.

use std::time::Duration;

use super::table::{Grid, Paint, painted};
use super::{Output, Style, escape, holder, units};
use crate::cli::exit::ExitCode;
use crate::model::{Bindable, HolderView, KillItem, KillReport, PortAction};
use crate::text;

impl Output {
    /// `ports kill`: a row for each port and further holder, below it what a person should know;
    /// why a port was left on standard error. The exit code is the worst of them.
    pub fn kill_report(&self, report: &KillReport) -> ExitCode {
        if self.is_json() {
            self.document(report);
            return report.into();
        }
        self.write_out(&table(report, self.style()));
        // Of a single port the table or the fault may have said all there is to say.
        if !matches!(&report.ports[..], [item] if is_told(item, report.dry_run)) {
            self.line_out(&self.sentence(&report.message));
        }
        for fault in report.ports.iter().filter_map(|item| item.fault.as_ref()) {
            self.fault_lines(fault);
        }
        report.into()
    }
}

fn table(report: &KillReport, style: Style) -> String {
    let action = match report.dry_run {
        true => text::cli::column_would_be(),
        false => text::cli::column_action(),
    };
    let headings = [
        text::cli::column_port(),
        action,
        text::cli::column_signal(),
        text::cli::column_took(),
        text::cli::column_pid(),
        text::cli::column_user(),
        text::cli::column_command(),
    ];
    let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
    grid = grid.one_line_rows();
    let mut below = vec![Vec::new()];
    for item in &report.ports {
        let mut first = Some(item);
        if item.holders.is_empty() {
            let mark = if item.action == PortAction::Left { "?" } else { "-" };
            let nobody = [mark; 3].map(str::to_owned);
            grid.row(row(first.take(), nobody, report.dry_run, style));
            below.push(Vec::new());
        }
        for holder in &item.holders {
            grid.row(row(first.take(), holder_cells(holder), report.dry_run, style));
            // What it is made of matters before it is ended, not after.
            let details = holder.details.as_ref().filter(|_| report.dry_run);
            below.push(details.map_or_else(Vec::new, |details| holder::lines(details, style)));
        }
        if let Some(last) = below.last_mut() {
            last.extend(notes(item, report.dry_run, style));
        }
    }
    grid.right(&[0, 4]).render_with(&[0, 1, 2, 3, 4, 5], &below)
}

/// The cells of a port, empty for its second holder, before those of a holder.
fn row(item: Option<&KillItem>, holder: [String; 3], dry_run: bool, style: Style) -> Vec<String> {
    let mut cells = match item {
        None => vec![String::new(); 4],
        Some(item) => {
            let took = match dry_run {
                true => "-".to_owned(),
                false => units::took(Duration::from_millis(item.duration_ms)),
            };
            vec![
                item.port.to_string(),
                painted(paint(item.action), &units::word(item.action.as_str(), style.lang)),
                item.signal.map_or("-", |signal| signal.as_str()).to_owned(),
                took,
            ]
        }
    };
    cells.extend(holder);
    cells
}

fn paint(action: PortAction) -> Paint {
    match action {
        PortAction::Stopped | PortAction::Terminated => Paint::Good,
        PortAction::Killed => Paint::Pending,
        PortAction::AlreadyFree => Paint::Faint,
        PortAction::Left => Paint::Bad,
    }
}

fn holder_cells(holder: &HolderView) -> [String; 3] {
    let or_unknown = |text: Option<&str>| escape::line(text.unwrap_or("?")).into_owned();
    [
        holder.pid.to_string(),
        or_unknown(holder.user.as_deref()),
        or_unknown(holder.command.as_deref()),
    ]
}

fn is_left(item: &KillItem) -> bool {
    item.fault.is_some() && item.action == PortAction::Left
}

/// Whether the item's sentence stands below its row or as a fault; else the row says it whole.
fn is_told(item: &KillItem, dry_run: bool) -> bool {
    let is_row_enough = matches!(item.action, PortAction::Terminated | PortAction::AlreadyFree);
    is_left(item) || dry_run || !is_row_enough
}

/// What was or would be done, unless the row says it whole or a fault will; what else to know.
fn notes(item: &KillItem, dry_run: bool, style: Style) -> Vec<String> {
    let mut said = Vec::new();
    if !is_left(item) && is_told(item, dry_run) {
        said.push(holder::line(&item.message, style));
    }
    said.extend(item.notes.iter().map(|note| holder::line(note, style)));
    // That a port which was left, or is not freed yet, does not bind goes without saying.
    let is_freed = !dry_run && item.action != PortAction::Left;
    let reason = |reason: &text::Message| reason.render(style.lang);
    match &item.bindable {
        Bindable::No(why) if is_freed => {
            said.push(holder::line(&text::cli::port_binds_not(reason(why)), style));
        }
        Bindable::Unknown(why) if is_freed && style.verbosity > 0 => {
            said.push(holder::line(&text::cli::port_binds_perhaps(reason(why)), style));
        }
        _ => {}
    }
    said
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::{ago, capture, json_style, zh};
    use super::*;
    use crate::model::{
        EndSignal, Fault, FaultKind, HolderDetails, Keeper, ParentView, Port, Source, Success,
    };

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn holder(pid: u32, command: &str) -> HolderView {
        let details = HolderDetails {
            executable: Some("/usr/bin/python3".into()),
            directory: None,
            parents: vec![ParentView { pid: 900, name: Some("bash".into()) }],
            other_ports: BTreeSet::from([port(9443)]),
            keeper: Some(Keeper::Unit { name: "x.service".into(), user: true, restarts: None }),
        };
        HolderView {
            pid,
            user: Some("ann".into()),
            command: Some(command.into()),
            start_time: Some(ago(60)),
            details: Some(details),
        }
    }

    fn item(number: u16, action: PortAction, holders: Vec<HolderView>) -> KillItem {
        KillItem {
            port: port(number),
            service: None,
            action,
            holders,
            signal: None,
            duration_ms: 12,
            bindable: Bindable::Yes,
            message: text::cli::word_yes(),
            notes: Vec::new(),
            fault: None,
        }
    }

    fn report() -> KillReport {
        let ended = KillItem {
            signal: Some(EndSignal::Term),
            bindable: Bindable::No(text::cli::word_no()),
            notes: vec![text::cli::word_ok()],
            ..item(8080, PortAction::Terminated, vec![holder(7, "a\u{1b}"), holder(8, "b")])
        };
        let fault = Fault::new(FaultKind::LeftAlone, text::model::service_not_found("x"));
        let left = KillItem { fault: Some(fault), ..item(9000, PortAction::Left, vec![]) };
        KillReport {
            success: Success,
            source: Source::Database,
            dry_run: false,
            message: text::cli::word_ready(),
            ports: vec![ended, item(8081, PortAction::AlreadyFree, vec![]), left],
        }
    }

    #[test]
    fn each_port_says_what_became_of_it_and_of_every_holder() {
        let (output, streams) = capture(Style::default());
        assert_eq!(output.kill_report(&report()), ExitCode::LeftAlone);
        let expected = concat!(
            "PORT  ACTION        SIGNAL  TOOK  PID  USER  COMMAND\n",
            "8080  terminated    TERM    12ms    7  ann   a\\u{1b}\n",
            "                                    8  ann   b\n",
            "       ok\n",
            "       it does not bind yet: no\n",
            "8081  already free  -       12ms    -  -     -\n",
            "9000  left          -       12ms    ?  ?     ?\n",
            "ready\n",
        );
        assert_eq!(streams.out(), expected);
        assert!(streams.err().starts_with("error: no service is named `x`"), "{}", streams.err());
    }

    #[test]
    fn a_dry_run_shows_what_the_holders_are() {
        let (output, streams) = capture(Style::default());
        let plan = KillReport { dry_run: true, ..report() };
        output.kill_report(&plan);
        let out = streams.out();
        for part in [
            "WOULD BE",
            "       program /usr/bin/python3\n",
            "       started by bash (900)\n",
            "       also listens on 9443\n",
            "       runs as the systemd user unit x.service\n",
            "       yes\n       ok\n",
        ] {
            assert!(out.contains(part), "{part} in\n{out}");
        }
        assert!(!out.contains("12ms") && !out.contains("bind"), "{out}");
        let (output, streams) = capture(zh());
        output.kill_report(&plan);
        assert!(streams.out().contains("本已空闲"), "{}", streams.out());
    }

    #[test]
    fn the_document_is_the_report_with_each_fault_beside_its_port() {
        let (output, streams) = capture(json_style());
        assert_eq!(output.kill_report(&report()), ExitCode::LeftAlone);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!(document["success"], true);
        assert_eq!(document["ports"][0]["action"], "terminated");
        assert_eq!(document["ports"][0]["durationMs"], 12);
        assert_eq!(document["ports"][0]["fault"], serde_json::Value::Null);
        assert_eq!(document["ports"][1]["action"], "already-free");
        assert_eq!(document["ports"][2]["fault"]["code"], "service-not-found");
        assert_eq!(streams.err(), "");
    }
}
