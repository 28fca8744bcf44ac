//! The rules of a Eureka registry: who is listed, as what, and for how long.
//!
//! Belongs here: leases, the order of the status rules, what changed of late, expiry and
//! self-preservation. Does not belong here: HTTP, clocks, tasks.
//!
//! Ground rules: everything is a function of the registry, the request and the time. The rules are
//! those of Netflix' `eureka-core` (`registry/AbstractInstanceRegistry.java`,
//! `registry/PeerAwareInstanceRegistryImpl.java`, `registry/rule/*.java`, `lease/Lease.java`), its
//! known faults included, because consumers are used to them. Left out are peers, regions and
//! Amazon's groups. Lists are sorted by application and instance. Time is the wall clock's, as it is
//! there: setting it forward expires leases.

mod book;
mod expiry;
mod lease;
mod overrides;
mod recent;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use book::Registry;
pub use expiry::RegistryCounts;

/// How a registry behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Whether nothing expires while fewer renewals arrive than expected.
    pub self_preservation: bool,
    /// Of the expected renewals so many percent must arrive, and of the instances so many percent
    /// stay whatever a pass of the evictor finds: 85, at most 100.
    pub renewal_percent: u8,
    /// How often an instance is expected to renew: 30 s, at least 1 s.
    pub renewal_interval: Duration,
    /// How long a change stays in the delta: 180 s.
    pub delta_retention: Duration,
    /// How often expired leases are looked for: 60 s.
    pub eviction_interval: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            self_preservation: true,
            renewal_percent: 85,
            renewal_interval: Duration::from_secs(30),
            delta_retention: Duration::from_secs(180),
            eviction_interval: Duration::from_secs(60),
        }
    }
}
