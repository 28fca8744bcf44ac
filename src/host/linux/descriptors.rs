//! Which processes have a socket open: the links of `/proc/PID/fd`, about a microsecond each.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat_raw};

/// The processes that have each of `inodes` open, as far as this one may see them. `known_pids` are
/// asked first, and all others only if those leave a socket unexplained.
pub(super) fn owners(inodes: &BTreeSet<u64>, known_pids: &[u32]) -> BTreeMap<u64, BTreeSet<u32>> {
    let mut found = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for pid in known_pids {
        if found.len() == inodes.len() {
            return found;
        }
        // An answer cut short because all is explained is as good as a whole one: nothing is left
        // to ask for then.
        if asked.insert(*pid) {
            ask(*pid, inodes, &mut found, |found| found.len() == inodes.len());
        }
    }
    if found.len() == inodes.len() {
        return found;
    }
    for pid in pids() {
        if !asked.contains(&pid) {
            ask(pid, inodes, &mut found, |_| false);
        }
    }
    found
}

/// Every process of this pid namespace, and of those below it.
pub(super) fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Adds `pid` to each of `inodes` that it has open. A process that is gone, or another user's, shows
/// nothing.
fn ask(
    pid: u32,
    inodes: &BTreeSet<u64>,
    found: &mut BTreeMap<u64, BTreeSet<u32>>,
    is_enough: impl Fn(&BTreeMap<u64, BTreeSet<u32>>) -> bool,
) {
    for inode in sockets_of(pid).filter(|inode| inodes.contains(inode)) {
        found.entry(inode).or_default().insert(pid);
        if is_enough(found) {
            return;
        }
    }
}

/// The inodes of the sockets that a process has open, one for each descriptor; none where it is gone
/// or may not be seen.
pub(super) fn sockets_of(pid: u32) -> impl Iterator<Item = u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty()).ok();
    let opened = directory.and_then(|fd| Some((Dir::read_from(&fd).ok()?, fd)));
    opened.into_iter().flat_map(|(entries, directory)| {
        entries.map_while(Result::ok).filter_map(move |entry| {
            // "socket:[4294967295]" has 19 bytes; longer links are no sockets.
            let mut buffer = [MaybeUninit::uninit(); 32];
            let (link, _) = readlinkat_raw(&directory, entry.file_name(), &mut buffer).ok()?;
            socket_inode(link)
        })
    })
}

fn socket_inode(link: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_to_a_socket_has_an_inode() {
        assert_eq!(socket_inode(b"socket:[4294967295]"), Some(4_294_967_295));
        for other in [&b"pipe:[12]"[..], b"/tmp/socket:[12]", b"socket:[12", b"socket:[]", b""] {
            assert_eq!(socket_inode(other), None);
        }
    }
}
