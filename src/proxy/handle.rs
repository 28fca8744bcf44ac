//! A running proxy: what its workers share, and the handle others hold of it.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use slab::Slab;
use tokio::sync::{Notify, watch};

use super::balance::Balancer;
use super::counters::{CounterShard, LatencyHistogram};
use super::drain::{DrainControl, DrainReport};
use super::fault::{Faults, ProxyFault};
use super::limits::Limits;
use super::plane::WorkerHandle;
use super::route::Route;
use super::table::{ConnectionView, Entry, lock};
use crate::model::{Counters, Cut, ServiceId, ServiceName, TargetUrl};

/// What a proxy serves.
#[derive(Clone, Debug)]
pub struct ProxySpec {
    /// Key of the service.
    pub id: ServiceId,
    /// Name of the service, for answers, listings and logs.
    pub name: ServiceName,
    /// Where requests go at first.
    pub route: Route,
}

/// How far a proxy is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ProxyPhase {
    /// Accepts connections.
    Running,
    /// Accepts none, finishes the open ones.
    Draining,
    /// Its listeners and connections are closed.
    Stopped,
}

/// One worker's part of a proxy.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) counters: CounterShard,
    pub(super) table: Mutex<Slab<Arc<Entry>>>,
}

/// What the workers and the handles of one proxy share.
pub(super) struct Proxy {
    pub(super) id: ServiceId,
    pub(super) name: ServiceName,
    pub(super) limits: Arc<Limits>,
    pub(super) route: ArcSwap<Route>,
    /// By worker.
    pub(super) shards: Box<[Shard]>,
    pub(super) workers: Arc<[WorkerHandle]>,
    /// Living connection guards.
    pub(super) connections: AtomicUsize,
    /// Living connections to targets, the pooled ones included.
    pub(super) upstreams: AtomicUsize,
    phase: AtomicU8,
    pub(super) drain: Mutex<DrainControl>,
    /// Told while draining: something ended, or the drain's terms changed.
    pub(super) progress: Notify,
    pub(super) report: watch::Sender<Option<Arc<DrainReport>>>,
    closed: Mutex<bool>,
    closed_changed: Condvar,
    faults: Option<Faults>,
}

impl Proxy {
    pub(super) fn new(
        spec: ProxySpec,
        limits: Arc<Limits>,
        workers: Arc<[WorkerHandle]>,
        faults: Option<Faults>,
    ) -> Self {
        Self {
            id: spec.id,
            name: spec.name,
            limits,
            route: ArcSwap::from_pointee(spec.route),
            shards: workers.iter().map(|_| Shard::default()).collect(),
            workers,
            connections: AtomicUsize::new(0),
            upstreams: AtomicUsize::new(0),
            phase: AtomicU8::new(ProxyPhase::Running as u8),
            drain: Mutex::default(),
            progress: Notify::new(),
            report: watch::Sender::new(None),
            closed: Mutex::new(false),
            closed_changed: Condvar::new(),
            faults,
        }
    }

    pub(super) fn phase(&self) -> ProxyPhase {
        match self.phase.load(Ordering::SeqCst) {
            0 => ProxyPhase::Running,
            1 => ProxyPhase::Draining,
            _ => ProxyPhase::Stopped,
        }
    }

    /// Moves on to `phase`; never back.
    pub(super) fn enter(&self, phase: ProxyPhase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        if phase == ProxyPhase::Stopped {
            *lock(&self.closed) = true;
            self.closed_changed.notify_all();
        }
    }

    /// Tells whoever is to hear of a defect.
    pub(super) fn tell(&self, fault: ProxyFault) {
        if let Some(faults) = &self.faults {
            faults(self.id, fault);
        }
    }

    /// Has nothing kept any more for these generations of a target.
    pub(super) fn forget(&self, generations: &[u64]) {
        for worker in &*self.workers {
            generations.iter().for_each(|generation| worker.forget(*generation));
        }
    }

    /// Something ended: a drain that waits for it looks again.
    pub(super) fn changed(&self) {
        if self.phase() != ProxyPhase::Running {
            self.progress.notify_one();
        }
    }

