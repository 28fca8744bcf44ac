//! What is known of a client's connection, for its own task and for whoever lists it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use super::scan::Accepted;
use crate::proxy::answer::Refusal;

/// What a client's connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WirePhase {
    /// Nothing of a request came yet.
    Fresh,
    /// The first bytes of a head wait for the rest of it, and no request is in flight.
    HeadPartial,
    /// A request is being read, or waits for its answer or its answer's end.
    InRequest,
    /// At least one request was answered and nothing of a next one is here: idle.
    Between,
    /// HTTP/2 by prior knowledge; its streams are not counted here.
    Http2,
    /// The connection was upgraded.
    Tunnel,
}

/// What [`WireState::begin_request`] says of the request that hyper hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// A client's request, to be forwarded.
    Request {
        /// It asks to leave HTTP, and nothing behind it is handed to hyper until
        /// [`WireState::tunnel`] or [`WireState::not_upgraded`] is called.
        gated: bool,
    },
    /// The stand-in for a refused head. Answer with the refusal; the connection ends with it.
    Refused(Refusal),
}

/// What the reader is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reading {
    /// Between messages, nothing of the next one is here.
    Nothing,
    /// Some of a head is here.
    Head,
    /// In a body.
    Body,
    /// HTTP/2.
    Http2,
}

/// What stands behind a request that asks to leave HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    /// Nothing special.
    Open,
    /// Bytes that nobody may look at yet.
    Held,
    /// A tunnel.
    Tunnel,
}

/// Shared between a [`super::GuardedIo`], the task that serves it, and any thread that lists
/// connections.
///
/// Only the connection's own thread writes, but for [`WireState::tunnel`] and
/// [`WireState::not_upgraded`], which any thread may call; so numbers are stored, not added, and
/// other threads see each of them soon, though not all of them at one moment.
#[derive(Debug, Default)]
pub struct WireState {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    /// Heads passed, the stand-in of a refused one included.
    heads: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
    reading: AtomicU8,
    buffered: AtomicBool,
    /// Bytes of the body behind the last head were passed.
    body_begun: AtomicBool,
    /// 0, or one more than the refusal's place in [`Refusal::ALL`].
    refusal: AtomicU8,
    gate: AtomicU8,
    waker: AtomicWaker,
}

impl WireState {
    /// What the connection is at.
    pub fn phase(&self) -> WirePhase {
        let reading = self.reading.load(Ordering::Relaxed);
        if self.gate.load(Ordering::Acquire) == Gate::Tunnel as u8 {
            return WirePhase::Tunnel;
        }
        if reading == Reading::Http2 as u8 {
            return WirePhase::Http2;
        }
        let heads = self.heads();
        if heads > self.ended.load(Ordering::Relaxed) || reading == Reading::Body as u8 {
            return WirePhase::InRequest;
        }
        match (reading == Reading::Head as u8, heads) {
            (true, _) => WirePhase::HeadPartial,
            (false, 0) => WirePhase::Fresh,
            (false, _) => WirePhase::Between,
        }
    }

    /// Bytes read from the socket.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Bytes written to the socket.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Whether bytes that hyper did not get wait inside the wrapper: half a head, bytes behind a
    /// request for an upgrade, or a whole head that hyper has not asked for yet.
    pub fn buffered(&self) -> bool {
        self.buffered.load(Ordering::Relaxed)
    }

    /// Complete request heads so far, the stand-in of a refused one included. Where it is more than
    /// [`WireState::begun`], a pipelined request waits, here or in hyper's own buffer.
    pub fn heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    /// Whether bytes of the body of the request that was begun last are here, read already.
    pub fn body_begun(&self) -> bool {
        // Behind a whole body a further head may have come.
        self.heads() > self.begun() || self.body_begun.load(Ordering::Relaxed)
    }

    /// Requests begun so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// The refusal of a head of this connection, possibly of one that has not begun yet; see
    /// [`WireState::begin_request`] for which request it belongs to.
    pub fn refusal(&self) -> Option<Refusal> {
        let place = self.refusal.load(Ordering::Relaxed).checked_sub(1)?;
        Refusal::ALL.get(usize::from(place)).copied()
    }

    /// Says what the next request is. Call once at the start of each HTTP/1 request that hyper
    /// hands over, in their order, and [`WireState::end_request`] once for each.
    pub fn begin_request(&self) -> Begun {
        let number = self.begun.load(Ordering::Relaxed) + 1;
        self.begun.store(number, Ordering::Relaxed);
        // Nothing is read behind a refused head or a gate, so both belong to the last head.
        let is_last = number >= self.heads();
        match self.refusal() {
            Some(refusal) if is_last => Begun::Refused(refusal),
            _ => Begun::Request { gated: is_last && self.gate() == Gate::Held },
        }
    }

