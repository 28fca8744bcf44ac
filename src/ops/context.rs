//! What every operation stands on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::live::Live;
use super::machine::{Machine, ThisMachine};
use super::refusals::Refusals;
use crate::eureka::Registries;
use crate::host::clock;
use crate::model::{
    Actor, Applied, EventAction, Fault, FaultKind, NodeName, Outcome, Phase, PortRange,
    ServerState, ServerView, ServiceId, Source, Timestamp,
};
use crate::store::{Location, LockHolder, NewEvent, Store};
use crate::text::{self, Message};

/// What is known of a server that is not asked.
#[derive(Clone, Debug)]
pub struct DirectFacts {
    /// Its state as the lock and the holder's file tell it.
    pub server: ServerView,
    /// The process that holds the owner's lock: a port it listens on is the server's.
    pub owner: Option<crate::model::ProcessIdentity>,
}

impl DirectFacts {
    /// What the lock tells: a server that is in `state` as far as can be seen, and whoever holds the
    /// lock.
    pub fn by_the_lock(
        node: &NodeName,
        database: &Location,
        state: ServerState,
        holder: Option<&LockHolder>,
    ) -> Self {
        let server = ServerView {
            state,
            pid: holder.map(|holder| holder.identity.pid),
            url: holder.and_then(|holder| holder.url.clone()),
            node: node.to_string(),
            version: None,
            started_at: None,
            database: database.url(),
            database_uuid: None,
        };
        Self { server, owner: holder.map(|holder| holder.identity.clone()) }
    }
}

/// The operations. Cheap to clone.
#[derive(Clone)]
pub struct Ops(Arc<Inner>);

struct Inner {
    store: Option<Store>,
    node: NodeName,
    auto_ports: PortRange,
    backing: Backing,
    machine: Arc<dyn Machine>,
    turns: Mutex<HashMap<ServiceId, Arc<tokio::sync::Mutex<()>>>>,
    registries: OnceLock<Arc<dyn Registries>>,
    refusals: Refusals,
}

enum Backing {
    Live(Arc<dyn Live>),
    Direct(Box<DirectFacts>),
}

impl Ops {
    /// Operations inside a live server.
    pub fn in_server(
        store: Store,
        node: NodeName,
        auto_ports: PortRange,
        live: Arc<dyn Live>,
    ) -> Self {
        Self::new(Some(store), node, auto_ports, Backing::Live(live), Arc::new(ThisMachine))
    }

    /// Operations on the database and this machine. Without a `store` (there is no database yet)
    /// every report is empty and every change fails.
    pub fn direct(
        store: Option<Store>,
        node: NodeName,
        auto_ports: PortRange,
        facts: DirectFacts,
    ) -> Self {
        let backing = Backing::Direct(Box::new(facts));
        Self::new(store, node, auto_ports, backing, Arc::new(ThisMachine))
    }

    fn new(
        store: Option<Store>,
        node: NodeName,
        auto_ports: PortRange,
        backing: Backing,
        machine: Arc<dyn Machine>,
    ) -> Self {
        let (turns, refusals, registries) =
            (Mutex::default(), Refusals::default(), OnceLock::new());
        Self(Arc::new(Inner {
            store,
            node,
            auto_ports,
            backing,
            machine,
            turns,
            refusals,
            registries,
        }))
    }

    /// The same operations on a machine made up for a test. Before they are cloned.
    #[cfg(test)]
    pub(super) fn on_machine(self, machine: Arc<dyn Machine>) -> Self {
        let Ok(inner) = Arc::try_unwrap(self.0) else { panic!("the operations are shared") };
        Self(Arc::new(Inner { machine, ..inner }))
    }

    /// The machine they work on.
    pub(super) fn machine(&self) -> &Arc<dyn Machine> {
        &self.0.machine
    }

    /// The same operations, which can ask registries.
    pub fn with_registries(self, registries: Arc<dyn Registries>) -> Self {
        // The first ones stay: they are made once, with the operations.
        let _ = self.0.registries.set(registries);
        self
    }

    pub(super) fn registries(&self) -> Option<&Arc<dyn Registries>> {
        self.0.registries.get()
    }

    /// The live server, where these operations run in one.
    pub fn live(&self) -> Option<&Arc<dyn Live>> {
        match &self.0.backing {
            Backing::Live(live) => Some(live),
            Backing::Direct(_) => None,
        }
    }

    pub(super) fn direct_facts(&self) -> Option<&DirectFacts> {
        match &self.0.backing {
            Backing::Live(_) => None,
            Backing::Direct(facts) => Some(facts),
        }
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// UUID of the database; `None` where there is none yet.
    pub fn database_uuid(&self) -> Option<&str> {
        self.0.store.as_ref().map(Store::uuid)
    }

    pub(super) fn node(&self) -> &NodeName {
        &self.0.node
    }

    pub(super) fn auto_ports(&self) -> PortRange {
        self.0.auto_ports
    }

    pub(super) fn reading_store(&self) -> Option<&Store> {
        self.0.store.as_ref()
    }

    /// The store to change, unless the server is leaving.
    pub(super) fn store(&self) -> Result<&Store, Fault> {
        if let Some(live) = self.live() {
            let phase = live.phase();
            if phase != Phase::Ready {
                let message = text::ops::server_not_ready(phase);
                return Err(Fault::new(FaultKind::Unavailable, message));
            }
        }
        let absent = || Fault::new(FaultKind::Unavailable, text::ops::no_database());
        self.0.store.as_ref().ok_or_else(absent)
    }

    pub(super) fn source(&self) -> Source {
        match self.0.backing {
            Backing::Live(_) => Source::Server,
            Backing::Direct(_) => Source::Database,
        }
    }

    pub(super) fn applied(&self) -> Applied {
        match self.0.backing {
            Backing::Live(_) => Applied::Live,
            Backing::Direct(_) => Applied::Desired,
        }
    }

    /// Waits for this caller's turn with one service: two changes of one service follow each other,
    /// changes of different services don't wait.
    pub(super) async fn turn(&self, id: ServiceId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody holds or awaits a turn whose only owner is the map.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(id).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Turns with several services, taken in the order of their ids so that two bulk changes never
    /// wait for each other.
    pub(super) async fn turns(
        &self,
        ids: impl Iterator<Item = ServiceId>,
    ) -> Vec<OwnedMutexGuard<()>> {
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let mut held = Vec::with_capacity(ids.len());
        for id in ids {
            held.push(self.turn(id).await);
        }
        held
    }

    pub(super) fn now(&self) -> Timestamp {
        clock::now()
    }

    /// Tells whoever follows the events how far they go now.
    pub async fn events_appended(&self) {
        let (Some(live), Some(store)) = (self.live(), self.reading_store()) else { return };
        // A failed look is made up for by the next one: the signal only wakes.
        if let Ok(newest) = store.last_event_id().await {
            live.events_reach(newest);
        }
    }
}

/// An event that went as asked.
pub(super) fn done(
    at: Timestamp,
    action: EventAction,
    subject: impl ToString,
    actor: &Actor,
    detail: Message,
) -> NewEvent {
    let (subject, actor) = (subject.to_string(), actor.clone());
    NewEvent { at, action, subject, actor, outcome: Outcome::Ok, detail: Some(detail) }
}

/// An event that did not.
pub(super) fn failed(
    at: Timestamp,
    action: EventAction,
    subject: impl ToString,
    actor: &Actor,
    fault: &Fault,
) -> NewEvent {
    let event = done(at, action, subject, actor, fault.message.clone());
    NewEvent { outcome: Outcome::Failed, ..event }
}
