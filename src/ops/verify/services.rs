//! Rows of services and registered ports.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::servers::Servers;
use crate::host::{Holder, Holding};
use crate::model::{
    Actual, Fault, Finding, NodeName, PortState, ProcessIdentity, Service, VerifySubject,
};
use crate::ops::cleanup::{Ports, Rules, rules, views};
use crate::ops::context::Ops;
use crate::ops::faults::store_fault;
use crate::store::Store;
use crate::text::{self, Message};

/// Looks at every service of this node name and at its port, and at the rows of every other node name.
pub(super) async fn look(
    ops: &Ops,
    store: &Store,
    servers: &Servers,
    findings: &mut Findings,
) -> Result<(), Fault> {
    let services = store.services(ops.node()).await.map_err(store_fault)?;
    let is_served = servers.serves(ops.node());
    let numbers: BTreeSet<_> = services.iter().map(|service| service.port).collect();
    let own = ops.own_process().await?;
    let ports = Ports::look(ops, numbers, Vec::new()).await?;
    let contested = services.iter().filter(|s| s.actual != Actual::Stopped || s.reason.is_some());
    let rules = rules(ops, false, servers.unclean(ops.node()), &ports, contested).await?;
    for service in &services {
        let (finding, message) = row(service, is_served);
        findings.add(VerifySubject::Service, &service.name, finding, message);
    }
    for name in servers.others(ops.node()) {
        for service in store.services(name).await.map_err(store_fault)? {
            let (finding, message) = other_row(&service, name, servers.other(name));
            let named = format!("{name}/{}", service.name);
            findings.add(VerifySubject::Service, named, finding, message);
        }
    }
    for service in &services {
        let holding = ports.of(service.port);
        let server = own.as_ref().filter(|_| is_served);
        let (finding, message) = port(service, holding, server, is_served, &rules);
        let (subject, holders) = (VerifySubject::Port, views(holding));
        findings.add_held(subject, service.port, finding, message, holders);
    }
    Ok(())
}

fn row(service: &Service, is_served: bool) -> (Finding, Message) {
    let (name, actual) = (&service.name, service.actual);
    match (actual, is_served) {
        (Actual::Stopped, _) => (Finding::Clean, text::verify::service_stopped(name)),
        (_, true) => (Finding::Live, text::verify::service_live(name, actual)),
        (_, false) => (Finding::Left, text::verify::service_left(name, actual)),
    }
}

fn other_row(service: &Service, node: &NodeName, unless_stopped: Finding) -> (Finding, Message) {
    let (name, actual) = (&service.name, service.actual);
    let message = match (actual, unless_stopped) {
        (Actual::Stopped, _) => return (Finding::Clean, text::verify::service_stopped(name)),
        (_, Finding::Live) => text::verify::service_live(name, actual),
        (_, Finding::Unproved) => text::verify::service_of_node_unknown(name, node, actual),
        _ => text::verify::service_of_node_left(name, node, actual),
    };
    (unless_stopped, message)
}

fn port(
    service: &Service,
    holding: &Holding,
    server: Option<&ProcessIdentity>,
    is_served: bool,
    rules: &Rules,
) -> (Finding, Message) {
    let (number, seen) = (service.port, holding.seen());
    let pids = || pids(seen);
    if let Some(server) = server
        && seen.iter().any(|holder| holder.identity == *server)
    {
        return (Finding::Live, text::verify::port_live(number, server.pid));
    }
    if *holding == Holding::Free {
        return (Finding::Clean, text::verify::port_free(number));
    }
    let verdict = rules.judge(service, holding);
    if verdict.found == PortState::Residue {
        return (Finding::Left, text::verify::port_residue(number, pids()));
    }
    if let Holding::HeldUnseen { .. } = holding {
        return (Finding::Unproved, text::verify::port_unseen(number));
    }
    match verdict.fault {
        // A service that a living server cannot start for it.
        Some(_) if !is_served => (Finding::Left, text::verify::port_claimed(number, pids())),
        _ => (Finding::Elsewhere, text::verify::port_elsewhere(number, pids())),
    }
}

/// Without their command lines, which not every reader may see.
fn pids(holders: &[Holder]) -> String {
    let pids: Vec<_> = holders.iter().map(|holder| holder.identity.pid.to_string()).collect();
    pids.join(", ")
}
