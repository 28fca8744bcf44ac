//! Bringing what runs in line with what is wanted, without being asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::{self, BindFailure};
use crate::model::{
    Actor, Actual, Desired, EventAction, Fault, Port, Selection, Service, ServiceId,
};
use crate::ops::context::{Ops, done};
use crate::ops::faults::store_fault;
use crate::ops::live::Live;
use crate::text;

impl Ops {
    /// One pass inside a live server: starts what is wanted and can be started, stops what is not
    /// wanted, corrects rows that say something else than what runs, announces what should be
    /// announced. Returns how many services it started, stopped or corrected. What still cannot be started is left as it is and makes no event.
    pub async fn heal_services(&self, by: &Actor) -> Result<usize, Fault> {
        let Some(live) = self.live() else { return Ok(0) };
        let mut healed = 0;
        for service in self.select(&Selection::All).await? {
            if !is_in_line(&service, live.as_ref()) {
                healed += usize::from(self.heal_service(service.id, by).await?.is_some());
            }
            self.heal_lease(&service).await?;
        }
        Ok(healed)
    }

    /// The same for one service, which is returned as it is then if anything was done about it.
    pub(in crate::ops) async fn heal_service(
        &self,
        id: ServiceId,
        by: &Actor,
    ) -> Result<Option<Service>, Fault> {
        let Some(live) = self.live() else { return Ok(None) };
        // Whoever is changing it now may be about to put it right: look again in our turn.
        let _turn = self.turn(id).await;
        let Some(service) = self.by_id(id).await? else { return Ok(None) };
        match self.heal_one(&service, live.as_ref(), by).await? {
            true => self.by_id(id).await,
            false => Ok(None),
        }
    }

    /// Inside a live server: whether what runs, what stands in the row and what is wanted agree.
    pub(in crate::ops) fn is_in_line(&self, service: &Service) -> bool {
        self.live().is_none_or(|live| is_in_line(service, live.as_ref()))
    }

    async fn heal_one(
        &self,
        service: &Service,
        live: &dyn Live,
        by: &Actor,
    ) -> Result<bool, Fault> {
        if is_in_line(service, live) {
            return Ok(false);
        }
        let one = std::slice::from_ref(service);
        if is_elsewhere(service, live) {
            return self.move_one(service, live).await;
        }
        match (service.desired, live.counters(service.id).is_some()) {
            (Desired::Running, false) => {
                let can_start =
                    live.check_target(service).is_ok() && can_bind(service.bind, service.port);
                if can_start {
                    self.run_now(one, by).await?;
                }
                Ok(can_start)
            }
            (Desired::Stopped, true) => self.stop_now(one, None, by).await.map(|_| true),
            (desired, _) => {
                let actual = match desired {
                    Desired::Running => Actual::Running,
                    Desired::Stopped => Actual::Stopped,
                };
                let store = self.store()?;
                let row = [(service.id, actual, None)];
                let (node, now) = (Some(live.node_id()), self.now());
                let detail = text::ops::event_row_corrected(service.actual, actual);
                let event = done(now, EventAction::Repaired, &service.name, by, detail);
                store.set_actual(node, &row, now, vec![event]).await.map_err(store_fault)?;
                self.events_appended().await;
                Ok(true)
            }
        }
    }

    /// Lets a running proxy listen where its row says, as soon as that can be had.
    async fn move_one(&self, service: &Service, live: &dyn Live) -> Result<bool, Fault> {
        if live.check_target(service).is_err() || !can_bind(service.bind, service.port) {
            return Ok(false);
        }
        live.rebind(service).await?;
        Ok(true)
    }
}

/// Whether its proxy does not listen where its row says: a move was neither carried out nor undone.
fn is_elsewhere(service: &Service, live: &dyn Live) -> bool {
    service.desired == Desired::Running
        && live.port(service.id).is_some_and(|port| port != service.port)
}

/// Whether a proxy could listen there: on both families where no address is given.
fn can_bind(bind: Option<IpAddr>, port: Port) -> bool {
    let address = super::add::listen_address(bind);
    host::try_bind(address, port).is_ok() && !is_taken(bind, port)
}

/// Whether somebody has an address that a proxy would listen on.
pub(in crate::ops) fn is_taken(bind: Option<IpAddr>, port: Port) -> bool {
    let both = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = bind.map_or_else(|| both.to_vec(), |address| vec![address]);
    let taken = |address| matches!(host::try_bind(address, port), Err(BindFailure::InUse));
    addresses.into_iter().any(taken)
}

fn is_in_line(service: &Service, live: &dyn Live) -> bool {
    let runs = live.counters(service.id).is_some();
    match service.desired {
        Desired::Running => {
            runs && service.actual == Actual::Running && !is_elsewhere(service, live)
        }
        Desired::Stopped => !runs && service.actual == Actual::Stopped,
    }
}
