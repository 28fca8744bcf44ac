//! What dead nodes left in the registry: exactly the instances they wrote down, and only where they
//! still are theirs.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::context::{Ops, done};
use super::faults::store_fault;
use crate::eureka::{CallError, NodeMark, Registries};
use crate::model::{Actor, EventAction, Fault, Registration, ServiceId, ServiceName};
use crate::store::{NodeId, RegistrationRow};
use crate::text::{self, Message};

/// Calls at once.
const MOST_CALLS: usize = 64;

/// What became of an instance that a dead node may have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResidueAction {
    /// It was there, and was taken out.
    Cancelled,
    /// It was no longer there.
    Gone,
    /// There is one of that id, but somebody else's: it was left alone.
    Foreign,
    /// The registry could not be asked: it stays written down.
    Unreachable,
    /// This server is about to announce the service again: what is there is its affair.
    Pending,
}

/// One instance that a dead node may have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidueItem {
    /// The service it was announced for.
    pub service: ServiceName,
    /// Its id in the registry.
    pub instance_id: String,
    /// What became of it.
    pub action: ResidueAction,
    /// The sentence about it.
    pub message: Message,
}

impl Ops {
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
    ) -> Result<Vec<ResidueItem>, Fault> {
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
                    None => items.push(ResidueItem {
                        service: of.service.clone(),
                        instance_id: of.instance_id.clone(),
                        action: ResidueAction::Pending,
                        message: text::lease::lease_waiting(),
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
                Ok(ResidueAction::Cancelled) => {
                    let detail = text::lease::event_residue_cancelled(id);
                    events.push(done(now, EventAction::LeaseRemoved, &of.service, by, detail));
                    (ResidueAction::Cancelled, text::lease::residue_cancelled(id))
                }
                Ok(ResidueAction::Foreign) => {
                    (ResidueAction::Foreign, text::lease::residue_foreign(id))
                }
                Ok(_) => (ResidueAction::Gone, text::lease::residue_gone(id)),
                Err(reason) => {
                    (ResidueAction::Unreachable, text::lease::residue_unreachable(id, reason))
                }
            };
            if action != ResidueAction::Unreachable {
                dealt_with.push(row.id);
            }
            let (service, instance_id) = (of.service.clone(), id.clone());
            items.push(ResidueItem { service, instance_id, action, message });
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
) -> Result<ResidueAction, CallError> {
    let registry = registries.at(&of.registries);
    match registry.instance(&of.app, &of.instance_id).await? {
        None => Ok(ResidueAction::Gone),
        Some(found) if !mark.is_on(&found) => Ok(ResidueAction::Foreign),
        Some(_) => {
            registry.cancel(&of.app, &of.instance_id, false).await?;
            Ok(ResidueAction::Cancelled)
        }
    }
}
