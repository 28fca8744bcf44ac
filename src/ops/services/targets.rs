//! The targets of a service.

use crate::model::{
    ActionReport, Actor, EventAction, Fault, FaultKind, NewTarget, Service, ServiceName, Target,
    TargetName,
};
use crate::ops::context::{Ops, done};
use crate::ops::faults::store_fault;
use crate::text;

impl Ops {
    /// Adds a target, or replaces the one of that name; a running service whose active target is
    /// replaced forwards to the new one at once.
    pub(super) async fn put_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        target: NewTarget,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let store = self.store()?;
        target.refuse_mistaken_trust(name)?;
        let (mut wanted, _claim) = self.claim_one(service).await?;
        let (url, tls) = (target.url.clone(), target.tls.clone());
        let credentials = target.credentials.clone();
        wanted.targets.insert(name.clone(), Target { url, credentials, tls });
        let is_active = wanted.active_target == *name;
        if let Some(live) = self.live() {
            let changed = Service { active_target: name.clone(), ..wanted.clone() };
            let checked = live.check_target(&changed);
            checked.map_err(|fault| self.refusing_control(service, by, fault))?;
        }
        let now = self.now();
        let detail = text::ops::event_target_added(name, &target.url);
        let event = done(now, EventAction::ServiceChanged, service, by, detail);
        store.put_target(wanted.id, name, target, now, event).await.map_err(store_fault)?;
        self.events_appended().await;
        if is_active {
            self.repoint(service).await?;
        }
        let after = self.select_one(service).await?;
        let message = text::ops::target_added(name);
        Ok(self.report(vec![self.item(after, message)]))
    }

    /// Removes a target; the active one cannot be removed.
    pub(super) async fn drop_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let store = self.store()?;
        let (before, _claim) = self.claim_one(service).await?;
        require(&before, name)?;
        if before.active_target == *name {
            let message = text::ops::target_is_active(name, service);
            return Err(Fault::new(FaultKind::Precondition, message));
        }
        let now = self.now();
        let detail = text::ops::target_removed(name);
        let event = done(now, EventAction::ServiceChanged, service, by, detail.clone());
        store.remove_target(before.id, name, now, event).await.map_err(store_fault)?;
        self.events_appended().await;
        let after = self.select_one(service).await?;
        Ok(self.report(vec![self.item(after, detail)]))
    }

    /// Makes another target the active one. Requests in flight finish on the old one.
    pub(super) async fn switch(
        &self,
        service: &ServiceName,
        name: &TargetName,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let store = self.store()?;
        let (before, _claim) = self.claim_one(service).await?;
        require(&before, name)?;
        if let Some(live) = self.live() {
            let changed = Service { active_target: name.clone(), ..before.clone() };
            let checked = live.check_target(&changed);
            checked.map_err(|fault| self.refusing_control(service, by, fault))?;
        }
        let now = self.now();
        let detail = text::ops::event_switched(&before.active_target, name);
        let event = done(now, EventAction::TargetSwitched, service, by, detail);
        store.set_active(before.id, name, now, event).await.map_err(store_fault)?;
        self.events_appended().await;
        self.repoint(service).await?;
        let after = self.select_one(service).await?;
        let message = match self.live() {
            Some(_) => text::ops::switched(name),
            None => text::ops::switch_noted(name),
        };
        Ok(self.report(vec![self.item(after, message)]))
    }

    /// Lets a running proxy use what its row now says.
    async fn repoint(&self, service: &ServiceName) -> Result<(), Fault> {
        let Some(live) = self.live() else { return Ok(()) };
        let service = self.select_one(service).await?;
        match live.counters(service.id) {
            Some(_) => live.switch(&service),
            None => Ok(()),
        }
    }
}

fn require(service: &Service, target: &TargetName) -> Result<(), Fault> {
    match service.targets.contains_key(target) {
        true => Ok(()),
        false => {
            let message = text::ops::target_not_found(&service.name, target);
            Err(Fault::new(FaultKind::NotFound, message))
        }
    }
}
