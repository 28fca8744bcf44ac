//! Leases in a registry: what is announced, how its renewal goes.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::state::words;
use super::{Counters, Port, Service, ServiceId, ServiceName, Source, Success, Timestamp};
use crate::text::Message;

words! {
    /// How a service's lease is.
    LeaseState {
        /// The last renewal went through.
        Up = "up",
        /// The last renewal failed; the registry still has the lease.
        Failing = "failing",
        /// No renewal went through for so long that the registry may have dropped it.
        Expired = "expired",
        /// It should be announced and is not: not yet, not running, or not any more.
        Unregistered = "unregistered",
        /// It is not to be announced, or no registry is configured.
        Disabled = "disabled",
    }
}

words! {
    /// A call to the registry.
    HeartbeatCall {
        /// Announced (`POST /apps/APP`).
        Register = "register",
        /// Renewed (`PUT /apps/APP/ID`).
        Renew = "renew",
        /// Its status changed by announcing it again.
        Status = "status",
        /// Taken back (`DELETE /apps/APP/ID`).
        Cancel = "cancel",
    }
}

/// One call to the registry and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// When it was made.
    pub at: Timestamp,
    /// Which call.
    pub call: HeartbeatCall,
    /// Why it failed; null where it went as asked.
    pub failure: Option<Message>,
    /// How long the answer took, in milliseconds.
    pub latency_ms: u64,
}

/// One service of [`HeartbeatsReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatView {
    /// Whose.
    pub service_name: ServiceName,
    /// Its port.
    pub port: Port,
    /// Whether renewals are being sent.
    pub is_active: bool,
    /// Between two renewals, in seconds.
    pub interval: u64,
    /// Its id in the registry; null where it is not announced.
    pub instance_id: Option<String>,
    /// How it is.
    pub state: LeaseState,
    /// Why, where that needs saying.
    pub reason: Option<Message>,
    /// What the registry shows for it (`UP`, `DOWN`, …); null where it was not asked.
    pub status: Option<String>,
    /// What an operator set over it; null where nothing is set.
    pub override_status: Option<String>,
    /// Base URL of the registry that answered last, without credentials.
    pub registry: Option<String>,
    /// When a call last went through.
    pub last_success: Option<Timestamp>,
    /// Renewals that failed since then.
    pub consecutive_failures: u64,
    /// How long the last answer took, in milliseconds.
    pub latency_ms: Option<u64>,
    /// Until the next renewal, in milliseconds.
    pub next_in_ms: Option<u64>,
    /// Until the registry may drop the lease, in milliseconds, counted from the last success; 0 where
    /// that has passed.
    pub lease_expires_in_ms: Option<u64>,
}

impl HeartbeatView {
    /// Of a service that nothing is known of and nothing is done for.
    pub fn disabled(service: &Service) -> Self {
        Self {
            service_name: service.name.clone(),
            port: service.port,
            is_active: false,
            interval: 0,
            instance_id: None,
            state: LeaseState::Disabled,
            reason: None,
            status: None,
            override_status: None,
            registry: None,
            last_success: None,
            consecutive_failures: 0,
            latency_ms: None,
            next_in_ms: None,
            lease_expires_in_ms: None,
        }
    }
}

/// `heartbeat status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatsReport {
    /// Always true.
    pub success: Success,
    /// Who was asked.
    pub source: Source,
    /// By name of the service.
    pub heartbeats: Vec<HeartbeatView>,
}

impl HeartbeatsReport {
    /// How many leases are in which state.
    pub fn counts(&self) -> LeaseCounts {
        let count =
            |state| self.heartbeats.iter().filter(|view| view.state == state).count() as u64;
        LeaseCounts {
            up: count(LeaseState::Up),
            failing: count(LeaseState::Failing),
            expired: count(LeaseState::Expired),
            unregistered: count(LeaseState::Unregistered),
            disabled: count(LeaseState::Disabled),
        }
    }
}

/// How many leases are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseCounts {
    /// Renewed.
    pub up: u64,
    /// Whose last renewal failed.
    pub failing: u64,
    /// Whose lease may be gone.
    pub expired: u64,
    /// Not announced, though they should be.
    pub unregistered: u64,
    /// Not to be announced.
    pub disabled: u64,
}

/// How far `service drain` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainProgress {
    /// Which service.
    pub service: ServiceName,
    /// What is under way.
    pub message: Message,
    /// What its proxy counted; `None` where none runs any more.
    pub counters: Option<Counters>,
    /// How much longer it may take at most, in milliseconds.
    pub left_ms: u64,
}

impl DrainProgress {
    /// How long a drain may take where nothing else is asked for.
    pub const DEFAULT_MAX: Duration = Duration::from_secs(120);
    /// The longest that can be asked for.
    pub const MAX_MAX: Duration = Duration::from_secs(24 * 3_600);
}

impl HeartbeatHistory {
    /// Calls shown where no number is asked for.
    pub const DEFAULT_CALLS: u32 = 20;
    /// Most calls that can be asked for.
    pub const MAX_CALLS: u32 = 1_000;
}

/// `heartbeat history NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatHistory {
    /// Always true.
    pub success: Success,
    /// Who was asked.
    pub source: Source,
    /// Whose.
    pub service_name: ServiceName,
    /// Oldest first.
    pub heartbeats: Vec<Heartbeat>,
}

/// What may stand in a registry, as it was written down before the registry was told. Frozen: it is
/// renewed and taken back by exactly these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Of which service.
    pub service_id: ServiceId,
    /// Its name then.
    pub service: ServiceName,
    /// Its port then.
    pub port: Port,
    /// Base URLs of the registry's servers, without credentials; at least one.
    pub registries: Vec<String>,
    /// Application name, in capitals.
    pub app: String,
    /// Unique within the application.
    pub instance_id: String,
    /// Host name consumers are told.
    pub host: String,
    /// IP address consumers are told.
    pub address: String,
    /// Between two renewals.
    pub interval: Duration,
    /// Lease duration. The registry really drops a lease after twice this (Netflix eureka-core,
    /// `Lease.isExpired`).
    pub duration: Duration,
    /// When it was written down.
    pub since: Timestamp,
}
