//! The one seam of the data plane: here a connection was accepted for a service, behind it its
//! bytes go to the target.
//!
//! Outside of it are the table, the counters, the drain, the switch and the request log; they know
//! a connection by its guard and tell it what to do by an order. Behind it is an engine, of which
//! hyper is the first: [`serve`] is all that the outside calls.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::client_io::{ClientIo, IoState};
use super::exchange::Client;
use super::forward;
use super::headers::ClientFacts;
use super::table::{ConnectionGuard, ConnectionState};
use super::tunnel;
use super::watch::{Verdict, Watch};
use super::wire::{GuardedIo, WireProtocol};
use super::worker::Worker;

type Io = GuardedIo<ClientIo>;

/// Serves an accepted connection until it ends. The guard is dropped last, when the socket and
/// everything opened for it are closed, on every way out, a panic included.
pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, guard: ConnectionGuard) {
    let ended = Ended { worker: Rc::clone(&worker), guard: Some(guard) };
    let Some(guard) = &ended.guard else { return };
    // Small answers must not wait for the client's acknowledgement; without it they still arrive.
    let _ = stream.set_nodelay(true);
    let state = Rc::new(IoState::default());
    let linger = worker.limits.linger_timeout;
    let io = GuardedIo::new(ClientIo::new(stream, Rc::clone(&state), linger), worker.limits.wire);
    let client = Rc::new(Client {
        worker,
        proxy: Arc::clone(&guard.proxy),
        entry: Arc::clone(&guard.entry),
        facts: ClientFacts::new(guard.entry.peer.ip(), false),
        io: state,
        wire: Arc::clone(io.state()),
        http2: Cell::new(false),
        tunnel: RefCell::new(None),
    });
    converse(&client, io).await;
    drop(client);
    drop(ended);
}

/// Drops the guard, then tells the worker, which may be waiting to stop.
struct Ended {
    worker: Rc<Worker>,
    guard: Option<ConnectionGuard>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.guard.take());
        self.worker.connection_ended();
    }
}

async fn converse(client: &Rc<Client>, mut io: Io) {
    let watch = Watch::new(client);
    match sniff(client, &watch, &mut io).await {
        Some(WireProtocol::Http1) => serve_http1(client, watch, io).await,
        Some(WireProtocol::Http2) => {
            client.http2.set(true);
            client.io.until_closed.set(true);
            serve_http2(client, watch, io).await;
        }
        Some(WireProtocol::Closed) | None => {}
    }
}

/// Waits for the first bytes. `None`: the connection is to be closed.
async fn sniff(client: &Client, watch: &Watch, io: &mut Io) -> Option<WireProtocol> {
    poll_fn(|cx| {
        if watch.is_cut(cx) {
            return Poll::Ready(None);
        }
        match io.poll_sniff(cx) {
            Poll::Ready(Ok(protocol)) => Poll::Ready(Some(protocol)),
            Poll::Ready(Err(_)) => Poll::Ready(None),
            Poll::Pending => match watch.after_poll(cx) {
                Verdict::GoOn => Poll::Pending,
                Verdict::Close | Verdict::Again => Poll::Ready(None),
            },
        }
    })
    .await
    .inspect(|_| client.entry.set_state(ConnectionState::HalfHead))
}

async fn serve_http1(client: &Rc<Client>, watch: Watch, io: Io) {
    let service = service_fn(|request: Request<Incoming>| forward::http1(client, request));
    let mut builder = http1::Builder::new();
    builder.auto_date_header(false);
    let max_headers = client.worker.limits.wire.max_headers as usize;
    // The scanner has the say; hyper must only not be stricter. Its own bound needs no allocation.
    if max_headers > HYPER_MAX_HEADERS {
        builder.max_headers(max_headers);
    }
    let mut http = Box::pin(builder.serve_connection(TokioIo::new(io), service));
    let ended = poll_fn(|cx| {
        loop {
            if watch.is_cut(cx) {
                return Poll::Ready(Err(()));
            }
            if let Poll::Ready(ended) = http.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(drop));
            }
            match watch.after_poll(cx) {
                Verdict::GoOn => return Poll::Pending,
                Verdict::Close => return Poll::Ready(Err(())),
                Verdict::Again => {}
            }
        }
    })
    .await;
    let pending = client.tunnel.take();
    if let (Ok(()), Some(pending)) = (ended, pending) {
        client.entry.set_state(ConnectionState::Tunnel);
        drop(watch);
        let parts = Pin::into_inner(http).into_parts();
        let (io, held) = parts.io.into_inner().into_parts();
        tunnel::run(pending, io.into_tcp(), &[&parts.read_buf, &held]).await;
    }
}

type StreamFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Keeps the streams of an HTTP/2 connection inside its task: they end when it does.
#[derive(Clone, Default)]
struct Streams(Rc<RefCell<Vec<StreamFuture>>>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.borrow_mut().push(Box::pin(stream));
    }
}

async fn serve_http2(client: &Rc<Client>, watch: Watch, io: Io) {
    let limits = &client.worker.limits;
    let started = Streams::default();
    let for_service = Rc::clone(client);
    let service =
        service_fn(move |request: Request<Incoming>| forward::http2(&for_service, request));
    let http = http2::Builder::new(started.clone())
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle_timeout / 2)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.wire.max_head_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(io), service);
    let mut http = pin!(http);
    let mut streams = FuturesUnordered::new();
    let mut leaving = false;
    poll_fn(|cx| {
        if watch.is_cut(cx) {
            return Poll::Ready(());
        }
        loop {
            if client.io.closing.get() && !std::mem::replace(&mut leaving, true) {
                http.as_mut().graceful_shutdown();
            }
            poll_streams(cx, &started, &mut streams);
            // After the streams: what they have just handed over is written in this turn.
            if http.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if started.0.borrow().is_empty() {
                match watch.after_poll(cx) {
                    Verdict::GoOn => return Poll::Pending,
                    Verdict::Close => return Poll::Ready(()),
                    Verdict::Again => {}
                }
            }
        }
    })
    .await;
}

/// Header fields hyper takes when it is not told otherwise.
const HYPER_MAX_HEADERS: usize = 100;
/// Flow-control windows: what a client may send ahead of a slow target.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What a target may send ahead of a slow client, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

fn poll_streams(
    cx: &mut Context<'_>,
    started: &Streams,
    streams: &mut FuturesUnordered<StreamFuture>,
) {
    loop {
        streams.extend(started.0.borrow_mut().drain(..));
        match Pin::new(&mut *streams).poll_next(cx) {
            Poll::Ready(Some(())) => {}
            Poll::Ready(None) | Poll::Pending => break,
        }
    }
}
