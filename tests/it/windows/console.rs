//! Console events for another process, as the system itself delivers them.
//!
//! `GenerateConsoleCtrlEvent` knows two of the five, and Wine delivers not even those. The system starts a
//! thread in the process at `CtrlRoutine` of kernelbase, with the event as its argument; so does this.

use std::io;

use windows_sys::Win32::Foundation::{CloseHandle, WAIT_OBJECT_0};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Threading::{
    CreateRemoteThread, OpenProcess, PROCESS_ALL_ACCESS, PROCESS_SYNCHRONIZE, WaitForSingleObject,
};
use windows_sys::core::w;

/// The events, by the names that the log calls them.
pub const EVENTS: [(&str, u32); 5] = [
    ("SIGINT", CTRL_C_EVENT),
    ("CTRL_BREAK", CTRL_BREAK_EVENT),
    ("CTRL_CLOSE", CTRL_CLOSE_EVENT),
    ("CTRL_LOGOFF", CTRL_LOGOFF_EVENT),
    ("CTRL_SHUTDOWN", CTRL_SHUTDOWN_EVENT),
];

/// Delivers `event` to the process `pid`, which is a child of this one that was not waited for yet.
#[track_caller]
pub fn deliver(pid: u32, event: u32) {
    // SAFETY: the names are constants that end with a zero; the module is loaded in every process, at
    // one address in all of them; `CtrlRoutine` is a thread's routine, and takes the event as its
    // argument. The handles are ours and closed once.
    unsafe {
        let module = GetModuleHandleW(w!("kernelbase.dll"));
        let routine = GetProcAddress(module, c"CtrlRoutine".as_ptr().cast());
        let routine = routine.expect("CtrlRoutine of kernelbase");
        let process = OpenProcess(PROCESS_ALL_ACCESS, 0, pid);
        assert!(!process.is_null(), "{}", io::Error::last_os_error());
        let thread = CreateRemoteThread(
            process,
            std::ptr::null(),
            0,
            Some(std::mem::transmute::<
                unsafe extern "system" fn() -> isize,
                unsafe extern "system" fn(*mut core::ffi::c_void) -> u32,
            >(routine)),
            event as usize as *const core::ffi::c_void,
            0,
            std::ptr::null_mut(),
        );
        let failed = io::Error::last_os_error();
        CloseHandle(process);
        assert!(!thread.is_null(), "{failed}");
        CloseHandle(thread);
    }
}

/// Whether the process `pid` runs.
pub fn is_running(pid: u32) -> bool {
    // SAFETY: no memory of ours is involved; the handle is ours and closed once.
    unsafe {
        let process = OpenProcess(PROCESS_SYNCHRONIZE, 0, pid);
        if process.is_null() {
            return false;
        }
        let has_ended = WaitForSingleObject(process, 0) == WAIT_OBJECT_0;
        CloseHandle(process);
        !has_ended
    }
}
