//! Who has a port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::Ops;
use super::faults::{host_fault, store_fault};
use super::holders;
use super::live::Live;
use super::machine::Machine;
use crate::host::{Holder, Holding};
use crate::model::{
    Fault, HolderDetails, Port, PortState, PortView, PortsReport, ProcessIdentity, Service, Success,
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
        let owner = self.own_process().await?;
        // Whoever names ports wants to know all about them. A survey of every registered port stays
        // cheap: the server's own are recognised first, and nobody else is asked about those.
        let is_survey = ports.is_empty();
        let known: Vec<u32> =
            owner.iter().filter(|_| is_survey).map(|identity| identity.pid).collect();
        let sight = holders::ask(self.machine(), move |machine| {
            let held = machine.holders(&wanted, &known)?;
            Ok(Sight::of(machine, held, is_survey))
        });
        let sight = sight.await?.map_err(host_fault)?;
        let judge = Judge { owner, unclean, live: self.live().cloned(), by_port };
        let Sight { held, details, clients } = sight;
        let view = |(port, holding)| judge.view(port, holding, &details, clients.as_ref());
        let ports = held.into_iter().map(view).collect();
        Ok(PortsReport { success: Success, source: self.source(), ports })
    }

    /// The process of the server: this one, or the holder of the owner's lock. One that counts in
    /// another pid namespace as it is seen here.
    pub(super) async fn own_process(&self) -> Result<Option<ProcessIdentity>, Fault> {
        let Some(facts) = self.direct_facts() else {
            return Ok(self.machine().own_identity().ok());
        };
        let Some(owner) = facts.owner.clone() else { return Ok(None) };
        let seen = move |machine: &dyn Machine| machine.seen_here(&owner).into_iter().next();
        let seen = holders::ask(self.machine(), seen).await?;
        Ok(seen.or_else(|| facts.owner.clone()))
    }
}

/// Who was found, and where it was asked for, what else is known of them.
struct Sight {
    held: BTreeMap<Port, Holding>,
    details: BTreeMap<u32, HolderDetails>,
    clients: Option<BTreeMap<Port, u64>>,
}

impl Sight {
    fn of(machine: &dyn Machine, held: BTreeMap<Port, Holding>, is_survey: bool) -> Self {
        if is_survey {
            return Self { held, details: BTreeMap::new(), clients: None };
        }
        let details = holders::details_of(machine, &held);
        let ports = held.keys().copied().collect();
        let clients = machine.connections(&ports);
        Self { held, details, clients }
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
    fn view(
        &self,
        port: Port,
        holding: Holding,
        details: &BTreeMap<u32, HolderDetails>,
        clients: Option<&BTreeMap<Port, u64>>,
    ) -> (Port, PortView) {
        let service = self.by_port.get(&port);
        let state = self.state(&holding);
        let holders = holding.seen();
        let connections = match (state, &self.live, service) {
            (PortState::Serving, Some(live), Some(service)) => {
                live.counters(service.id).map(|counters| counters.connections)
            }
            _ => clients.and_then(|clients| clients.get(&port).copied()),
        };
        let show = |holder: &Holder| {
            let details = details.get(&holder.identity.pid);
            holders::view(holder, details.map(|details| holders::beside(port, details)))
        };
        let view = PortView {
            in_use: state != PortState::Free,
            pid: holders.first().map(|holder| holder.identity.pid),
            service: service.map(|service| service.name.clone()),
            state,
            holders: holders.iter().map(show).collect(),
            connections,
        };
        (port, view)
    }

    fn state(&self, holding: &Holding) -> PortState {
        match holding {
            Holding::Free => PortState::Free,
            Holding::Held(_) | Holding::HeldUnseen { .. } => {
                let holders = holding.seen();
                let is = |known: &ProcessIdentity| holders.iter().any(|h| h.identity == *known);
                if self.owner.as_ref().is_some_and(is) {
                    PortState::Serving
                } else if self.unclean.iter().any(is) {
                    PortState::Residue
                } else if matches!(holding, Holding::HeldUnseen { .. }) {
                    PortState::Unknown
                } else {
                    PortState::Foreign
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock;
    use crate::model::{NodeName, PortRange, ServerState, ServerView};
    use crate::ops::context::DirectFacts;
    use crate::ops::made_up::{MadeUp, port, process};

    #[tokio::test]
    async fn whoever_names_ports_learns_all_about_their_holders() {
        let machine = MadeUp::with([process(10, &[81, 82])]);
        machine.world().clients.insert(port(81), 4);
        let server = ServerView {
            state: ServerState::Down,
            pid: None,
            url: None,
            node: "default".into(),
            version: None,
            started_at: Some(clock::now()),
            database: "sqlite://x".into(),
            database_uuid: None,
        };
        let range = PortRange::new(port(1), port(2)).unwrap();
        let facts = DirectFacts { server, owner: None };
        let ops = Ops::direct(None, NodeName::default(), range, facts);
        let ops = ops.on_machine(Arc::new(machine));
        let report = ops.ports_status(&[port(81)].into()).await.unwrap();
        let view = &report.ports[&port(81)];
        assert_eq!((view.state, view.connections), (PortState::Foreign, Some(4)));
        let details = view.holders[0].details.clone().unwrap();
        assert!(details.other_ports.contains(&port(82)));
    }
}
