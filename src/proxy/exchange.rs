//! One request and its answer, from its head to the last byte of the answer or the end of the
//! tunnel: counted, listed and logged by a guard that lives exactly that long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::{Method, StatusCode, Uri};

use super::balance::Seat;
use super::client_io::IoState;
use super::counters::CounterShard;
use super::handle::{Proxy, ProxyPhase};
use super::headers::ClientFacts;
use super::table::{Entry, Exchange, lock};
use super::tunnel::PendingTunnel;
use super::upstream::Upstream;
use super::wire::WireState;
use super::worker::Worker;

/// What the requests of one client connection share.
pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) entry: Arc<Entry>,
    pub(super) facts: ClientFacts,
    pub(super) io: Rc<IoState>,
    pub(super) wire: Arc<WireState>,
    pub(super) http2: Cell<bool>,
    /// Left by the request that was answered 101, for the connection's task.
    pub(super) tunnel: RefCell<Option<PendingTunnel>>,
}

impl Client {
    pub(super) fn counters(&self) -> &CounterShard {
        &self.proxy.shards[self.worker.index].counters
    }

    /// Whether further request bytes are known to be here, read but not handed over by hyper.
    pub(super) fn has_more(&self) -> bool {
        self.wire.heads() > self.wire.begun() || self.wire.buffered()
    }
}

/// A request under way. Its drop ends it, on every path.
pub(super) struct ExchangeGuard {
    pub(super) client: Rc<Client>,
    pub(super) exchange: Arc<Exchange>,
    /// The request's own upstream: a switch does not move it.
    pub(super) upstream: Option<Arc<Upstream>>,
    /// Its place among the requests of that instance, where the target has several.
    pub(super) seat: Option<Seat>,
    status: Option<StatusCode>,
    /// The answer is through; else it broke off.
    complete: bool,
    tunnel: bool,
    /// It asks for an upgrade that is not decided yet, so the client is not read from.
    gated: bool,
}

impl ExchangeGuard {
    pub(super) fn begin(client: &Rc<Client>, method: &Method, uri: &Uri, gated: bool) -> Self {
        let exchange = Arc::new(Exchange::new(method.clone(), uri.path()));
        client.entry.begin(Arc::clone(&exchange));
        client.io.in_flight.set(client.io.in_flight.get() + 1);
        client.counters().begun();
        Self {
            client: Rc::clone(client),
            exchange,
            upstream: None,
            seat: None,
            status: None,
            complete: false,
            tunnel: false,
            gated,
        }
    }

    /// The head of the answer is there.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.client.counters().answered(status, self.exchange.since.elapsed());
    }

    /// The answer's last byte was handed over.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// The target declined the upgrade: what the client sends next is a request.
    pub(super) fn not_upgraded(&mut self) {
        if std::mem::take(&mut self.gated) {
            self.client.wire.not_upgraded();
        }
    }

    /// The target accepted the upgrade.
    pub(super) fn upgraded(&mut self) {
        self.gated = false;
        self.tunnel = true;
        self.exchange.tunnel.store(true, Ordering::Relaxed);
        self.client.wire.tunnel();
        self.client.counters().tunnel_begun();
    }

    /// Body bytes that came from the client.
    pub(super) fn came_in(client: &Client, exchange: &Exchange, bytes: u64) {
        exchange.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        client.entry.came_in(bytes);
        client.counters().came_in(bytes);
    }

    /// Body bytes that go to the client.
    pub(super) fn went_out(client: &Client, exchange: &Exchange, bytes: u64) {
        exchange.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        client.entry.went_out(bytes);
        client.counters().went_out(bytes);
    }

    /// One line for each request. Nothing of it can hold a secret: no query, no fields, no bodies.
    fn log(&self) {
        let exchange = &self.exchange;
        let micros = Instant::now().duration_since(exchange.since).as_micros();
        tracing::debug!(
            target: "pmctl::request",
            service = %self.client.proxy.name,
            target = self.upstream.as_ref().map(|u| u.name().as_str()),
            peer = %self.client.entry.peer,
            method = %exchange.method,
            path = &*exchange.path,
            status = self.status.map(|status| status.as_u16()),
            duration_us = u64::try_from(micros).unwrap_or(u64::MAX),
            bytes_in = exchange.bytes_in.load(Ordering::Relaxed),
            bytes_out = exchange.bytes_out.load(Ordering::Relaxed),
            tunnel = self.tunnel,
            complete = self.complete,
        );
    }
}

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        self.not_upgraded();
        let client = &self.client;
        client.entry.end(&self.exchange);
        match self.tunnel {
            true => client.counters().tunnel_ended(),
            false => client.counters().ended(),
        }
        client.io.in_flight.set(client.io.in_flight.get() - 1);
        if !client.http2.get() {
            client.wire.end_request();
        }
        if client.proxy.phase() == ProxyPhase::Draining
            && !self.exchange.cut.load(Ordering::Acquire)
        {
            lock(&client.proxy.drain).finished += 1;
        }
        if tracing::enabled!(target: "pmctl::request", tracing::Level::DEBUG) {
            self.log();
        }
    }
}
