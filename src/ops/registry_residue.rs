//! What dead nodes left in the registry: exactly the instances they wrote down, and only where they
//! still are theirs.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::context::{Ops, done};
use super::faults::store_fault;
use crate::eureka::{CallError, NodeMark, Registries};
use crate::model::{
    Actor, CleanupInstance, EventAction, Fault, FaultKind, InstanceAction, Registration, ServiceId,
};
use crate::store::{NodeId, RegistrationRow};
use crate::text;

/// What a cleanup grants each instance: a lookup and a cancellation.
const LONGEST_CALL: Duration = Duration::from_secs(5);

/// Calls at once.
const MOST_CALLS: usize = 64;

impl Ops {
    /// [`Ops::cancel_residue`] as part of a cleanup: a dry run asks no registry.
    pub(super) async fn clean_registry(
        &self,
        dry_run: bool,
        by: &Actor,
    ) -> Result<Vec<CleanupInstance>, Fault> {
        if !dry_run {
            return self.cancel_residue(LONGEST_CALL, by).await;
        }
        let planned = |of: Registration| CleanupInstance {
            message: text::lease::residue_would_cancel(&of.instance_id),
            service: of.service,
            instance_id: of.instance_id,
            action: InstanceAction::Cancelled,
            fault: None,
        };
        Ok(self.registry_residue().await?.into_iter().map(planned).collect())
    }

    /// What nodes that are dead may have left in registries, oldest first. Directly, that is
    /// everything that is written down: the caller holds the owner's lock.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn registry_residue(&self) -> Result<Vec<Registration>, Fault> {
        Ok(self.residue_rows().await?.into_iter().map(|row| row.registration).collect())
    }

    /// Takes out of registries what dead nodes left there: looked up first, cancelled only with that
    /// node's metadata. What cannot be asked within `bound` each stays written down and is said.
    /// Directly, the caller holds the owner's lock.
    ///
    /// # Errors
    /// Those of the store; a registry that does not answer is none.
    pub async fn cancel_residue(
        &self,
        bound: Duration,
        by: &Actor,
    ) -> Result<Vec<CleanupInstance>, Fault> {
        let mut rows = self.residue_rows().await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (Some(registries), Some(store)) = (self.registries(), self.reading_store()) else {
            return Ok(Vec::new());
        };
        let (mut items, mut dealt_with) = (Vec::new(), Vec::new());
        if let Some(live) = self.live() {
            let own = self.announced_by(live.node_id()).await?;
            rows.retain(|row| {
                let of = &row.registration;
                if !live.has_lease(of.service_id) {
                    return true;
                }
                // Its announcement takes away what is under its id; only another id is residue.
                match own.get(&of.service_id) {
                    Some(id) if *id != of.instance_id => return true,
                    Some(_) => dealt_with.push(row.id),
                    None => items.push(CleanupInstance {
                        service: of.service.clone(),
                        instance_id: of.instance_id.clone(),
                        action: InstanceAction::Pending,
                        message: text::lease::lease_waiting(),
                        fault: None,
                    }),
                }
                false
            });
        }
        let uuid = store.uuid();
        let look = async |row: RegistrationRow| {
            let mark = NodeMark::new(uuid, self.node(), row.node.0);
            let cancel = cancel(registries.as_ref(), &row.registration, &mark);
            let result = match tokio::time::timeout(bound, cancel).await {
                Ok(result) => result.map_err(|error| error.message()),
                Err(_) => {
                    let urls = row.registration.registries.join(", ");
                    Err(text::lease::lease_registry_silent(urls))
                }
            };
            (row, result)
        };
        let looks = rows.into_iter().map(look);
        let results: Vec<_> = stream::iter(looks).buffered(MOST_CALLS).collect().await;
        let mut events = Vec::new();
        let now = self.now();
        for (row, result) in results {
            let (of, id) = (&row.registration, &row.registration.instance_id);
            let (action, message) = match result {
                Ok(InstanceAction::Cancelled) => {
                    let detail = text::lease::event_residue_cancelled(id);
                    events.push(done(now, EventAction::LeaseRemoved, &of.service, by, detail));
                    (InstanceAction::Cancelled, text::lease::residue_cancelled(id))
                }
                Ok(InstanceAction::Foreign) => {
                    (InstanceAction::Foreign, text::lease::residue_foreign(id))
                }
                Ok(_) => (InstanceAction::Gone, text::lease::residue_gone(id)),
                Err(reason) => {
                    (InstanceAction::Unreachable, text::lease::residue_unreachable(id, reason))
                }
            };
            if action != InstanceAction::Unreachable {
                dealt_with.push(row.id);
            }
            let (service, instance_id) = (of.service.clone(), id.clone());
            let is_left = action == InstanceAction::Unreachable;
            let fault = is_left.then(|| Fault::new(FaultKind::Unavailable, message.clone()));
            items.push(CleanupInstance { service, instance_id, action, message, fault });
        }
        store.forget_registrations(&dealt_with).await.map_err(store_fault)?;
        store.append_events(events).await.map_err(store_fault)?;
        self.events_appended().await;
        Ok(items)
    }

    /// The instance ids of what a node has written down, by service.
    async fn announced_by(&self, node: NodeId) -> Result<HashMap<ServiceId, String>, Fault> {
        let Some(store) = self.reading_store() else { return Ok(HashMap::new()) };
        let rows = store.registrations(self.node()).await.map_err(store_fault)?;
        let own = rows.into_iter().filter(|row| row.node == node);
        Ok(own.map(|row| (row.registration.service_id, row.registration.instance_id)).collect())
    }

    async fn residue_rows(&self) -> Result<Vec<RegistrationRow>, Fault> {
        let Some(store) = self.reading_store() else { return Ok(Vec::new()) };
        let mut rows = store.registrations(self.node()).await.map_err(store_fault)?;
        if let Some(live) = self.live() {
            let own = live.node_id();
            rows.retain(|row| row.node != own);
        }
        Ok(rows)
    }
}

async fn cancel(
    registries: &dyn Registries,
    of: &Registration,
    mark: &NodeMark,
) -> Result<InstanceAction, CallError> {
    let registry = registries.at(&of.registries);
    match registry.instance(&of.app, &of.instance_id).await? {
        None => Ok(InstanceAction::Gone),
        Some(found) if !mark.is_on(&found) => Ok(InstanceAction::Foreign),
        Some(_) => {
            registry.cancel(&of.app, &of.instance_id, false).await?;
            Ok(InstanceAction::Cancelled)
        }
    }
}
