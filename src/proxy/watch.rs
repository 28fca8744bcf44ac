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

/// See the module's documentation. Asked by the connection's task around every poll.
pub(super) struct Watch {
    client: Rc<Client>,
    deadline: Deadline,
    state: Cell<ConnectionState>,
    /// Bytes moved when the deadline was set, to tell a slow client from one that stopped.
    moved: Cell<u64>,
    end_seen: Cell<bool>,
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
        if io.in_flight.get() == 0 && io.end_hidden.replace(false) {
            // The end that was kept back is shown now: no event of the socket will come again.
            return Verdict::Again;
        }
        let state = self.current();
        if state != self.state.replace(state) {
            self.client.entry.set_state(state);
            self.set_deadline(state);
        }
        if io.end_hidden.get() && !self.end_seen.replace(true) {
            self.deadline.set(self.client.worker.limits.half_close_timeout);
        }
        match self.deadline.poll_passed(cx).is_ready() {
            true => self.passed(state, cx),
            false => Verdict::GoOn,
        }
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
        self.moved.set(self.client.io.moved.get());
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
                let progress = self.moved.replace(io.moved.get()) != io.moved.get();
                if self.end_seen.get() && !progress && !io.blocked.get() {
                    // Half-closed, and nothing came of it: the client is taken to be gone.
                    io.end_released.set(true);
                    self.deadline.set(limits.body_idle_timeout);
                    return Verdict::Again;
                }
                let stalled = io.blocked.get() || self.client.entry.awaits_client();
                if stalled && !progress {
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
