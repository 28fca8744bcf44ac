//! Bringing what runs in line with what is wanted, without being asked.

use crate::host;
use crate::model::{Actor, Actual, Desired, Fault, Selection, Service};
use crate::ops::context::Ops;
use crate::ops::faults::store_fault;
use crate::ops::live::Live;

impl Ops {
    /// One pass inside a live server: starts what is wanted and can be started, stops what is not
    /// wanted, corrects rows that say something else than what runs. Returns how many services it
    /// touched. What still cannot be started is left as it is and makes no event.
    pub async fn heal_services(&self, by: &Actor) -> Result<usize, Fault> {
        let Some(live) = self.live() else { return Ok(0) };
        let mut healed = 0;
        for service in self.select(&Selection::All).await? {
            if is_in_line(&service, live.as_ref()) {
                continue;
            }
            // Whoever is changing it now may be about to put it right: look again in our turn.
            let _turn = self.turn(service.id).await;
            let Some(service) = self.by_id(service.id).await? else { continue };
            healed += usize::from(self.heal_one(&service, live.as_ref(), by).await?);
        }
        Ok(healed)
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
        match (service.desired, live.counters(service.id).is_some()) {
            (Desired::Running, false) => {
                let address = super::add::listen_address(service.bind);
                let can_start = live.check_target(service).is_ok()
                    && host::try_bind(address, service.port).is_ok();
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
                let node = Some(live.node_id());
                store.set_actual(node, &row, self.now(), Vec::new()).await.map_err(store_fault)?;
                Ok(true)
            }
        }
    }
}

fn is_in_line(service: &Service, live: &dyn Live) -> bool {
    let runs = live.counters(service.id).is_some();
    match service.desired {
        Desired::Running => runs && service.actual == Actual::Running,
        Desired::Stopped => !runs && service.actual == Actual::Stopped,
    }
}
