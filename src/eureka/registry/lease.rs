//! One lease (`lease/Lease.java`).

use crate::eureka::wire::{Instance, LeaseInfo};
use crate::model::Timestamp;

/// An instance and its claim to be listed. Moments are milliseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) instance: Instance,
    registered: i64,
    /// When it was renewed, one duration too far ahead once it was renewed at all.
    updated: i64,
    duration: i64,
    service_up: i64,
}

impl Lease {
    pub(super) fn new(instance: Instance, duration_secs: u32, now: Timestamp) -> Self {
        let now = now.as_millis();
        let duration = i64::from(duration_secs) * 1_000;
        Self { instance, registered: now, updated: now, duration, service_up: 0 }
    }

    /// What a new registration of the instance keeps of the old lease.
    pub(super) fn succeeding(mut self, before: &Self) -> Self {
        self.service_up = before.service_up;
        self
    }

    /// Adds the duration, as Netflix does and does not repair: a lease that was renewed once expires
    /// two durations after its last renewal (comment at `Lease.isExpired`).
    pub(super) fn renew(&mut self, now: Timestamp) {
        self.updated = now.as_millis() + self.duration;
    }

    /// Only the first time counts.
    pub(super) fn service_up(&mut self, now: Timestamp) {
        if self.service_up == 0 {
            self.service_up = now.as_millis();
        }
    }

    /// `late` is how much later than planned one looks.
    pub(super) fn is_expired(&self, now: Timestamp, late: i64) -> bool {
        now.as_millis() > self.updated + self.duration + late
    }

    /// How long it has been expired.
    pub(super) fn overdue(&self, now: Timestamp) -> i64 {
        now.as_millis() - self.updated - self.duration
    }

    /// The instance with its lease, as it is listed (`decorateInstanceInfo`).
    pub(super) fn listed(&self) -> Instance {
        let said = self.instance.lease.unwrap_or_default();
        let lease = LeaseInfo {
            registration_timestamp: self.registered,
            last_renewal_timestamp: self.updated,
            service_up_timestamp: self.service_up,
            eviction_timestamp: 0,
            ..said
        };
        Instance { lease: Some(lease), is_coordinating: false, ..self.instance.clone() }
    }
}
