//! The control listener: one port for gRPC and JSON, an accept loop of our own.
//!
//! Of our own, because axum's sets no limit to how long a connection may take to say something, and
//! because a listener must be gone the moment a stop begins while the streams that show the stop
//! go on.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::model::{Caller, Standing, Unproven};
use crate::text;

/// Open connections at most; more wait in the accept queue.
const MAX_CONNECTIONS: usize = 512;
/// Of those, connections whose socket does not prove that the server knows its user. Further ones are
/// closed: nobody else on the machine or the network can make the server seem hung to its own user.
const MAX_STRANGERS: usize = MAX_CONNECTIONS / 2;
/// How long a connection may take to say its first whole request head, and an HTTP/1 connection
/// each further one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a new request for this long takes no more; the calls on it go on.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// An HTTP/2 peer that does not answer a ping sent after this long, in as long again, is gone.
const PING: Duration = Duration::from_secs(20);
/// Calls at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Bytes of a request head.
const MAX_HEAD: usize = 64 * 1024;
/// How long a connection taken from the accept queue after the stop may take for its request, whose
/// bytes are there already if they had arrived before the stop.
const LAST_REQUEST: Duration = Duration::from_millis(100);
/// How long the last bytes of calls that have ended may take on their way out.
const LAST_BYTES: Duration = Duration::from_millis(200);
/// Pauses after an accept that failed for want of descriptors or memory.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why the control address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ControlBindError {
    /// Somebody listens there.
    #[error("bind the control address {address}: it is taken")]
    Taken {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The port is a privileged one, or a policy forbids it.
    #[error("bind the control address {address}: not permitted")]
    Denied {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// This machine does not have the address.
    #[error("bind the control address {address}: it is not an address of this machine")]
    NotHere {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("bind the control address {address}")]
    Other {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Tells what the far end (the second address) of a connection that was just accepted at the first
/// address proves of itself. May block for some milliseconds.
pub type Introduce = Arc<dyn Fn(SocketAddr, SocketAddr) -> Standing + Send + Sync>;

/// A bound control address. Dropping it frees the address.
pub struct ControlListener {
    listener: TcpListener,
    address: SocketAddr,
    head_timeout: Duration,
    strangers: usize,
    introduce: Introduce,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for ControlListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlListener({})", self.url())
    }
}

impl ControlListener {
    /// Listens on `address`; port 0 stands for any free one. Connections wait in the accept queue
    /// until [`ControlListener::run`].
    ///
    /// # Errors
    /// [`ControlBindError`], by what can be done about it.
    pub async fn bind(address: SocketAddr) -> Result<Self, ControlBindError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            // Until somebody says who is who, nobody is.
            let introduce: Introduce =
                Arc::new(|_, _| Standing::Unknown { why: Unproven::Invisible });
            let (head_timeout, strangers) = (HEAD_TIMEOUT, MAX_STRANGERS);
            Ok(Self { listener, address, head_timeout, strangers, introduce, tls: None })
        };
        bound.await.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ControlBindError::Taken { address, source },
            io::ErrorKind::PermissionDenied => ControlBindError::Denied { address, source },
            io::ErrorKind::AddrNotAvailable => ControlBindError::NotHere { address, source },
            _ => ControlBindError::Other { address, source },
        })
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks `introduce` about each connection, and speaks TLS on it if there is `tls`.
    pub fn with(self, introduce: Introduce, tls: Option<TlsAcceptor>) -> Self {
        Self { introduce, tls, ..self }
    }

    /// The control URL, such as `http://127.0.0.1:3000`: for clients on this machine, which reach a
    /// listener on every address by loopback.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        format!("{scheme}://{address}")
    }

    /// Serves `router`, with a [`Caller`] in the extensions of each request, until `stop` is done.
    /// When this returns the address is free and new connections are refused; requests whose bytes
    /// had arrived are served, and calls under way go on in what is returned. Dropping this future
    /// closes every connection.
    pub async fn run(self, router: Router, stop: impl Future<Output = ()>) -> RemainingCalls {
        let (listener, calls) = Calls::of(self, router);
        let remaining = calls.remaining();
        let mut stop = pin!(stop);
        tokio::select! {
            biased;
            () = &mut stop => {}
            () = accept(&listener, &calls) => {}
        }
        take_the_queue(listener, &calls);
        calls.stage.send_replace(Stage::Leaving);
        calls.tracker.close();
        remaining
    }
}

