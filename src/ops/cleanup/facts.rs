//! What is found on the ports of the services, and what the rules need to know about it.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::Rules;
use crate::host::{Holder, Holding};
use crate::model::{Fault, HolderView, Keeper, Port, ProcessIdentity, Service};
use crate::ops::context::Ops;
use crate::ops::faults::store_fault;
use crate::ops::holders;

/// The ports of the services and who listens on them.
pub(in crate::ops) struct Ports(BTreeMap<Port, Holding>);

impl Ports {
    /// One look at all of them. `known` processes are asked first.
    pub(in crate::ops) async fn look(
        ops: &Ops,
        ports: BTreeSet<Port>,
        known: Vec<u32>,
    ) -> Result<Self, Fault> {
        holders::look(ops.machine(), ports, known).await.map(Self)
    }

    pub(in crate::ops) fn of(&self, port: Port) -> &Holding {
        self.0.get(&port).unwrap_or(&Holding::Free)
    }

    /// Everybody who is seen on the ports of `services`.
    fn holders<'a>(&'a self, services: impl Iterator<Item = &'a Service>) -> Vec<Holder> {
        let mut seen: BTreeMap<u32, &Holder> = BTreeMap::new();
        for service in services {
            seen.extend(self.of(service.port).seen().iter().map(|h| (h.identity.pid, h)));
        }
        seen.into_values().cloned().collect()
    }
}

/// The visible holders as shown.
pub(in crate::ops) fn views(holding: &Holding) -> Vec<HolderView> {
    holding.seen().iter().map(|holder| holders::view(holder, None)).collect()
}

/// The rules as this machine and database give them. `unclean`: servers of this node that never
/// said goodbye; `contested`: services about whose holders something may have to be done.
pub(in crate::ops) async fn rules<'a>(
    ops: &Ops,
    force: bool,
    unclean: Vec<ProcessIdentity>,
    ports: &'a Ports,
    contested: impl Iterator<Item = &'a Service>,
) -> Result<Rules, Fault> {
    let servers: Vec<ProcessIdentity> = match ops.reading_store() {
        Some(store) => {
            let nodes = store.all_unfinished_nodes().await.map_err(store_fault)?;
            let others = nodes.into_iter().filter(|node| node.row.name != *ops.node());
            others.map(|node| node.row.identity).collect()
        }
        None => Vec::new(),
    };
    let is_live = ops.live().is_some();
    let found = ports.holders(contested);
    holders::ask(ops.machine(), move |machine| {
        let mut servers: Vec<ProcessIdentity> =
            servers.iter().flat_map(|server| machine.seen_here(server)).collect();
        servers.extend(machine.own_identity());
        let pids = || found.iter().map(|holder| holder.identity.pid);
        let details = match found.is_empty() {
            true => Vec::new(),
            false => machine.details(&found),
        };
        let forwarder = |(pid, details): (u32, crate::model::HolderDetails)| match details.keeper {
            Some(Keeper::Forwarder { runtime }) => Some((pid, runtime)),
            _ => None,
        };
        Rules {
            force,
            unclean,
            servers,
            own_line: machine.own_line(),
            untouchable: pids().filter(|pid| machine.is_untouchable(*pid)).collect(),
            forwarders: pids().zip(details).filter_map(forwarder).collect(),
            own_uid: machine.own_uid(),
            // A server signals only processes of its own user, whatever its rights.
            may_end_any: !is_live && machine.may_end_any(),
        }
    })
    .await
}
