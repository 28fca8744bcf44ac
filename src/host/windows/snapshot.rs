//! Every process there is at one moment: its parent and its name, by the tool help library.

use std::collections::BTreeMap;

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};

use super::process::Owned;

/// One process of the list.
pub(super) struct Listed {
    pub(super) parent: u32,
    pub(super) name: String,
    pub(super) threads: u32,
}

/// Every process by its pid; empty where the system refuses.
pub(super) fn snapshot() -> BTreeMap<u32, Listed> {
    // SAFETY: no memory of ours is involved.
    let handle = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if handle == INVALID_HANDLE_VALUE {
        return BTreeMap::new();
    }
    let list = Owned(handle);
    let mut entry =
        PROCESSENTRY32W { dwSize: size_of::<PROCESSENTRY32W>() as u32, ..Default::default() };
    let mut all = BTreeMap::new();
    // SAFETY: the handle is open, and `entry` is a writable place that says its size.
    let mut has_one = unsafe { Process32FirstW(list.0, &mut entry) } != 0;
    while has_one {
        let name = entry.szExeFile.split(|unit| *unit == 0).next().unwrap_or_default();
        let listed = Listed {
            parent: entry.th32ParentProcessID,
            name: String::from_utf16_lossy(name),
            threads: entry.cntThreads,
        };
        all.insert(entry.th32ProcessID, listed);
        // SAFETY: as above.
        has_one = unsafe { Process32NextW(list.0, &mut entry) } != 0;
    }
    all
}
