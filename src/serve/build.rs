//! Everything a server needs before it is one: lock, database, recovery, control address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::{ControlTls, ControlToken, introduction};
use super::control::{ControlBindError, ControlListener};
use super::demo::DemoPlan;
use super::directory::Directory;
use super::faults::ProxyFaults;
use super::guardian::{Charge, Guarded, Guardian};
use super::heartbeats::{Heartbeats, Plan};
use super::proxies::Proxies;
use super::refusals::TellRefusals;
use super::server::{Parts, Server};
use crate::config::{AccessSettings, LimitSettings, OnConflict, OnHang, Settings};
use crate::eureka::{CALL, HttpRegistries, NodeMark, Registries};
use crate::host::{self, clock};
use crate::lifecycle::Stop;
use crate::model::{
    Actor, Fault, FaultKind, NodeName, Phase, ProcessIdentity, RegistryUrl, ServerState, ServerView,
};
use crate::ops::{Ops, repair_rows, store_fault, taken_address_fault};
use crate::proxy::{Control, Faults, Limits, Plane, PlaneSettings, WireLimits};
use crate::store::{
    Acquired, HolderKind, Location, LockHolder, NodeId, NodeRow, OwnerLock, Store, WriterLock,
};
use crate::text::{self, Lang, Message};

/// How long a repair by another process is waited for before the start is refused.
const REPAIR_WAIT: Duration = Duration::from_secs(15);

/// Between two looks at a lock that a repair holds.
const LOOK: Duration = Duration::from_millis(50);

/// Descriptors kept free for the control plane, the database, locks and logs; a quarter of them all
/// where that is less.
const DESCRIPTOR_RESERVE: u64 = 256;

/// Ports after a taken control port that a demo tries.
const DEMO_TRIES: u16 = 100;

/// A server that stands but does not serve yet. Dropping it gives everything back.
pub struct Prepared {
    pub(super) server: Arc<Server>,
    pub(super) ops: Ops,
    pub(super) store: Store,
    pub(super) location: Location,
    pub(super) node: NodeName,
    // Goes before the lock: the next server's token file is not this one's to remove.
    pub(super) token: ControlToken,
    pub(super) access: AccessSettings,
    pub(super) lock: OwnerLock,
    pub(super) writer: WriterLock,
    /// `None` once it is served.
    pub(super) control: Option<ControlListener>,
    pub(super) stop: Stop,
    pub(super) shutdown_timeout: Duration,
    pub(super) sync_interval: Duration,
    pub(super) fetch_interval: Duration,
    pub(super) heartbeat_timeout: Duration,
    pub(super) lame_duck: Duration,
    pub(super) lang: Lang,
    pub(super) demo: Option<DemoPlan>,
    pub(super) demo_notes: Vec<Message>,
    /// The registry, for the demo.
    pub(super) registry_url: Option<RegistryUrl>,
    pub(super) attention: Vec<Message>,
    pub(super) on_conflict: OnConflict,
    pub(super) on_hang: OnHang,
    /// Servers of this node that never said goodbye, as they stood in the rows.
    pub(super) unclean: Vec<ProcessIdentity>,
}

