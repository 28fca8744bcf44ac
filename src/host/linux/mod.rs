//! Linux: sockets by `sock_diag`, processes by `/proc`.

mod descriptors;
mod details;
mod grace;
mod keeper;
mod peer;
mod pin;
mod proc_net;
mod process;
mod sock_diag;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::model::Port;

use super::HostError;
use super::holders::Listening;

pub(super) use details::{connections, details, is_untouchable, may_end_any, own_line};
pub(super) use grace::stop_grace;
pub(super) use peer::{in_user_namespace, is_own_socket, overflow_uid, peer_socket};
pub(super) use pin::Pin;
pub(super) use process::{describe, identity_of, liveness, own_figures, own_identity, seen_here};

/// A TCP socket as the kernel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Socket {
    port: Port,
    inode: u64,
    uid: u32,
}

/// The listening sockets on `ports`, with the processes that have them open.
pub(super) fn listening(
    ports: &BTreeSet<Port>,
    known_pids: &[u32],
) -> Result<Vec<Listening>, HostError> {
    let all = all_listening().map_err(|source| HostError::Listeners { source })?;
    let sockets: Vec<Socket> = all.into_iter().filter(|s| ports.contains(&s.port)).collect();
    let inodes: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let owners: BTreeMap<u64, BTreeSet<u32>> = descriptors::owners(&inodes, known_pids);
    let with_owners = sockets.iter().map(|socket| Listening {
        port: socket.port,
        uid: Some(socket.uid),
        pids: owners.get(&socket.inode).cloned().unwrap_or_default(),
    });
    Ok(with_owners.collect())
}

/// Every listening socket of this network namespace.
fn all_listening() -> io::Result<Vec<Socket>> {
    sock_diag::listening().or_else(|error| {
        tracing::debug!(%error, "no sock_diag here, reading /proc/net");
        proc_net::listening()
    })
}

#[cfg(test)]
mod tests;
