//! Statuses that instances were given from outside, and the rules that decide between those and what
//! an instance says of itself.

use std::collections::HashMap;

use crate::eureka::wire::{Instance, InstanceStatus};
use crate::model::Timestamp;

/// An override nobody asked about for so long is forgotten (`overriddenInstanceStatusMap`,
/// `expireAfterAccess` one hour), milliseconds.
const KEPT: i64 = 3_600_000;

/// Overrides by instance id alone, as there: two applications with one instance id share theirs.
#[derive(Debug, Default)]
pub(super) struct Overrides(HashMap<String, (InstanceStatus, i64)>);

impl Overrides {
    /// The override of `id`; asking keeps it.
    pub(super) fn get(&mut self, id: &str, now: Timestamp) -> Option<InstanceStatus> {
        let (status, asked) = self.0.get_mut(id)?;
        if now.as_millis() - *asked > KEPT {
            self.0.remove(id);
            return None;
        }
        *asked = now.as_millis();
        Some(*status)
    }

    pub(super) fn put(&mut self, id: &str, status: InstanceStatus, now: Timestamp) {
        self.0.insert(id.to_owned(), (status, now.as_millis()));
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<InstanceStatus> {
        self.0.remove(id).map(|(status, _)| status)
    }

    /// Forgets what nobody asks about any more.
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        self.0.retain(|_, (_, asked)| now.as_millis() - *asked <= KEPT);
    }

    /// The status `instance` is to have, the first rule that matches (`registry/rule/`):
    /// `DownOrStartingRule`, `OverrideExistsRule`, `LeaseExistsRule`,
    /// `AlwaysMatchInstanceStatusRule`. `existing` is the status under the lease it has already.
    pub(super) fn status_of(
        &mut self,
        instance: &Instance,
        existing: Option<InstanceStatus>,
        now: Timestamp,
    ) -> InstanceStatus {
        use InstanceStatus::{OutOfService, Up};
        // Bad news is believed.
        if !matches!(instance.status, Up | OutOfService) {
            return instance.status;
        }
        if let Some(status) = self.get(instance.id(), now) {
            return status;
        }
        match existing {
            Some(status @ (Up | OutOfService)) => status,
            _ => instance.status,
        }
    }
}