/// Takes the owner's lock, opens and migrates the database, puts right what a dead server left,
/// binds the control address. A failure gives everything back and changes nothing that lasts. `None`
/// if a stop was asked for while another process held a lock.
pub async fn prepare(
    settings: &Settings,
    mut demo: Option<DemoPlan>,
    guarded: Guarded,
    stop: Stop,
) -> Result<Option<Prepared>, Fault> {
    let listen = settings.serve.listen;
    let access = &settings.serve.access;
    let tls = ControlTls::of(access.tls.as_ref())?;
    if tls.is_none() && !listen.ip().to_canonical().is_loopback() {
        return Err(Fault::usage(text::access::listen_without_tls("--listen", listen)));
    }
    let introduce = introduction(access)?;
    let descriptors = Descriptors::share(host::raise_descriptor_limit().map(|limit| limit.now));
    let location = Location::from_url(&settings.database_url).map_err(store_fault)?;
    let node = settings.node_name.clone();
    let mut stopping = stop.watch();
    let mut lock = tokio::select! {
        biased;
        lock = own(&location, &node, settings.serve.shutdown_timeout) => lock?,
        () = stopping.stopping() => return Ok(None),
    };
    let started_at = clock::now();
    // Before the database is touched: where this fails, nothing was made or repaired.
    let mut demo_notes = demo.as_mut().map(DemoPlan::take_notes).unwrap_or_default();
    let control = bind_control(listen, demo.is_some(), &mut demo_notes).await?;
    let control = control.with(introduce, tls.as_ref().map(|tls| tls.acceptor.clone()));
    let store = Store::open_as_owner(&location, &lock).await.map_err(store_fault)?;
    // Direct writers wait until the rows they change are read and served: none falls between.
    let writer = tokio::select! {
        biased;
        writer = WriterLock::acquire(&location, settings.timeout) => writer.map_err(store_fault)?,
        () = stopping.stopping() => {
            store.close().await.map_err(store_fault)?;
            return Ok(None);
        }
    };
    // The lock is ours: whoever never said goodbye is gone, or has lost it.
    let unclean = repair_rows(&store, &node, &Actor::Server, clock::now()).await?;
    // Before the URL is known to anyone: whoever finds the server finds its token.
    let token = ControlToken::prepare(settings, &location, &node, tls.as_ref())?;
    let url = control.url();
    lock.set_url(&url).map_err(store_fault)?;

    let refusals = TellRefusals::default();
    let faults = ProxyFaults::default();
    let told = refusals.control(control.address());
    let plane = start_plane(settings, &descriptors, faults.hear(), told)?;
    let identity = lock.holder().identity.clone();
    let row = NodeRow {
        name: node.clone(),
        host: host::hostname(),
        identity: identity.clone(),
        exe: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pmctl")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
    };
    // From the first row on, somebody is there who can put it right.
    let guardian = Guardian::start(guarded, || {
        let scratch = demo.as_ref().map(|demo| demo.directory().to_owned());
        Charge::new(settings, identity.clone()).with_scratch(scratch)
    });
    let node_id = store.start_node(row).await.map_err(store_fault)?;
    store.set_control_url(node_id, &url).await.map_err(store_fault)?;

    let view = ServerView {
        state: ServerState::Starting,
        pid: Some(identity.pid),
        url: Some(url),
        node: node.to_string(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        started_at: Some(started_at),
        database: location.url(),
        database_uuid: Some(store.uuid().to_owned()),
    };
    let serve = &settings.serve;
    let registries = registries(settings)?;
    let heartbeats = heartbeats(settings, &store, node_id, registries.as_ref());
    let directory = Directory::new(registries.configured());
    let proxies = Proxies::new(plane, control.address(), descriptors.listeners);
    let server = Arc::new(Server::new(
        node_id,
        view,
        Parts { proxies, heartbeats, directory, guardian, faults },
        stop.clone(),
        serve.service_timeout,
        started_at,
    ));
    let ops = Ops::in_server(store.clone(), node.clone(), settings.port_range, server.clone())
        .with_registries(registries);
    refusals.to(&ops);
    let services = store.services(&node).await.map_err(store_fault)?.len() as u64;
    let mut attention = Vec::new();
    // Two sockets a service where both address families are listened on, a pair a connection.
    let needed = services * 2 + DESCRIPTOR_RESERVE;
    if let Some(short) = descriptors.total.filter(|total| *total < needed) {
        attention.push(text::serve::descriptors_short(short, services, needed));
    }
    Ok(Some(Prepared {
        server,
        ops,
        store,
        location,
        node,
        token,
        access: access.clone(),
        lock,
        writer,
        control: Some(control),
        stop,
        shutdown_timeout: serve.shutdown_timeout,
        sync_interval: serve.sync_interval,
        fetch_interval: settings.eureka.fetch_interval,
        heartbeat_timeout: serve.heartbeat_timeout,
        lame_duck: serve.lame_duck,
        lang: settings.lang,
        demo,
        demo_notes,
        registry_url: settings.eureka.urls.first().cloned(),
        attention,
        on_conflict: serve.on_conflict,
        on_hang: serve.on_hang,
        unclean: unclean.into_iter().map(|node| node.row.identity).collect(),
    }))
}

/// What registries are asked through.
fn registries(settings: &Settings) -> Result<Arc<dyn Registries>, Fault> {
    let eureka = &settings.eureka;
    match HttpRegistries::new(&eureka.urls, eureka.ca_file.as_deref(), CALL) {
        Ok(registries) => Ok(Arc::new(registries)),
        Err(error) => {
            let message = text::lease::registry_client_failed();
            Err(Fault::caused(FaultKind::Precondition, message, &error))
        }
    }
}

fn heartbeats(
    settings: &Settings,
    store: &Store,
    node: NodeId,
    registries: &dyn Registries,
) -> Heartbeats {
    let plan = registries.configured().map(|registry| Plan {
        registry,
        store: store.clone(),
        node,
        mark: NodeMark::new(store.uuid(), &settings.node_name, node.0),
        settings: settings.eureka.clone(),
        timeout: settings.serve.heartbeat_timeout,
        start: Instant::now(),
    });
    Heartbeats::new(plan)
}

/// How the file descriptors of the process are shared out, so that a flood of connections or services
/// leaves the control plane and the database theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Descriptors {
    /// All of them; `None` where the platform sets no limit.
    total: Option<u64>,
    /// Listening sockets at most.
    listeners: usize,
    /// Client connections at most, each with one to its target.
    connections: usize,
    /// Pipes for long bodies at most, each of two.
    pipes: usize,
}

