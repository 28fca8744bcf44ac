//! When expired leases are really taken away: the count of renewals, self-preservation, and how many
//! a pass may take.

use std::collections::BTreeMap;

use super::RegistrySettings;
use super::recent::Key;
use crate::model::Timestamp;

const MINUTE: i64 = 60_000;

/// What a registry knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryCounts {
    /// Listed instances.
    pub instances: usize,
    /// Renewals in the last whole minute.
    pub renewals: u64,
    /// So many must be exceeded, or nothing expires.
    pub threshold: u64,
    /// Nothing expires now, because too few renewals arrive.
    pub is_preserving: bool,
}

/// Counts renewals and judges by them.
#[derive(Debug)]
pub(super) struct Expiry {
    is_self_preserving: bool,
    percent: u64,
    renewals_a_minute: u64,
    /// Instances that are expected to renew. It starts at 1, as Spring Cloud's server does
    /// (`InstanceRegistry.openForTraffic`, `defaultOpenForTrafficCount`): Netflix' own starts a lone
    /// server at 0, which never grows.
    expected: u64,
    minute_began: i64,
    this_minute: u64,
    last_minute: u64,
}

impl Expiry {
    pub(super) fn new(settings: &RegistrySettings, now: Timestamp) -> Self {
        Self {
            is_self_preserving: settings.self_preservation,
            percent: u64::from(settings.renewal_percent.min(100)),
            renewals_a_minute: 60 / settings.renewal_interval.as_secs().clamp(1, 60),
            expected: 1,
            minute_began: now.as_millis(),
            this_minute: 0,
            last_minute: 0,
        }
    }

    /// One instance more, or one fewer.
    pub(super) fn expect_more(&mut self) {
        self.expected += 1;
    }

    pub(super) fn expect_fewer(&mut self) {
        self.expected = self.expected.saturating_sub(1);
    }

    pub(super) fn renewed(&mut self, now: Timestamp) {
        self.turn(now);
        self.this_minute += 1;
    }

    /// Begins a new minute when it is time (`util/MeasuredRate.java`).
    fn turn(&mut self, now: Timestamp) {
        let passed = (now.as_millis() - self.minute_began).div_euclid(MINUTE);
        match passed {
            0 => return,
            1 => self.last_minute = self.this_minute,
            _ => self.last_minute = 0,
        }
        self.this_minute = 0;
        self.minute_began += passed * MINUTE;
    }

    fn last_minute(&self, now: Timestamp) -> u64 {
        match (now.as_millis() - self.minute_began).div_euclid(MINUTE) {
            0 => self.last_minute,
            1 => self.this_minute,
            _ => 0,
        }
    }

    /// `updateRenewsPerMinThreshold`.
    fn threshold(&self) -> u64 {
        self.expected * self.renewals_a_minute * self.percent / 100
    }

    /// `isLeaseExpirationEnabled`.
    pub(super) fn is_enabled(&self, now: Timestamp) -> bool {
        let threshold = self.threshold();
        !self.is_self_preserving || (threshold > 0 && self.last_minute(now) > threshold)
    }

    /// Of `size` instances so many may go in one pass, so that a fault of the registry's own (a clock
    /// that jumped, a long pause) does not take everything at once.
    pub(super) fn at_most(&self, size: usize) -> usize {
        let size = size as u64;
        usize::try_from(size - size * self.percent / 100).unwrap_or(usize::MAX)
    }

    pub(super) fn counts(&self, instances: usize, now: Timestamp) -> RegistryCounts {
        RegistryCounts {
            instances,
            renewals: self.last_minute(now),
            threshold: self.threshold(),
            is_preserving: !self.is_enabled(now),
        }
    }
}

/// Which of the expired leases go first, with how long each is overdue: the longest expired of every
/// application, then the next of every application. Netflix picks at random, to the same end: not
/// to wipe out one application.
pub(super) fn in_order(expired: Vec<(Key, i64)>) -> Vec<Key> {
    let mut by_app: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for ((app, id), overdue) in expired {
        by_app.entry(app).or_default().push((-overdue, id));
    }
    let mut ordered = Vec::new();
    for (app, mut leases) in by_app {
        leases.sort();
        ordered.extend(
            leases.into_iter().enumerate().map(|(rank, (_, id))| (rank, (app.clone(), id))),
        );
    }
    ordered.sort();
    ordered.into_iter().map(|(_, key)| key).collect()
}
