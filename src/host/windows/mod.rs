//! Windows: sockets by `GetExtendedTcpTable`, processes by handles.
//!
//! The calls of the system with buffers and handles of our own are unsafe code. None of them is in
//! user32, gdi32 or shell32: a program that loads those is a program with windows for the system, and
//! its console no longer tells it of a logoff or a shutdown.

mod details;
mod pin;
mod process;
mod snapshot;
mod sockets;
mod words;

use std::io;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, HANDLE_FLAG_INHERIT, SetHandleInformation,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW,
};

use crate::model::ProcessIdentity;

use super::{HostError, Liveness, elsewhere};
use process::Process;

pub(super) use details::{Table, describe, own_figures};
pub(super) use elsewhere::{
    details, in_user_namespace, is_own_socket, listening, may_end_any, overflow_uid, own_line,
    peer_socket,
};
pub(super) use pin::Pin;
pub(super) use sockets::{all_listening, connections};

/// 0 is what runs when nothing does, 4 the kernel.
pub(super) fn is_untouchable(pid: u32) -> bool {
    matches!(pid, 0 | 4)
}

pub(super) fn own_identity() -> Result<ProcessIdentity, HostError> {
    identity_of(std::process::id())
}

pub(super) fn identity_of(pid: u32) -> Result<ProcessIdentity, HostError> {
    let failed = |source| HostError::Read { what: format!("process {pid}"), source };
    let created_at = Process::open(pid).and_then(|p| p.created_at()).map_err(failed)?;
    Ok(elsewhere::identity(pid, created_at))
}

pub(super) fn liveness(identity: &ProcessIdentity) -> Liveness {
    let process = match Process::open(identity.pid) {
        Ok(process) => process,
        // There is one, of another user: whether it is this one cannot be told.
        Err(error) if is_code(&error, ERROR_ACCESS_DENIED) => return Liveness::Unknown,
        Err(_) => return Liveness::Dead,
    };
    match process.created_at() {
        Ok(created) if created == identity.start_time && process.is_running() => Liveness::Alive,
        Ok(_) => Liveness::Dead,
        Err(_) => Liveness::Unknown,
    }
}

/// The name of this machine; empty where the system does not say.
pub(super) fn hostname() -> String {
    let mut name = [0_u16; 256];
    let mut length = name.len() as u32;
    // SAFETY: `name` has `length` writable characters, and the call writes no more than that.
    let done = unsafe {
        GetComputerNameExW(ComputerNamePhysicalDnsHostname, name.as_mut_ptr(), &mut length)
    };
    let name = name.get(..length as usize).filter(|_| done != 0).unwrap_or_default();
    String::from_utf16_lossy(name)
}

/// Keeps our standard streams from being inherited by processes that are not given them.
pub(super) fn keep_standard_streams() {
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: no memory of ours is involved; a stream that is closed or a console is refused,
        // which harms nobody.
        unsafe { SetHandleInformation(GetStdHandle(stream), HANDLE_FLAG_INHERIT, 0) };
    }
}

fn is_code(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
