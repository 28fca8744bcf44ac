//! One process, held open: its pid is not given to another one meanwhile.

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr::{null_mut, read_unaligned};

use windows_sys::Wdk::System::Threading::{
    NtQueryInformationProcess, PROCESSINFOCLASS, ProcessCommandLineInformation,
};
use windows_sys::Win32::Foundation::{
    CloseHandle, FILETIME, HANDLE, UNICODE_STRING, WAIT_EVENT, WAIT_TIMEOUT,
};
use windows_sys::Win32::Security::{
    GetLengthSid, GetTokenInformation, IsValidSid, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessHandleCount, GetProcessTimes, OpenProcess, OpenProcessToken,
    PROCESS_ACCESS_RIGHTS, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    QueryFullProcessImageNameW, TerminateProcess, WaitForSingleObject,
};

/// Longer than any path or command line the system knows, in characters and in bytes.
const LONGEST: usize = 32 * 1024;

/// A handle that is closed with its value.
#[derive(Debug)]
pub(super) struct Owned(pub(super) HANDLE);

// SAFETY: a handle belongs to the whole process, and the calls made with it here may come from any
// thread, from several at once too.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        debug_assert_ne!(self.0, null_mut());
        // SAFETY: the handle is ours and is closed once.
        unsafe { CloseHandle(self.0) };
    }
}

/// A process that is held open.
#[derive(Debug)]
pub(super) struct Process(Owned);

/// How much time a process has had, in units of 100 ns; the first one counts from 1601.
pub(super) struct Times {
    pub(super) created_at: u64,
    pub(super) used: u64,
}

impl Process {
    /// To look at it and to wait for it.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        Self::open_for(pid, PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE)
    }

    pub(super) fn open_for(pid: u32, rights: PROCESS_ACCESS_RIGHTS) -> io::Result<Self> {
        // SAFETY: no memory of ours is involved.
        let handle = unsafe { OpenProcess(rights, 0, pid) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(Owned(handle))) }
    }

    fn handle(&self) -> HANDLE {
        self.0.0
    }

    pub(super) fn times(&self) -> io::Result<Times> {
        let zero = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };
        let (mut created, mut exited, mut kernel, mut user) = (zero, zero, zero, zero);
        // SAFETY: the handle is open, and the four places are writable and live through the call.
        let done = unsafe {
            GetProcessTimes(self.handle(), &mut created, &mut exited, &mut kernel, &mut user)
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        let of =
            |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
        Ok(Times { created_at: of(created), used: of(kernel).saturating_add(of(user)) })
    }

    /// In units of 100 ns since 1601.
    pub(super) fn created_at(&self) -> io::Result<u64> {
        self.times().map(|times| times.created_at)
    }

    pub(super) fn is_running(&self) -> bool {
        self.waited_for(0) == WAIT_TIMEOUT
    }

    /// At most so many milliseconds, without end for `INFINITE`.
    pub(super) fn waited_for(&self, milliseconds: u32) -> WAIT_EVENT {
        // SAFETY: the handle is open and has the right to be waited for.
        unsafe { WaitForSingleObject(self.handle(), milliseconds) }
    }

    pub(super) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open; no memory of ours is involved.
        match unsafe { TerminateProcess(self.handle(), 1) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Its program's file.
    pub(super) fn executable(&self) -> Option<PathBuf> {
        let mut path = vec![0_u16; LONGEST];
        let mut length = u32::try_from(path.len()).ok()?;
        // SAFETY: `path` has `length` writable characters, and the call writes no more than that.
        let done =
            unsafe { QueryFullProcessImageNameW(self.handle(), 0, path.as_mut_ptr(), &mut length) };
        let path = path.get(..length as usize).filter(|path| done != 0 && !path.is_empty())?;
        Some(OsString::from_wide(path).into())
    }

    /// Its command line as it was given, in one piece.
    pub(super) fn command_line(&self) -> Option<String> {
        let bytes = self.query(ProcessCommandLineInformation)?;
        // SAFETY: the answer begins with this structure, and the buffer is longer; it is copied out
        // without regard to its alignment. Its pointer is compared, never followed.
        let text: UNICODE_STRING = unsafe { read_unaligned(bytes.as_ptr().cast()) };
        let at = (text.Buffer as usize).checked_sub(bytes.as_ptr() as usize)?;
        let text = bytes.get(at..at.checked_add(usize::from(text.Length))?)?;
        let wide = text.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]]));
        let line: String =
            char::decode_utf16(wide).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        Some(line).filter(|line| !line.trim().is_empty())
    }

    /// What the system answers to a question whose answer has no fixed length; at least as long as
    /// the structure of a string.
    fn query(&self, class: PROCESSINFOCLASS) -> Option<Vec<u8>> {
        // A command line has 32 Ki characters at most.
        let mut bytes = vec![0_u8; size_of::<UNICODE_STRING>() + 2 * LONGEST];
        let length = u32::try_from(bytes.len()).ok()?;
        let mut written = 0;
        // SAFETY: `bytes` has `length` writable bytes, and the call writes no more than that.
        let status = unsafe {
            NtQueryInformationProcess(
                self.handle(),
                class,
                bytes.as_mut_ptr().cast(),
                length,
                &mut written,
            )
        };
        (status >= 0 && written as usize >= size_of::<UNICODE_STRING>()).then_some(bytes)
    }

    /// The user it runs as, in the form that two users are compared in.
    pub(super) fn user(&self) -> Option<Vec<u8>> {
        user_of(self.handle())
    }
}

