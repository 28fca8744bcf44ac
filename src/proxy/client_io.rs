//! The client's socket below hyper: sees what hyper hides.
//!
//! hyper does not say whether it has flushed, or whether it tried to read. The socket knows, so it
//! is asked here; see [`IoState`].

use std::cell::Cell;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::exchange::Client;
use super::limits::MOST_READ;

/// Reads in one turn of a connection's task, before others get theirs.
pub(super) const MOST_READS: usize = 16;

/// What a connection's task and its socket tell each other; both live on one thread.
#[derive(Default)]
pub(super) struct IoState {
    /// Set by the task: the connection is to end, so the last word on "nothing more is here" is a
    /// real read, not what the runtime has heard of readiness.
    pub(super) closing: Cell<bool>,
    /// Requests whose answer is not through.
    pub(super) in_flight: Cell<usize>,
    /// Real reads that may still be made in this turn of the task: the runtime does not count them, so a
    /// client that never lets its socket run dry would hold the worker.
    pub(super) real_reads: Cell<usize>,
    /// The last read found nothing, by a real read. Only meaningful while `closing`.
    pub(super) dry: Cell<bool>,
    /// Bytes were handed over that are not flushed yet, or a write is waiting.
    pub(super) dirty: Cell<bool>,
    /// The last write could not go on: the client takes no bytes.
    pub(super) blocked: Cell<bool>,
    /// Bytes read, those that are thrown away included.
    pub(super) came: Cell<u64>,
    /// Bytes written.
    pub(super) went: Cell<u64>,
    /// The connection is closed for writing, and read from until the client closes.
    pub(super) lingering: Cell<bool>,
}

impl IoState {
    /// Bytes read and written.
    pub(super) fn moved(&self) -> u64 {
        self.came.get().wrapping_add(self.went.get())
    }

    fn read(&self, bytes: usize) {
        self.came.set(self.came.get().wrapping_add(bytes as u64));
    }

    fn wrote(&self, bytes: usize) {
        self.went.set(self.went.get().wrapping_add(bytes as u64));
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
            state.wrote(*written);
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
            if state.real_reads.get() == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            state.real_reads.set(state.real_reads.get() - 1);
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
        state.read(buf.filled().len() - before);
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

    /// Ends the stream to the client, then reads what it still says and throws it away until it has
    /// closed too: it talks as it reads (pings and windows), and a socket closed before that is reset, with
    /// what of the answers it has not read. How long, the task decides.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.client.io.lingering.get() {
            SockRef::from(&self.tcp).shutdown(Shutdown::Write)?;
            self.client.io.lingering.set(true);
        }
        let mut waste = [MaybeUninit::uninit(); 4096];
        // Bounded, so that a client that sends for ever does not hold the worker.
        for _ in 0..MOST_READS {
            let mut buf = ReadBuf::uninit(&mut waste);
            match Pin::new(&mut self.tcp).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.client.io.read(buf.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
