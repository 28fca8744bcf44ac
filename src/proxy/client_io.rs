//! The client's socket below hyper: sees what hyper hides.
//!
//! hyper does not say whether it has flushed, or whether it tried to read. The socket knows, so it
//! is asked here; see [`IoState`].

use std::cell::Cell;
use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::exchange::Client;
use super::limits::MOST_READ;

/// What a connection's task and its socket tell each other; both live on one thread.
#[derive(Default)]
pub(super) struct IoState {
    /// Set by the task: the connection is to end, so the last word on "nothing more is here" is a
    /// real read, not what the runtime has heard of readiness.
    pub(super) closing: Cell<bool>,
    /// Requests whose answer is not through.
    pub(super) in_flight: Cell<usize>,
    /// The last read found nothing, by a real read. Only meaningful while `closing`.
    pub(super) dry: Cell<bool>,
    /// Bytes were handed over that are not flushed yet, or a write is waiting.
    pub(super) dirty: Cell<bool>,
    /// The last write could not go on: the client takes no bytes.
    pub(super) blocked: Cell<bool>,
    /// Bytes read and written.
    pub(super) moved: Cell<u64>,
}

impl IoState {
    /// Nothing is under way, nothing unread, nothing unflushed: closing loses nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.get() == 0 && self.dry.get() && !self.dirty.get()
    }

    fn add(&self, bytes: usize) {
        self.moved.set(self.moved.get().wrapping_add(bytes as u64));
    }
}

pub(super) struct ClientIo {
    tcp: TcpStream,
    client: Rc<Client>,
    /// Read already, and to be read again first.
    held: Vec<u8>,
}

impl ClientIo {
    pub(super) fn new(tcp: TcpStream, held: Vec<u8>, client: &Rc<Client>) -> Self {
        Self { tcp, client: Rc::clone(client), held }
    }

    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let state = &self.client.io;
        state.dirty.set(true);
        state.blocked.set(polled.is_pending());
        if let Poll::Ready(Ok(written)) = &polled {
            state.add(*written);
        }
        polled
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            let count = self.held.len().min(buf.remaining());
            buf.put_slice(&self.held[..count]);
            self.held.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let mut polled = Pin::new(&mut (&mut self.tcp).take(MOST_READ)).poll_read(cx, buf);
        let state = &self.client.io;
        if polled.is_pending() && state.closing.get() && buf.remaining() > 0 {
            // Asks the operating system, whatever the runtime believes.
            polled = match (&*SockRef::from(&self.tcp)).read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.dry.set(true);
                    return Poll::Pending;
                }
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        state.dry.set(false);
        state.add(buf.filled().len() - before);
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
    /// that.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.io.dirty.set(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
