//! What is known of a client's connection, for its own task and for whoever lists it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use futures_util::task::AtomicWaker;

use crate::proxy::answer::Refusal;

/// What a client's connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WirePhase {
    /// Nothing was read yet.
    Fresh,
    /// The first bytes of a head wait for the rest of it, and no request is in flight.
    HeadPartial,
    /// A request is being read or answered.
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
    /// A client's request, to be forwarded. `gated`: it asks for an upgrade, and nothing more is
    /// read until [`WireState::tunnel`] or [`WireState::not_upgraded`] is called.
    Request {
        /// See above.
        gated: bool,
    },
    /// The stand-in for a refused head. Answer with the refusal; the connection ends with it.
    Refused(Refusal),
}

/// Shared between a [`super::GuardedIo`], the task that serves it, and any thread that lists
/// connections. All numbers are of socket bytes and only ever grow.
#[derive(Debug, Default)]
pub struct WireState {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    /// Heads handed to hyper, the stand-in of a refused one included.
    heads: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
    /// What the scanner is at, see `Reading`.
    reading: AtomicU8,
    buffered: AtomicBool,
    refusal: AtomicU8,
    gate: AtomicU8,
    waker: AtomicWaker,
}

impl WireState {
    /// What the connection is at.
    pub fn phase(&self) -> WirePhase {
        todo!()
    }

    /// Bytes read from the socket.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Bytes written to the socket.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Whether bytes that hyper did not get wait inside the wrapper (half a head, or bytes after a
    /// request for an upgrade).
    pub fn buffered(&self) -> bool {
        self.buffered.load(Ordering::Relaxed)
    }

    /// Request heads handed to hyper so far. More than the number of requests that were begun:
    /// hyper has a pipelined request in its own buffer.
    pub fn heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    /// Call once at the start of each HTTP/1 request that hyper hands over, in their order.
    pub fn begin_request(&self) -> Begun {
        todo!()
    }

    /// Call once when the answer to a begun request is through, or given up.
    pub fn end_request(&self) {
        todo!()
    }

    /// The upgrade was accepted: from now on bytes pass unread in both directions.
    pub fn tunnel(&self) {
        todo!()
    }

    /// The upgrade was not accepted: what follows is the next request.
    pub fn not_upgraded(&self) {
        todo!()
    }
}
