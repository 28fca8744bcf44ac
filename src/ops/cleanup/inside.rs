//! Cleaning up inside the live server: its services are brought in line, it never touches itself.

use std::collections::BTreeSet;

use super::direct::refused;
use super::ender::Ender;
use super::facts::{Ports, rules, views};
use super::judge::{Rules, worse};
use super::repair::finish_dead;
use super::{Tell, report};
use crate::host::Holding;
use crate::model::{
    Actor, Actual, CleanupAction, CleanupItem, CleanupNode, CleanupReport, CleanupRequest, Desired,
    Fault, PortState, Service,
};
use crate::ops::context::Ops;
use crate::ops::faults::store_fault;
use crate::ops::holders;
use crate::ops::live::Live;
use crate::text;

/// All of it, in the server whose operations these are.
pub(super) async fn clean(
    ops: &Ops,
    live: &dyn Live,
    request: &CleanupRequest,
    by: &Actor,
    tell: &Tell,
) -> Result<CleanupReport, Fault> {
    let store = ops.store()?;
    let mut dead = store.unfinished_nodes(ops.node()).await.map_err(store_fault)?;
    dead.retain(|node| node.id != live.node_id());
    let services = store.services(ops.node()).await.map_err(store_fault)?;
    let numbers: BTreeSet<_> = services.iter().map(|service| service.port).collect();
    let ports = Ports::look(ops, numbers, vec![std::process::id()]).await?;
    let unclean = dead.iter().map(|node| node.row.identity.clone()).collect();
    let contested = services.iter().filter(|s| is_wanted_in_vain(s, live));
    let rules = rules(ops, request.force, unclean, &ports, contested).await?;
    let mut ender = Ender::new(ops, request.grace, by);
    let total = services.len() as u64;
    let mut items = Vec::with_capacity(services.len());
    for (done, service) in services.iter().enumerate() {
        tell.say(done as u64, total, text::cleanup::cleanup_looking(&service.name, service.port));
        let holding = ports.of(service.port);
        let item = match is_wanted_in_vain(service, live) {
            true => free_and_heal(ops, &rules, &mut ender, request, service, holding, by).await?,
            false => heal(ops, &rules, request, service, holding, by).await?,
        };
        items.push(item);
    }
    if !request.dry_run {
        finish_dead(store, ops.node(), &dead, by, ops.now()).await?;
        ops.events_appended().await;
    }
    let node = |pid| {
        let message = match request.dry_run {
            true => text::cleanup::cleanup_node_found_dead(pid),
            false => text::cleanup::cleanup_node_dead(pid),
        };
        CleanupNode { pid, message, fault: None }
    };
    let nodes = dead.iter().map(|dead| node(dead.row.identity.pid)).collect();
    let instances = ops.clean_registry(request.dry_run, by).await?;
    Ok(report::of(ops, request, nodes, items, instances))
}

fn is_wanted_in_vain(service: &Service, live: &dyn Live) -> bool {
    service.desired == Desired::Running && live.counters(service.id).is_none()
}

/// A service that is wanted and does not run, perhaps because somebody has its port.
async fn free_and_heal(
    ops: &Ops,
    rules: &Rules,
    ender: &mut Ender<'_>,
    request: &CleanupRequest,
    service: &Service,
    holding: &Holding,
    by: &Actor,
) -> Result<CleanupItem, Fault> {
    // Wanted, so its port is claimed whatever its row says.
    let claimed = Service { actual: Actual::Failed, ..service.clone() };
    let verdict = rules.judge(&claimed, holding);
    let mut fault = verdict.fault;
    let will_end = !verdict.ends.is_empty();
    if will_end && !request.dry_run {
        for holder in &verdict.ends {
            if let Err(failure) = ender.end(service.port, holder).await? {
                fault = worse(fault, failure);
            }
        }
    }
    if let Some(fault) = fault {
        if !request.dry_run {
            let event = refused(ops.now(), service, by, &fault);
            ops.store()?.append_events(vec![event]).await.map_err(store_fault)?;
            ops.events_appended().await;
        }
        let message = fault.message.clone();
        let item = item(rules, service, holding, CleanupAction::Left, message);
        return Ok(CleanupItem { fault: Some(fault), ..item });
    }
    let mut healed = heal(ops, rules, request, service, holding, by).await?;
    if will_end {
        let names = holders::names(&verdict.ends);
        let how = verdict.ends.iter().find_map(|h| ender.how(&h.identity)).unwrap_or("-");
        healed.action = CleanupAction::HolderEnded;
        healed.message = match request.dry_run {
            true => text::cleanup::cleanup_would_end(names, service.port),
            false => text::cleanup::cleanup_freed(names, how, service.port, healed.after),
        };
    }
    Ok(healed)
}

/// Brings a service in line with what is wanted, if it is not.
async fn heal(
    ops: &Ops,
    rules: &Rules,
    request: &CleanupRequest,
    service: &Service,
    holding: &Holding,
    by: &Actor,
) -> Result<CleanupItem, Fault> {
    if request.dry_run {
        let (action, message) = match ops.is_in_line(service) {
            true => quiet(service, holding),
            false => (CleanupAction::Healed, text::cleanup::cleanup_would_heal(service.desired)),
        };
        return Ok(item(rules, service, holding, action, message));
    }
    let Some(now) = ops.heal_service(service.id, by).await? else {
        let (action, message) = quiet(service, holding);
        return Ok(item(rules, service, holding, action, message));
    };
    let message = match (ops.is_in_line(&now), &now.reason) {
        (true, _) => text::cleanup::cleanup_healed(now.actual),
        (false, Some(reason)) => text::ops::attention_failed(&now.name, reason),
        (false, None) => text::ops::attention_not_running(&now.name),
    };
    let action = match ops.is_in_line(&now) {
        true => CleanupAction::Healed,
        false => CleanupAction::Nothing,
    };
    let item = item(rules, service, holding, action, message);
    Ok(CleanupItem { after: now.actual, ..item })
}

/// Nothing was to be done, and why.
fn quiet(service: &Service, holding: &Holding) -> (CleanupAction, text::Message) {
    let message = match (service.actual, holding) {
        (Actual::Failed, _) => match &service.reason {
            Some(reason) => text::ops::attention_failed(&service.name, reason),
            None => text::ops::attention_not_running(&service.name),
        },
        (Actual::Stopped, Holding::Held(held)) => {
            text::cleanup::cleanup_elsewhere(service.port, holders::names(held))
        }
        (Actual::Stopped, Holding::HeldUnseen { .. }) => {
            text::cleanup::cleanup_elsewhere_unseen(service.port)
        }
        (Actual::Stopped, Holding::Free) => text::cleanup::cleanup_in_order(service.port),
        _ => text::cleanup::cleanup_served(service.port),
    };
    (CleanupAction::Nothing, message)
}

fn item(
    rules: &Rules,
    service: &Service,
    holding: &Holding,
    action: CleanupAction,
    message: text::Message,
) -> CleanupItem {
    let me = std::process::id();
    let is_mine = holding.seen().iter().any(|holder| holder.identity.pid == me);
    CleanupItem {
        service: service.name.clone(),
        port: service.port,
        before: service.actual,
        found: if is_mine { PortState::Serving } else { rules.state(holding) },
        holders: views(holding),
        action,
        after: service.actual,
        message,
        fault: None,
    }
}
