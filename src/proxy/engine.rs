//! The one seam of the data plane: here a connection was accepted for a service, behind it its
//! bytes go to the target.
//!
//! Outside of it are the table, the counters, the drain, the switch and the request log; they know
//! a connection by its guard and tell it what to do by an order. Behind it are two engines, chosen
//! by the first bytes of the client: the own one for HTTP/1 (`h1`), and hyper for HTTP/2. [`serve`]
//! is all that the outside calls.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::client_io::{ClientIo, IoState};
use super::client_socket::ClientSocket;
use super::exchange::Client;
use super::forward;
use super::h1::{self, Conn, Spoken};
use super::headers::ClientFacts;
use super::table::{ConnectionGuard, ConnectionState, Order};
use super::tunnel::{self, PendingTunnel};
use super::watch::{Verdict, Watch};
use super::worker::Worker;

/// Serves an accepted connection until it ends. The guard is dropped last, when the socket and
/// everything opened for it are closed, on every way out, a panic included.
pub(super) async fn serve(worker: Rc<Worker>, stream: ClientSocket, guard: ConnectionGuard) {
    let ended = Ended { worker: Rc::clone(&worker), guard: Some(guard) };
    let Some(guard) = &ended.guard else { return };
    // Small answers must not wait for the client's acknowledgement; without it they still arrive.
    // Linux hands it on from the listening socket.
    #[cfg(not(target_os = "linux"))]
    let _ = stream.raw().and_then(|socket| socket.set_tcp_nodelay(true));
    let client = Rc::new(Client {
        worker,
        proxy: Arc::clone(&guard.proxy),
        entry: Arc::clone(&guard.entry),
        facts: ClientFacts::new(guard.entry.peer.ip(), false),
        io: IoState::default(),
    });
    let told = Rc::clone(&client);
    #[cfg(test)]
    if super::tests::differential::oracle::is_asked(&client.proxy.name) {
        let conversation =
            pin!(Box::pin(super::tests::differential::oracle::serve(client, stream)));
        return unless_cut(&told, conversation).await;
    }
    {
        // A future that is handed over lies in the one that it is handed to a second time.
        let conversation = pin!(converse(Box::new(Conn::new(client, stream))));
        unless_cut(&told, conversation).await;
    }
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

/// Runs `work` until it ends or the connection is told to be cut. Told to drain, it learns that before a turn, not in the middle of one.
async fn unless_cut(client: &Client, mut work: Pin<&mut impl Future<Output = ()>>) {
    let entry = &client.entry;
    let mut is_heard = false;
    poll_fn(|cx| {
        // A task is woken by one waker all its life. It is left in the entry once, and again as soon
        // as an order has taken it from there.
        let order = match std::mem::replace(&mut is_heard, true) {
            true => entry.current_order(),
            false => entry.order(cx.waker()),
        };
        let order = match order {
            Order::Run => order,
            Order::Drain | Order::Cut => entry.order(cx.waker()),
        };
        match order {
            Order::Cut => return Poll::Ready(()),
            Order::Drain => client.io.closing.set(true),
            Order::Run => {}
        }
        work.as_mut().poll(cx)
    })
    .await;
}

/// Finds out what the client speaks, and has it served. What is long and not for every connection
/// does not lie in the future of each.
async fn converse(mut conn: Box<Conn>) {
    match conn.sniff().await {
        Spoken::Http1 => {
            if let Some(pending) = h1::serve(&mut conn).await {
                Box::pin(dig(*conn, *pending)).await;
            }
        }
        Spoken::Http2 => Box::pin(serve_http2(*conn)).await,
        Spoken::Nothing => {}
    }
}

async fn dig(conn: Conn, pending: PendingTunnel) {
    let Ok((_, stream, held)) = conn.into_parts() else { return };
    tunnel::run(pending, stream, &[&held]).await;
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

async fn serve_http2(conn: Conn) {
    let Ok((client, stream, held)) = conn.into_parts() else { return };
    let client = &client;
    let io = ClientIo::new(stream, held, client);
    client.entry.set_state(ConnectionState::HalfHead);
    let watch = Watch::new(client);
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
        watch.before_poll();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::table::Entry;

    fn size_of_future<F>(_: impl Fn(Rc<Worker>, ClientSocket, ConnectionGuard) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_holds_little() {
        let own = [size_of_future(serve), size_of::<Conn>()];
        let shared = [size_of::<Client>(), size_of::<Entry>()];
        let all: usize = own.iter().chain(&shared).sum();
        assert!(all <= 1024, "future and connection {own:?}, client and entry {shared:?}");
    }
}
