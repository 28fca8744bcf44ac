//! One HTTP/2 connection to a target, shared by the requests of a worker.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::{AbortHandle, spawn_local};

use super::body::RequestBody;
use super::connect::UpstreamIo;
use super::pool::UpstreamGuard;
use super::timer;
use super::upstream_h1::{Counted, SendError};

/// Between two pings of a connection with open streams.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow-control windows: what a target may send ahead of a slow client.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What a client may send ahead of a slow target.
const SEND_BUFFER: usize = 256 * 1024;

/// Runs hyper's tasks on the worker that asks.
#[derive(Clone, Copy)]
pub(super) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}

struct Shared {
    streams: Cell<usize>,
    /// A request was sent on it before.
    used: Cell<bool>,
    /// Its target takes no more requests on it.
    retired: Cell<bool>,
    /// When the last stream ended.
    unused_since: Cell<u64>,
    task: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connection as the pool keeps it. It ends when the pool and the last lease have let go.
pub(super) struct H2Connection {
    sender: SendRequest<RequestBody>,
    shared: Rc<Shared>,
}

/// One request's part of it.
pub(super) struct H2Lease {
    sender: SendRequest<RequestBody>,
    shared: Rc<Shared>,
    reused: bool,
}

impl H2Connection {
    pub(super) async fn new(io: UpstreamIo, guard: UpstreamGuard) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new(Local)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .handshake(TokioIo::new(Counted::guarded(io, guard)))
            .await?;
        let task = spawn_local(async move {
            // Its error reaches every open stream.
            let _ = connection.await;
        });
        let shared = Shared {
            streams: Cell::new(0),
            used: Cell::new(false),
            retired: Cell::new(false),
            unused_since: Cell::new(timer::now_ms()),
            task: task.abort_handle(),
        };
        Ok(Self { sender, shared: Rc::new(shared) })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.shared.retired.get()
    }

    /// Whether it can go: closed, or without a stream since before `oldest`.
    pub(super) fn is_unused(&self, oldest: u64) -> bool {
        self.sender.is_closed()
            || (self.shared.streams.get() == 0 && self.shared.unused_since.get() < oldest)
    }

    pub(super) fn lease(&self) -> H2Lease {
        self.shared.streams.set(self.shared.streams.get() + 1);
        let reused = self.shared.used.replace(true);
        H2Lease { sender: self.sender.clone(), shared: Rc::clone(&self.shared), reused }
    }
}

impl H2Lease {
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<>
    {
        self.sender.try_send_request(request)
    }

    /// Whether a request was sent on the connection before this one.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// What `error`, which came in the place of an answer, means for the request.
    pub(super) fn send_error(&self, mut error: TrySendError<Request<RequestBody>>) -> SendError {
        match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => {
                let error = error.into_error();
                match self.was_let_go(&error) {
                    true => SendError::Closed(error),
                    false => SendError::Broken(error),
                }
            }
        }
    }

    /// Whether `error`, which came in the place of an answer, says that the target refused the stream
    /// (it did nothing with it, RFC 9113 section 8.7) or left with the connection, when that is not
    /// known: only what may be asked twice is asked again. A connection it left is given to no
    /// further request.
    fn was_let_go(&self, error: &hyper::Error) -> bool {
        let mut causes = std::iter::successors(error.source(), |error| (*error).source());
        let Some(error) = causes.find_map(|error| error.downcast_ref::<h2::Error>()) else {
            return false;
        };
        let is_leaving = error.is_go_away() || error.is_io();
        if is_leaving {
            self.shared.retired.set(true);
        }
        is_leaving || error.reason() == Some(h2::Reason::REFUSED_STREAM)
    }
}

impl Drop for H2Lease {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
        self.shared.unused_since.set(timer::now_ms());
    }
}
