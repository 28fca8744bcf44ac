//! What the tests share: the program in a sandbox of its own, a server of it, clients and upstreams
//! that speak exactly the bytes a test wants.
//!
//! Belongs here: how to start, ask, load and stop things, and how to wait for them. Does not belong
//! here: any expectation about pmctl itself beyond "it did not panic". Ground rules: nothing sleeps
//! for an outcome, everything that waits has a deadline and shows the last thing it saw; whatever
//! is started is ended by the drop of its value.

#![cfg_attr(
    windows,
    allow(dead_code, unused_imports, reason = "the tests for Windows need a part of it")
)]

mod catalogue;
#[cfg(target_os = "linux")]
mod clock;
mod database;
#[cfg(unix)]
mod disk;
mod eureka;
mod grpc;
#[cfg(unix)]
mod guest;
mod h2;
mod holder;
mod http1;
#[cfg(unix)]
mod leftovers;
#[cfg(unix)]
mod load;
mod machine;
mod ports;
#[cfg(unix)]
mod registry;
mod sandbox;
mod server;
mod upstream;
mod wait;
#[cfg(unix)]
mod watcher;
#[cfg(unix)]
mod ws;

pub use catalogue::{assert_in_order, chinese_steps, sentence_like};
#[cfg(target_os = "linux")]
pub use clock::SetClock;
pub use database::Database;
#[cfg(unix)]
pub use disk::{Disk, Immutable};
pub use eureka::{FakeEureka, Fault};
pub use grpc::Grpc;
#[cfg(unix)]
pub use guest::{Guest, of_the_recipe};
pub use h2::{HyperUpstream, TlsIdentity, h2_request, runtime};
pub use holder::{Holder, Listen};
pub use http1::{Broken, Response, Wire, get};
#[cfg(unix)]
pub use leftovers::{
    announced, assert_all_stopped, events_by, guardian, is_there, wait_gone, wait_status,
};
#[cfg(unix)]
pub use load::Load;
#[cfg(unix)]
pub use machine::is_root;
pub use machine::{anonymous_memory, connections_to, is_listening, own_outside_address};
pub use ports::{free_port, free_ports};
#[cfg(unix)]
pub use registry::Registry;
pub use sandbox::{Pmctl, Ran};
pub use server::Server;
#[cfg(unix)]
pub use server::guardian_of;
pub use upstream::{Script, Upstream};
pub use wait::{DEADLINE, wait_until, wait_within};
#[cfg(unix)]
pub use watcher::Watcher;
#[cfg(unix)]
pub use ws::{WsEcho, ws_connect};

/// Bytes without a pattern a buffer boundary could hide in: xorshift from a fixed seed.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
