//! Upgraded connections: bytes both ways, with nobody looking at them.
//!
//! A tunnel goes on in the task of the client's connection, under the same entry of the table, and
//! keeps the guard of the request that asked for it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connect::UpstreamIo;
use super::exchange::ExchangeGuard;
use super::pool::UpstreamGuard;
use super::table::{ConnectionState, Order};
use super::timer::Deadline;

/// Bytes moved at a time. The buffer is the worker's, so an idle tunnel holds none.
const SCRATCH: usize = 64 * 1024;
/// Turns of one direction before the other gets its.
const MAX_TURNS: usize = 8;
/// A tunnel may be silent for hours: a peer that vanished is found out by the system's probes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::default();
}

/// What a request that was answered 101 leaves for the connection's task.
pub(super) struct PendingTunnel {
    pub(super) upstream: Upgraded,
    pub(super) guard: ExchangeGuard,
}

/// A connection to a target on which HTTP is over.
pub(super) struct Upgraded {
    pub(super) io: UpstreamIo,
    /// Read already, behind the 101.
    pub(super) early: Bytes,
    pub(super) guard: UpstreamGuard,
}

/// One direction.
struct Pipe {
    /// Read and not written yet.
    held: BytesMut,
    ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    No,
    /// The reader is at its end; the writer is to hear of it.
    Reading,
    /// Both.
    Both,
}

impl Pipe {
    fn new(early: &[&[u8]]) -> Self {
        let mut held = BytesMut::new();
        early.iter().for_each(|bytes| held.extend_from_slice(bytes));
        Self { held, ended: Ended::No }
    }

    /// Moves what can be moved; ready when this direction has ended. `count` hears of bytes that
    /// were written.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        mut count: impl FnMut(usize),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..MAX_TURNS {
            while !self.held.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                count(written);
                self.held.advance(written);
                if self.held.is_empty() {
                    self.held = BytesMut::new();
                }
            }
            match self.ended {
                Ended::No => {}
                Ended::Reading => {
                    // What the other side still sends goes on; only this direction is over.
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.ended = Ended::Both;
                    return Poll::Ready(Ok(()));
                }
                Ended::Both => return Poll::Ready(Ok(())),
            }
            let moved = BUFFER.with_borrow_mut(|buffer| -> Poll<io::Result<usize>> {
                if buffer.is_empty() {
                    *buffer = vec![0; SCRATCH].into_boxed_slice();
                }
                let mut buf = ReadBuf::new(buffer);
                if Pin::new(&mut *from).poll_read(cx, &mut buf)?.is_pending() {
                    // TLS may hold back what was written until it is asked.
                    let _ = Pin::new(&mut *to).poll_flush(cx)?;
                    return Poll::Pending;
                }
                let read = buf.filled();
                if read.is_empty() {
                    self.ended = Ended::Reading;
                    return Poll::Ready(Ok(0));
                }
                let written = match Pin::new(&mut *to).poll_write(cx, read)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => written,
                    Poll::Pending => 0,
                };
                self.held.extend_from_slice(&read[written..]);
                Poll::Ready(Ok(written))
            });
            count(ready!(moved)?);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A client that goes on alone: its target has said all, and may have closed rather than
/// half-closed, which nobody can see. So the client has to send, or the tunnel is over.
struct Alone {
    deadline: Deadline,
    bytes: u64,
}

impl Alone {
    fn new(guard: &ExchangeGuard) -> Self {
        let deadline = Deadline::after(guard.client.worker.limits.half_close_timeout);
        Self { deadline, bytes: sent(guard) }
    }

    fn poll_over(&mut self, guard: &ExchangeGuard, cx: &Context<'_>) -> Poll<()> {
        ready!(self.deadline.poll_passed(cx));
        let bytes = sent(guard);
        if std::mem::replace(&mut self.bytes, bytes) == bytes {
            return Poll::Ready(());
        }
        self.deadline.set(guard.client.worker.limits.half_close_timeout);
        // Set anew, so it must be asked again to wake this task.
        self.deadline.poll_passed(cx)
    }
}

fn sent(guard: &ExchangeGuard) -> u64 {
    guard.exchange.bytes_in.load(Ordering::Relaxed)
}

fn keep_alive(socket: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    // Without them the tunnel works all the same.
    let _ = SockRef::from(socket).set_tcp_keepalive(&probes);
}

/// Carries the tunnel until both directions have ended, one fails, its target has ended and its
/// client stays silent, or it is told to be cut.
pub(super) async fn run(pending: PendingTunnel, mut client: TcpStream, early: &[&[u8]]) {
    let PendingTunnel { upstream, mut guard } = pending;
    let Upgraded { io: mut target, early: target_early, guard: open } = upstream;
    guard.client.entry.set_state(ConnectionState::Tunnel);
    keep_alive(&client);
    keep_alive(target.get_ref());
    let (mut inward, mut outward) = (Pipe::new(early), Pipe::new(&[&target_early]));
    drop::<Bytes>(target_early);
    let mut alone = None;
    let ended = poll_fn(|cx| {
        let entry = &guard.client.entry;
        if entry.order(cx.waker()) == Order::Cut {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let (parties, exchange) = (&guard.client, &guard.exchange);
        let came = |bytes: usize| ExchangeGuard::came_in(parties, exchange, bytes as u64);
        let went = |bytes: usize| ExchangeGuard::went_out(parties, exchange, bytes as u64);
        let inward = inward.poll(cx, &mut client, &mut target, came)?;
        let outward = outward.poll(cx, &mut target, &mut client, went)?;
        match (inward.is_ready(), outward.is_ready()) {
            (true, true) => Poll::Ready(io::Result::Ok(())),
            (false, true) => {
                let alone = alone.get_or_insert_with(|| Alone::new(&guard));
                alone.poll_over(&guard, cx).map(Ok)
            }
            // A client that has said all may wait for long; one that is gone is found out.
            (_, false) => Poll::Pending,
        }
    })
    .await;
    if ended.is_ok() {
        guard.complete();
    }
    // Both sockets are closed before anybody hears that the tunnel has ended.
    drop((client, target));
    drop(open);
    drop(guard);
}
