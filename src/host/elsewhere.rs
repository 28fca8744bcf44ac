//! What systems other than Linux have in common.
//!
//! Start times are moments there, not ticks since boot: they differ between boots by themselves, so
//! the boot id is the same for all. (The boot *time* that these systems tell moves with the clock,
//! and would make every process another one after a correction.)

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::model::{HolderDetails, Keeper, ParentView, Port, ProcessIdentity};

use super::forwarder::forwards_for;
use super::holders::Listening;
use super::platform::Table;
use super::{Holder, HostError, Liveness, PeerSocket, liveness, platform};

/// A process as a table of all shows it.
pub(super) struct Seen {
    pub(super) parent: Option<u32>,
    pub(super) name: String,
    /// In the platform's unit; `None` where it is not to be seen.
    pub(super) started: Option<u64>,
}

/// Who the process with that pid is, for a start time in the platform's unit.
pub(super) fn identity(pid: u32, start_time: u64) -> ProcessIdentity {
    ProcessIdentity { boot_id: "-".to_owned(), pid_namespace: 0, pid, start_time }
}

pub(super) fn listening(
    ports: &BTreeSet<Port>,
    _known_pids: &[u32],
) -> Result<Vec<Listening>, HostError> {
    let mut sockets =
        platform::all_listening().map_err(|source| HostError::Listeners { source })?;
    sockets.retain(|socket| ports.contains(&socket.port));
    Ok(sockets)
}

pub(super) fn details(holders: &[Holder]) -> Vec<HolderDetails> {
    if holders.is_empty() {
        return Vec::new();
    }
    let sockets = platform::all_listening().unwrap_or_default();
    let Some(table) = Table::read() else { return vec![HolderDetails::default(); holders.len()] };
    let details = |holder: &Holder| {
        let pid = holder.identity.pid;
        let seen = table.get(pid)?;
        let listens = |socket: &&Listening| socket.pids.contains(&pid);
        let executable = table.executable(pid);
        let runtime = forwards_for(executable.as_deref(), &seen.name);
        let details = HolderDetails {
            executable,
            directory: table.directory(pid),
            parents: ancestors(&table, pid).collect(),
            other_ports: sockets.iter().filter(listens).map(|socket| socket.port).collect(),
            keeper: runtime.map(|runtime| Keeper::Forwarder { runtime: runtime.to_owned() }),
        };
        // All of it was about the process that was meant only if that one still has the pid.
        (liveness(&holder.identity) == Liveness::Alive).then_some(details)
    };
    holders.iter().map(|holder| details(holder).unwrap_or_default()).collect()
}

/// Its parent first. A parent that is younger than its child is another process with that pid.
fn ancestors(table: &Table, pid: u32) -> impl Iterator<Item = ParentView> {
    let mut child = table.get(pid);
    let mut seen = BTreeSet::from([pid]);
    std::iter::from_fn(move || {
        let of = child.take()?;
        let pid = of.parent.filter(|pid| seen.insert(*pid))?;
        child = table.get(pid);
        let begun = child.as_ref().and_then(|parent| parent.started).zip(of.started);
        if begun.is_some_and(|(parent, child)| parent > child) {
            child = None;
            return None;
        }
        Some(ParentView { pid, name: child.as_ref().map(|parent| parent.name.clone()) })
    })
}

pub(super) fn own_line() -> BTreeSet<u32> {
    let own = std::process::id();
    let table = Table::read();
    let parents = table.iter().flat_map(|table| ancestors(table, own)).map(|parent| parent.pid);
    parents.chain([own]).collect()
}

pub(super) fn may_end_any() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    false
}

/// Not told on these systems.
pub(super) fn peer_socket(_local: SocketAddr, _peer: SocketAddr) -> Option<PeerSocket> {
    None
}

pub(super) fn is_own_socket(_inode: u64) -> bool {
    false
}

pub(super) fn in_user_namespace() -> bool {
    false
}

pub(super) fn overflow_uid() -> u32 {
    65_534
}