/// The calls that were under way when the listener closed. Dropping it closes their connections.
#[derive(Debug)]
pub struct RemainingCalls {
    stage: Arc<watch::Sender<Stage>>,
    tracker: TaskTracker,
    cut: DropGuard,
}

impl RemainingCalls {
    /// Waits until every call has ended by itself. Cancel-safe.
    pub async fn finished(&self) {
        self.tracker.wait().await;
    }

    /// Ends what remains: streams that have said their last word get a moment to send it, the
    /// others are cut.
    pub async fn end(self) {
        self.stage.send_replace(Stage::Ended);
        // One moment for the peers' sake; more would be a stop without a bound.
        let _ = tokio::time::timeout(LAST_BYTES, self.tracker.wait()).await;
        drop(self.cut);
        // What was cut is dropped by its own tasks, at their next turn.
        self.tracker.wait().await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// No new connections; calls go on.
    Leaving,
    /// Calls that do not end now are cut.
    Ended,
}

/// What every connection shares.
struct Calls {
    router: Router,
    head_timeout: Duration,
    introduce: Introduce,
    tls: Option<TlsAcceptor>,
    stage: Arc<watch::Sender<Stage>>,
    permits: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    tracker: TaskTracker,
    /// Cancelled: drop everything.
    cut: CancellationToken,
}

impl Calls {
    fn of(listener: ControlListener, router: Router) -> (TcpListener, Self) {
        let ControlListener { listener, head_timeout, strangers, introduce, tls, .. } = listener;
        let calls = Self {
            router,
            head_timeout,
            introduce,
            tls,
            stage: Arc::new(watch::Sender::new(Stage::Open)),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            strangers: Arc::new(Semaphore::new(strangers)),
            tracker: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        (listener, calls)
    }

    fn remaining(&self) -> RemainingCalls {
        RemainingCalls {
            stage: Arc::clone(&self.stage),
            tracker: self.tracker.clone(),
            cut: self.cut.clone().drop_guard(),
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let executor = Executor { tracker: self.tracker.clone(), cut: self.cut.clone() };
        let connection = Connection {
            router: self.router.clone(),
            builder: builder(executor, self.head_timeout),
            head_timeout: self.head_timeout,
            stage: self.stage.subscribe(),
            strangers: Arc::clone(&self.strangers),
        };
        let (introduce, tls) = (Arc::clone(&self.introduce), self.tls.clone());
        let connection = async move {
            connection.begin(stream, peer, introduce, tls).await;
            drop(permit);
        };
        self.tracker.spawn(self.cut.clone().run_until_cancelled_owned(connection));
    }
}

/// Spawns the streams of HTTP/2 connections where the end can find them.
#[derive(Clone)]
struct Executor {
    tracker: TaskTracker,
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        self.tracker.spawn(self.cut.clone().run_until_cancelled_owned(work));
    }
}

/// Takes connections for ever.
async fn accept(listener: &TcpListener, calls: &Calls) {
    let mut pause = FIRST_PAUSE;
    loop {
        // Before the accept: a connection beyond the bound is better off in the queue.
        let Ok(permit) = Arc::clone(&calls.permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                calls.spawn(stream, peer, permit);
            }
            // That one connection is gone; the next may be fine.
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!("{}", text::control::control_accept_failed(&error));
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Closes the listener, and before that takes what waits in its queue: closing would reset it.
fn take_the_queue(listener: TcpListener, calls: &Calls) {
    // A real system call: the runtime's idea of readiness may be older than the last arrival.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok(permit) = Arc::clone(&calls.permits).try_acquire_owned() {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream =
                    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    calls.spawn(stream, peer, permit);
                }
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(_) => return,
        }
    }
}

/// One accepted connection.
struct Connection {
    router: Router,
    builder: auto::Builder<Executor>,
    head_timeout: Duration,
    stage: watch::Receiver<Stage>,
    strangers: Arc<Semaphore>,
}

impl Connection {
    /// Learns who is there, does the TLS handshake if there is one, and serves to the end.
    async fn begin(
        mut self,
        stream: TcpStream,
        peer: SocketAddr,
        introduce: Introduce,
        tls: Option<TlsAcceptor>,
    ) {
        // Best effort: without it a small answer may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { return };
        // Now, while the socket at the far end is still that of whoever connected.
        let asked = tokio::task::spawn_blocking(move || introduce(local, peer));
        let Ok(standing) = asked.await else { return };
        let caller = Caller { peer, local, standing };
        let _room = match standing {
            Standing::Trusted { .. } => None,
            Standing::Unknown { .. } | Standing::OwnSocket => {
                let Ok(room) = Arc::clone(&self.strangers).try_acquire_owned() else { return };
                Some(room)
            }
        };
        let Some(tls) = tls else { return self.serve(stream, caller).await };
        let mut handshake = pin!(tls.accept(stream));
        let mut deadline = pin!(sleep(self.head_timeout));
        let stream = loop {
            tokio::select! {
                biased;
                done = handshake.as_mut() => break done,
                now = next_stage(&mut self.stage) => match now {
                    Stage::Ended => return,
                    Stage::Open | Stage::Leaving => shorten(deadline.as_mut(), LAST_REQUEST),
                },
                () = deadline.as_mut() => return,
            }
        };
        // A failed handshake is the peer's business.
        if let Ok(stream) = stream {
            self.serve(stream, caller).await;
        }
    }

