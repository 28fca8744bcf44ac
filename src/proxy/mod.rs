//! The data plane: bytes between clients and targets.
//!
//! Belongs here: listening sockets, the connections on them, rewriting and forwarding requests,
//! connections to targets, upgraded tunnels, what is counted of all that, and how a proxy ends.
//! Does not belong here: what services exist and which of them should run, who may ask, how any of
//! it is shown.
//!
//! Ground rules:
//! - A [`Plane`] is a number of threads with a runtime each, apart from the control plane's, which
//!   answers when these are saturated. Everything of a connection happens on one of them.
//! - A connection is a guard in the table from `accept` until its socket is closed; whoever counts
//!   connections counts guards. Its entry is listing, counter and cancel handle at once.
//! - `engine` is the one seam: an accepted connection goes in, and what is behind it (the own
//!   engine `h1`, or hyper for HTTP/2) is nobody else's business.
//! - No timer for a request: deadlines are numbers that a sweep looks at every 250 ms, and only
//!   while there are any, so that listeners alone cost no time.
//! - Bodies pass piece by piece. Nothing here holds more of one than a bounded buffer each way.
//! - A request whose bytes reached the socket before a drain began is answered whole.

mod accept;
mod acceptor;
mod answer;
mod balance;
mod body;
mod client_io;
mod client_socket;
mod connect;
mod counters;
#[cfg(feature = "debug-hooks")]
mod debug_hooks;
mod drain;
mod engine;
mod exchange;
#[cfg(windows)]
mod exclusive;
mod fault;
mod forward;
mod h1;
mod handle;
mod headers;
mod limits;
mod listen;
mod location;
mod plane;
mod pool;
mod probe;
mod relay;
mod route;
mod table;
mod timer;
mod tls;
mod tunnel;
mod upstream;
mod upstream_h1;
mod upstream_h2;
mod upstream_raw;
mod via;
mod watch;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

pub use balance::Balancer;
pub use counters::{LATENCY_BOUNDS, LatencyHistogram};
pub use drain::DrainReport;
pub use fault::{Faults, ProxyFault};
#[cfg(fuzzing)]
pub use h1::fuzzing;
pub use handle::{ProxyHandle, ProxyPhase, ProxySpec};
pub use limits::Limits;
pub use listen::{BindError, BoundListener, bind};
pub use plane::{Control, Plane, PlaneError, PlaneSettings, Refused};
pub use probe::{ProbeError, probe};
pub use route::Route;
pub use table::{ConnectionState, ConnectionView, ExchangeView};
pub use upstream::{Upstream, UpstreamError};
pub use via::ViaId;
pub use wire::WireLimits;