    /// The answer to a begun request is through, or was given up.
    pub fn end_request(&self) {
        // Never more than begun, or the connection would look idle with a request in flight.
        let ended = self.ended.load(Ordering::Relaxed) + 1;
        self.ended.store(ended.min(self.begun()), Ordering::Relaxed);
    }

    /// The upgrade was accepted: what follows the request passes unread. No effect unless the last
    /// request was gated.
    pub fn tunnel(&self) {
        self.leave_gate(Gate::Tunnel);
    }

    /// The upgrade was not accepted: what follows is the next request. No effect unless the last
    /// request was gated.
    pub fn not_upgraded(&self) {
        self.leave_gate(Gate::Open);
    }

    fn leave_gate(&self, to: Gate) {
        let (held, to) = (Gate::Held as u8, to as u8);
        if self.gate.compare_exchange(held, to, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.waker.wake();
        }
    }

    pub(super) fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Acquire) {
            held if held == Gate::Held as u8 => Gate::Held,
            tunnel if tunnel == Gate::Tunnel as u8 => Gate::Tunnel,
            _ => Gate::Open,
        }
    }

    /// Wakes `waker` when the gate is left.
    pub(super) fn await_gate(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn add_read(&self, bytes: usize) {
        add(&self.bytes_read, bytes);
    }

    pub(super) fn add_written(&self, bytes: usize) {
        add(&self.bytes_written, bytes);
    }

    /// Bytes were passed on.
    pub(super) fn passed(&self, accepted: &Accepted) {
        if accepted.heads > 0 || accepted.body {
            self.body_begun.store(accepted.body, Ordering::Relaxed);
        }
        self.add_heads(accepted.heads, accepted.gated);
    }

    /// More heads were passed; `gated`: the last of them asks to leave HTTP.
    pub(super) fn add_heads(&self, heads: u64, gated: bool) {
        self.heads.store(self.heads() + heads, Ordering::Relaxed);
        if gated {
            self.gate.store(Gate::Held as u8, Ordering::Release);
        }
    }

    /// A head was refused; its stand-in is the last request.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.refusal.store(refusal as u8 + 1, Ordering::Relaxed);
        self.add_heads(1, false);
    }

    pub(super) fn publish(&self, reading: Reading, buffered: bool) {
        self.reading.store(reading as u8, Ordering::Relaxed);
        self.buffered.store(buffered, Ordering::Relaxed);
    }
}

/// Adds by one writer: no locked instruction.
fn add(number: &AtomicU64, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    number.store(number.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_belongs_to_the_last_head_only() {
        let state = WireState::default();
        state.add_heads(2, false);
        state.refuse(Refusal::Ambiguous);
        assert_eq!(state.begin_request(), Begun::Request { gated: false });
        assert_eq!(state.begin_request(), Begun::Request { gated: false });
        assert_eq!(state.begin_request(), Begun::Refused(Refusal::Ambiguous));
    }

    #[test]
    fn every_refusal_survives_its_number() {
        for refusal in Refusal::ALL {
            let state = WireState::default();
            state.refuse(*refusal);
            assert_eq!(state.refusal(), Some(*refusal));
        }
    }

    #[test]
    fn a_connection_is_idle_only_when_every_head_was_answered() {
        let state = WireState::default();
        assert_eq!(state.phase(), WirePhase::Fresh);
        state.publish(Reading::Head, true);
        assert_eq!(state.phase(), WirePhase::HeadPartial);
        state.add_heads(2, false);
        state.publish(Reading::Nothing, false);
        assert_eq!(state.phase(), WirePhase::InRequest);
        state.begin_request();
        state.end_request();
        assert_eq!(state.phase(), WirePhase::InRequest, "a pipelined one waits");
        state.begin_request();
        state.publish(Reading::Head, true);
        assert_eq!(state.phase(), WirePhase::InRequest, "half a third head");
        state.end_request();
        assert_eq!(state.phase(), WirePhase::HeadPartial);
        state.publish(Reading::Nothing, false);
        assert_eq!(state.phase(), WirePhase::Between);
    }

    #[test]
    fn only_a_held_gate_can_be_left() {
        let state = WireState::default();
        state.tunnel();
        assert_eq!(state.gate(), Gate::Open);
        state.add_heads(1, true);
        assert_eq!(state.begin_request(), Begun::Request { gated: true });
        state.not_upgraded();
        state.tunnel();
        assert_eq!(state.gate(), Gate::Open);
    }
}
