//! Windows: sockets by `GetExtendedTcpTable`, processes by `OpenProcess` and `sysinfo`.
//!
//! The only unsafe code of this room: calls of the system with buffers and handles of our own.

use std::collections::BTreeSet;
use std::io;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_ACCESS_DENIED, ERROR_INSUFFICIENT_BUFFER, FILETIME, HANDLE, NO_ERROR,
    WAIT_TIMEOUT,
};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, MIB_TCP6ROW_OWNER_PID, MIB_TCPROW_OWNER_PID, TCP_TABLE_OWNER_PID_LISTENER,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    WaitForSingleObject,
};

use crate::model::{Port, ProcessIdentity};

use super::holders::Listening;
use super::{HostError, Liveness, elsewhere};

pub(super) use elsewhere::{describe, own_figures};

/// How often a table that grew between two calls is asked for again.
const ATTEMPTS: u32 = 8;

pub(super) fn listening(
    ports: &BTreeSet<Port>,
    _known_pids: &[u32],
) -> Result<Vec<Listening>, HostError> {
    let failed = |source| HostError::Listeners { source };
    let mut sockets = Vec::new();
    let v4 = table(AF_INET.into()).map_err(failed)?;
    sockets.extend(rows(&v4, size_of::<MIB_TCPROW_OWNER_PID>()).map(|row| {
        (
            word(row, std::mem::offset_of!(MIB_TCPROW_OWNER_PID, dwLocalPort)),
            word(row, std::mem::offset_of!(MIB_TCPROW_OWNER_PID, dwOwningPid)),
        )
    }));
    let v6 = table(AF_INET6.into()).map_err(failed)?;
    sockets.extend(rows(&v6, size_of::<MIB_TCP6ROW_OWNER_PID>()).map(|row| {
        (
            word(row, std::mem::offset_of!(MIB_TCP6ROW_OWNER_PID, dwLocalPort)),
            word(row, std::mem::offset_of!(MIB_TCP6ROW_OWNER_PID, dwOwningPid)),
        )
    }));
    let listening = sockets.into_iter().filter_map(|(port, pid)| {
        // The lower half is the port in network order.
        let port = Port::new(u16::from_be((port & 0xffff) as u16))?;
        // 0 and 4 are the system itself: nobody to be shown.
        let pids = if matches!(pid, 0 | 4) { BTreeSet::new() } else { [pid].into() };
        ports.contains(&port).then_some(Listening { port, uid: None, pids })
    });
    Ok(listening.collect())
}

/// The table of TCP listeners of a family: a count, then rows.
fn table(family: u32) -> io::Result<Vec<u8>> {
    let mut size = 16 * 1024_u32;
    for _ in 0..ATTEMPTS {
        let mut buffer = vec![0_u8; size as usize];
        // SAFETY: `buffer` has `size` writable bytes, and the call writes no more than `size`. It asks
        // for no alignment beyond what it copies its rows to; they are read here byte by byte.
        let code = unsafe {
            GetExtendedTcpTable(
                buffer.as_mut_ptr().cast(),
                &mut size,
                0,
                family,
                TCP_TABLE_OWNER_PID_LISTENER,
                0,
            )
        };
        match code {
            NO_ERROR => return Ok(buffer),
            // It may grow again before the next call.
            ERROR_INSUFFICIENT_BUFFER => size = size.saturating_add(4096),
            code => return Err(io::Error::from_raw_os_error(code.cast_signed())),
        }
    }
    Err(io::Error::other("the table of sockets grows faster than it is read"))
}

/// The rows of a table, each `length` bytes: after the count, which both kinds of row follow without
/// a gap (all their fields are aligned to four bytes or less).
fn rows(table: &[u8], length: usize) -> impl Iterator<Item = &[u8]> {
    let count = word(table, 0) as usize;
    table.get(4..).unwrap_or_default().chunks_exact(length).take(count)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_ne_bytes)
}

/// A process that is held open, so that its pid is not given away meanwhile.
struct Process(HANDLE);

impl Process {
    fn open(pid: u32) -> io::Result<Self> {
        let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
        // SAFETY: no memory of ours is involved.
        let handle = unsafe { OpenProcess(rights, 0, pid) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }

    /// In units of 100 ns since 1601.
    fn created_at(&self) -> io::Result<u64> {
        let zero = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };
        let (mut created, mut exited, mut kernel, mut user) = (zero, zero, zero, zero);
        // SAFETY: the handle is open, and the four places are writable and live through the call.
        let done =
            unsafe { GetProcessTimes(self.0, &mut created, &mut exited, &mut kernel, &mut user) };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
    }

    fn is_running(&self) -> bool {
        // SAFETY: the handle is open and has the right to be waited for; this does not wait.
        unsafe { WaitForSingleObject(self.0, 0) == WAIT_TIMEOUT }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        debug_assert_ne!(self.0, null_mut());
        // SAFETY: the handle is ours and is closed once.
        unsafe { CloseHandle(self.0) };
    }
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
        Err(error) if error.raw_os_error() == Some(ERROR_ACCESS_DENIED.cast_signed()) => {
            return Liveness::Unknown;
        }
        Err(_) => return Liveness::Dead,
    };
    match process.created_at() {
        Ok(created) if created == identity.start_time && process.is_running() => Liveness::Alive,
        Ok(_) => Liveness::Dead,
        Err(_) => Liveness::Unknown,
    }
}
