//! Proxies on loopback, whole: real sockets, real targets, one sentence each.

mod attacks;
pub(super) mod differential;
mod drain;
mod endings;
mod expect;
mod forwarding;
mod http2;
mod http2_ending;
pub(super) mod kit;
mod limits;
mod messages;
mod record;
mod smuggling;
mod spreading;
mod tunnels;

/// Held by a test that wants a worker to stand still.
static STANDSTILL: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Lets a request do to its worker what no request can.
pub(super) fn meddle(path: &str) {
    match path {
        "/panic-for-test" => panic!("asked for by a test"),
        "/block-for-test" => drop(STANDSTILL.lock()),
        _ => {}
    }
}
