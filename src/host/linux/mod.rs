//! Linux: sockets by `sock_diag`, processes by `/proc`.

mod descriptors;
mod proc_net;
mod process;
mod sock_diag;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Port;

use super::HostError;
use super::holders::Listening;

#[cfg(test)]
pub(super) use process::identity_of;
pub(super) use process::{describe, liveness, own_figures, own_identity};

pub(super) fn details(holders: &[super::Holder]) -> Vec<crate::model::HolderDetails> {
    holders.iter().map(|_| crate::model::HolderDetails::default()).collect()
}
pub(super) fn connections(_ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
    None
}
pub(super) fn own_line() -> BTreeSet<u32> {
    [std::process::id()].into()
}
pub(super) fn is_untouchable(pid: u32) -> bool {
    pid <= 1
}
pub(super) fn may_end_any() -> bool {
    rustix::process::geteuid().is_root()
}
pub(super) fn peer_socket(
    _local: std::net::SocketAddr,
    _peer: std::net::SocketAddr,
) -> Option<super::PeerSocket> {
    None
}
pub(super) fn is_own_socket(_inode: u64) -> bool {
    false
}
pub(super) fn in_user_namespace() -> bool {
    true
}
pub(super) fn overflow_uid() -> u32 {
    65534
}
pub(super) fn is_in_group(_uid: u32, _name: &str) -> Option<bool> {
    None
}

#[derive(Debug)]
pub(super) struct Pin;

impl Pin {
    pub(super) fn new(_: &crate::model::ProcessIdentity) -> Result<Self, super::PinError> {
        Err(super::PinError::Unsupported(std::io::ErrorKind::Unsupported.into()))
    }
    pub(super) fn may_signal(&self, _: &crate::model::ProcessIdentity) -> bool {
        false
    }
    pub(super) fn listens_on(&self, _: &crate::model::ProcessIdentity, _: Port) -> bool {
        false
    }
    pub(super) fn end(
        &self,
        _: &crate::model::ProcessIdentity,
        _: Option<crate::model::EndSignal>,
    ) -> Result<(), super::PinError> {
        Ok(())
    }
    pub(super) fn resume(&self, _: &crate::model::ProcessIdentity) -> Result<(), super::PinError> {
        Ok(())
    }
    pub(super) fn wait(&self, _: &crate::model::ProcessIdentity, _: std::time::Duration) -> bool {
        false
    }
    pub(super) fn has_window(&self) -> bool {
        false
    }
}

/// A listening socket as the kernel shows it.
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
    let all = sock_diag::listening().or_else(|error| {
        tracing::debug!(%error, "no sock_diag here, reading /proc/net");
        proc_net::listening().map_err(|source| HostError::Listeners { source })
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_list_the_sockets_agree() {
        let listeners: Vec<_> = ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"]
            .iter()
            .map(|a| std::net::TcpListener::bind(a).unwrap())
            .collect();
        for listener in &listeners {
            let port = Port::new(listener.local_addr().unwrap().port()).unwrap();
            let of = |all: std::io::Result<Vec<Socket>>| {
                all.unwrap().into_iter().filter(|s| s.port == port).collect::<Vec<_>>()
            };
            let (diag, file) = (of(sock_diag::listening()), of(proc_net::listening()));
            assert_eq!(diag, file);
            assert_eq!(diag.len(), 1);
            assert_eq!(diag[0].uid, rustix::process::geteuid().as_raw());
        }
    }
}
