//! Who a process is. A pid alone is never an identity: it is reused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process, told apart from every other one that this machine ever ran.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessIdentity {
    /// Which boot of the machine: Linux `/proc/sys/kernel/random/boot_id`, elsewhere what the
    /// `host` room derives from the boot time.
    pub boot_id: String,
    /// Inode of the pid namespace the pid counts in (Linux); 0 where there are none.
    pub pid_namespace: u64,
    /// Process id within that namespace.
    pub pid: u32,
    /// When the kernel started it: clock ticks since boot on Linux (`/proc/PID/stat` field 22), the
    /// creation time in the platform's finest unit elsewhere.
    pub start_time: u64,
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} (started {})", self.pid, self.start_time)
    }
}
