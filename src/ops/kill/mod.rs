//! Freeing ports: plan, consent, apply.
//!
//! Belongs here: who may be ended for a port, what is done about each, the proof that it is free.
//! Does not belong here: how a process is ended (`ops::ending`), how ports are looked up (`host`).
//!
//! Ground rules: nothing is ended that was not planned, and nothing is planned that was not judged.
//! A port's holders are ended all together or not at all. One port that is left does not stop the
//! others. What is found out about the world is a value of [`KillPlan`]; what is done about it takes
//! a consent that a dry run cannot give.

mod apply;
mod judge;
mod plan;
mod proof;
mod record;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use apply::Consent;
use judge::{Judge, KnownServer, Standing};
use plan::Asked;
pub use plan::KillPlan;

use crate::host::Holding;
use crate::model::{
    Actor, Desired, Fault, FaultKind, KillProgress, KillReport, KillRequest, Port, ServerState,
};
use crate::ops::context::Ops;
use crate::ops::faults::{host_fault, store_fault};
use crate::ops::holders;
use crate::text;

impl Ops {
    /// Refuses a request that is wrong or names too many ports to be carried out unforced. Whoever
    /// divides a request between the server and itself asks this of the whole first.
    ///
    /// # Errors
    /// `LeftAlone` with both numbers; `Usage` for a signal where there are none.
    pub fn check_kill(&self, request: &KillRequest) -> Result<(), Fault> {
        if cfg!(windows) && request.signal.is_some() {
            return Err(Fault::usage(text::kill::signal_not_here()));
        }
        let named = request.ports.len();
        if named > KillRequest::MANY_PORTS && !request.force {
            let message = text::kill::too_many_ports(named, KillRequest::MANY_PORTS);
            return Err(Fault::new(FaultKind::LeftAlone, message));
        }
        Ok(())
    }

    /// Looks who has the ports of `request` and decides what may be done about each.
    ///
    /// # Errors
    /// As [`Ops::check_kill`]; `LeftAlone` also for too many processes of unregistered ports;
    /// `Unavailable` of a server that is leaving; what the store or the machine could not tell.
    pub async fn plan_kill(&self, request: &KillRequest) -> Result<KillPlan, Fault> {
        self.check_kill(request)?;
        if self.live().is_some() {
            // Only a server that is ready takes changes.
            self.store()?;
        }
        let asked = self.asked(&request.ports).await?;
        let (servers, control_port) = (self.known_servers().await?, self.control_port());
        let (in_server, force, source) = (self.live().is_some(), request.force, self.source());
        let plan = holders::ask(self.machine(), move |machine| {
            let judge = Judge {
                servers,
                control_port,
                in_server,
                force,
                own_line: machine.own_line(),
                own_uid: machine.own_uid(),
                may_end_any: machine.may_end_any(),
            };
            plan::plan(machine, &judge, asked, source)
        });
        let plan = plan.await?.map_err(host_fault)?;
        plan.check_size(request.force)?;
        Ok(plan)
    }

    /// Frees the ports of `request`, or in a dry run says what would be done; `hear` is told of
    /// progress. Inside a live server it goes on to its end if the caller hangs up.
    ///
    /// # Errors
    /// As [`Ops::plan_kill`]; nothing has been done then. What becomes of each port stands in the
    /// report.
    pub async fn kill_ports(
        &self,
        request: &KillRequest,
        by: &Actor,
        hear: &(dyn Fn(KillProgress) + Send + Sync),
    ) -> Result<KillReport, Fault> {
        let plan = match self.plan_kill(request).await {
            Ok(plan) => plan,
            Err(fault) => return Err(self.refused(request, fault, by).await),
        };
        let Some(consent) = Consent::of(request) else { return Ok(plan.report()) };
        let (ops, by) = (self.clone(), by.clone());
        self.to_its_end_heard(hear, |tell| async move {
            Ok(apply::apply(ops, plan, consent, by, tell).await)
        })
        .await
    }

