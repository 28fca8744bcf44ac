//! Connections to targets, kept by each worker for itself.
//!
//! HTTP/1.1 connections are taken last in, first out, so that the surplus of a burst grows old and
//! is swept. An HTTP/2 connection is shared by all requests of the worker. Keys are generations of
//! a target: after a switch nothing of the old one is kept.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::net::TcpStream;

use super::body::BodyError;
use super::connect::{ConnectError, Connected, Protocol, Step, UpstreamIo, Want, connect};
use super::handle::Proxy;
use super::limits::Limits;
use super::plane::Control;
use super::timer;
use super::upstream::Upstream;
use super::upstream_h1::H1Connection;
use super::upstream_h2::{H2Connection, H2Lease};
use super::upstream_raw::{RawConnection, RawLease};

/// Counts a connection to a target while it lives.
pub(super) struct UpstreamGuard {
    pub(super) proxy: Arc<Proxy>,
}

impl UpstreamGuard {
    fn new(proxy: &Arc<Proxy>) -> Self {
        proxy.upstreams.fetch_add(1, Ordering::AcqRel);
        Self { proxy: Arc::clone(proxy) }
    }
}

impl Drop for UpstreamGuard {
    fn drop(&mut self) {
        self.proxy.upstreams.fetch_sub(1, Ordering::AcqRel);
        self.proxy.changed();
    }
}

struct Idle<C> {
    connection: C,
    since: u64,
}

/// Connections that wait for a request, the one used last at the end.
type Waiting<C> = RefCell<Vec<Idle<C>>>;

/// What is kept for one generation of a target.
#[derive(Default)]
pub(super) struct Kept {
    /// Those that hyper speaks on.
    idle: Waiting<H1Connection>,
    /// Those that the own engine speaks on.
    raw: Waiting<RawConnection>,
    shared: RefCell<Option<H2Connection>>,
    /// The target was seen to speak HTTP/2: requests wait for one connection in the making instead
    /// of each making its own.
    speaks_h2: Cell<bool>,
    making: tokio::sync::Mutex<()>,
    /// The generation is over; nothing is to be kept any more.
    over: Cell<bool>,
}

/// See the module's documentation.
pub(super) struct Pool {
    kept: RefCell<HashMap<u64, Rc<Kept>>>,
    limits: Arc<Limits>,
    control: Option<Control>,
}

/// A connection taken for one request.
pub(super) enum Lease {
    /// All of it.
    H1 { connection: Box<H1Connection>, kept: Rc<Kept>, generation: u64, reused: bool },
    /// One stream of it.
    H2(H2Lease),
}

/// A connection taken by the own engine.
pub(super) enum Direct {
    /// All of it.
    Raw(RawLease),
    /// One stream of it.
    H2(H2Lease),
}

/// A new one.
enum Made {
    H1(UpstreamIo, UpstreamGuard),
    H2(H2Lease),
}

/// A connection that can wait for its next request.
trait Reusable {
    fn is_usable(&mut self) -> bool;
}

impl Reusable for H1Connection {
    fn is_usable(&mut self) -> bool {
        Self::is_usable(self)
    }
}

impl Reusable for RawConnection {
    fn is_usable(&mut self) -> bool {
        Self::is_usable(self)
    }
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckoutError {
    /// No socket.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A socket, but no HTTP on it.
    #[error("begin HTTP with the target")]
    Handshake(#[source] hyper::Error),
    /// The socket leads to where this process takes orders.
    #[error("forward to the control address")]
    Control,
}

impl Lease {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::H1 { .. } => Protocol::H1,
            Self::H2(_) => Protocol::H2,
        }
    }

    /// Whether an earlier request used the same connection.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::H1 { reused, .. } => *reused,
            Self::H2(lease) => lease.is_reused(),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::H1 { connection, .. } => connection.poll_frame(body, cx),
            Self::H2(_) => std::pin::Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Hyper))),
        }
    }

    /// Gives the connection back after the last byte of the answer. One whose request is not sent
    /// whole, or which the target closed, is dropped.
    pub(super) fn release(self) {
        let Self::H1 { mut connection, kept, generation, .. } = self else {
            return;
        };
        let proxy = Arc::clone(&connection.guard().proxy);
        if connection.is_usable() {
            kept.put(&kept.idle, &proxy, generation, *connection);
        }
    }
}

impl Pool {
    pub(super) fn new(limits: Arc<Limits>, control: Option<Control>) -> Self {
        Self { kept: RefCell::default(), limits, control }
    }

