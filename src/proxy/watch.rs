//! Decides when a client connection is to end: by order, by its deadline, or because nothing more
//! can come of it.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Context;

use super::exchange::Client;
use super::table::{ConnectionState, Order};
use super::timer::Deadline;
use super::wire::WirePhase;

/// What a connection's task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait to be woken.
    GoOn,
    /// Poll the connection once more now.
    Again,
    /// Close now; nothing that was promised is lost.
    Close,
}

/// How often the deadline of an HTTP/2 connection that ends is set anew because its client goes on
/// reading: some of them never stop talking.
const MOST_LINGERS: u32 = 15;

/// See the module's documentation. Asked by the connection's task around every poll.
pub(super) struct Watch {
    client: Rc<Client>,
    deadline: Deadline,
    state: Cell<ConnectionState>,
    /// Bytes moved when the deadline was set, to tell a slow client from one that stopped; of an
    /// HTTP/2 connection that ends, the client's alone.
    moved: Cell<u64>,
    end_seen: Cell<bool>,
    /// The connection was polled once more for the sake of its read.
    looked: Cell<bool>,
    /// An HTTP/2 connection that ends: how often its deadline may still be set anew.
    lingers: Cell<Option<u32>>,
}

impl Watch {
    pub(super) fn new(client: &Rc<Client>) -> Self {
        let deadline = Deadline::after(client.worker.limits.header_timeout);
        Self {
            client: Rc::clone(client),
            deadline,
            state: Cell::new(ConnectionState::Fresh),
            moved: Cell::new(0),
            end_seen: Cell::new(false),
            looked: Cell::new(false),
            lingers: Cell::new(None),
        }
    }

    /// Before a poll: takes orders. Whether the connection is to be closed whatever is under way.
    pub(super) fn is_cut(&self, cx: &Context<'_>) -> bool {
        let io = &self.client.io;
        match self.client.entry.order(cx.waker()) {
            Order::Run => {}
            Order::Drain => io.closing.set(true),
            Order::Cut => return true,
        }
        io.dry.set(false);
        false
    }

    /// After a poll that left the connection waiting.
    pub(super) fn after_poll(&self, cx: &Context<'_>) -> Verdict {
        let io = &self.client.io;
        let http2 = self.client.http2.get();
        if io.closing.get() && io.is_quiet() && !http2 {
            return Verdict::Close;
        }
        if io.closing.get() && io.dry.get() && io.last_in_time.get().is_none() {
            io.last_in_time.set(Some(self.client.wire.heads()));
        }
        // hyper does not read again when an answer is through, if its last read found nothing: the
        // end of the stream, or the real look that a close needs, would wait for a wake-up that
        // may never come.
        let unread = io.end_hidden.get() || (io.closing.get() && !io.dry.get());
        if unread && io.in_flight.get() == 0 && !self.looked.replace(true) {
            io.end_hidden.set(false);
            return Verdict::Again;
        }
        self.looked.set(false);
        let state = self.current();
        if state != self.state.replace(state) {
            self.client.entry.set_state(state);
            self.set_deadline(state);
            self.lingers.set(None);
        }
        if http2 && (io.lingering.get() || (io.closing.get() && io.in_flight.get() == 0)) {
            return self.linger(cx);
        }
        self.lingers.set(None);
        if io.end_hidden.get() && !self.end_seen.replace(true) {
            self.deadline.set(self.client.worker.limits.half_close_timeout);
        }
        match self.deadline.poll_passed(cx).is_ready() {
            true => self.passed(state, cx),
            false => Verdict::GoOn,
        }
    }