    /// Whether the whole of a request may be begun that is then carried out in parts, by the server and
    /// by this process. A refusal is recorded.
    ///
    /// # Errors
    /// As [`Ops::plan_kill`].
    pub async fn may_begin(&self, request: &KillRequest, by: &Actor) -> Result<(), Fault> {
        match self.plan_kill(request).await {
            Ok(_) => Ok(()),
            Err(fault) => Err(self.refused(request, fault, by).await),
        }
    }

    /// Those of `ports` that the server of this database listens on, its control port left out: it
    /// frees them itself, by stopping their services.
    ///
    /// # Errors
    /// What the machine could not tell.
    pub async fn served_ports(&self, ports: &BTreeSet<Port>) -> Result<BTreeSet<Port>, Fault> {
        let Some(server) = self.own_process().await? else { return Ok(BTreeSet::new()) };
        let held = holders::look(self.machine(), ports.clone(), vec![server.pid]).await?;
        let is_served = |(_, holding): &(Port, Holding)| {
            holding.seen().iter().any(|holder| holder.identity == server)
        };
        let control = self.control_port();
        let served = held.into_iter().filter(is_served).map(|(port, _)| port);
        Ok(served.filter(|port| Some(*port) != control).collect())
    }

    /// A request that is refused whole is an event too, unless it was a wrong or a dry one.
    async fn refused(&self, request: &KillRequest, fault: Fault, by: &Actor) -> Fault {
        let (first, last) = (request.ports.first(), request.ports.last());
        if let (false, FaultKind::LeftAlone, Some(first), Some(last)) =
            (request.dry_run, fault.kind, first, last)
        {
            let subject = format!("{first}-{last}");
            let event = record::left(self, by, subject, &fault, []);
            record::append(self, vec![event]).await;
        }
        fault
    }

    async fn asked(&self, ports: &BTreeSet<Port>) -> Result<BTreeMap<Port, Asked>, Fault> {
        let services = match self.reading_store() {
            Some(store) => store.services(self.node()).await.map_err(store_fault)?,
            None => Vec::new(),
        };
        let mut by_port: BTreeMap<_, _> =
            services.into_iter().map(|service| (service.port, service)).collect();
        let asked = |port: &Port| {
            let service = by_port.remove(port);
            let live = self.live().zip(service.as_ref());
            let is_served = live.is_some_and(|(live, s)| live.counters(s.id).is_some());
            let is_wanted = live.is_some_and(|(_, s)| !is_served && s.desired == Desired::Running);
            (*port, Asked { service, is_served, is_wanted })
        };
        Ok(ports.iter().map(asked).collect())
    }

    /// Every process that may be a server of this database; the owner first.
    async fn known_servers(&self) -> Result<Vec<KnownServer>, Fault> {
        let standing = match self.direct_facts() {
            None => Standing::Here,
            Some(facts) if facts.server.state == ServerState::Unresponsive => {
                Standing::Unresponsive
            }
            Some(_) => Standing::Live,
        };
        let owner = self.own_process().await?.into_iter();
        let mut servers: Vec<_> =
            owner.map(|identity| KnownServer { identity, standing }).collect();
        if let Some(store) = self.reading_store() {
            // Also those of other node names: they share the database, not the lock.
            let nodes = store.all_unfinished_nodes().await.map_err(store_fault)?;
            let seen = holders::ask(self.machine(), move |machine| {
                nodes.iter().flat_map(|node| machine.seen_here(&node.row.identity)).collect()
            });
            let seen: Vec<_> = seen.await?;
            let other = |identity| KnownServer { identity, standing: Standing::Other };
            servers.extend(seen.into_iter().map(other));
        }
        Ok(servers)
    }

    fn control_port(&self) -> Option<Port> {
        let url = match (self.live(), self.direct_facts()) {
            (Some(live), _) => live.server().url,
            (None, Some(facts)) if facts.server.state != ServerState::Down => {
                facts.server.url.clone()
            }
            (None, _) => None,
        };
        let port = url.as_deref()?.trim_end_matches('/').rsplit_once(':')?.1;
        port.parse().ok()
    }
}
