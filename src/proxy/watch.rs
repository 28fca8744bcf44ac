//! Decides when a connection of HTTP/2 is to end: by order, by its deadline, or because nothing more
//! can come of it.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Context;

use super::exchange::Client;
use super::table::{ConnectionState, Order};
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

/// See the module's documentation. Asked by the connection's task around every poll.
pub(super) struct Watch {
    client: Rc<Client>,
    deadline: Deadline,
    state: Cell<ConnectionState>,
    /// Bytes moved when the deadline was set, to tell a slow client from one that stopped.
    moved: Cell<u64>,
    /// The connection was polled once more for the sake of its read.
    looked: Cell<bool>,
}

impl Watch {
    pub(super) fn new(client: &Rc<Client>) -> Self {
        Self {
            client: Rc::clone(client),
            deadline: Deadline::after(client.worker.limits.header_timeout),
            state: Cell::new(ConnectionState::HalfHead),
            moved: Cell::new(0),
            looked: Cell::new(false),
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
        if io.closing.get() && io.is_quiet() {
            return Verdict::Close;
        }
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
            self.moved.set(io.moved.get());
            let limits = &self.client.worker.limits;
            self.deadline.set(match state {
                ConnectionState::InFlight => limits.body_idle_timeout,
                _ => limits.idle_timeout,
            });
        }
        match self.deadline.poll_passed(cx).is_ready() {
            true => self.passed(state, cx),
            false => Verdict::GoOn,
        }
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
        let moved = io.moved.get();
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
