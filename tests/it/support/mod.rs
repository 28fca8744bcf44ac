//! What the tests share: the program in a sandbox of its own, a server of it, clients and upstreams
//! that speak exactly the bytes a test wants.
//!
//! Belongs here: how to start, ask, load and stop things, and how to wait for them. Does not belong
//! here: any expectation about pmctl itself beyond "it did not panic". Ground rules: nothing sleeps
//! for an outcome, everything that waits has a deadline and shows the last thing it saw; whatever
//! is started is ended by the drop of its value.

mod catalogue;
#[cfg(target_os = "linux")]
mod clock;
mod database;
mod disk;
mod eureka;
mod grpc;
mod guest;
mod h2;
mod holder;
mod http1;
mod leftovers;
mod load;
mod machine;
mod ports;
mod registry;
mod sandbox;
mod server;
mod upstream;
mod wait;
mod watcher;
mod ws;

pub use catalogue::{assert_in_order, sentence_like};
#[cfg(target_os = "linux")]
pub use clock::SetClock;
pub use database::Database;
pub use disk::{Disk, Immutable};
pub use eureka::{FakeEureka, Fault};
pub use grpc::Grpc;
pub use guest::{Guest, of_the_recipe};
pub use h2::{HyperUpstream, TlsIdentity, h2_request, runtime};
pub use holder::{Holder, Listen};
pub use http1::{Broken, Response, Wire, get};
pub use leftovers::{
    announced, assert_all_stopped, events_by, guardian, is_there, wait_gone, wait_status,
};
pub use load::Load;
pub use machine::{anonymous_memory, connections_to, is_listening, is_root, own_outside_address};
pub use ports::{free_port, free_ports};
pub use registry::Registry;
pub use sandbox::{Pmctl, Ran};
pub use server::{Server, guardian_of};
pub use upstream::{Script, Upstream};
pub use wait::{DEADLINE, wait_until, wait_within};
pub use watcher::Watcher;
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
