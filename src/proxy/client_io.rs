//! The client's socket below everything that parses: sees what hyper hides.
//!
//! hyper does not say whether it has flushed, whether it tried to read, or whether a client that
//! half-closed is gone. The socket knows, so it is asked here; see [`IoState`].

use std::cell::Cell;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::limits::MOST_READ;
use super::timer::Deadline;

/// What a connection's task and its socket tell each other; both live on one thread.
#[derive(Default)]
pub(super) struct IoState {
    /// Set by the task: the connection is to end, so the last word on "nothing more is here" is a
    /// real read, not what the runtime has heard of readiness.
    pub(super) closing: Cell<bool>,
    /// The last read found nothing, by a real read. Only meaningful while `closing`.
    pub(super) dry: Cell<bool>,
    /// Bytes were handed over that are not flushed yet, or a write is waiting.
    pub(super) dirty: Cell<bool>,
    /// The last write could not go on: the client takes no bytes.
    pub(super) blocked: Cell<bool>,
    /// Requests whose answer is not through.
    pub(super) in_flight: Cell<usize>,
    /// The body of the request under way is not read to its end (HTTP/1).
    pub(super) body_open: Cell<bool>,
    /// The client sent the end of its stream while a whole request is being answered. Kept from
    /// hyper, which would give the request up, until the answer is through or `end_released`.
    pub(super) end_hidden: Cell<bool>,
    /// Set by the task when a half-closed client has had its time.
    pub(super) end_released: Cell<bool>,
    /// Set by a request that waits for a 100: look whether its client sends the body regardless.
    pub(super) peek: Cell<bool>,
    /// What that look found.
    pub(super) body_waits: Cell<bool>,
    /// The connection is closed for writing and waits for the client to have read all of it.
    pub(super) lingering: Cell<bool>,
    /// Set by the task: the client speaks HTTP/2 and talks as it reads (pings and windows), so once the
    /// connection is closed for writing it is always read from, for as long as the task lets it.
    pub(super) until_closed: Cell<bool>,
    /// Bytes of the client that were read only to be thrown away.
    pub(super) wasted: Cell<u64>,
    /// Requests up to this number had arrived when a drain's first real read found nothing more.
    pub(super) last_in_time: Cell<Option<u64>>,
    /// Set by the task: the client has stopped in the middle of its body.
    pub(super) client_late: Cell<bool>,
}

impl IoState {
    /// Nothing is under way, nothing unread, nothing unflushed: closing loses nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.get() == 0 && self.dry.get() && !self.dirty.get() && !self.lingering.get()
    }
}

pub(super) struct ClientIo {
    tcp: TcpStream,
    state: Rc<IoState>,
    linger: Duration,
    /// Closed for writing.
    shut: bool,
    lingering: Option<Deadline>,
}

impl ClientIo {
    pub(super) fn new(tcp: TcpStream, state: Rc<IoState>, linger: Duration) -> Self {
        Self { tcp, state, linger, shut: false, lingering: None }
    }

    /// The socket, once HTTP is over.
    pub(super) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// A read that asks the operating system, whatever the runtime believes.
    fn read_now(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let read = (&*SockRef::from(&self.tcp)).read(buf.initialize_unfilled())?;
        buf.advance(read);
        Ok(read)
    }

    fn peek_now(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        SockRef::from(&self.tcp).peek(&mut byte).is_ok_and(|read| read > 0)
    }

    /// Whether an end of stream is to be kept back for now.
    fn hides_end(&self) -> bool {
        let state = &self.state;
        state.in_flight.get() > 0 && !state.body_open.get() && !state.end_released.get()
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let mut polled = Pin::new(&mut (&mut self.tcp).take(MOST_READ)).poll_read(cx, buf);
        if polled.is_pending() && self.state.closing.get() && buf.remaining() > 0 {
            polled = match self.read_now(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.state.dry.set(true);
                    return Poll::Pending;
                }
                read => Poll::Ready(read.map(drop)),
            };
        }
        if let Poll::Ready(Ok(())) = polled {
            let read = buf.filled().len() - before;
            if read == 0 && buf.remaining() > 0 && self.hides_end() {
                self.state.end_hidden.set(true);
                return Poll::Pending;
            }
        }
        self.state.dry.set(false);
        polled
    }
}

impl ClientIo {
    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.dirty.set(true);
        self.state.blocked.set(polled.is_pending());
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    /// Called by hyper whenever it has handed everything over, which makes it the place to learn
    /// that, and the one call that reaches the socket while hyper reads nothing.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.dirty.set(false);
        if self.state.peek.get() && self.peek_now() {
            self.state.body_waits.set(true);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the stream to the client. Where bytes of the client are unread, or more of them will come,
    /// the rest is read and thrown away until the client has closed too: a socket closed before that
    /// is reset, and the answer may be lost with it (RFC 9112 section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            SockRef::from(&self.tcp).shutdown(Shutdown::Write)?;
            self.shut = true;
            if !self.state.until_closed.get() {
                if !self.state.body_open.get() && !self.peek_now() {
                    return Poll::Ready(Ok(()));
                }
                self.lingering = Some(Deadline::after(self.linger));
            }
            self.state.lingering.set(true);
        }
        let mut waste = [MaybeUninit::uninit(); 4096];
        // Bounded, so that a client that sends for ever does not hold the worker.
        for _ in 0..16 {
            let mut buf = ReadBuf::uninit(&mut waste);
            match Pin::new(&mut self.tcp).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    let read = buf.filled().len() as u64;
                    self.state.wasted.set(self.state.wasted.get().wrapping_add(read));
                }
                Poll::Ready(_) => return self.lingered(),
                Poll::Pending if self.is_late(cx) => return self.lingered(),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.is_late(cx) {
            return self.lingered();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl ClientIo {
    /// Whether it was waited for the client long enough; where there is no deadline the task has one.
    fn is_late(&self, cx: &Context<'_>) -> bool {
        self.lingering.as_ref().is_some_and(|deadline| deadline.poll_passed(cx).is_ready())
    }

    fn lingered(&self) -> Poll<io::Result<()>> {
        self.state.lingering.set(false);
        Poll::Ready(Ok(()))
    }
}
