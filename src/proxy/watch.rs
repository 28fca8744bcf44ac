//! Decides when a connection of HTTP/2 is to end: by order, by its deadline, or because nothing more
//! can come of it.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Context;

use super::client_io::MOST_READS;
use super::exchange::Client;
use super::table::ConnectionState;
use super::timer::Deadline;

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

/// How often the deadline of a connection that ends is set anew because its client goes on
/// reading: some of them never stop talking.
const MOST_LINGERS: u32 = 15;

/// See the module's documentation. Asked by the connection's task around every poll.
pub(super) struct Watch {
    client: Rc<Client>,
    deadline: Deadline,
    state: Cell<ConnectionState>,
    /// Bytes moved when the deadline was set, to tell a slow client from one that stopped; of a
    /// connection that ends, the client's alone.
    moved: Cell<u64>,
    /// The connection was polled once more for the sake of its read.
    looked: Cell<bool>,
    /// A connection that ends: how often its deadline may still be set anew.
    lingers: Cell<Option<u32>>,
}

impl Watch {
    pub(super) fn new(client: &Rc<Client>) -> Self {
        Self {
            client: Rc::clone(client),
            deadline: Deadline::after(client.worker.limits.header_timeout),
            state: Cell::new(ConnectionState::HalfHead),
            moved: Cell::new(0),
            looked: Cell::new(false),
            lingers: Cell::new(None),
        }
    }

    /// Before a poll.
    pub(super) fn before_poll(&self) {
        self.client.io.dry.set(false);
        self.client.io.real_reads.set(MOST_READS);
    }

    /// After a poll that left the connection waiting.
    pub(super) fn after_poll(&self, cx: &Context<'_>) -> Verdict {
        let io = &self.client.io;
        // The real look at the socket that a close needs would wait for a wake-up that may never
        // come.
        let unread = io.closing.get() && !io.dry.get();
        if unread && io.in_flight.get() == 0 && !self.looked.replace(true) {
            return Verdict::Again;
        }
        self.looked.set(false);
        let state = match io.in_flight.get() {
            0 => ConnectionState::Idle,
            _ => ConnectionState::InFlight,
        };
        if state != self.state.replace(state) {
            self.client.entry.set_state(state);
            self.moved.set(io.moved());
            let limits = &self.client.worker.limits;
            self.deadline.set(match state {
                ConnectionState::InFlight => limits.body_idle_timeout,
                _ => limits.idle_timeout,
            });
            self.lingers.set(None);
        }
        if io.lingering.get() || (io.closing.get() && io.in_flight.get() == 0) {
            return self.linger(cx);
        }
        self.lingers.set(None);
        match self.deadline.poll_passed(cx).is_ready() {
            true => self.passed(state, cx),
            false => Verdict::GoOn,
        }
    }

    /// A connection that ends, without a request under way. hyper tells its client so, with a
    /// ping, and closes once that is answered and every answer is through; then the client closes. It
    /// may have to give back a window first for an answer to go on, and a socket that is closed while
    /// its client still sends such things is reset, with what the client has not read yet. So only
    /// silence ends it sooner.
    fn linger(&self, cx: &Context<'_>) -> Verdict {
        let came = self.client.io.came.get();
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

    fn passed(&self, state: ConnectionState, cx: &Context<'_>) -> Verdict {
        let (io, limits) = (&self.client.io, &self.client.worker.limits);
        if state == ConnectionState::Idle {
            // Closed like in a drain: not before a real look at the socket.
            return match io.closing.replace(true) {
                true => Verdict::Close,
                false => {
                    self.deadline.set(limits.header_timeout);
                    Verdict::Again
                }
            };
        }
        // One silent stream is no reason to end the others; pings find out whether the client is
        // there at all. One that takes nothing of what it asked for is not.
        let moved = io.moved();
        if io.blocked.get() && self.moved.replace(moved) == moved {
            return Verdict::Close;
        }
        self.moved.set(moved);
        self.deadline.set(limits.body_idle_timeout);
        // Set anew, so it must be asked again to wake this task.
        let _ = self.deadline.poll_passed(cx);
        Verdict::GoOn
    }
}
