//! One HTTP/1.1 connection to a target for requests of HTTP/2 clients, driven by whichever of them
//! has it.
//!
//! hyper wants its connections on tasks of their own. Here the request that uses one polls it
//! itself: no wake-up between two tasks for each step of a request, a cancelled request closes its
//! connection in the same moment, and one lying in the pool costs no task.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::body::{BodyError, RequestBody};
use super::connect::UpstreamIo;
use super::limits::MOST_READ;
use super::pool::UpstreamGuard;
use super::relay::Relay;

/// How often one poll goes back to a connection that woke itself, before other tasks get a turn.
const MAX_TURNS: usize = 8;

/// Counts the bytes that came, to know whether an answer had begun.
pub(super) struct Counted {
    io: UpstreamIo,
    received: Rc<Cell<u64>>,
    /// Where the connection's owner does not outlive the socket. Only its drop matters.
    _guard: Option<UpstreamGuard>,
}

impl Counted {
    /// A socket that counts as open for as long as it is.
    pub(super) fn guarded(io: UpstreamIo, guard: UpstreamGuard) -> Self {
        Self { io, received: Rc::default(), _guard: Some(guard) }
    }
}

/// See the module's documentation.
pub(super) struct H1Connection {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended and was looked through.
    connection: Option<Connection<TokioIo<Counted>, RequestBody>>,
    relay: Arc<Relay>,
    waker: Waker,
    received: Rc<Cell<u64>>,
    ended: bool,
    guard: UpstreamGuard,
}

/// Why there is no answer.
pub(super) enum SendError {
    /// Nothing of the request was sent; here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended before the first byte of an answer.
    Closed(hyper::Error),
    /// It ended later, or what came was no HTTP.
    Broken(hyper::Error),
    /// It ended without a word, which hyper rules out.
    Gone,
}

impl H1Connection {
    pub(super) async fn new(io: UpstreamIo, guard: UpstreamGuard) -> hyper::Result<Self> {
        let received = Rc::new(Cell::new(0));
        let io = Counted { io, received: Rc::clone(&received), _guard: None };
        let (sender, connection) = Builder::new().handshake(TokioIo::new(io)).await?;
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(Arc::clone(&relay));
        Ok(Self {
            sender,
            connection: Some(connection),
            relay,
            waker,
            received,
            ended: false,
            guard,
        })
    }

    pub(super) fn guard(&self) -> &UpstreamGuard {
        &self.guard
    }

    /// Drives the connection; ready when it has ended.
    fn poll_connection(&mut self) -> Poll<()> {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.ended) else {
            return Poll::Ready(());
        };
        let mut cx = Context::from_waker(&self.waker);
        let polled = Pin::new(connection).poll(&mut cx);
        self.ended = polled.is_ready();
        // Its error, if it has one, reaches whoever waits for the answer or the body.
        polled.map(drop)
    }

    /// Drives the connection until `look` finds something or nothing more happens. `None`: the
    /// connection has ended and there is nothing to find.
    fn drive<T>(
        &mut self,
        cx: &Context<'_>,
        mut look: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Option<T>> {
        self.relay.aim(cx.waker());
        self.relay.mute();
        // What `look` waits for comes out of the connection, in this very call: no wake needed.
        let mut silent = Context::from_waker(Waker::noop());
        let mut found = look(&mut silent);
        let mut turns = 0;
        while found.is_pending() {
            if turns == MAX_TURNS {
                cx.waker().wake_by_ref();
                break;
            }
            turns += 1;
            self.relay.take_noted();
            let ended = self.poll_connection().is_ready();
            found = look(&mut silent);
            if ended && found.is_pending() {
                // hyper answers what still waits in its channels when they are dropped.
                self.connection = None;
                self.relay.unmute();
                return match look(&mut silent) {
                    Poll::Ready(found) => Poll::Ready(Some(found)),
                    Poll::Pending => Poll::Ready(None),
                };
            }
            if !self.relay.take_noted() {
                break;
            }
        }
        self.relay.unmute();
        found.map(Some)
    }

    /// Whether it can take a request now. Does not ask the operating system: either the runtime has
    /// heard of a close, or the retry rule covers it.
    pub(super) fn is_usable(&mut self) -> bool {
        self.relay.mute();
        self.relay.take_noted();
        let mut ended = self.poll_connection().is_ready();
        let mut turns = 0;
        // A connection that woke itself needs another turn to come to rest.
        while !ended && !self.sender.is_ready() && self.relay.take_noted() && turns < MAX_TURNS {
            ended = self.poll_connection().is_ready();
            turns += 1;
        }
        !ended && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer. `gave_up` is asked at every turn at
    /// which there is none.
    ///
    /// # Errors
    /// The outer one is what `gave_up` returned; the connection is of no further use then.
    pub(super) async fn send<G>(
        &mut self,
        request: Request<RequestBody>,
        mut gave_up: impl FnMut(&mut Context<'_>) -> Poll<G>,
    ) -> Result<Result<Response<Incoming>, SendError>, G> {
        self.relay.mute();
        let before = self.received.get();
        let mut answer = pin!(self.sender.try_send_request(request));
        let answered = poll_fn(|cx| match self.drive(cx, |cx| answer.as_mut().poll(cx)) {
            Poll::Ready(answered) => Poll::Ready(Ok(answered)),
            Poll::Pending => gave_up(cx).map(Err),
        });
        Ok(match answered.await? {
            Some(Ok(response)) => Ok(response),
            Some(Err(mut error)) => Err(match error.take_message() {
                Some(request) => SendError::Unsent(Box::new(request)),
                None if self.received.get() == before => SendError::Closed(error.into_error()),
                None => SendError::Broken(error.into_error()),
            }),
            None => Err(SendError::Gone),
        })
    }

    /// The next frame of the answer's body.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(self.drive(cx, |cx| Pin::new(&mut *body).poll_frame(cx))) {
            Some(frame) => Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Hyper))),
            None => Poll::Ready(Some(Err(BodyError::Gone))),
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut (&mut self.io).take(MOST_READ)).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.received.set(self.received.get() + read as u64);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
