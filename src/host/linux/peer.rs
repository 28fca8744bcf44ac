//! Whose the far end of a connection is, and what user ids mean in this namespace.

use std::fs;
use std::net::SocketAddr;

use crate::host::PeerSocket;

use super::{descriptors, sock_diag};

pub(in crate::host) fn peer_socket(local: SocketAddr, peer: SocketAddr) -> Option<PeerSocket> {
    let fd = sock_diag::open().ok()?;
    // Its own end, and ours mirrored.
    let theirs = sock_diag::connected(&fd, peer, local).ok()??;
    // As long as our end is there nobody else can have had theirs meanwhile.
    sock_diag::connected(&fd, local, peer).ok()??;
    Some(PeerSocket { uid: theirs.uid, inode: theirs.inode })
}

pub(in crate::host) fn is_own_socket(inode: u64) -> bool {
    descriptors::sockets_of(std::process::id()).any(|own| own == inode)
}

pub(in crate::host) fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").map_or(true, |map| !is_initial(&map))
}

/// Whether every user of the machine is mapped to itself.
fn is_initial(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

pub(in crate::host) fn overflow_uid() -> u32 {
    /// What the kernel is built with.
    const USUAL: u32 = 65_534;
    let file = fs::read_to_string("/proc/sys/kernel/overflowuid");
    file.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_identity_of_all_users_is_the_initial_user_namespace() {
        assert!(is_initial("         0          0 4294967295\n"));
        for other in ["", "0 1000 1\n", "0 0 4294967295\n5 5 1\n", "0 0 65536\n"] {
            assert!(!is_initial(other), "{other:?}");
        }
    }
}
