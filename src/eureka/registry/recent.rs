//! What changed of late (`recentlyChangedQueue`), for consumers that know the rest.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::eureka::wire::Instance;
use crate::model::Timestamp;

/// An instance by application and id.
pub(super) type Key = (String, String);

#[derive(Debug)]
struct Change {
    at: i64,
    key: Key,
    /// As it was when it went.
    gone: Option<Instance>,
}

/// Changes, oldest first.
#[derive(Debug)]
pub(super) struct Recent {
    changes: VecDeque<Change>,
    retention: i64,
    /// How many there ever were.
    count: i64,
}

impl Recent {
    pub(super) fn new(retention: Duration) -> Self {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        Self { changes: VecDeque::new(), retention, count: 0 }
    }

    pub(super) fn changed(&mut self, key: Key, now: Timestamp) {
        self.push(Change { at: now.as_millis(), key, gone: None });
    }

    pub(super) fn gone(&mut self, key: Key, instance: Instance, now: Timestamp) {
        self.push(Change { at: now.as_millis(), key, gone: Some(instance) });
    }

    fn push(&mut self, change: Change) {
        let now = change.at;
        while self.changes.front().is_some_and(|oldest| oldest.at < now - self.retention) {
            self.changes.pop_front();
        }
        self.count += 1;
        self.changes.push_back(change);
    }

    /// A number that grows with every change.
    pub(super) fn version(&self) -> i64 {
        self.count
    }

    /// Which instances changed, each once, with what a gone one was when it last went.
    pub(super) fn latest(&self, now: Timestamp) -> BTreeMap<&Key, Option<&Instance>> {
        let oldest = now.as_millis() - self.retention;
        let mut latest: BTreeMap<&Key, Option<&Instance>> = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.at >= oldest) {
            latest.insert(&change.key, change.gone.as_ref());
        }
        latest
    }
}
