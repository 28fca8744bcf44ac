//! Ports that a starting server finds taken.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ender::Ender;
use super::facts::{Ports, rules};
use crate::host::Holding;
use crate::model::{Actor, Desired, Fault, ProcessIdentity, Selection, Service};
use crate::ops::context::Ops;
use crate::ops::holders;
use crate::ops::services::is_taken;

impl Ops {
    /// Inside a server: every wanted service that does not run because its port is taken.
    pub async fn conflicts(&self) -> Result<Vec<Service>, Fault> {
        let Some(live) = self.live() else { return Ok(Vec::new()) };
        let mut services = self.select(&Selection::All).await?;
        services.retain(|s| s.desired == Desired::Running && live.counters(s.id).is_none());
        services.retain(|s| is_taken(s.bind, s.port));
        Ok(services)
    }

    /// Inside a server that starts: ends the processes on the ports of wanted services, where every
    /// one of a port is residue: an unclean server of this database and node name, by its identity as
    /// it stood in the rows before they were repaired (`unclean`). Returns how many ports were freed.
    ///
    /// # Errors
    /// What the store or this machine say. A process that cannot be ended is left to the start,
    /// which fails on its port.
    pub async fn end_residue(
        &self,
        unclean: Vec<ProcessIdentity>,
        grace: Duration,
        by: &Actor,
    ) -> Result<usize, Fault> {
        if unclean.is_empty() {
            return Ok(0);
        }
        let mut services = self.select(&Selection::All).await?;
        services.retain(|service| service.desired == Desired::Running);
        let numbers: BTreeSet<_> = services.iter().map(|service| service.port).collect();
        let ports = Ports::look(self, numbers, Vec::new()).await?;
        let rules = rules(self, false, unclean, &ports, services.iter()).await?;
        let mut ender = Ender::new(self, grace, by);
        let mut freed = 0;
        for service in &services {
            let (port, holding) = (service.port, ports.of(service.port));
            let may_end = |holding: &Holding| {
                holding.seen().iter().all(|holder| rules.may_end(port, holder).is_ok())
            };
            if !matches!(holding, Holding::Held(_)) || !may_end(holding) {
                continue;
            }
            let names = holders::names(holding.seen());
            tracing::info!(%port, holders = names, "ending what a dead server left");
            let mut is_free = true;
            for holder in holding.seen() {
                if let Err(fault) = ender.end(port, holder).await? {
                    tracing::warn!(%port, error = %fault, "not ended");
                    is_free = false;
                }
            }
            freed += usize::from(is_free);
        }
        Ok(freed)
    }
}
