//! `pmctl ports kill`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::{Freeing, Here, Reach, kill_there};
use super::context::Context;
use super::exit::ExitCode;
use crate::host;
use crate::model::{
    Actor, Bindable, Fault, KillItem, KillProgress, KillReport, KillRequest, Port, PortAction,
    Source, Success,
};
use crate::text::{self, Message};

/// Hears how far the freeing is.
type Hear<'a> = &'a (dyn Fn(KillProgress) + Send + Sync);

pub(super) async fn run(context: &Context<'_>, request: &KillRequest) -> Result<ExitCode, Fault> {
    let freeing = Reach::new(context.settings)?.freeing(request).await?;
    if let Freeing::Here(here) = &freeing {
        for note in &here.notes {
            context.output.note(note);
        }
    }
    let view = context.output.progress_view();
    let hear = |progress: KillProgress| view.kill(&progress);
    let report = match freeing {
        Freeing::There(client) => kill_there(&client, request, &hear).await,
        Freeing::Here(here) => on_this_machine(&here, request, &hear).await,
    };
    view.finish();
    Ok(context.output.kill_report(&report?))
}

/// The server frees what it serves, this process the rest with the rights of its caller.
async fn on_this_machine(
    here: &Here,
    request: &KillRequest,
    hear: Hear<'_>,
) -> Result<KillReport, Fault> {
    let by = Actor::Direct(host::current_user_name());
    let ops = &here.direct.ops;
    let Some(server) = &here.server else { return ops.kill_ports(request, &by, hear).await };
    let with = |ports: BTreeSet<Port>| KillRequest { ports, ..request.clone() };
    let served = with(here.served.clone());
    let rest = with(request.ports.difference(&here.served).copied().collect());
    if !rest.ports.is_empty() {
        // What needs consent as a whole is refused before either half has begun.
        ops.may_begin(request, &by).await?;
    }
    let both = Both { total: request.ports.len() as u64, done: Default::default(), hear };
    let there = async {
        match server {
            Ok(client) => kill_there(client, &served, &|p| both.tell(0, p)).await,
            Err(fault) => Err(fault.clone()),
        }
    };
    let here_too = async {
        match rest.ports.is_empty() {
            true => Ok(None),
            false => ops.kill_ports(&rest, &by, &|p| both.tell(1, p)).await.map(Some),
        }
    };
    let (there, rest) = tokio::join!(there, here_too);
    let there = match there {
        Ok(report) => report,
        Err(fault) => left(here, fault, request.dry_run).await,
    };
    Ok(match rest? {
        Some(rest) => merged(rest, there),
        None => there,
    })
}

/// The progress of two halves as that of one whole.
struct Both<'a> {
    total: u64,
    done: [AtomicU64; 2],
    hear: Hear<'a>,
}

impl Both<'_> {
    fn tell(&self, half: usize, progress: KillProgress) {
        if let Some(count) = self.done.get(half) {
            count.store(progress.done, Ordering::Relaxed);
        }
        let done = self.done.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        (self.hear)(KillProgress { done, total: self.total, message: progress.message });
    }
}

/// The report of both halves, by port.
fn merged(mut rest: KillReport, there: KillReport) -> KillReport {
    rest.ports.extend(there.ports);
    rest.ports.sort_by_key(|item| item.port);
    rest.message = summary(&rest.ports, rest.dry_run);
    rest
}

fn summary(items: &[KillItem], dry_run: bool) -> Message {
    let free = items.iter().filter(|item| item.action != PortAction::Left).count();
    match dry_run {
        true => text::cli::ports_would_be_free(free, items.len()),
        false => text::cli::ports_are_free(free, items.len()),
    }
}

/// The ports of a server that did not free them, whatever the reason: nobody else does.
async fn left(here: &Here, fault: Fault, dry_run: bool) -> KillReport {
    // Who holds them is an extra; the server that did is known all the same.
    let seen = here.direct.ops.ports_status(&here.served).await;
    let mut seen = seen.map(|report| report.ports).unwrap_or_default();
    let item = |port: &Port| {
        let view = seen.remove(port);
        let (service, holders) =
            view.map_or_else(Default::default, |view| (view.service, view.holders));
        KillItem {
            port: *port,
            service,
            action: PortAction::Left,
            holders,
            signal: None,
            duration_ms: 0,
            bindable: Bindable::Unknown(fault.message.clone()),
            message: fault.message.clone(),
            notes: Vec::new(),
            fault: Some(fault.clone()),
        }
    };
    let ports: Vec<KillItem> = here.served.iter().map(item).collect();
    let message = summary(&ports, dry_run);
    KillReport { success: Success, source: Source::Database, dry_run, message, ports }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(source: Source, ports: &[(u16, PortAction)]) -> KillReport {
        let item = |(port, action): &(u16, PortAction)| KillItem {
            port: Port::new(*port).unwrap_or_else(|| panic!("{port}")),
            service: None,
            action: *action,
            holders: Vec::new(),
            signal: None,
            duration_ms: 0,
            bindable: Bindable::Yes,
            message: text::cli::word_yes(),
            notes: Vec::new(),
            fault: None,
        };
        let ports = ports.iter().map(item).collect();
        let message = text::cli::word_yes();
        KillReport { success: Success, source, dry_run: false, message, ports }
    }

    #[test]
    fn two_halves_become_one_report_by_port_with_one_summary() {
        let here = [(80, PortAction::Left), (9000, PortAction::Killed)];
        let whole = merged(
            report(Source::Database, &here),
            report(Source::Server, &[(443, PortAction::Stopped)]),
        );
        let ports: Vec<u16> = whole.ports.iter().map(|item| item.port.get()).collect();
        assert_eq!(ports, [80, 443, 9000]);
        assert_eq!(whole.message.to_string(), "2 of 3 ports are free now");
    }

    #[test]
    fn progress_counts_both_halves() {
        let heard = std::sync::Mutex::new(Vec::new());
        let hear = |progress: KillProgress| {
            heard.lock().unwrap_or_else(|e| panic!("{e}")).push((progress.done, progress.total));
        };
        let both = Both { total: 5, done: Default::default(), hear: &hear };
        let sign = |done| KillProgress { done, total: 3, message: text::cli::word_yes() };
        both.tell(0, sign(2));
        both.tell(1, sign(1));
        both.tell(0, sign(3));
        let heard = heard.lock().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(*heard, [(2, 5), (3, 5), (4, 5)]);
    }
}
