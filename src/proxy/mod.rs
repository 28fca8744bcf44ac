//! Bytes between clients and upstreams.
//!
//! Belongs here: reading requests off client connections, rewriting heads, connecting to targets,
//! answering what cannot be forwarded. Does not belong here: what services exist and which of them
//! should run.

mod answer;
mod connect;
mod headers;
mod location;
mod tls;
mod upstream;
mod via;
mod wire;

pub use answer::{Failure, Refusal, answer};
pub use connect::{ConnectError, Connected, Protocol, Step, UpstreamIo, Want, connect};
pub use headers::{
    ClientFacts, RequestShape, clean_trailers, set_protocol, to_client, to_upstream,
};
pub use upstream::{Upstream, UpstreamError};
pub use via::ViaId;
pub use wire::{Begun, GuardedIo, WireLimits, WirePhase, WireProtocol, WireState};
