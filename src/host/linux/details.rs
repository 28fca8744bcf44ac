//! Details of holders, connections, and which processes are out of bounds, by `/proc` and `sock_diag`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use rustix::thread::{CapabilitySet, capabilities};

use crate::host::Holder;
use crate::model::{HolderDetails, ParentView, Port};

use super::keeper::Keepers;
use super::process::Stat;
use super::{all_listening, descriptors, sock_diag};

/// More ancestors than any process has; a chain that changes while it is read might not end.
const MOST_PARENTS: usize = 64;

pub(in crate::host) fn details(holders: &[Holder]) -> Vec<HolderDetails> {
    if holders.is_empty() {
        return Vec::new();
    }
    let sockets = all_listening().unwrap_or_default();
    let ports: HashMap<u64, Port> = sockets.iter().map(|s| (s.inode, s.port)).collect();
    let keepers = Keepers::of_this_machine();
    let details = |holder: &Holder| {
        let identity = &holder.identity;
        let of = |name: &str| fs::read_link(format!("/proc/{}/{name}", identity.pid)).ok();
        let before = Stat::of(identity.pid).ok()?;
        let executable: Option<PathBuf> = of("exe");
        let details = HolderDetails {
            directory: of("cwd"),
            parents: parents(&before),
            other_ports: descriptors::sockets_of(identity.pid)
                .filter_map(|inode| ports.get(&inode).copied())
                .collect(),
            keeper: keepers.of(identity.pid, executable.as_deref(), &before.name),
            executable,
        };
        // All of it was about the process that was meant only if that one still has the pid.
        let after = super::process::liveness(identity);
        (after == crate::host::Liveness::Alive).then_some(details)
    };
    holders.iter().map(|holder| details(holder).unwrap_or_default()).collect()
}

fn parents(child: &Stat) -> Vec<ParentView> {
    let mut parents = Vec::new();
    let (mut pid, mut child_started) = (child.parent, child.start_time);
    while pid != 0 && parents.len() < MOST_PARENTS {
        let Ok(stat) = Stat::of(pid) else {
            // Hidden from this user, but known to be there.
            parents.push(ParentView { pid, name: None });
            break;
        };
        // A parent that is younger than its child is another process with that pid.
        if stat.start_time > child_started {
            break;
        }
        (pid, child_started) = {
            let next = (stat.parent, stat.start_time);
            parents.push(ParentView { pid, name: Some(stat.name) });
            next
        };
    }
    parents
}

pub(in crate::host) fn connections(ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
    let mut counts: BTreeMap<Port, u64> = ports.iter().map(|port| (*port, 0)).collect();
    let (Some(first), Some(last)) = (ports.first(), ports.last()) else { return Some(counts) };
    let sockets = match sock_diag::established(*first..=*last) {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::debug!(%error, "connections cannot be counted");
            return None;
        }
    };
    for socket in sockets {
        if let Some(count) = counts.get_mut(&socket.port) {
            *count += 1;
        }
    }
    Some(counts)
}

pub(in crate::host) fn own_line() -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    let mut pid = std::process::id();
    // 0 stands for a parent outside this pid namespace.
    while pid != 0 && line.insert(pid) {
        pid = Stat::of(pid).map_or(0, |stat| stat.parent);
    }
    line
}

pub(in crate::host) fn is_untouchable(pid: u32) -> bool {
    pid <= 1 || Stat::of(pid).is_ok_and(|stat| stat.is_kernel_thread())
}

pub(in crate::host) fn may_end_any() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::KILL))
}
