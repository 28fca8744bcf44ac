//! What is known of a holder beyond who it is, and what may never be ended, whoever asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{HolderDetails, Port};

use super::{Holder, platform};

/// What is known of each holder beyond who it is, in the given order. Its ports are all it listens
/// on: whoever asks takes out those it asked about. One list of the sockets for all. Of a process
/// that is gone, or is another one by now, nothing is told. Blocks, some milliseconds.
pub fn details(holders: &[Holder]) -> Vec<HolderDetails> {
    platform::details(holders)
}

/// How many connections stand whose local port is each of `ports`: those that listeners on it
/// accepted. Ports without any are there with 0. `None`: it cannot be told here. Blocks, some
/// milliseconds.
pub fn connections(ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
    platform::connections(ports)
}

/// The pids of this process and of its ancestors, up to the first that cannot be seen.
pub fn own_line() -> BTreeSet<u32> {
    platform::own_line()
}

/// Whether nobody may end that process: init, a kernel thread, or the system itself (Windows: 0 and
/// 4).
pub fn is_untouchable(pid: u32) -> bool {
    platform::is_untouchable(pid)
}

/// The effective user of this process; `None` on systems without such numbers.
pub fn own_uid() -> Option<u32> {
    #[cfg(unix)]
    return Some(rustix::process::geteuid().as_raw());
    #[cfg(not(unix))]
    None
}

/// Whether this process may signal those of any user: on Linux the capability `CAP_KILL`, on other
/// Unix systems root. Always false on Windows, where only the attempt tells.
pub fn may_end_any() -> bool {
    platform::may_end_any()
}
