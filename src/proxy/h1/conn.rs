//! A client's connection: what is read of it, when it is to end, and how.

use std::future::poll_fn;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use super::buffer::Buf;
use crate::proxy::answer::Refusal;
use crate::proxy::client_socket::ClientSocket;
use crate::proxy::exchange::Client;
use crate::proxy::handle::ProxyPhase;
use crate::proxy::table::ConnectionState;
use crate::proxy::timer::Deadline;
use crate::proxy::wire::{Head, HeadScan};

/// What a client that speaks HTTP/2 by prior knowledge begins with (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room made for more of a head that did not come whole.
const GROWTH: usize = 2 * 1024;
/// Bytes read ahead of requests that wait behind the one under way.
const AHEAD: usize = 32 * 1024;
/// Bytes that a socket may hold, where the system does not say how many it does.
const MOST_UNREAD: u64 = 8 * 1024 * 1024;
/// Reads of a connection that is thrown away, before others get their turn.
const WASTE_TURNS: usize = 16;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Spoken {
    Http1,
    /// By prior knowledge.
    Http2,
    /// Nothing: it closed without a byte, or the connection is to be closed.
    Nothing,
}

/// What came next.
pub(super) enum Next {
    Head(Head),
    /// A head that is refused; `is_head`: its method is HEAD.
    Refused {
        refusal: Refusal,
        is_head: bool,
    },
    /// Nothing: the connection is to be closed, and nothing is lost by that.
    Close,
}

/// See the module's documentation.
pub(in crate::proxy) struct Conn {
    pub(super) client: Rc<Client>,
    pub(super) socket: ClientSocket,
    /// Read and not used up. None while there is nothing.
    pub(super) input: Option<Buf>,
    pub(super) deadline: Deadline,
    /// Where in the client's stream `input` begins.
    offset: u64,
    /// Where the stream had come to when a drain began here: what begins behind it came too late.
    in_time: u64,
    /// In that drain a real read has found nothing more.
    is_dry: bool,
    /// The client has sent its last byte.
    pub(super) is_at_end: bool,
    /// More is here than was read.
    pub(super) is_ahead: bool,
    /// The request under way was waited for, so the runtime has heard what happened before it.
    pub(super) is_awaited: bool,
    heads: u64,
}

impl Conn {
    pub(in crate::proxy) fn new(client: Rc<Client>, socket: ClientSocket) -> Self {
        let deadline = Deadline::after(client.worker.limits.header_timeout);
        Self {
            client,
            socket,
            input: None,
            deadline,
            offset: 0,
            in_time: u64::MAX,
            is_dry: false,
            is_at_end: false,
            is_ahead: false,
            is_awaited: false,
            heads: 0,
        }
    }

    /// The socket and what was read of it, for whoever goes on with them.
    ///
    /// # Errors
    /// The system has no room to watch the socket.
    pub(in crate::proxy) fn into_parts(self) -> io::Result<(Rc<Client>, TcpStream, Vec<u8>)> {
        let held = self.held().to_vec();
        Ok((self.client, self.socket.into_watched()?, held))
    }

    /// What is read and not used up.
    pub(super) fn held(&self) -> &[u8] {
        self.input.as_ref().map(Buf::filled).unwrap_or_default()
    }

    /// Takes `count` bytes off the front of what is read.
    pub(super) fn use_up(&mut self, count: usize) {
        if let Some(input) = &mut self.input {
            self.offset += count.min(input.len()) as u64;
            input.consume(count);
            if input.is_empty() {
                self.input = None;
            }
        }
    }

