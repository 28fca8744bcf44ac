//! Windows: sockets by `GetExtendedTcpTable`, processes by `OpenProcess` and `sysinfo`.
//!
//! The only unsafe code of this room: calls of the system with buffers and handles of our own.

use std::collections::BTreeSet;
use std::io;
use std::ptr::null_mut;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_ACCESS_DENIED, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_PARAMETER, FILETIME,
    HANDLE, NO_ERROR, WAIT_EVENT, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, MIB_TCP6ROW_OWNER_PID, MIB_TCPROW_OWNER_PID, TCP_TABLE_OWNER_PID_LISTENER,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, INFINITE, OpenProcess, PROCESS_ACCESS_RIGHTS,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, TerminateProcess,
    WaitForSingleObject,
};

use crate::model::{EndSignal, Port, ProcessIdentity};

use super::holders::Listening;
use super::{HostError, Liveness, PinError, elsewhere};

pub(super) use elsewhere::{
    connections, describe, details, in_user_namespace, is_own_socket, listening, may_end_any,
    overflow_uid, own_figures, own_line, peer_socket,
};

/// How often a table that grew between two calls is asked for again.
const ATTEMPTS: u32 = 8;

/// Every listening socket of this machine.
pub(super) fn all_listening() -> io::Result<Vec<Listening>> {
    let mut sockets = Vec::new();
    let v4 = table(AF_INET.into())?;
    sockets.extend(rows(&v4, size_of::<MIB_TCPROW_OWNER_PID>()).map(|row| {
        (
            word(row, std::mem::offset_of!(MIB_TCPROW_OWNER_PID, dwLocalPort)),
            word(row, std::mem::offset_of!(MIB_TCPROW_OWNER_PID, dwOwningPid)),
        )
    }));
    let v6 = table(AF_INET6.into())?;
    sockets.extend(rows(&v6, size_of::<MIB_TCP6ROW_OWNER_PID>()).map(|row| {
        (
            word(row, std::mem::offset_of!(MIB_TCP6ROW_OWNER_PID, dwLocalPort)),
            word(row, std::mem::offset_of!(MIB_TCP6ROW_OWNER_PID, dwOwningPid)),
        )
    }));
    let listening = sockets.into_iter().filter_map(|(port, pid)| {
        // The lower half is the port in network order.
        let port = Port::new(u16::from_be((port & 0xffff) as u16))?;
        // The system itself is nobody to be shown.
        let pids = if is_untouchable(pid) { BTreeSet::new() } else { [pid].into() };
        Some(Listening { port, uid: None, pids })
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

/// 0 is what runs when nothing does, 4 the kernel.
pub(super) fn is_untouchable(pid: u32) -> bool {
    matches!(pid, 0 | 4)
}

/// A process that is held open, so that its pid is not given away meanwhile.
#[derive(Debug)]
struct Process(HANDLE);

// SAFETY: a handle belongs to the whole process, and the calls made with it here may come from any
// thread, from several at once too.
unsafe impl Send for Process {}
// SAFETY: as above.
unsafe impl Sync for Process {}

impl Process {
    /// To look at it and to wait for it.
    fn open(pid: u32) -> io::Result<Self> {
        Self::open_for(pid, PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE)
    }

    fn open_for(pid: u32, rights: PROCESS_ACCESS_RIGHTS) -> io::Result<Self> {
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
        self.waited_for(0) == WAIT_TIMEOUT
    }

    /// At most so many milliseconds, without end for `INFINITE`.
    fn waited_for(&self, milliseconds: u32) -> WAIT_EVENT {
        // SAFETY: the handle is open and has the right to be waited for.
        unsafe { WaitForSingleObject(self.0, milliseconds) }
    }

    fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open; no memory of ours is involved.
        match unsafe { TerminateProcess(self.0, 1) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
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
        Err(error) if is_code(&error, ERROR_ACCESS_DENIED) => return Liveness::Unknown,
        Err(_) => return Liveness::Dead,
    };
    match process.created_at() {
        Ok(created) if created == identity.start_time && process.is_running() => Liveness::Alive,
        Ok(_) => Liveness::Dead,
        Err(_) => Liveness::Unknown,
    }
}

/// The open handle keeps the pid from being given to another process.
#[derive(Debug)]
pub(super) struct Pin(Process);

impl Pin {
    pub(super) fn new(identity: &ProcessIdentity) -> Result<Self, PinError> {
        if is_untouchable(identity.pid) {
            return Err(PinError::Denied);
        }
        let rights = PROCESS_TERMINATE | PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
        let process = Process::open_for(identity.pid, rights).map_err(|error| {
            // What it says of a pid that nobody has.
            match is_code(&error, ERROR_INVALID_PARAMETER) {
                true => PinError::Gone,
                false => refused(error),
            }
        })?;
        let created_at = process.created_at().map_err(refused)?;
        match created_at == identity.start_time && process.is_running() {
            true => Ok(Self(process)),
            false => Err(PinError::Gone),
        }
    }

    /// The right to was asked for when it was opened.
    pub(super) fn may_signal(&self, _: &ProcessIdentity) -> bool {
        self.0.is_running()
    }

    pub(super) fn listens_on(&self, identity: &ProcessIdentity, port: Port) -> bool {
        let is_it = |socket: &Listening| socket.port == port && socket.pids.contains(&identity.pid);
        all_listening().is_ok_and(|sockets| sockets.iter().any(is_it)) && self.0.is_running()
    }

    pub(super) fn end(
        &self,
        _: &ProcessIdentity,
        signal: Option<EndSignal>,
    ) -> Result<(), PinError> {
        match signal {
            None | Some(EndSignal::Kill) => {}
            Some(EndSignal::Term | EndSignal::Int | EndSignal::Hup | EndSignal::Quit) => {
                return Err(PinError::Unsupported(io::ErrorKind::Unsupported.into()));
            }
        }
        if !self.0.is_running() {
            return Err(PinError::Gone);
        }
        // It refuses for one that is ending as it does without the right.
        self.0.terminate().map_err(|error| match self.0.is_running() {
            true => refused(error),
            false => PinError::Gone,
        })
    }

    /// Nor can it be.
    pub(super) fn freeze(&self, _: &ProcessIdentity) -> Result<(), PinError> {
        Err(PinError::Unsupported(io::ErrorKind::Unsupported.into()))
    }

    /// Nothing is stopped by a signal here.
    pub(super) fn resume(&self, _: &ProcessIdentity) -> Result<(), PinError> {
        Ok(())
    }

    pub(super) fn wait(&self, _: &ProcessIdentity, at_most: Duration) -> bool {
        let milliseconds = u32::try_from(at_most.as_millis()).unwrap_or(INFINITE);
        self.0.waited_for(milliseconds) == WAIT_OBJECT_0
    }

    pub(super) fn has_window(&self) -> bool {
        false
    }
}

fn refused(error: io::Error) -> PinError {
    if is_code(&error, ERROR_ACCESS_DENIED) { PinError::Denied } else { PinError::Other(error) }
}

fn is_code(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
