//! What dead nodes left in the registry: exactly the instances they wrote down, and only where they
//! still are theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::context::{Ops, done};
use super::faults::store_fault;
use super::live::Announced;
use crate::eureka::{Consent, Instance, NodeMark, RegistryCalls, Removal, take_out};
use crate::model::{Actor, CleanupInstance, EventAction, Fault, FaultKind, InstanceAction};
use crate::store::RegistrationRow;
use crate::text::{self, Message};

/// What a cleanup grants each instance: a lookup and a cancellation.
const LONGEST_CALL: Duration = Duration::from_secs(5);

/// Calls at once.
const MOST_CALLS: usize = 64;

impl Ops {
    /// [`Ops::cancel_residue`] as part of a cleanup; a dry run looks and changes nothing.
    pub(super) async fn clean_registry(
        &self,
        dry_run: bool,
        by: &Actor,
    ) -> Result<Vec<CleanupInstance>, Fault> {
        let consent = if dry_run { Consent::Look } else { Consent::Remove };
        self.deal_with_residue(LONGEST_CALL, consent, by).await
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
        self.deal_with_residue(bound, Consent::Remove, by).await
    }

    async fn deal_with_residue(
        &self,
        bound: Duration,
        consent: Consent,
        by: &Actor,
    ) -> Result<Vec<CleanupInstance>, Fault> {
        let mut rows = self.residue_rows().await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let Some(store) = self.reading_store() else { return Ok(Vec::new()) };
        let (mut items, mut dealt_with) = (Vec::new(), Vec::new());
        if let Some(live) = self.live() {
            rows.retain(|row| {
                let of = &row.registration;
                match live.announced(of) {
                    Announced::Never => return true,
                    // It took the place of what stood under its id.
                    Announced::Confirmed => dealt_with.push(row.version()),
                    // Its announcement takes away what is under its id, once it gets through.
                    Announced::Pending => items.push(CleanupInstance {
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
        let mut events = Vec::new();
        for (row, result) in self.look_for(rows, store.uuid(), bound, consent).await {
            let version = row.version();
            let of = row.registration;
            let id = of.instance_id.clone();
            let (action, message) = match result {
                Ok(Removal::Cancelled) if consent == Consent::Look => {
                    (InstanceAction::Cancelled, text::lease::residue_would_cancel(&id))
                }
                Ok(Removal::Cancelled) => {
                    let detail = text::lease::event_residue_cancelled(&id);
                    events.push(done(
                        self.now(),
                        EventAction::LeaseRemoved,
                        &of.service,
                        by,
                        detail,
                    ));
                    (InstanceAction::Cancelled, text::lease::residue_cancelled(&id))
                }
                Ok(Removal::Foreign) => {
                    (InstanceAction::Foreign, text::lease::residue_foreign(&id))
                }
                Ok(Removal::Gone) => (InstanceAction::Gone, text::lease::residue_gone(&id)),
                Err(why) => (InstanceAction::Unreachable, why),
            };
            let is_left = action == InstanceAction::Unreachable;
            if !is_left {
                dealt_with.push(version);
            }
            let fault = is_left.then(|| Fault::new(FaultKind::Unavailable, message.clone()));
            let service = of.service;
            items.push(CleanupInstance { service, instance_id: id, action, message, fault });
        }
        if consent == Consent::Look {
            return Ok(items);
        }
        store.forget_registrations(&dealt_with).await.map_err(store_fault)?;
        store.append_events(events).await.map_err(store_fault)?;
        self.events_appended().await;
        Ok(items)
    }

    /// What becomes of each in its registry; `Err` says why it is left.
    async fn look_for(
        &self,
        rows: Vec<RegistrationRow>,
        uuid: &str,
        bound: Duration,
        consent: Consent,
    ) -> Vec<(RegistrationRow, Result<Removal, Message>)> {
        let Some(registries) = self.registries() else {
            let unasked = |row: RegistrationRow| {
                let of = &row.registration;
                let why = text::lease::residue_unasked(&of.instance_id, of.registries.join(", "));
                (row, Err(why))
            };
            return rows.into_iter().map(unasked).collect();
        };
        // One for each list of servers, so that what is known of a server is known to all that ask it.
        let mut at: HashMap<Vec<String>, Arc<dyn RegistryCalls>> = HashMap::new();
        for row in &rows {
            let urls = &row.registration.registries;
            at.entry(urls.clone()).or_insert_with(|| registries.at(urls));
        }
        let look = async |row: RegistrationRow| {
            let mark = NodeMark::new(uuid, self.node(), row.node.0);
            let of = &row.registration;
            let (registry, key) = (&at[&of.registries], (of.app.as_str(), of.instance_id.as_str()));
            let is_theirs = |found: &Instance| mark.is_on(found);
            let removal = take_out(registry.as_ref(), key, is_theirs, consent, bound).await;
            let removal = removal.map_err(|error| {
                text::lease::residue_unreachable(&of.instance_id, error.message())
            });
            (row, removal)
        };
        stream::iter(rows.into_iter().map(look)).buffered(MOST_CALLS).collect().await
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
