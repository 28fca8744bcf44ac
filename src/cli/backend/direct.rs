//! Working on the database itself.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Settings;
use crate::eureka::{CALL, HttpRegistries};
use crate::host;
use crate::model::{Fault, FaultKind, ServerState};
use crate::ops::{DirectFacts, Ops, store_fault};
use crate::store::{
    Acquired, HolderKind, Location, LockHolder, Owner, OwnerLock, Store, StoreError, WriterLock,
};
use crate::text;

/// The operations without a server. A writer keeps the writers' lock for as long as this lives.
pub(in crate::cli) struct Direct {
    pub(in crate::cli) ops: Ops,
    _writer: Option<WriterLock>,
}

impl Direct {
    /// For reading: creates nothing, waits for nobody.
    pub(super) async fn reader(
        settings: &Settings,
        location: &Location,
        owner: &Owner,
        state: ServerState,
    ) -> Result<Self, Fault> {
        let store = Store::open_for_reading(location).await.map_err(store_fault)?;
        Ok(Self {
            ops: ops(settings, facts(settings, location, owner, state), store),
            _writer: None,
        })
    }

    /// For writing, with the writers' lock held. `None` if a server has taken the database
    /// meanwhile: it has to be asked then.
    pub(super) async fn writer(
        settings: &Settings,
        location: &Location,
        wait: Duration,
    ) -> Result<Option<Self>, Fault> {
        let writer = WriterLock::acquire(location, wait).await.map_err(store_fault)?;
        let owner = crate::store::owner(location, &settings.node_name, host::is_alive)
            .map_err(store_fault)?;
        if owner != Owner::Free {
            return Ok(None);
        }
        let store = match Store::open_for_writing(location).await {
            Err(StoreError::NoDatabase { .. } | StoreError::SchemaOld { .. }) => {
                if !make(settings, location).await? {
                    return Ok(None);
                }
                Store::open_for_writing(location).await
            }
            other => other,
        };
        let store = store.map_err(store_fault)?;
        let facts = facts(settings, location, &owner, ServerState::Down);
        let ops = ops(settings, facts, Some(store));
        Ok(Some(Self { ops, _writer: Some(writer) }))
    }

    /// For freeing ports, whoever owns the database: it is only read, and appended to unless nothing
    /// is to be done. Ports are freed without one, too, if none can be had.
    pub(super) async fn freer(
        settings: &Settings,
        location: &Location,
        facts: DirectFacts,
        dry_run: bool,
    ) -> Self {
        let store = match dry_run {
            true => None,
            false => recorder(settings, location).await,
        };
        let store = match store {
            Some(store) => Some(store),
            None => Store::open_for_reading(location).await.ok().flatten(),
        };
        Self { ops: ops(settings, facts, store), _writer: None }
    }
}

/// Working as the owner of the database, to put right what an unclean end left.
pub(in crate::cli) struct Repair {
    pub(in crate::cli) direct: Direct,
    store: Store,
    _lock: OwnerLock,
}

impl Repair {
    /// Takes the owner's lock and keeps direct writers out, who are waited for up to `--timeout`.
    /// `None` if somebody else has the lock.
    pub(in crate::cli) async fn begin(
        settings: &Settings,
        location: &Location,
    ) -> Result<Option<Self>, Fault> {
        let Some(lock) = own(settings, location, HolderKind::Repair)? else { return Ok(None) };
        let writer = WriterLock::acquire(location, settings.timeout).await.map_err(store_fault)?;
        let store = Store::open_as_owner(location, &lock).await.map_err(store_fault)?;
        let facts = facts(settings, location, &Owner::Free, ServerState::Down);
        let ops = ops(settings, facts, Some(store.clone()));
        let direct = Direct { ops, _writer: Some(writer) };
        Ok(Some(Self { direct, store, _lock: lock }))
    }

    /// Closes the database and lets go of the lock.
    pub(in crate::cli) async fn end(self) -> Result<(), Fault> {
        self.store.close().await.map_err(store_fault)
    }
}

/// The owner's lock for something else than serving; `None` if somebody has it.
fn own(
    settings: &Settings,
    location: &Location,
    kind: HolderKind,
) -> Result<Option<OwnerLock>, Fault> {
    let identity = host::own_identity().map_err(|error| {
        Fault::caused(FaultKind::Internal, text::serve::own_identity_unknown(), &error)
    })?;
    let holder = LockHolder {
        kind,
        identity,
        node: settings.node_name.clone(),
        url: None,
        phase: None,
        shutdown_timeout: None,
    };
    let acquired = OwnerLock::try_acquire(location, holder, host::is_alive);
    Ok(match acquired.map_err(store_fault)? {
        Acquired::Lock(lock) => Some(lock),
        Acquired::Held(_) => None,
    })
}

/// A store that takes events. One that does not exist yet is created if nobody owns it.
async fn recorder(settings: &Settings, location: &Location) -> Option<Store> {
    match Store::open_for_writing(location).await {
        Ok(store) => return Some(store),
        Err(StoreError::NoDatabase { .. } | StoreError::SchemaOld { .. }) => {}
        Err(_) => return None,
    }
    let _writer = WriterLock::acquire(location, settings.timeout).await.ok()?;
    // Where somebody else became the owner, that one makes it.
    make(settings, location).await.ok()?;
    Store::open_for_writing(location).await.ok()
}

/// Creates the database or brings its schema up to date, which only the owner may do. False if
/// somebody else became the owner first.
async fn make(settings: &Settings, location: &Location) -> Result<bool, Fault> {
    let Some(lock) = own(settings, location, HolderKind::Migration)? else { return Ok(false) };
    let store = Store::open_as_owner(location, &lock).await.map_err(store_fault)?;
    store.close().await.map_err(store_fault)?;
    Ok(true)
}

/// What is known of the server without asking it.
pub(super) fn facts(
    settings: &Settings,
    location: &Location,
    owner: &Owner,
    state: ServerState,
) -> DirectFacts {
    let holder = match owner {
        Owner::Held(Some(holder)) => Some(holder),
        Owner::Held(None) | Owner::Free => None,
    };
    DirectFacts::by_the_lock(&settings.node_name, location, state, holder)
}

fn ops(settings: &Settings, facts: DirectFacts, store: Option<Store>) -> Ops {
    let ops = Ops::direct(store, settings.node_name.clone(), settings.port_range, facts);
    let eureka = &settings.eureka;
    match HttpRegistries::new(&eureka.urls, eureka.ca_file.as_deref(), CALL) {
        Ok(registries) => ops.with_registries(Arc::new(registries)),
        // What the database says of leases is told all the same.
        Err(error) => {
            tracing::warn!(%error, "the registry is not asked");
            ops
        }
    }
}
