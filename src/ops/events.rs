//! The record of what happened.

use super::context::Ops;
use super::faults::store_fault;
use crate::model::{EventsReport, Fault, Success};

impl Ops {
    /// The newest `limit` events, or with `after` the first `limit` events behind that id; oldest
    /// first either way.
    pub async fn events(&self, limit: u32, after: Option<i64>) -> Result<EventsReport, Fault> {
        let events = match self.reading_store() {
            Some(store) => store.events(limit, after).await.map_err(store_fault)?,
            None => Vec::new(),
        };
        Ok(EventsReport { success: Success, source: self.source(), events })
    }

    /// Whether the database takes writes, if there is doubt; a failure is shown by [`Ops::status`] until one goes through.
    pub async fn check_database(&self) -> Result<(), Fault> {
        match self.reading_store() {
            Some(store) => store.watch_writable().await.map_err(store_fault),
            None => Ok(()),
        }
    }

    /// Drops all but the newest `keep` events.
    pub async fn prune_events(&self, keep: u32) -> Result<(), Fault> {
        match self.reading_store() {
            Some(store) => store.prune_events(keep).await.map(drop).map_err(store_fault),
            None => Ok(()),
        }
    }
}
