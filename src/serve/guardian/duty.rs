//! What is done after a server that died: the same as `pmctl cleanup`, by nobody's order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::charge::Charge;
use crate::eureka::{CALL, HttpRegistries};
use crate::host;
use crate::model::{Actor, CleanupRequest, Fault, FaultKind, KillRequest, NodeName, ServerState};
use crate::ops::{DirectFacts, Ops, store_fault};
use crate::store::{
    Acquired, HolderKind, Location, LockHolder, OwnerLock, Store, StoreError, WriterLock,
};
use crate::text;

/// All of it, from the server's death.
const LONGEST: Duration = Duration::from_secs(15);

/// For the dying server to let go of its lock, and for another repair to end.
const LOCK: Duration = Duration::from_secs(5);

/// Between two tries at the lock: the first ones come while the kernel still closes what the server
/// had open.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Between two tries where the disk is full, read-only or fails.
const AGAIN: Duration = Duration::from_millis(500);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All that the server left was put right, or there was nothing.
    Done,
    /// It is another's to do: a server that has started meanwhile, a repair that goes on.
    NotOurs,
}

/// Puts right what the server of `charge` left, within 15 s, and removes what it made for itself. The server is dead, or about to be; while
/// it holds its lock nothing is touched.
///
/// # Errors
/// What the store says: a newer schema, a full disk. `Timeout` when the time is up; the next start or
/// `pmctl cleanup` does the rest.
pub fn take_over(charge: &Charge) -> Result<Taken, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Fault::caused(FaultKind::Internal, text::backend::runtime_failed(), &error)
    })?;
    let done = runtime.block_on(clean_within(charge));
    runtime.shutdown_background();
    if let Some(scratch) = &charge.scratch
        && let Err(error) = std::fs::remove_dir_all(scratch)
    {
        tracing::warn!(directory = %scratch.display(), %error, "the demo's directory stays");
    }
    done
}

/// Tries until it is done, nothing is to be hoped for, or the time is up.
async fn clean_within(charge: &Charge) -> Result<Taken, Fault> {
    let deadline = tokio::time::Instant::now() + LONGEST;
    loop {
        let Ok(done) = tokio::time::timeout_at(deadline, clean(charge)).await else {
            return Err(Fault::new(FaultKind::Timeout, text::guardian::guardian_late()));
        };
        match done {
            // A disk may have room again in a moment.
            Err(Failed::Storage(fault)) if tokio::time::Instant::now() + AGAIN < deadline => {
                tracing::warn!("{fault}; it is tried again");
                tokio::time::sleep(AGAIN).await;
            }
            done => return done.map_err(Failed::into_fault),
        }
    }
}

/// Why it could not be done.
enum Failed {
    /// The disk is full, read-only or fails.
    Storage(Fault),
    /// Anything else.
    Other(Fault),
}

impl Failed {
    fn into_fault(self) -> Fault {
        match self {
            Self::Storage(fault) | Self::Other(fault) => fault,
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        let of_storage = matches!(
            error,
            StoreError::DiskFull { .. } | StoreError::ReadOnly { .. } | StoreError::Io { .. }
        );
        let fault = store_fault(error);
        if of_storage { Self::Storage(fault) } else { Self::Other(fault) }
    }
}

async fn clean(charge: &Charge) -> Result<Taken, Failed> {
    let location = Location::from_url(&charge.database_url)?;
    let Some((node, port_range)) = charge.names() else { return Ok(Taken::NotOurs) };
    let Some(_lock) = lock(charge, &location, &node).await? else { return Ok(Taken::NotOurs) };
    let _writer = WriterLock::acquire(&location, charge.patience).await?;
    // Neither makes nor migrates: a database of another version is another's to repair.
    let store = match Store::open_for_writing(&location).await {
        Err(StoreError::NoDatabase { .. }) => return Ok(Taken::Done),
        opened => opened?,
    };
    let facts = DirectFacts::by_the_lock(&node, &location, ServerState::Down, None);
    let ops = Ops::direct(Some(store.clone()), node, port_range, facts);
    let ops = match HttpRegistries::new(&charge.registries(), charge.registry_ca.as_deref(), CALL) {
        Ok(registries) => ops.with_registries(Arc::new(registries)),
        // The rows are put right all the same.
        Err(error) => {
            tracing::warn!(%error, "the registry is not asked");
            ops
        }
    };
    let request =
        CleanupRequest { dry_run: false, force: false, grace: KillRequest::DEFAULT_GRACE };
    // What it says of a full disk names no kind of its own; to do it again is harmless.
    let cleaned = ops.cleanup(&request, &Actor::Guardian, &|_| ()).await;
    let report = cleaned.map_err(Failed::Storage)?;
    tracing::info!(server = charge.server.pid, "{}", report.message);
    store.close().await?;
    Ok(Taken::Done)
}

/// The owner's lock, as soon as the dead server has let go of it. `None` where it is another's.
async fn lock(
    charge: &Charge,
    location: &Location,
    node: &NodeName,
) -> Result<Option<OwnerLock>, Failed> {
    let identity = host::own_identity().map_err(|error| {
        let message = text::serve::own_identity_unknown();
        Failed::Other(Fault::caused(FaultKind::Internal, message, &error))
    })?;
    let holder = LockHolder {
        kind: HolderKind::Repair,
        identity,
        node: node.clone(),
        url: None,
        phase: None,
        shutdown_timeout: None,
    };
    let (deadline, mut pause) = (Instant::now() + LOCK, SHORTEST_PAUSE);
    loop {
        // Taking the lock would make the directory anew.
        if !location.exists() {
            return Ok(None);
        }
        let acquired = OwnerLock::try_acquire(location, holder.clone(), host::is_alive);
        match acquired? {
            Acquired::Lock(lock) => return Ok(Some(lock)),
            Acquired::Held(Some(other)) if is_another_server(&other, charge) => return Ok(None),
            Acquired::Held(_) if Instant::now() >= deadline => return Ok(None),
            Acquired::Held(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether it is a server that has begun since, which has put the rows right by itself.
fn is_another_server(holder: &LockHolder, charge: &Charge) -> bool {
    holder.kind == HolderKind::Serve
        && holder.identity != charge.server
        && host::is_alive(&holder.identity)
}
