//! Misbehaviour on demand, for the tests of what is done about it. Only with the feature
//! `debug-hooks`, which no build for users has.

use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Request;

use super::exchange::Client;
use super::plane::Job;

/// The header of a request that asks for it, and its values.
const HEADER: &str = "x-pmctl-debug";

/// The next look of any proxy's accept loop panics.
static PANIC_ACCEPTING: AtomicBool = AtomicBool::new(false);

/// Before a request is forwarded.
pub(super) fn on_request<B>(client: &Client, request: &Request<B>) {
    let asked = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    match asked {
        Some("panic-connection") => panic!("a connection panics, as it was asked to"),
        Some("panic-accepting") => {
            PANIC_ACCEPTING.store(true, Ordering::SeqCst);
            client.proxy.progress.notify_one();
        }
        Some("panic-worker") => {
            let worker = &client.worker;
            drop(worker.handles[worker.index].ask(Job::Panic));
        }
        Some("block-worker") => loop {
            std::thread::park();
        },
        _ => {}
    }
}

/// Whenever a proxy looks for connections.
pub(super) fn on_accept() {
    if PANIC_ACCEPTING.swap(false, Ordering::SeqCst) {
        panic!("an accept loop panics, as it was asked to");
    }
}
