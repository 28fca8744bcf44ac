//! Cleaning up without a server, while nobody else owns the database.

use std::collections::BTreeSet;

use super::ender::Ender;
use super::facts::{Ports, rules, views};
use super::judge::{Rules, Verdict, left_to, worse};
use super::report;
use super::{Tell, repair_rows};
use crate::host::Holding;
use crate::model::{
    Actor, Actual, CleanupAction, CleanupItem, CleanupNode, CleanupReport, CleanupRequest,
    EventAction, Fault, FaultKind, Outcome, Service,
};
use crate::ops::context::{Ops, done};
use crate::ops::faults::store_fault;
use crate::ops::holders;
use crate::store::{NewEvent, Store};
use crate::text;

/// A service, what was found and what is to be done.
struct Step {
    service: Service,
    verdict: Verdict,
    item: CleanupItem,
}

/// All of it. The caller holds the owner's lock unless it is a dry run.
pub(super) async fn clean(
    ops: &Ops,
    request: &CleanupRequest,
    by: &Actor,
    tell: &Tell,
) -> Result<CleanupReport, Fault> {
    let Some(store) = ops.reading_store() else {
        return Ok(report::of(ops, request, Vec::new(), Vec::new(), Vec::new()));
    };
    let nodes = store.unfinished_nodes(ops.node()).await.map_err(store_fault)?;
    let services = store.services(ops.node()).await.map_err(store_fault)?;
    let numbers: BTreeSet<_> = services.iter().map(|service| service.port).collect();
    let ports = Ports::look(ops, numbers, Vec::new()).await?;
    let unclean = nodes.iter().map(|node| node.row.identity.clone()).collect();
    let contested = services.iter().filter(|s| s.actual != Actual::Stopped || s.reason.is_some());
    let rules = rules(ops, request.force, unclean, &ports, contested).await?;
    let step = |service: Service| {
        let holding = ports.of(service.port);
        let verdict = rules.judge(&service, holding);
        let item = planned(&service, &verdict, holding, request.dry_run);
        Step { service, verdict, item }
    };
    let mut steps: Vec<Step> = services.into_iter().map(step).collect();
    let nodes = nodes.iter().map(|node| {
        let pid = node.row.identity.pid;
        let message = match request.dry_run {
            true => text::cleanup::cleanup_node_found_dead(pid),
            false => text::cleanup::cleanup_node_dead(pid),
        };
        CleanupNode { pid, message, fault: None }
    });
    let nodes: Vec<_> = nodes.collect();
    if !request.dry_run {
        apply(ops, store, &rules, request, &mut steps, by, tell).await?;
        // Last, so that a cleanup that is cut short leaves its successor the proof of what is ours.
        repair_rows(store, ops.node(), by, ops.now()).await?;
    }
    let instances = ops.clean_registry(request.dry_run, by).await?;
    let items = steps.into_iter().map(|step| step.item).collect();
    Ok(report::of(ops, request, nodes, items, instances))
}

/// The item of what is to be done; it stands for what was done where nothing has to be ended.
fn planned(service: &Service, verdict: &Verdict, holding: &Holding, is_dry: bool) -> CleanupItem {
    let (port, before) = (service.port, service.actual);
    let names = || holders::names(holding.seen());
    let (action, message) = match (&verdict.fault, verdict.ends.is_empty(), verdict.repairs) {
        (Some(fault), true, _) => (CleanupAction::Left, fault.message.clone()),
        (_, false, _) => {
            let names = holders::names(&verdict.ends);
            (CleanupAction::HolderEnded, text::cleanup::cleanup_would_end(names, port))
        }
        (None, true, true) if before == Actual::Stopped => {
            (CleanupAction::RowRepaired, text::cleanup::cleanup_forgotten(port))
        }
        (None, true, true) => {
            let message = match is_dry {
                true => text::cleanup::cleanup_would_repair(before),
                false => text::cleanup::cleanup_row_repaired(before),
            };
            (CleanupAction::RowRepaired, message)
        }
        (None, true, false) => {
            let message = match holding {
                Holding::Free => text::cleanup::cleanup_in_order(port),
                Holding::Held(_) => text::cleanup::cleanup_elsewhere(port, names()),
                Holding::HeldUnseen { .. } => text::cleanup::cleanup_elsewhere_unseen(port),
            };
            (CleanupAction::Nothing, message)
        }
    };
    CleanupItem {
        service: service.name.clone(),
        port,
        before,
        found: verdict.found,
        holders: views(holding),
        action,
        after: Actual::Stopped,
        message,
        fault: verdict.fault.clone(),
    }
}

