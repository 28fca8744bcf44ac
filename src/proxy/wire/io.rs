//! The wrapper around the client's socket.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::scan::{Scanner, Stop};
use super::state::{Gate, Reading, WireState};

/// What a client that speaks HTTP/2 by prior knowledge begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request that hyper takes without question and that no proxy forwards.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const STAND_IN_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Bytes looked at without a buffer of their own: on the stack, for one call.
const PEEK: usize = 8 * 1024;
/// Room made for more of a head that did not come whole.
const GROWTH: usize = 2 * 1024;
/// Bytes thrown away at most when a connection ends with unread ones.
const MAX_DISCARD: usize = 64 * 1024;

/// Bounds of a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// Bytes of a whole head, its empty line included.
    pub max_head_bytes: u32,
    /// Header fields.
    pub max_headers: u32,
    /// Bytes of the request target; hyper takes no more than 65,534.
    pub max_target_bytes: u32,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self { max_head_bytes: 64 * 1024, max_headers: 100, max_target_bytes: 16 * 1024 }
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireProtocol {
    /// HTTP/1.0 or 1.1, or something that will be refused as such.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// None: it closed without a byte.
    Closed,
}

#[derive(Debug)]
enum Mode {
    /// The first bytes are still to say what is spoken.
    Sniff,
    /// HTTP/1: every byte is judged.
    Scan,
    /// HTTP/2 or a tunnel: bytes pass unread.
    Pass,
    /// A head was refused. Nothing comes any more; an end of file would make hyper drop the answer.
    Refused,
    /// The framing of a body is broken: reading fails.
    Broken,
}

/// The client's socket as hyper reads it. See the module's documentation.
///
/// Reading goes on where it was after any dropped future: nothing here is lost by cancellation.
#[derive(Debug)]
pub struct GuardedIo<S> {
    io: S,
    state: Arc<WireState>,
    scanner: Scanner,
    mode: Mode,
    /// Bytes read from the socket and not handed on; empty and unallocated while idle.
    held: Vec<u8>,
    /// How many of `held`, from its front, may be handed on.
    ready: usize,
    /// How many of `held`, from its front, were handed on.
    taken: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> GuardedIo<S> {
    /// Watches `io`, of which nothing was read.
    pub fn new(io: S, limits: WireLimits) -> Self {
        Self {
            io,
            state: Arc::default(),
            scanner: Scanner::new(limits),
            mode: Mode::Sniff,
            held: Vec::new(),
            ready: 0,
            taken: 0,
        }
    }

    /// The shared state.
    pub fn state(&self) -> &Arc<WireState> {
        &self.state
    }

    /// The socket, and bytes that were read from it and not handed on: for a tunnel that copies
    /// by itself, after [`WireState::tunnel`].
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.held.drain(..self.taken);
        (self.io, self.held)
    }