    /// Puts bytes that another buffer read behind those that are held.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.input.get_or_insert_with(Buf::small).append(bytes);
        }
    }

    /// `count` bytes were read into another buffer and used there.
    pub(super) fn passed_by(&mut self, count: usize) {
        self.offset += count as u64;
    }

    /// Whether the connection is to end: by order, or because it was idle for too long. The same
    /// throughout a turn of its task.
    pub(super) fn is_closing(&self) -> bool {
        self.client.io.closing.get()
    }

    /// Whether the request that begins now came after the drain had looked for the last ones: a
    /// client that goes on sending on a busy connection must not hold the drain up.
    pub(super) fn is_too_late(&self) -> bool {
        self.client.proxy.phase() != ProxyPhase::Running && self.offset >= self.in_time
    }

    /// Reads once behind what is held; 0 is the end of the stream. A connection that is to end
    /// asks the operating system, whatever the runtime has heard.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let is_closing = self.is_closing();
        self.is_ahead = false;
        let input = self.input.get_or_insert_with(Buf::small);
        if !input.is_empty() {
            input.make_room(GROWTH);
        }
        let mut room = ReadBuf::new(input.room(0));
        let mut polled = Pin::new(&mut self.socket).poll_read(cx, &mut room);
        if polled.is_pending() && is_closing {
            let real = |socket: SockRef<'_>| (&*socket).read(room.initialize_unfilled());
            polled = match self.socket.raw().and_then(real) {
                Ok(read) => {
                    room.advance(read);
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        let read = room.filled().len();
        input.add(read);
        let held = input.len();
        if held == 0 {
            self.input = None;
        }
        if is_closing && !self.is_dry {
            self.note_drain(self.offset + held as u64, polled.is_pending());
        }
        match polled {
            Poll::Ready(Ok(())) => {
                self.is_at_end |= read == 0;
                Poll::Ready(Ok(read))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// In a drain: `here` was read to, and nothing more found if it `is_dry`.
    fn note_drain(&mut self, here: u64, is_dry: bool) {
        self.is_dry = is_dry;
        if is_dry {
            self.in_time = self.in_time.min(here);
        } else if self.in_time == u64::MAX {
            // A client that never pauses would never be found dry.
            self.in_time = here.saturating_add(self.unread());
        }
    }

    /// Bytes of the client that the system holds, at most.
    fn unread(&self) -> u64 {
        #[cfg(unix)]
        if let Ok(socket) = self.socket.raw()
            && let Ok(count) = rustix::io::ioctl_fionread(&*socket)
        {
            return count;
        }
        MOST_UNREAD
    }

    /// In a drain, while a request is under way: looks how far what came in time goes, so that
    /// what comes later is told so.
    pub(super) fn look_ahead(&mut self, cx: &mut Context<'_>) {
        while !self.is_dry && !self.is_at_end && self.held().len() < AHEAD && self.is_closing() {
            if !matches!(self.poll_fill(cx), Poll::Ready(Ok(1..))) {
                return;
            }
        }
    }

    /// While a request is under way whose body is through: ready when the client is gone. That it
    /// has sent its last byte is noted.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_at_end || self.is_ahead {
            return Poll::Pending;
        }
        let Ok(socket) = self.socket.watched() else { return Poll::Ready(()) };
        let mut byte = [MaybeUninit::uninit(); 1];
        match socket.poll_peek(cx, &mut ReadBuf::uninit(&mut byte)) {
            Poll::Ready(Ok(0)) => self.is_at_end = true,
            // A further request: nothing can be learnt any more until it is read.
            Poll::Ready(Ok(_)) => self.is_ahead = true,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => {}
        }
        Poll::Pending
    }

    /// Whether the client has sent its last byte, or is gone, by what the runtime has heard: where bytes
    /// that are not read stand before it, no read tells.
    pub(super) fn has_left(&mut self) -> bool {
        let Ok(socket) = self.socket.watched() else { return true };
        let ready = pin!(unconstrained(socket.ready(Interest::READABLE)));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Waits for the first bytes, which say what is spoken.
    pub(in crate::proxy) async fn sniff(&mut self) -> Spoken {
        poll_fn(|cx| {
            loop {
                let held = self.held();
                let seen = held.len().min(PREFACE.len());
                if seen > 0 && held[..seen] != PREFACE[..seen] {
                    return Poll::Ready(Spoken::Http1);
                }
                if seen == PREFACE.len() {
                    return Poll::Ready(Spoken::Http2);
                }
                match self.poll_more(cx, seen > 0) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Spoken::Nothing),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Waits for a whole head.
    pub(super) async fn next(&mut self) -> Next {
        // The first one was waited for before it was known what is spoken.
        self.is_awaited &= self.heads == 0;
        let mut scan = HeadScan::default();
        poll_fn(|cx| self.poll_next(&mut scan, cx)).await
    }

    fn poll_next(&mut self, scan: &mut HeadScan, cx: &mut Context<'_>) -> Poll<Next> {
        let limits = self.client.worker.limits.wire;
        loop {
            match scan.scan(self.held(), &limits) {
                Ok(Some(head)) => {
                    self.heads += 1;
                    return Poll::Ready(Next::Head(head));
                }
                Err(refusal) => {
                    return Poll::Ready(Next::Refused { refusal, is_head: scan.is_head() });
                }
                Ok(None) => {}
            }
            let has_begun = scan.has_begun(self.held());
            if !ready!(self.poll_more(cx, has_begun)) {
                return Poll::Ready(Next::Close);
            }
        }
    }

    /// Waits for more of a head, of which something is here if it `has_begun`. False: the
    /// connection is to be closed.
    fn poll_more(&mut self, cx: &mut Context<'_>, has_begun: bool) -> Poll<bool> {
        loop {
            match self.poll_fill(cx) {
                Poll::Ready(read) => return Poll::Ready(matches!(read, Ok(1..))),
                // By a real read nothing more is here; half a head is no request.
                Poll::Pending if self.is_closing() => return Poll::Ready(false),
                Poll::Pending => self.is_awaited = true,
            }
            let state = match (has_begun, self.heads) {
                (true, _) => ConnectionState::HalfHead,
                (false, 0) => ConnectionState::Fresh,
                (false, _) => ConnectionState::Idle,
            };
            self.enter(state);
            ready!(self.deadline.poll_passed(cx));
            if state != ConnectionState::Idle {
                return Poll::Ready(false);
            }
            // Closed like in a drain: not before a real look at the socket.
            self.client.io.closing.set(true);
            self.deadline.set(self.client.worker.limits.header_timeout);
        }
    }

    fn enter(&mut self, state: ConnectionState) {
        let (entry, limits) = (&self.client.entry, &self.client.worker.limits);
        if entry.state() == state {
            return;
        }
        entry.set_state(state);
        match state {
            ConnectionState::Idle => self.deadline.set(limits.idle_timeout),
            // One deadline from the first moment to the end of the first head.
            ConnectionState::HalfHead if self.heads > 0 => {
                self.deadline.set(limits.header_timeout);
            }
            _ => {}
        }
    }

    /// Whether the end of the connection is a reset, however it comes: where an answer ends with the
    /// connection, any other end would pass for that of the answer.
    pub(super) fn reset_at_end(&self, is_reset: bool) {
        let linger = is_reset.then_some(Duration::ZERO);
        // A socket that refuses is gone.
        let _ = self.socket.raw().and_then(|socket| socket.set_linger(linger));
    }

    /// Ends the connection. Where bytes of the client are unread, the rest is read and thrown away
    /// until the client has closed too: a socket closed with unread bytes is reset, and the answer
    /// may be lost with it (RFC 9112 section 9.6).
    pub(super) async fn close(&mut self, is_unread: bool) {
        if self.is_at_end {
            return;
        }
        if !is_unread && !self.has_unread() {
            return;
        }
        if self.socket.raw().and_then(|socket| socket.shutdown(Shutdown::Write)).is_err() {
            return;
        }
        self.input = None;
        self.deadline.set(self.client.worker.limits.linger_timeout);
        poll_fn(|cx| self.poll_waste(cx)).await;
    }

    /// Whether more is here than was read, by the system's word: the runtime may not have heard of it, or
    /// may say that nothing is here because this task has had its share.
    fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        self.socket.raw().and_then(|socket| socket.peek(&mut byte)).is_ok_and(|count| count > 0)
    }

    fn poll_waste(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [MaybeUninit::uninit(); 4096];
        // Bounded, so that a client that sends for ever does not hold the worker.
        for _ in 0..WASTE_TURNS {
            let mut room = ReadBuf::uninit(&mut waste);
            match Pin::new(&mut self.socket).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.deadline.poll_passed(cx),
            }
        }
        cx.waker().wake_by_ref();
        self.deadline.poll_passed(cx)
    }

    /// Writes all of `bytes`; false: the client is gone, or does not take them in time.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> bool {
        self.deadline.set(self.client.worker.limits.body_idle_timeout);
        poll_fn(|cx| {
            while !bytes.is_empty() {
                match Pin::new(&mut self.socket).poll_write(cx, bytes) {
                    Poll::Ready(Ok(written @ 1..)) => {
                        bytes = &bytes[written..];
                        self.deadline.set(self.client.worker.limits.body_idle_timeout);
                    }
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => return self.deadline.poll_passed(cx).map(|()| false),
                }
            }
            Poll::Ready(true)
        })
        .await
    }
}
