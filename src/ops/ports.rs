//! Who has a port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::Ops;
use super::faults::{host_fault, store_fault};
use super::live::Live;
use crate::host::{self, Holder, Holding};
use crate::model::{
    Fault, HolderView, Port, PortState, PortView, PortsReport, ProcessIdentity, Service, Success,
    masked,
};

impl Ops {
    /// Who has each of `ports`; every registered port where that is empty.
    pub async fn ports_status(&self, ports: &BTreeSet<Port>) -> Result<PortsReport, Fault> {
        let (services, unclean) = match self.reading_store() {
            Some(store) => {
                let services = store.services(self.node()).await.map_err(store_fault)?;
                let nodes = store.unfinished_nodes(self.node()).await.map_err(store_fault)?;
                (services, nodes.into_iter().map(|node| node.row.identity).collect())
            }
            None => (Vec::new(), Vec::new()),
        };
        let by_port: BTreeMap<Port, Service> =
            services.into_iter().map(|service| (service.port, service)).collect();
        let wanted: BTreeSet<Port> = match ports.is_empty() {
            true => by_port.keys().copied().collect(),
            false => ports.clone(),
        };
        let held = held(wanted, self.own_process()).await?;
        let judge =
            Judge { owner: self.own_process(), unclean, live: self.live().cloned(), by_port };
        let ports = held.into_iter().map(|(port, holding)| judge.view(port, holding)).collect();
        Ok(PortsReport { success: Success, source: self.source(), ports })
    }

    /// The process of the server: this one, or the holder of the owner's lock.
    fn own_process(&self) -> Option<ProcessIdentity> {
        match self.direct_facts() {
            Some(facts) => facts.owner.clone(),
            None => host::own_identity().ok(),
        }
    }
}

async fn held(
    ports: BTreeSet<Port>,
    first: Option<ProcessIdentity>,
) -> Result<BTreeMap<Port, Holding>, Fault> {
    let known: Vec<u32> = first.into_iter().map(|identity| identity.pid).collect();
    // One pass over the machine's sockets reads files and netlink: not on a runtime thread.
    let lookup = tokio::task::spawn_blocking(move || host::holders(&ports, &known));
    match lookup.await {
        Ok(held) => held.map_err(host_fault),
        Err(_) => Err(super::faults::stopped_fault()),
    }
}

/// Tells whose a listener is.
struct Judge {
    owner: Option<ProcessIdentity>,
    unclean: Vec<ProcessIdentity>,
    live: Option<Arc<dyn Live>>,
    by_port: BTreeMap<Port, Service>,
}

impl Judge {
    fn view(&self, port: Port, holding: Holding) -> (Port, PortView) {
        let service = self.by_port.get(&port);
        let state = self.state(&holding);
        let holders = match holding {
            Holding::Held(holders) => holders,
            Holding::Free | Holding::HeldUnseen { .. } => Vec::new(),
        };
        let connections = match (state, &self.live, service) {
            (PortState::Serving, Some(live), Some(service)) => {
                live.counters(service.id).map(|counters| counters.connections)
            }
            _ => None,
        };
        let view = PortView {
            in_use: state != PortState::Free,
            pid: holders.first().map(|holder| holder.identity.pid),
            service: service.map(|service| service.name.clone()),
            state,
            holders: holders.into_iter().map(holder_view).collect(),
            connections,
        };
        (port, view)
    }

    fn state(&self, holding: &Holding) -> PortState {
        match holding {
            Holding::Free => PortState::Free,
            Holding::HeldUnseen { .. } => PortState::Unknown,
            Holding::Held(holders) => {
                let is = |known: &ProcessIdentity| holders.iter().any(|h| h.identity == *known);
                if self.owner.as_ref().is_some_and(is) {
                    PortState::Serving
                } else if self.unclean.iter().any(is) {
                    PortState::Residue
                } else {
                    PortState::Foreign
                }
            }
        }
    }
}

pub(super) fn holder_view(holder: Holder) -> HolderView {
    HolderView {
        pid: holder.identity.pid,
        user: holder.user,
        command: holder.command.as_deref().map(masked),
        start_time: holder.started_at,
        details: None,
    }
}