    async fn serve<S>(self, stream: S, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { router, builder, head_timeout, mut stage, .. } = self;
        let asked = Arc::new(Notify::new());
        let service = {
            let asked = Arc::clone(&asked);
            service_fn(move |mut request: hyper::Request<Incoming>| {
                asked.notify_one();
                request.extensions_mut().insert(caller);
                router.clone().call(request)
            })
        };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut deadline = pin!(sleep(head_timeout));
        if *stage.borrow_and_update() != Stage::Open {
            shorten(deadline.as_mut(), LAST_REQUEST);
        }
        // No request yet: hyper's own limit does not cover what comes before it knows the version.
        let mut fresh = true;
        let mut leaving = false;
        loop {
            tokio::select! {
                biased;
                // An error here is the peer's business: it broke off, or spoke no HTTP.
                _ = connection.as_mut() => return,
                () = asked.notified() => {
                    fresh = false;
                    deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                }
                now = next_stage(&mut stage) => match now {
                    Stage::Ended => {
                        connection.as_mut().graceful_shutdown();
                        let _ = connection.await;
                        return;
                    }
                    Stage::Open | Stage::Leaving if fresh => {
                        shorten(deadline.as_mut(), LAST_REQUEST);
                    }
                    Stage::Open | Stage::Leaving => {}
                },
                () = deadline.as_mut(), if fresh || !leaving => {
                    if fresh {
                        return;
                    }
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            if !fresh && !leaving && *stage.borrow() != Stage::Open {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The next stage once it is reached. Never, when there will be none.
async fn next_stage(stage: &mut watch::Receiver<Stage>) -> Stage {
    if stage.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    *stage.borrow_and_update()
}

fn shorten(deadline: Pin<&mut tokio::time::Sleep>, left: Duration) {
    let at = (Instant::now() + left).min(deadline.deadline());
    deadline.reset(at);
}

fn builder(executor: Executor, head_timeout: Duration) -> auto::Builder<Executor> {
    let mut builder = auto::Builder::new(executor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

#[cfg(test)]
mod tests;
