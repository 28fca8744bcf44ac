//! When a process was started, as exactly as the system knows.

use sysinfo::Process;

/// In microseconds since 1970, by libproc; `None` where it is gone or hidden.
#[cfg(target_os = "macos")]
pub(super) fn start_time(process: &Process) -> Option<u64> {
    use libc::{PROC_PIDTBSDINFO, proc_bsdinfo, proc_pidinfo};
    let pid = libc::c_int::try_from(process.pid().as_u32()).ok()?;
    let size = libc::c_int::try_from(size_of::<proc_bsdinfo>()).ok()?;
    let mut info = std::mem::MaybeUninit::<proc_bsdinfo>::zeroed();
    // SAFETY: `info` has `size` writable bytes, and the call writes no more than that.
    let written = unsafe { proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, info.as_mut_ptr().cast(), size) };
    if written < size {
        return None;
    }
    // SAFETY: every bit pattern, zeroes included, is a value of this structure of numbers.
    let info = unsafe { info.assume_init() };
    Some(info.pbi_start_tvsec.saturating_mul(1_000_000).saturating_add(info.pbi_start_tvusec))
}

/// In microseconds since 1970, of which only whole seconds are known here.
#[cfg(not(target_os = "macos"))]
pub(super) fn start_time(process: &Process) -> Option<u64> {
    Some(process.start_time().saturating_mul(1_000_000))
}