    /// What is kept for `generation`. One that is over is not begun again by a request that comes
    /// back for another connection: nobody would ever close what it leaves.
    fn kept(&self, proxy: &Proxy, generation: u64) -> Rc<Kept> {
        let mut all = self.kept.borrow_mut();
        if let Some(kept) = all.get(&generation) {
            return Rc::clone(kept);
        }
        let kept = Rc::new(Kept::default());
        // Asked before the word of its end comes, or after; never in between, for that word is
        // sent behind the change and heard on this thread.
        if proxy.route.load().has(generation) {
            all.insert(generation, Rc::clone(&kept));
        } else {
            kept.over.set(true);
        }
        kept
    }

    /// A connection to `upstream`, `fresh` or the one that was used last.
    pub(super) async fn checkout(
        &self,
        proxy: &Arc<Proxy>,
        upstream: &Upstream,
        want: Want,
        fresh: bool,
    ) -> Result<Lease, CheckoutError> {
        let generation = upstream.generation();
        let kept = self.kept(proxy, generation);
        if !fresh {
            if want == Want::Any
                && let Some(lease) = take_shared(&kept)
            {
                return Ok(Lease::H2(lease));
            }
            if let Some(connection) = take(&kept.idle) {
                let connection = Box::new(connection);
                return Ok(Lease::H1 { connection, kept, generation, reused: true });
            }
        }
        // The way of every new connection is long and rare; it does not belong into the future
        // that each request holds.
        match Box::pin(self.make(&kept, proxy, upstream, want)).await? {
            Made::H2(lease) => Ok(Lease::H2(lease)),
            Made::H1(io, guard) => {
                let made = H1Connection::new(io, guard).await.map_err(CheckoutError::Handshake)?;
                Ok(Lease::H1 { connection: Box::new(made), kept, generation, reused: false })
            }
        }
    }

    /// A connection to `upstream` that is here already, the one that was used last. Unless `is_sure`,
    /// the system is asked whether it is open: what cannot be repeated must not go where nobody is.
    pub(super) fn take_raw(
        &self,
        proxy: &Proxy,
        upstream: &Upstream,
        want: Want,
        is_sure: bool,
    ) -> Option<Direct> {
        let generation = upstream.generation();
        let kept = self.kept(proxy, generation);
        if want == Want::Any
            && let Some(lease) = take_shared(&kept)
        {
            return Some(Direct::H2(lease));
        }
        let connection = loop {
            let connection = take(&kept.raw)?;
            if is_sure || connection.is_silent() {
                break connection;
            }
        };
        Some(Direct::Raw(RawLease::new(connection, &kept, generation, true)))
    }

    /// A new connection to `upstream`.
    pub(super) async fn make_raw(
        &self,
        proxy: &Arc<Proxy>,
        upstream: &Upstream,
        want: Want,
    ) -> Result<Direct, CheckoutError> {
        let generation = upstream.generation();
        let kept = self.kept(proxy, generation);
        Ok(match self.make(&kept, proxy, upstream, want).await? {
            Made::H2(lease) => Direct::H2(lease),
            Made::H1(io, guard) => {
                let connection = RawConnection { io, guard };
                Direct::Raw(RawLease::new(connection, &kept, generation, false))
            }
        })
    }

    async fn make(
        &self,
        kept: &Kept,
        proxy: &Arc<Proxy>,
        upstream: &Upstream,
        want: Want,
    ) -> Result<Made, CheckoutError> {
        let shares = want == Want::Any && kept.speaks_h2.get();
        let bound = self.limits.connect_timeout;
        let begun = Instant::now();
        let _turn = match shares {
            // Whoever waits behind others that connect in vain waits no longer than they.
            true => match tokio::time::timeout(bound, kept.making.lock()).await {
                Ok(turn) => Some(turn),
                Err(_) => {
                    let host = upstream.url().host().to_owned();
                    let late = ConnectError::Timeout { host, step: Step::Connect, after: bound };
                    return Err(late.into());
                }
            },
            false => None,
        };
        if shares && let Some(lease) = take_shared(kept) {
            return Ok(Made::H2(lease));
        }
        let guard = UpstreamGuard::new(proxy);
        let Connected { io, protocol, peer } =
            connect(upstream, bound.saturating_sub(begun.elapsed()), want).await?;
        if let Some(control) = &self.control
            && leads_to(io.get_ref(), control.address)
        {
            (control.refused)(&proxy.name, upstream.name());
            return Err(CheckoutError::Control);
        }
        tracing::debug!(
            service = %proxy.name, target = upstream.name().as_str(), address = %peer, ?protocol,
        );
        if protocol == Protocol::H1 {
            return Ok(Made::H1(io, guard));
        }
        kept.speaks_h2.set(true);
        let made = H2Connection::new(io, guard).await.map_err(CheckoutError::Handshake)?;
        let lease = made.lease();
        // An older one lives on until its last stream has ended.
        if !kept.over.get() {
            let old = kept.shared.replace(Some(made));
            drop(old);
            timer::kick().notify_one();
        }
        Ok(Made::H2(lease))
    }