    /// Calls `visit` for every open connection.
    pub(super) fn each_connection(&self, mut visit: impl FnMut(&Entry)) {
        for shard in &self.shards {
            lock(&shard.table).iter().for_each(|(_, entry)| visit(entry));
        }
    }
}

/// A handle of a running proxy. Cheap to clone; dropping it stops nothing.
#[derive(Clone)]
pub struct ProxyHandle(pub(super) Arc<Proxy>);

impl ProxyHandle {
    /// The service's key.
    pub fn id(&self) -> ServiceId {
        self.0.id
    }

    /// The service's name.
    pub fn name(&self) -> &ServiceName {
        &self.0.name
    }

    /// Sends every request that begins from now on to `route`. Requests under way finish where
    /// they are; no connection is closed.
    pub fn switch(&self, route: Route) {
        let old = self.0.route.swap(Arc::new(route));
        self.0.forget(&old.generations());
    }

    /// Where requests go now.
    pub fn route(&self) -> Route {
        Route::clone(&self.0.route.load())
    }

    /// The instances that requests are spread over, where they are.
    pub fn balancer(&self) -> Option<Balancer> {
        self.0.route.load().balancer().cloned()
    }

    /// Spreads the requests that go by `balancer` over the instances at `urls` from now on. Requests
    /// under way finish where they are. Blocks: it may read a CA file.
    pub fn spread_over(&self, balancer: &Balancer, urls: &[TargetUrl]) {
        self.0.forget(&balancer.replace(urls));
    }

    /// What was counted since the proxy was spawned.
    pub fn counters(&self) -> Counters {
        let connections = self.0.connections.load(Ordering::Acquire);
        let mut sum = Counters {
            connections: u64::try_from(connections).unwrap_or(u64::MAX),
            ..Counters::default()
        };
        self.0.shards.iter().for_each(|shard| shard.counters.add_to(&mut sum));
        sum
    }

    /// How long requests took since the proxy was spawned.
    pub fn latency(&self) -> LatencyHistogram {
        let mut sum = LatencyHistogram::default();
        self.0.shards.iter().for_each(|shard| shard.counters.add_latency_to(&mut sum));
        sum
    }

    /// The open client connections.
    pub fn connections(&self) -> Vec<ConnectionView> {
        let mut views = Vec::new();
        self.0.each_connection(|entry| views.push(entry.view()));
        views
    }

    /// How far it is in its life.
    pub fn phase(&self) -> ProxyPhase {
        self.0.phase()
    }

    /// Stops the proxy in order: takes no new connection, answers every request whose bytes are
    /// here, closes what is idle or has only half a head at once, lets requests and tunnels go on
    /// until `bound` has passed from now, then cuts and lists them. Ready when listeners and
    /// connections are really closed.
    ///
    /// May be awaited on any runtime, by several callers: all get the same report, and the
    /// earliest bound of all holds. It goes on when this future is dropped.
    pub async fn drain(&self, bound: Duration) -> DrainReport {
        self.0.order_drain(Instant::now().checked_add(bound));
        let mut report = self.0.report.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail before there is a report.
        match report.wait_for(Option::is_some).await {
            Ok(report) => report.as_deref().cloned().unwrap_or_default(),
            Err(_) => DrainReport::default(),
        }
    }

    /// Begins what [`ProxyHandle::drain`] awaits, without waiting for it.
    pub fn begin_drain(&self, bound: Duration) {
        self.0.order_drain(Instant::now().checked_add(bound));
    }

    /// Tells every listener and connection to close at once and returns what is lost by that (what
    /// a drain has listed before is not listed again). Waits for nothing and needs no runtime: the
    /// workers close their sockets themselves; see [`ProxyHandle::wait_closed`].
    pub fn cut_now(&self) -> Vec<Cut> {
        self.0.order_cut()
    }

    /// Blocks this thread until everything is closed, at most for `bound`; whether it is. For the
    /// forced end of a process, from a thread that is nobody's runtime.
    pub fn wait_closed(&self, bound: Duration) -> bool {
        let guard = lock(&self.0.closed);
        let waited = self.0.closed_changed.wait_timeout_while(guard, bound, |closed| !*closed);
        match waited {
            Ok((closed, _)) => *closed,
            Err(poisoned) => *poisoned.into_inner().0,
        }
    }
}