/// The user this process runs as.
pub(super) fn own_user() -> Option<Vec<u8>> {
    // SAFETY: a pseudo handle that is always valid and needs no closing.
    user_of(unsafe { GetCurrentProcess() })
}

/// Resident bytes and open handles of this process.
pub(super) fn own_usage() -> (Option<u64>, Option<u64>) {
    // SAFETY: a pseudo handle that is always valid and needs no closing.
    let own = unsafe { GetCurrentProcess() };
    let mut memory = PROCESS_MEMORY_COUNTERS::default();
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: `memory` is a writable place of the size given.
    let has_memory = unsafe { K32GetProcessMemoryInfo(own, &mut memory, size) } != 0;
    let mut handles = 0;
    // SAFETY: `handles` is a writable place that lives through the call.
    let has_handles = unsafe { GetProcessHandleCount(own, &mut handles) } != 0;
    (
        has_memory.then(|| u64::try_from(memory.WorkingSetSize).unwrap_or(u64::MAX)),
        has_handles.then(|| handles.into()),
    )
}

/// The bytes of the security identifier in the token of `process`.
fn user_of(process: HANDLE) -> Option<Vec<u8>> {
    let mut token = null_mut();
    // SAFETY: `token` is a writable place that lives through the call.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) } == 0 {
        return None;
    }
    let token = Owned(token);
    // Words, so that the structure at its beginning is aligned. An identifier has 68 bytes at most.
    let mut answer = [0_usize; 32];
    let mut length = 0;
    // SAFETY: `answer` has as many writable bytes as are given.
    let done = unsafe {
        GetTokenInformation(
            token.0,
            TokenUser,
            answer.as_mut_ptr().cast(),
            size_of_val(&answer) as u32,
            &mut length,
        )
    };
    if done == 0 {
        return None;
    }
    // SAFETY: the answer begins with this structure, in a buffer of its alignment, and its pointer
    // points into the same buffer, which lives on; the system says how long a valid one is.
    unsafe {
        let sid = (*answer.as_ptr().cast::<TOKEN_USER>()).User.Sid;
        if IsValidSid(sid) == 0 {
            return None;
        }
        let length = GetLengthSid(sid) as usize;
        Some(std::slice::from_raw_parts(sid.cast::<u8>(), length).to_vec())
    }
}