impl Descriptors {
    fn share(total: Option<u64>) -> Self {
        let Some(all) = total else {
            let most = usize::MAX;
            return Self { total, listeners: most, connections: most, pipes: most };
        };
        let usable = usize::try_from(all - DESCRIPTOR_RESERVE.min(all / 4)).unwrap_or(usize::MAX);
        let pipes = usable / 64;
        Self { total, listeners: usable / 2, connections: usable / 4 - pipes, pipes }
    }
}

/// The owner's lock. A live holder refuses at once; a repair is waited for.
async fn own(
    location: &Location,
    node: &NodeName,
    shutdown_timeout: Duration,
) -> Result<OwnerLock, Fault> {
    let identity = host::own_identity().map_err(|error| {
        Fault::caused(FaultKind::Internal, text::serve::own_identity_unknown(), &error)
    })?;
    let holder = LockHolder {
        kind: HolderKind::Serve,
        identity,
        node: node.clone(),
        url: None,
        phase: Some(Phase::Starting),
        shutdown_timeout: Some(shutdown_timeout),
    };
    let deadline = Instant::now() + REPAIR_WAIT;
    loop {
        let acquired = OwnerLock::try_acquire(location, holder.clone(), host::is_alive);
        match acquired.map_err(store_fault)? {
            Acquired::Lock(lock) => return Ok(lock),
            Acquired::Held(Some(other)) if other.kind == HolderKind::Serve => {
                return Err(refused(node, &other));
            }
            Acquired::Held(other) => {
                if Instant::now() >= deadline {
                    let pid = other.map_or_else(|| "?".into(), |h| h.identity.pid.to_string());
                    let message = text::serve::repair_takes_long(pid);
                    return Err(Fault::new(FaultKind::Precondition, message));
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn refused(node: &NodeName, other: &LockHolder) -> Fault {
    let url = other.url.as_deref().unwrap_or("-");
    let message = text::serve::already_served(node, other.identity.pid, url);
    Fault::new(FaultKind::Precondition, message)
}

/// The control address; a demo takes the next free port where its own is taken.
async fn bind_control(
    listen: SocketAddr,
    is_demo: bool,
    notes: &mut Vec<Message>,
) -> Result<ControlListener, Fault> {
    let failure = match ControlListener::bind(listen).await {
        Ok(listener) => return Ok(listener),
        Err(failure) => failure,
    };
    if let (ControlBindError::Taken { .. }, true) = (&failure, is_demo) {
        for port in (1..=DEMO_TRIES).filter_map(|more| listen.port().checked_add(more)) {
            let next = SocketAddr::new(listen.ip(), port);
            if let Ok(listener) = ControlListener::bind(next).await {
                // The sentence of the fault says whose it is, the note what is done instead.
                notes.push(taken_address_fault(listen).await.message);
                notes.push(text::serve::demo_control_replaced(listener.url()));
                return Ok(listener);
            }
        }
    }
    Err(match &failure {
        ControlBindError::Taken { address, .. } => taken_address_fault(*address).await,
        ControlBindError::Denied { address, .. } => {
            Fault::new(FaultKind::Denied, text::serve::control_address_denied(address))
        }
        ControlBindError::NotHere { address, .. } => {
            Fault::usage(text::ops::address_not_here(address.ip()))
        }
        ControlBindError::Other { address, .. } => {
            let message = text::serve::control_address_failed(address);
            Fault::caused(FaultKind::Internal, message, &failure)
        }
    })
}

fn start_plane(
    settings: &Settings,
    descriptors: &Descriptors,
    faults: Faults,
    control: Control,
) -> Result<Plane, Fault> {
    let plane = PlaneSettings {
        workers: settings.serve.workers,
        limits: limits(&settings.serve.limits, descriptors, settings.serve.workers),
        faults: Some(faults),
        control: Some(control),
    };
    Plane::start(plane)
        .map_err(|error| Fault::caused(FaultKind::Internal, text::serve::plane_failed(), &error))
}

fn limits(configured: &LimitSettings, descriptors: &Descriptors, workers: usize) -> Limits {
    let default = Limits::default();
    Limits {
        header_timeout: configured.header_timeout,
        connect_timeout: configured.connect_timeout,
        first_byte_timeout: configured.first_byte_timeout,
        idle_timeout: configured.idle_timeout,
        max_connections_per_service: configured.max_connections,
        max_connections: descriptors.connections,
        max_pipes: default.max_pipes.min(descriptors.pipes / workers.max(1)),
        wire: WireLimits {
            // Its upper bound is a mebibyte.
            max_head_bytes: u32::try_from(configured.max_head_bytes).unwrap_or(u32::MAX),
            ..WireLimits::default()
        },
        ..default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_connections_never_take_the_reserve() {
        for total in [0, 64, 300, 1_024, 1_048_576] {
            let share = Descriptors::share(Some(total));
            let taken = (share.listeners + 2 * (share.connections + share.pipes)) as u64;
            let reserve = DESCRIPTOR_RESERVE.min(total / 4);
            assert!(taken + reserve <= total, "{total}: {share:?}");
        }
        assert_eq!(Descriptors::share(None).connections, usize::MAX);
    }
}