    /// Closes what is kept for `generation` and keeps nothing more for it.
    pub(super) fn forget(&self, generation: u64) {
        let kept = self.kept.borrow_mut().remove(&generation);
        if let Some(kept) = kept {
            kept.over.set(true);
            kept.clear();
        }
    }

    pub(super) fn clear(&self) {
        let kept = std::mem::take(&mut *self.kept.borrow_mut());
        kept.values().for_each(|kept| kept.clear());
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.borrow().values().all(|kept| kept.is_empty())
    }

    /// Closes what was idle for too long or was closed by its target.
    pub(super) fn sweep(&self) {
        self.sweep_connections();
        // Of a generation nothing is kept and nobody uses, not even the name.
        self.kept.borrow_mut().retain(|_, kept| Rc::strong_count(kept) > 1 || !kept.is_empty());
    }

    fn sweep_connections(&self) {
        let oldest = timer::now_ms().saturating_sub(timer::millis(self.limits.pool_idle_timeout));
        for kept in self.kept.borrow().values() {
            sweep(&kept.idle, oldest);
            sweep(&kept.raw, oldest);
            let unused = kept.shared.borrow().as_ref().is_some_and(|h2| h2.is_unused(oldest));
            if unused {
                let old = kept.shared.take();
                drop(old);
            }
        }
    }
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
            && self.raw.borrow().is_empty()
            && self.shared.borrow().is_none()
    }

    fn clear(&self) {
        let idle = (self.idle.take(), self.raw.take());
        let shared = self.shared.take();
        drop((idle, shared));
    }

    /// Keeps a connection of the own engine.
    pub(super) fn put_raw(&self, proxy: &Proxy, generation: u64, connection: RawConnection) {
        self.put(&self.raw, proxy, generation, connection);
    }

    /// Keeps `connection` in `waiting`, unless nobody needs it.
    fn put<C>(&self, waiting: &Waiting<C>, proxy: &Proxy, generation: u64, connection: C) {
        if self.over.get() || !proxy.route.load().has(generation) {
            return;
        }
        let mut waiting = waiting.borrow_mut();
        if waiting.len() < proxy.limits.pool_max_idle {
            waiting.push(Idle { connection, since: timer::now_ms() });
            if waiting.len() == 1 {
                timer::kick().notify_one();
            }
        }
    }
}

/// Closes what was kept since before `oldest`, or is of no use.
fn sweep<C: Reusable>(waiting: &Waiting<C>, oldest: u64) {
    let old = {
        let mut waiting = waiting.borrow_mut();
        let count = waiting.iter().take_while(|idle| idle.since < oldest).count();
        waiting.drain(..count).collect::<Vec<_>>()
    };
    drop(old);
    // One a beat: a target that closes idle connections is noticed within seconds.
    let dead = {
        let mut waiting = waiting.borrow_mut();
        match waiting.first_mut().is_some_and(|oldest| !oldest.connection.is_usable()) {
            true => Some(waiting.remove(0)),
            false => None,
        }
    };
    drop(dead);
}

/// Whether the other end of `socket` is `address`, by whichever name it was called.
pub(super) fn leads_to(socket: &TcpStream, address: SocketAddr) -> bool {
    let (Ok(peer), Ok(own)) = (socket.peer_addr(), socket.local_addr()) else { return false };
    let (to, from) = (peer.ip().to_canonical(), own.ip().to_canonical());
    let is_there = match address.ip() {
        // Every address of this machine is it: to reach one is to come from it, or from loopback.
        IpAddr::V4(any) if any.is_unspecified() => to.is_ipv4() && (to.is_loopback() || to == from),
        IpAddr::V6(any) if any.is_unspecified() => to.is_loopback() || to == from,
        one => to == one.to_canonical(),
    };
    is_there && peer.port() == address.port()
}

fn take_shared(kept: &Kept) -> Option<H2Lease> {
    let shared = kept.shared.borrow();
    shared.as_ref().filter(|h2| h2.is_usable()).map(H2Connection::lease)
}

/// The connection of `waiting` that was used last.
fn take<C: Reusable>(waiting: &Waiting<C>) -> Option<C> {
    loop {
        let Idle { mut connection, .. } = waiting.borrow_mut().pop()?;
        if connection.is_usable() {
            return Some(connection);
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
