//! Who is at the far end of an accepted loopback connection, and what the numbers of users mean here.

use std::net::SocketAddr;

use super::platform;

/// Whose socket the far end of an accepted loopback connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSocket {
    /// The user it belongs to.
    pub uid: u32,
    /// Its inode; never 0.
    pub inode: u64,
}

/// Whose the far end of the connection `local` – `peer` is, as `accept` told the two. Ask right after
/// accept, and hold the own end open meanwhile. `None`: it cannot be told (closed again, of another
/// network namespace, not on this machine, another system than Linux). Some microseconds.
pub fn peer_socket(local: SocketAddr, peer: SocketAddr) -> Option<PeerSocket> {
    platform::peer_socket(local, peer)
}

/// Whether this process has that socket open (Linux; elsewhere false). A few microseconds for each
/// open descriptor.
pub fn is_own_socket(inode: u64) -> bool {
    platform::is_own_socket(inode)
}

/// Whether this process is in a user namespace other than the initial one, so that 0 is not the
/// machine's root (Linux; elsewhere false). True where it cannot be told.
pub fn in_user_namespace() -> bool {
    platform::in_user_namespace()
}

/// The uid that stands for every user without a number here; it identifies nobody.
pub fn overflow_uid() -> u32 {
    platform::overflow_uid()
}

/// Whether user `uid` is a member of group `name`, by primary group or by its list of members, as
/// `/etc/passwd` and `/etc/group` say. A name in digits is also a gid. `None`: there is no such
/// group, or it cannot be told.
pub fn is_in_group(uid: u32, name: &str) -> Option<bool> {
    super::user::is_in_group(uid, name)
}