    /// Waits until the first bytes say which protocol the client speaks; they are read again
    /// afterwards. Cancel-safe. Reading without it sniffs, too.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_sniff(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<WireProtocol>> {
        match self.mode {
            Mode::Sniff => {}
            Mode::Pass if self.state.gate() != Gate::Tunnel => {
                return Poll::Ready(Ok(WireProtocol::Http2));
            }
            _ => return Poll::Ready(Ok(WireProtocol::Http1)),
        }
        loop {
            let seen = self.held.len().min(PREFACE.len());
            if self.held[..seen] != PREFACE[..seen] {
                break;
            }
            if seen == PREFACE.len() {
                self.mode = Mode::Pass;
                self.ready = self.held.len();
                self.publish();
                return Poll::Ready(Ok(WireProtocol::Http2));
            }
            if ready!(self.poll_hold(cx))? == 0 {
                if self.held.is_empty() {
                    return Poll::Ready(Ok(WireProtocol::Closed));
                }
                break;
            }
            self.publish();
        }
        self.mode = Mode::Scan;
        self.judge_held();
        Poll::Ready(Ok(WireProtocol::Http1))
    }

    /// Reads once into `held`; 0 is the end of file.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = if self.held.is_empty() {
            // No buffer is allocated for a socket that has nothing to say.
            let mut room = [MaybeUninit::uninit(); PEEK];
            let mut peek = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut peek))?;
            self.held = peek.filled().to_vec();
            self.held.len()
        } else {
            self.held.drain(..self.taken);
            self.ready -= self.taken;
            self.taken = 0;
            if self.held.capacity() - self.held.len() < GROWTH / 4 {
                self.held.reserve(GROWTH);
            }
            ready!(pin!(self.io.read_buf(&mut self.held)).poll(cx))?
        };
        self.state.add_read(read);
        Poll::Ready(Ok(read))
    }

    /// Judges what of `held` was not judged to be ready yet.
    fn judge_held(&mut self) {
        let accepted = self.scanner.accept(&self.held[self.ready..]);
        self.ready += accepted.passed;
        self.state.add_heads(accepted.heads, accepted.gated);
        self.stop_at(accepted.stop);
        self.publish();
    }

    /// Acts on what the scanner stopped at; `held[ready..]` is what it did not pass.
    fn stop_at(&mut self, stop: Stop) {
        match stop {
            Stop::More | Stop::Gate => {}
            Stop::Refused { refusal, is_head } => {
                self.held.truncate(self.ready);
                self.held.extend_from_slice(if is_head { STAND_IN_HEAD } else { STAND_IN });
                self.ready = self.held.len();
                self.state.refuse(refusal);
                self.mode = Mode::Refused;
            }
            Stop::Broken => {
                self.held.truncate(self.ready);
                self.mode = Mode::Broken;
            }
        }
    }

    /// Tells the shared state what is held and what is read.
    fn publish(&self) {
        let rest = &self.held[self.ready..];
        let reading = match self.mode {
            Mode::Pass => Reading::Http2,
            Mode::Scan if self.scanner.is_in_body() => Reading::Body,
            Mode::Scan if self.scanner.is_head_begun(rest) => Reading::Head,
            Mode::Sniff if !rest.is_empty() => Reading::Head,
            _ => Reading::Nothing,
        };
        self.state.set_body_begun(self.scanner.is_body_begun());
        self.state.publish(reading, self.held.len() > self.taken);
    }

    /// Hands on as much of what is ready as `buf` takes.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let end = self.ready.min(self.taken.saturating_add(buf.remaining()));
        buf.put_slice(&self.held[self.taken..end]);
        self.taken = end;
        if self.taken == self.held.len() {
            self.held = Vec::new();
            (self.ready, self.taken) = (0, 0);
        }
        self.publish();
    }

    /// Reads into `buf` and judges the bytes where they are. `None`: nothing to hand on came of it.
    fn poll_direct(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<()>>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read == 0 {
            return Poll::Ready(Ok(Some(())));
        }
        self.state.add_read(read);
        let accepted = self.scanner.accept(&buf.filled()[before..]);
        if accepted.passed < read {
            self.held = buf.filled()[before + accepted.passed..].to_vec();
            buf.set_filled(before + accepted.passed);
        }
        self.state.add_heads(accepted.heads, accepted.gated);
        self.stop_at(accepted.stop);
        self.publish();
        Poll::Ready(Ok((accepted.passed > 0).then_some(())))
    }

    /// Waits at the gate. The socket is still read once, so that a client that leaves is noticed.
    /// `None`: the gate was left.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<()>>> {
        self.state.await_gate(cx.waker());
        match self.state.gate() {
            Gate::Held => {
                if !self.held.is_empty() {
                    return Poll::Pending;
                }
                let read = ready!(self.poll_hold(cx))?;
                self.publish();
                if read == 0 { Poll::Ready(Ok(Some(()))) } else { Poll::Pending }
            }
            Gate::Tunnel => {
                self.mode = Mode::Pass;
                self.ready = self.held.len();
                Poll::Ready(Ok(None))
            }
            Gate::Open => {
                self.scanner.resume();
                self.judge_held();
                Poll::Ready(Ok(None))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.ready > this.taken {
                this.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            match this.mode {
                Mode::Sniff => {
                    if ready!(this.poll_sniff(cx))? == WireProtocol::Closed {
                        return Poll::Ready(Ok(()));
                    }
                }
                Mode::Scan if this.scanner.is_at_gate() => {
                    if ready!(this.poll_gate(cx))?.is_some() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Mode::Scan if this.held.is_empty() => {
                    if ready!(this.poll_direct(cx, buf))?.is_some() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Mode::Scan => {
                    if ready!(this.poll_hold(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    this.judge_held();
                }
                Mode::Pass => {
                    let before = buf.filled().len();
                    ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                    this.state.add_read(buf.filled().len() - before);
                    return Poll::Ready(Ok(()));
                }
                Mode::Refused => return Poll::Pending,
                Mode::Broken => {
                    let what = "the chunked framing of the request's body is broken";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.state.add_written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs))?;
        this.state.add_written(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let unread = match this.mode {
            Mode::Refused | Mode::Broken => true,
            Mode::Scan => this.scanner.is_in_body(),
            Mode::Sniff | Mode::Pass => false,
        };
        // Closing a socket with unread bytes resets it, and the reset may overtake the answer at
        // the client. What is here already is thrown away, within bounds, and never looked at.
        let (mut room, mut left) = ([MaybeUninit::uninit(); PEEK], MAX_DISCARD);
        while unread && left > 0 {
            let mut bin = ReadBuf::uninit(&mut room);
            match Pin::new(&mut this.io).poll_read(cx, &mut bin) {
                Poll::Ready(Ok(())) if !bin.filled().is_empty() => {
                    this.state.add_read(bin.filled().len());
                    left = left.saturating_sub(bin.filled().len());
                }
                _ => break,
            }
        }
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "io_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "io_live_tests.rs"]
mod live_tests;
