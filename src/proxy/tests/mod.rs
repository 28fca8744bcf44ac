//! Proxies on loopback, whole: real sockets, real targets, one sentence each.

mod drain;
mod expect;
mod forwarding;
mod http2;
pub(super) mod kit;
mod limits;
mod tunnels;
