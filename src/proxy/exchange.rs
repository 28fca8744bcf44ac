//! One request and its answer, from its head to the last byte of the answer or the end of the
//! tunnel: counted, listed and logged by a guard that lives exactly that long.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::{Method, StatusCode};

use super::answer::Failure;
use super::balance::Seat;
use super::client_io::IoState;
use super::counters::CounterShard;
use super::handle::{Proxy, ProxyPhase};
use super::headers::ClientFacts;
use super::pool::CheckoutError;
use super::table::{Entry, Exchange, lock};
use super::upstream::Upstream;
use super::worker::Worker;

/// What the requests of one client connection share.
pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) entry: Arc<Entry>,
    pub(super) facts: ClientFacts,
    pub(super) io: IoState,
}

impl Client {
    pub(super) fn counters(&self) -> &CounterShard {
        &self.proxy.shards[self.worker.index].counters
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
    /// Another guard has taken its place.
    moved: bool,
}

impl ExchangeGuard {
    pub(super) fn begin(client: &Rc<Client>, method: Method, path: &str) -> Self {
        let exchange = Arc::new(Exchange::new(method, path));
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
            moved: false,
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

    /// pmctl answers itself.
    pub(super) fn failed(&mut self, failure: &Failure) {
        if matches!(failure, Failure::Unreachable(_) | Failure::Broken(_) | Failure::Late(_)) {
            self.client.counters().upstream_failed();
        }
        self.answered(failure.status());
    }

    /// What the instance did is held for or against it: it answered, or what was met, and whether
    /// that was before anything was sent.
    pub(super) fn judge(&self, met: Result<(), (&Failure, bool)>) {
        let Some(seat) = &self.seat else { return };
        match met {
            Ok(()) => seat.answered(),
            Err((Failure::NoUpgrade, _)) => seat.unjudged(),
            Err((_, true)) => seat.unreachable(),
            Err((Failure::Broken(_) | Failure::Late(_), false)) => seat.broken(),
            // The client's own doing.
            Err(_) => seat.unjudged(),
        }
    }

    /// The failure that it is to have no connection.
    pub(super) fn no_connection(&self, upstream: &Upstream, error: &CheckoutError) -> Failure {
        tracing::debug!(
            service = %self.client.proxy.name,
            target = upstream.name().as_str(),
            error = error as &dyn std::error::Error,
        );
        match error {
            CheckoutError::Connect(error) => Failure::of_connect(error, upstream.name()),
            CheckoutError::Control => Failure::Control(upstream.name().clone()),
            CheckoutError::Handshake(_) => Failure::Broken(upstream.name().clone()),
        }
    }

    /// The target accepted the upgrade: the tunnel goes on under the guard returned.
    pub(super) fn move_to_tunnel(&mut self) -> Self {
        self.moved = true;
        self.exchange.tunnel.store(true, Ordering::Relaxed);
        self.client.counters().tunnel_begun();
        Self {
            client: Rc::clone(&self.client),
            exchange: Arc::clone(&self.exchange),
            upstream: self.upstream.take(),
            seat: self.seat.take(),
            status: self.status,
            complete: false,
            tunnel: true,
            moved: false,
        }
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
        if self.moved {
            return;
        }
        let client = &self.client;
        client.entry.end(&self.exchange);
        match self.tunnel {
            true => client.counters().tunnel_ended(),
            false => client.counters().ended(),
        }
        client.io.in_flight.set(client.io.in_flight.get() - 1);
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
