//! The task that owns a proxy's listeners: accepts, deals connections to the workers, refuses those
//! over the limit, and carries out the drain at the end.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use super::acceptor::{Accepted, Acceptor};
use super::answer::Failure;
use super::client_socket::ClientSocket;
use super::drain::{self, EndGuard};
use super::engine;
use super::fault::{ProxyFault, Restarts};
use super::h1::{Asked, write_own};
use super::handle::{Proxy, ProxyPhase};
use super::listen::{BoundListener, is_exhaustion};
use super::table::ConnectionGuard;
use super::worker::Worker;
use crate::text;

/// How many connections more than the least busy worker the home worker keeps before it hands
/// further ones over: a hand-over costs two system calls and a wake-up.
const MARGIN: usize = 4;
/// Accepted in a row before other tasks of the worker get their turn.
const BATCH: usize = 32;
/// Refused connections that are told so at a time on one worker; further ones are just closed.
const MAX_REFUSING: usize = 128;
/// How long a refused client may take to read that it was refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two log lines about one listener that cannot accept.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What an `accept` that gave no connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// That one connection is lost, the next may be fine.
    Again,
    /// Out of descriptors or memory, or something unknown: the same call would fail at once.
    Pause,
}

fn classify(error: &io::Error) -> Accepting {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable, TimedOut, WouldBlock,
    };
    match error.kind() {
        // Linux passes network errors of the new connection on through `accept` (accept(2)).
        ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted | WouldBlock
        | HostUnreachable | NetworkUnreachable | NetworkDown | TimedOut => Accepting::Again,
        _ => Accepting::Pause,
    }
}

/// Owns `listener` until the proxy is told to end, then drains it.
pub(super) async fn host(worker: &Rc<Worker>, proxy: Arc<Proxy>, listener: BoundListener) {
    // Dropped last, after the listeners and after the drain.
    let end = EndGuard(Arc::clone(&proxy));
    let mut listeners = Vec::new();
    for socket in listener.sockets {
        match Acceptor::new(socket) {
            Ok(listener) => listeners.push(listener),
            Err(error) => complain(&proxy, &error),
        }
    }
    let mut restarts = Restarts::new(Instant::now());
    // What it touches is whole after any panic: counts are guards, and the listeners only lend.
    while AssertUnwindSafe(accept_until_told(worker, &proxy, &listeners))
        .catch_unwind()
        .await
        .is_err()
    {
        let pause = restarts.pause(Instant::now());
        proxy.tell(ProxyFault::Accepting(pause));
        rest(&proxy, pause).await;
    }
    if !proxy.is_cut() {
        empty_queues(worker, &proxy, &listeners);
    }
    drop(listeners);
    drain::run(&proxy).await;
    drop(end);
}

/// Waits that long, or until the proxy is told to end.
async fn rest(proxy: &Proxy, pause: Duration) {
    let until = tokio::time::Instant::now() + pause;
    while proxy.phase() == ProxyPhase::Running {
        let told = proxy.progress.notified();
        if tokio::time::timeout_at(until, told).await.is_err() {
            return;
        }
    }
}

async fn accept_until_told(worker: &Rc<Worker>, proxy: &Arc<Proxy>, listeners: &[Acceptor]) {
    let mut pause = FIRST_PAUSE;
    let mut complained: Option<Instant> = None;
    while proxy.phase() == ProxyPhase::Running {
        #[cfg(feature = "debug-hooks")]
        super::debug_hooks::on_accept();
        let told = proxy.progress.notified();
        let accepted = tokio::select! {
            biased;
            () = told => continue,
            accepted = accept_any(listeners) => accepted,
        };
        let mut next = Some(accepted);
        let mut taken = 0;
        while let Some(accepted) = next.take() {
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    deal(worker, proxy, stream, peer);
                }
                Err(error) if classify(&error) == Accepting::Again => {}
                Err(error) => {
                    if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                        complained = Some(Instant::now());
                        complain(proxy, &error);
                    }
                    let told = proxy.progress.notified();
                    let _ = tokio::time::timeout(pause, told).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    break;
                }
            }
            taken += 1;
            if taken < BATCH {
                next = accept_ready(listeners).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The next connection of any listener.
async fn accept_any(listeners: &[Acceptor]) -> Accepted {
    poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// A connection that is already here, if there is one.
async fn accept_ready(listeners: &[Acceptor]) -> Option<Accepted> {
    poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(Some(accepted));
            }
        }
        Poll::Ready(None)
    })
    .await
}