    /// An HTTP/2 connection without a request under way that ends. hyper tells its client so, with a
    /// ping, and closes once that is answered and every answer is through; then the client closes. It
    /// may have to give back a window first for an answer to go on, and a socket that is closed while
    /// its client still sends such things is reset, with what the client has not read yet. So only
    /// silence ends it sooner.
    fn linger(&self, cx: &Context<'_>) -> Verdict {
        let came = self.client.wire.bytes_read().wrapping_add(self.client.io.wasted.get());
        let left = match self.lingers.get() {
            None => MOST_LINGERS,
            Some(_) if self.deadline.poll_passed(cx).is_pending() => return Verdict::GoOn,
            Some(left) if left > 0 && self.moved.get() != came => left - 1,
            Some(_) => return Verdict::Close,
        };
        self.lingers.set(Some(left));
        self.moved.set(came);
        self.deadline.set(self.client.worker.limits.linger_timeout);
        // Set anew, so it must be asked to wake this task.
        let _ = self.deadline.poll_passed(cx);
        Verdict::GoOn
    }

    /// Socket bytes both ways.
    fn moved(&self) -> u64 {
        self.client.wire.bytes_read().wrapping_add(self.client.wire.bytes_written())
    }

    fn current(&self) -> ConnectionState {
        if self.client.io.in_flight.get() > 0 {
            return ConnectionState::InFlight;
        }
        match self.client.wire.phase() {
            WirePhase::Fresh => ConnectionState::Fresh,
            WirePhase::HeadPartial => ConnectionState::HalfHead,
            WirePhase::InRequest => ConnectionState::InFlight,
            WirePhase::Between | WirePhase::Http2 => ConnectionState::Idle,
            WirePhase::Tunnel => ConnectionState::Tunnel,
        }
    }

    fn set_deadline(&self, state: ConnectionState) {
        let limits = &self.client.worker.limits;
        self.moved.set(self.moved());
        self.client.io.client_late.set(false);
        self.end_seen.set(false);
        self.client.io.end_hidden.set(false);
        self.client.io.end_released.set(false);
        match state {
            // One deadline from the first moment to the end of the first head.
            ConnectionState::Fresh => {}
            ConnectionState::HalfHead if self.client.wire.heads() == 0 => {}
            ConnectionState::HalfHead => self.deadline.set(limits.header_timeout),
            ConnectionState::InFlight => self.deadline.set(limits.body_idle_timeout),
            ConnectionState::Idle => self.deadline.set(limits.idle_timeout),
            ConnectionState::Tunnel => self.deadline.clear(),
        }
    }

    fn passed(&self, state: ConnectionState, cx: &Context<'_>) -> Verdict {
        let (io, limits) = (&self.client.io, &self.client.worker.limits);
        match state {
            ConnectionState::Fresh | ConnectionState::HalfHead => Verdict::Close,
            ConnectionState::Idle => {
                // Closed like in a drain: not before a real look at the socket.
                match io.closing.replace(true) {
                    true => Verdict::Close,
                    false => {
                        self.deadline.set(limits.header_timeout);
                        Verdict::Again
                    }
                }
            }
            ConnectionState::InFlight => {
                let moved = self.moved();
                let progress = self.moved.replace(moved) != moved;
                if self.end_seen.get() && !progress && !io.blocked.get() {
                    // Half-closed, and nothing came of it: the client is taken to be gone.
                    io.end_released.set(true);
                    self.deadline.set(limits.body_idle_timeout);
                    return Verdict::Again;
                }
                // Over HTTP/2 one silent stream is no reason to end the others; its pings find out
                // whether the client is there at all.
                let awaited = !self.client.http2.get() && self.client.entry.awaits_client();
                if awaited && !progress && !io.client_late.replace(true) {
                    // If nothing was answered yet, the request itself says 408 in the next poll.
                    self.deadline.set(limits.linger_timeout);
                    return Verdict::Again;
                }
                if (io.blocked.get() || awaited) && !progress {
                    return Verdict::Close;
                }
                self.deadline.set(match self.end_seen.get() {
                    true => limits.half_close_timeout,
                    false => limits.body_idle_timeout,
                });
                // Set anew, so it must be asked again to wake this task.
                let _ = self.deadline.poll_passed(cx);
                Verdict::GoOn
            }
            ConnectionState::Tunnel => Verdict::GoOn,
        }
    }
}