async fn apply(
    ops: &Ops,
    store: &Store,
    rules: &Rules,
    request: &CleanupRequest,
    steps: &mut [Step],
    by: &Actor,
    tell: &Tell,
) -> Result<(), Fault> {
    let total = steps.len() as u64;
    // Rows first, in one transaction however many; whoever has to be ended takes time.
    let (mut states, mut events) = (Vec::new(), Vec::new());
    let mut finished = 0;
    for step in steps.iter().filter(|step| step.verdict.ends.is_empty()) {
        finished += 1;
        let reason = left_to(step.service.port, &step.verdict.left);
        if step.verdict.repairs {
            states.push((step.service.id, Actual::Stopped, reason));
        }
        events.extend(recorded(ops, step, by));
    }
    if !states.is_empty() || !events.is_empty() {
        store.set_actual(None, &states, ops.now(), events).await.map_err(store_fault)?;
    }
    let mut ender = Ender::new(ops, request.grace, by);
    for step in steps.iter_mut().filter(|step| !step.verdict.ends.is_empty()) {
        let names = holders::names(&step.verdict.ends);
        tell.say(finished, total, text::cleanup::cleanup_ending(names, step.service.port));
        end(ops, rules, &mut ender, step).await?;
        let reason = left_to(step.service.port, &step.verdict.left);
        let row = [(step.service.id, Actual::Stopped, reason)];
        let events = recorded(ops, step, by);
        store.set_actual(None, &row, ops.now(), events).await.map_err(store_fault)?;
        finished += 1;
    }
    tell.say(total, total, text::cleanup::cleanup_rows_done());
    Ok(())
}

/// Ends the holders of one port, and looks who has it then.
async fn end(
    ops: &Ops,
    rules: &Rules,
    ender: &mut Ender<'_>,
    step: &mut Step,
) -> Result<(), Fault> {
    let port = step.service.port;
    let ends = std::mem::take(&mut step.verdict.ends);
    for holder in &ends {
        if let Err(fault) = ender.end(port, holder).await? {
            step.verdict.left.push(holder.identity.clone());
            step.verdict.fault = worse(step.verdict.fault.take(), fault);
        }
    }
    let how = ends.iter().find_map(|holder| ender.how(&holder.identity)).unwrap_or("-");
    step.item.message = text::cleanup::cleanup_holder_ended(holders::names(&ends), how, port);
    let ports = Ports::look(ops, [port].into(), Vec::new()).await?;
    let now = ports.of(port);
    // The port of a service that was stopped in order is anybody's; only those that were left there
    // were to go.
    if !step.verdict.repairs && *now != Holding::Free {
        let (names, how) = (holders::names(&ends), how);
        step.item.message = text::cleanup::cleanup_holder_ended_elsewhere(names, how, port);
    }
    if step.verdict.repairs {
        if let Some(unseen) = rules.unseen(port, now) {
            step.verdict.fault = worse(step.verdict.fault.take(), unseen);
        }
        let is_new = |identity| !step.verdict.left.contains(identity);
        let new: Vec<_> = now.seen().iter().filter(|h| is_new(&h.identity)).cloned().collect();
        if !new.is_empty() {
            let names = holders::names(&new);
            let message = text::cleanup::cleanup_came_back(port, names);
            let fault = Fault::new(FaultKind::LeftAlone, message);
            step.verdict.left.extend(new.into_iter().map(|holder| holder.identity));
            step.verdict.fault = worse(step.verdict.fault.take(), fault);
        }
    }
    step.verdict.found = rules.state(now);
    if let Some(fault) = &step.verdict.fault {
        step.item.action = CleanupAction::Left;
        step.item.message = fault.message.clone();
        step.item.fault = Some(fault.clone());
    }
    Ok(())
}

/// What the record says of a step.
fn recorded(ops: &Ops, step: &Step, by: &Actor) -> Vec<NewEvent> {
    let (service, now, mut events) = (&step.service, ops.now(), Vec::new());
    if step.verdict.repairs && service.actual != Actual::Stopped {
        let detail = text::cleanup::event_row_repaired(service.actual);
        events.push(done(now, EventAction::Repaired, &service.name, by, detail));
    }
    if let Some(fault) = &step.verdict.fault {
        events.push(refused(now, service, by, fault));
    }
    events
}

pub(super) fn refused(
    now: crate::model::Timestamp,
    service: &Service,
    by: &Actor,
    fault: &Fault,
) -> NewEvent {
    let detail = fault.message.clone();
    let event = done(now, EventAction::PortLeft, service.port, by, detail);
    NewEvent { outcome: Outcome::Refused, ..event }
}