/// Accepts what waits in the queues, by real system calls: the runtime may not have heard yet of
/// connections that are there. Whoever connects after that finds the port closed.
fn empty_queues(worker: &Rc<Worker>, proxy: &Arc<Proxy>, listeners: &[Acceptor]) {
    for listener in listeners {
        loop {
            match listener.accept_now() {
                Ok((stream, peer)) => deal(worker, proxy, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if classify(&error) == Accepting::Again => {}
                Err(error) => {
                    complain(proxy, &error);
                    break;
                }
            }
        }
    }
}

fn complain(proxy: &Proxy, error: &io::Error) {
    let message = match is_exhaustion(error) {
        true => text::proxy::accept_exhausted(&proxy.name, error),
        false => text::proxy::accept_failed(&proxy.name, error),
    };
    tracing::warn!(code = message.code(), "{message}");
}

/// Gives an accepted connection to a worker, or refuses it.
fn deal(worker: &Rc<Worker>, proxy: &Arc<Proxy>, stream: ClientSocket, peer: SocketAddr) {
    let limits = &proxy.limits;
    let all: usize = worker.handles.iter().map(|w| w.load.load(Ordering::Relaxed)).sum();
    if proxy.connections.load(Ordering::Acquire) >= limits.max_connections_per_service
        || all >= limits.max_connections
    {
        refuse(worker, proxy, stream);
        return;
    }
    let chosen = choose(worker);
    let guard = ConnectionGuard::enter(proxy, chosen, peer);
    if chosen == worker.index {
        spawn_local(engine::serve(Rc::clone(worker), stream, guard));
    } else {
        worker.handles[chosen].serve(stream, guard);
    }
}

/// Home, unless another worker has so many connections fewer that moving this one pays.
fn choose(worker: &Worker) -> usize {
    let own = worker.load();
    let loads = worker.handles.iter().map(|other| other.load.load(Ordering::Relaxed));
    match loads.enumerate().min_by_key(|(_, load)| *load) {
        Some((least, load)) if own > load + MARGIN => least,
        _ => worker.index,
    }
}

/// Tells a client that the service is full and closes. Its request is read and thrown away: what
/// is unread at the close would make the operating system throw the answer away.
fn refuse(worker: &Rc<Worker>, proxy: &Arc<Proxy>, mut stream: ClientSocket) {
    if worker.refusing.get() >= MAX_REFUSING {
        return;
    }
    proxy.shards[worker.index].counters.answered(Failure::Full.status(), Duration::ZERO);
    let bytes = refusal(proxy);
    worker.refusing.set(worker.refusing.get() + 1);
    let refusing = Refusing(Rc::clone(worker));
    spawn_local(async move {
        let told = async {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            let mut waste = [0; 1024];
            while stream.read(&mut waste).await? > 0 {}
            io::Result::Ok(())
        };
        // However it ends, the client has had its chance.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, told).await;
        drop(stream);
        drop(refusing);
    });
}

struct Refusing(Rc<Worker>);

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.refusing.set(self.0.refusing.get() - 1);
    }
}

/// The whole answer 503 as bytes of HTTP/1.1; nothing of the request is known.
fn refusal(proxy: &Proxy) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_own(&Failure::Full, &proxy.name, &Asked::unknown(Method::GET), false, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_passed_over_and_exhaustion_is_waited_out() {
        let again = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(classify(&again), Accepting::Again);
        #[cfg(unix)]
        {
            let code = rustix::io::Errno::MFILE.raw_os_error();
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(classify(&error), Accepting::Pause);
            assert!(is_exhaustion(&error));
        }
        assert_eq!(classify(&io::Error::other("new kind")), Accepting::Pause);
    }
}
