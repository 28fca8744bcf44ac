//! Proxies that ended by a defect of their own.

use crate::model::{Actor, Actual, EventAction, Fault, Outcome, ServiceId};
use crate::ops::context::{Ops, done};
use crate::ops::faults::store_fault;
use crate::store::NewEvent;
use crate::text::Message;

impl Ops {
    /// Inside a live server: the proxy of `id` panicked, as `detail` says. Where it is gone, that is
    /// its state until it is started again.
    ///
    /// # Errors
    /// What the store says.
    pub async fn record_fault(
        &self,
        id: ServiceId,
        is_gone: bool,
        detail: Message,
    ) -> Result<(), Fault> {
        let (Some(live), Some(service)) = (self.live(), self.by_id(id).await?) else {
            return Ok(());
        };
        let (now, action) = (self.now(), EventAction::ServiceFailed);
        let event = done(now, action, &service.name, &Actor::Server, detail.clone());
        let events = vec![NewEvent { outcome: Outcome::Failed, ..event }];
        let store = self.store()?;
        let rows = match is_gone {
            true => vec![(id, Actual::Failed, Some(detail))],
            false => Vec::new(),
        };
        store.set_actual(Some(live.node_id()), &rows, now, events).await.map_err(store_fault)?;
        self.events_appended().await;
        Ok(())
    }

    /// Inside a live server: takes that service out of the registry, unless it runs again.
    ///
    /// # Errors
    /// What the store says.
    pub async fn withdraw_gone(&self, id: ServiceId) -> Result<(), Fault> {
        match self.by_id(id).await? {
            Some(service) => self.heal_lease(&service).await,
            None => Ok(()),
        }
    }

    /// Inside a live server: brings that service in line with what is wanted.
    ///
    /// # Errors
    /// What the store says.
    pub async fn start_again(&self, id: ServiceId, by: &Actor) -> Result<(), Fault> {
        self.heal_service(id, by).await.map(drop)
    }
}
