//! The client's side of a connection, watched byte by byte before hyper sees it.
//!
//! hyper's HTTP/1 server forgives what a proxy must not: it drops a `Content-Length` beside a
//! `Transfer-Encoding` without a word, takes bare line feeds, and hides which of two lengths it
//! believed. A client could hide one request in another that way. So [`GuardedIo`] stands between
//! the socket and hyper, follows the framing of every message (RFC 9112) and hands a head on only
//! when it is complete and beyond doubt.
//!
//! A refused head is replaced by a harmless stand-in, so that its answer keeps its place behind the
//! answers of pipelined requests; nothing after it is read. Which request is the stand-in is known
//! by its number on the connection, which no client can forge.
//!
//! Bodies are not copied: they are read into hyper's own buffer and looked at there. A buffer is
//! held only while half a head is here. The verdict on a stream never depends on how the network
//! cut it into pieces.

mod chunks;
mod head;
mod io;
mod scan;
mod state;

pub use io::{GuardedIo, WireLimits, WireProtocol};
pub use state::{Begun, WirePhase, WireState};
