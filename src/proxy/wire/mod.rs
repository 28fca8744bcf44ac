//! The client's side of a connection, watched byte by byte before hyper sees it.

mod io;
mod state;

pub use io::{GuardedIo, WireLimits, WireProtocol};
pub use state::{Begun, WirePhase, WireState};
