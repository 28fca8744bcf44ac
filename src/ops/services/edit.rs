//! Changing and removing registrations.

use std::collections::BTreeSet;

use super::add::check_free;
use crate::model::{
    ActionReport, Actor, Actual, Desired, EventAction, Fault, FaultKind, HealthChange, PortChoice,
    Selection, Service, ServiceName, ServicePatch,
};
use crate::ops::context::{Ops, done};
use crate::ops::faults::store_fault;
use crate::store::ServiceChange;
use crate::text;

impl Ops {
    /// Changes name, port, address, labels or registration of a service. A running one moves to its
    /// new port at once; if that cannot be bound nothing is changed.
    pub(super) async fn set(
        &self,
        name: &ServiceName,
        patch: ServicePatch,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let store = self.store()?;
        let (before, _claim) = self.claim_one(name).await?;
        let runs = self.live().is_some_and(|live| live.counters(before.id).is_some());
        if runs && patch.name.as_ref().is_some_and(|new| *new != before.name) {
            // Its connections, figures and, in time, its registration carry the name.
            let message = text::ops::rename_while_running(name);
            return Err(Fault::new(FaultKind::Precondition, message));
        }
        let change = self.change(&before, patch).await?;
        let moves = change.port.is_some() || change.bind.is_some();
        let (watches, registers) = (change.health.is_some(), change.register.is_some());
        let now = self.now();
        let detail = text::ops::event_changed(name);
        let event = done(now, EventAction::ServiceChanged, name, by, detail);
        let updated = store.update_service(before.id, change, now, event).await;
        let after = updated.map_err(store_fault)?;
        self.events_appended().await;
        let running = self.live().filter(|live| live.counters(after.id).is_some());
        let message = text::ops::changed(after.port);
        let mut item = self.item(after.clone(), message);
        if let (Some(live), true) = (running, moves) {
            match live.rebind(&after).await {
                Ok(cut) => item.cut = cut,
                Err(fault) => return Err(self.undo(&before, fault, by).await),
            }
        }
        if let (Some(live), true) = (running, watches) {
            live.watch_health(&after);
            item.service.health = live.health(after.id);
        }
        if let (Some(live), true) = (running, registers) {
            live.set_registered(&after).await;
        }
        Ok(self.report(vec![item]))
    }

    async fn change(&self, before: &Service, patch: ServicePatch) -> Result<ServiceChange, Fault> {
        let bind = patch.bind.filter(|bind| *bind != before.bind);
        let address = bind.unwrap_or(before.bind);
        let port = match patch.port {
            None => None,
            Some(PortChoice::Fixed(port)) if port == before.port => None,
            Some(PortChoice::Fixed(port)) => {
                self.check_unregistered(port).await?;
                if before.desired == Desired::Running {
                    check_free(address, port).await?;
                }
                Some(port)
            }
            Some(PortChoice::Auto) => Some(self.lowest_free_port(address, &BTreeSet::new()).await?),
        };
        let name = patch.name.filter(|name| *name != before.name);
        let health = match patch.health {
            None => None,
            Some(HealthChange::Off) => Some(None),
            Some(HealthChange::Set(patch)) => {
                Some(Some(patch.over(before.health.as_ref()).map_err(Fault::usage)?))
            }
        };
        let (tags, register) = (patch.tags, patch.register);
        Ok(ServiceChange { name, port, bind, tags, register, health })
    }

    /// Writes the registration back as it was before a change that could not be carried out.
    async fn undo(&self, before: &Service, fault: Fault, by: &Actor) -> Fault {
        let change = ServiceChange {
            name: Some(before.name.clone()),
            port: Some(before.port),
            bind: Some(before.bind),
            tags: Some(before.tags.clone()),
            register: Some(before.register),
            health: Some(before.health.clone()),
        };
        let now = self.now();
        let detail = text::ops::event_undone(&fault.message);
        let event = done(now, EventAction::ServiceChanged, &before.name, by, detail);
        // Also of a server that began to leave meanwhile: that may be the very reason.
        let Some(store) = self.reading_store() else { return fault };
        let written = store.update_service(before.id, change, now, event).await;
        self.events_appended().await;
        match written {
            Ok(_) => fault,
            Err(error) => {
                tracing::warn!(service = %before.name, %error, "a refused change stays in its row");
                let message = text::ops::change_not_undone(&before.name, &fault.message);
                Fault { message, ..fault }
            }
        }
    }

    /// Stops and removes the services of `which`, all of their rows in one transaction.
    pub(super) async fn remove(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let store = self.store()?;
        let claim = self.claim(which).await?;
        let services = &claim.services;
        let stopped = match self.live() {
            Some(_) => self.stop_now(services, None, by).await?,
            None => Vec::new(),
        };
        let now = self.now();
        let ids: Vec<_> = services.iter().map(|s| s.id).collect();
        let event = |s: &Service| {
            let detail = text::ops::removed(s.port);
            done(now, EventAction::ServiceRemoved, &s.name, by, detail)
        };
        let events = services.iter().map(event).collect();
        store.remove_services(&ids, events).await.map_err(store_fault)?;
        self.events_appended().await;
        let mut cut = stopped.into_iter().map(|result| result.cut);
        let item = |service: Service| {
            let message = text::ops::removed(service.port);
            let gone = Service { actual: Actual::Stopped, reason: None, ..service };
            let mut item = self.item(gone, message);
            item.cut = cut.next().unwrap_or_default();
            item
        };
        let items = services.iter().cloned().map(item).collect();
        Ok(self.report(items))
    }
}
