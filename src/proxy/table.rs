//! The connections that are open: each is a guard, so their number is the number of living guards.
//!
//! An entry is listing, counter and cancel handle at once. It is written by the worker that owns
//! the connection and read by any thread.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use http::Method;

use super::handle::Proxy;
use crate::model::{Cut, ServiceName};

/// What a client connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectionState {
    /// Accepted, no byte of a request yet.
    Fresh,
    /// Part of a request's head is here.
    HalfHead,
    /// At least one request is being answered.
    InFlight,
    /// Answered at least one request and waits for the next.
    Idle,
    /// Upgraded.
    Tunnel,
}

impl ConnectionState {
    const ALL: [Self; 5] = [Self::Fresh, Self::HalfHead, Self::InFlight, Self::Idle, Self::Tunnel];
}

/// A request or tunnel under way, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeView {
    /// An upgraded connection rather than a request.
    pub tunnel: bool,
    /// Method and path without query.
    pub request: String,
    /// How long ago it began.
    pub age: Duration,
    /// Body bytes both ways so far.
    pub bytes: u64,
}

/// A client connection, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Client address.
    pub peer: SocketAddr,
    /// What it is at.
    pub state: ConnectionState,
    /// Requests begun on it.
    pub requests: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// How long ago it was accepted.
    pub age: Duration,
    /// Requests and tunnels under way; more than one only over HTTP/2 or pipelined.
    pub under_way: Vec<ExchangeView>,
}

/// What a connection was told from outside, in ascending order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// Go on.
    Run,
    /// Answer what is here, then close.
    Drain,
    /// Close at once.
    Cut,
}

/// The request or tunnel that a connection is busy with.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    /// Without the query, which may hold secrets; a copy, so that a long tunnel does not keep the
    /// buffer its head was read into.
    pub(super) path: Box<str>,
    pub(super) since: Instant,
    pub(super) tunnel: AtomicBool,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    /// The target takes the request's body faster than the client sends it.
    pub(super) awaits_client: AtomicBool,
    /// The request's body broke off or was framed wrongly: the client's fault, not the target's.
    pub(super) body_broken: AtomicBool,
    /// Listed as cut: its end does not count as finished.
    pub(super) cut: AtomicBool,
}

impl Exchange {
    pub(super) fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.into(),
            since: Instant::now(),
            tunnel: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            awaits_client: AtomicBool::new(false),
            body_broken: AtomicBool::new(false),
            cut: AtomicBool::new(false),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed) + self.bytes_out.load(Ordering::Relaxed)
    }

    fn request(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn view(&self) -> ExchangeView {
        ExchangeView {
            tunnel: self.tunnel.load(Ordering::Relaxed),
            request: self.request(),
            age: self.since.elapsed(),
            bytes: self.bytes(),
        }
    }
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) peer: SocketAddr,
    opened: Instant,
    state: AtomicU8,
    requests: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
    under_way: Mutex<Vec<Arc<Exchange>>>,
}

/// Locks `mutex`. What it guards here is whole after every statement, so a panic elsewhere while
/// it was held is no reason to give up.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            opened: Instant::now(),
            state: AtomicU8::new(ConnectionState::Fresh as u8),
            requests: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            order: AtomicU8::new(Order::Run as u8),
            waker: AtomicWaker::new(),
            under_way: Mutex::default(),
        }
    }

    /// What it was told. `waker` is woken when that changes.
    pub(super) fn order(&self, waker: &std::task::Waker) -> Order {
        self.waker.register(waker);
        self.current_order()
    }

    /// What it was told, for whoever is woken by another.
    pub(super) fn current_order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Run,
            1 => Order::Drain,
            _ => Order::Cut,
        }
    }

    /// Tells it something from any thread; never takes back a more urgent order.
    pub(super) fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    pub(super) fn set_state(&self, state: ConnectionState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> ConnectionState {
        let state = usize::from(self.state.load(Ordering::Relaxed));
        ConnectionState::ALL.get(state).copied().unwrap_or(ConnectionState::Idle)
    }

    pub(super) fn came_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn went_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn begin(&self, exchange: Arc<Exchange>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        lock(&self.under_way).push(exchange);
    }

    pub(super) fn end(&self, exchange: &Arc<Exchange>) {
        let mut under_way = lock(&self.under_way);
        if let Some(at) = under_way.iter().position(|other| Arc::ptr_eq(other, exchange)) {
            under_way.swap_remove(at);
        }
    }

    pub(super) fn view(&self) -> ConnectionView {
        ConnectionView {
            peer: self.peer,
            state: self.state(),
            requests: self.requests.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            age: self.opened.elapsed(),
            under_way: lock(&self.under_way).iter().map(|exchange| exchange.view()).collect(),
        }
    }

    /// What is lost when this connection is closed now. Each loss is told once, to whoever asks
    /// first.
    pub(super) fn losses(&self, service: &ServiceName) -> Vec<Cut> {
        let under_way = lock(&self.under_way);
        let new = under_way.iter().filter(|e| !e.cut.swap(true, Ordering::AcqRel));
        new.map(|exchange| Cut {
            service: service.clone(),
            peer: self.peer.to_string(),
            kind: match exchange.tunnel.load(Ordering::Relaxed) {
                true => "tunnel".to_owned(),
                false => "request".to_owned(),
            },
            request: exchange.request(),
            age_ms: super::timer::millis(exchange.since.elapsed()),
            bytes: exchange.bytes(),
        })
        .collect()
    }
}

/// Holds a client connection in the table, from `accept` until its socket is closed. Whoever holds
/// it drops the socket first.
pub(super) struct ConnectionGuard {
    pub(super) proxy: Arc<Proxy>,
    pub(super) entry: Arc<Entry>,
    worker: usize,
    key: usize,
}

impl ConnectionGuard {
    /// Enters a connection of `peer` that `worker` is to serve.
    pub(super) fn enter(proxy: &Arc<Proxy>, worker: usize, peer: SocketAddr) -> Self {
        let entry = Arc::new(Entry::new(peer));
        let shard = &proxy.shards[worker];
        let key = lock(&shard.table).insert(Arc::clone(&entry));
        shard.counters.accepted();
        proxy.connections.fetch_add(1, Ordering::AcqRel);
        proxy.workers[worker].load.fetch_add(1, Ordering::Relaxed);
        // Entered first, asked afterwards: a drain that began in between has either seen the entry
        // or is seen here.
        if proxy.phase() != super::handle::ProxyPhase::Running {
            entry.tell(Order::Drain);
        }
        Self { proxy: Arc::clone(proxy), entry, worker, key }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let removed = lock(&self.proxy.shards[self.worker].table).try_remove(self.key);
        drop(removed);
        self.proxy.workers[self.worker].load.fetch_sub(1, Ordering::Relaxed);
        self.proxy.connections.fetch_sub(1, Ordering::AcqRel);
        self.proxy.changed();
    }
}
