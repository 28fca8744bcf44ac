//! Signatures, to be filled.
#![allow(missing_docs, unused_variables)]

use super::*;
use crate::model::*;
use crate::text::Message;

type R<T> = Result<T, StoreError>;

/// An open database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// Made with the database, never changed.
    pub uuid: String,
    /// Version of its schema.
    pub schema: i64,
}

impl Store {
    pub async fn identify(location: &Location) -> R<Option<Identification>> {
        todo!()
    }
    pub async fn open_as_owner(location: &Location, lock: &OwnerLock) -> R<Self> {
        todo!()
    }
    pub async fn open_for_writing(location: &Location) -> R<Self> {
        todo!()
    }
    pub async fn open_for_reading(location: &Location) -> R<Option<Self>> {
        todo!()
    }
    pub async fn close(self) -> R<()> {
        todo!()
    }
    pub fn uuid(&self) -> &str {
        todo!()
    }
    pub fn location(&self) -> &Location {
        todo!()
    }
    pub async fn services(&self, node: &NodeName) -> R<Vec<Service>> {
        todo!()
    }
    pub async fn service(&self, node: &NodeName, name: &ServiceName) -> R<Option<Service>> {
        todo!()
    }
    pub async fn insert_service(
        &self,
        node: &NodeName,
        row: ServiceRow,
        now: Timestamp,
        event: NewEvent,
    ) -> R<Service> {
        todo!()
    }
    pub async fn update_service(
        &self,
        id: ServiceId,
        change: ServiceChange,
        now: Timestamp,
        event: NewEvent,
    ) -> R<Service> {
        todo!()
    }
    pub async fn remove_services(&self, ids: &[ServiceId], events: Vec<NewEvent>) -> R<u64> {
        todo!()
    }
    pub async fn put_target(
        &self,
        id: ServiceId,
        name: &TargetName,
        target: NewTarget,
        now: Timestamp,
        event: NewEvent,
    ) -> R<Service> {
        todo!()
    }
    pub async fn remove_target(
        &self,
        id: ServiceId,
        name: &TargetName,
        now: Timestamp,
        event: NewEvent,
    ) -> R<Service> {
        todo!()
    }
    pub async fn set_active(
        &self,
        id: ServiceId,
        name: &TargetName,
        now: Timestamp,
        event: NewEvent,
    ) -> R<Service> {
        todo!()
    }
    pub async fn set_desired(
        &self,
        ids: &[ServiceId],
        desired: Desired,
        events: Vec<NewEvent>,
    ) -> R<u64> {
        todo!()
    }
    pub async fn set_actual(
        &self,
        node: Option<NodeId>,
        states: &[(ServiceId, Actual, Option<Message>)],
        now: Timestamp,
        events: Vec<NewEvent>,
    ) -> R<()> {
        todo!()
    }
    pub async fn stop_all(&self, node: &NodeName, now: Timestamp, events: Vec<NewEvent>) -> R<u64> {
        todo!()
    }
    pub async fn start_node(&self, node: NodeRow) -> R<NodeId> {
        todo!()
    }
    pub async fn set_control_url(&self, id: NodeId, url: &str) -> R<()> {
        todo!()
    }
    pub async fn finish_node(&self, id: NodeId, at: Timestamp, reason: &str) -> R<()> {
        todo!()
    }
    pub async fn unfinished_nodes(&self, name: &NodeName) -> R<Vec<Node>> {
        todo!()
    }
    pub async fn append_events(&self, events: Vec<NewEvent>) -> R<()> {
        todo!()
    }
    pub async fn events(&self, limit: u32, after: Option<i64>) -> R<Vec<Event>> {
        todo!()
    }
    pub async fn last_event_id(&self) -> R<i64> {
        todo!()
    }
    pub async fn prune_events(&self, keep: u32) -> R<u64> {
        todo!()
    }
}
