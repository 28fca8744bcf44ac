//! Processes as `sysinfo` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sysinfo::{
    Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind,
};

use super::start::start_time;
use crate::host::elsewhere::{self, Seen};
use crate::host::user::UserNames;
use crate::host::{Holder, ProcessFigures};
use crate::model::Timestamp;

/// The processes of `pids` that live, with what `kind` asks for.
pub(super) fn refreshed(pids: &BTreeSet<u32>, kind: ProcessRefreshKind) -> Option<System> {
    let mut system = System::new().ok()?;
    let pids: Vec<Pid> = pids.iter().map(|pid| Pid::from_u32(*pid)).collect();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, kind);
    Some(system)
}

/// Whether `sysinfo` shows the process as one that has ended.
pub(super) fn is_zombie(process: &Process) -> bool {
    matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead)
}

/// What is known of each process that still lives.
pub(in crate::host) fn describe(pids: &BTreeSet<u32>) -> BTreeMap<u32, Holder> {
    let kind = ProcessRefreshKind::nothing()
        .with_user(UpdateKind::Always)
        .with_cmd(UpdateKind::Always)
        .with_exe(UpdateKind::Always);
    if pids.is_empty() {
        return BTreeMap::new();
    }
    let Some(system) = refreshed(pids, kind) else { return BTreeMap::new() };
    let names = UserNames::read();
    let describe = |pid: &u32| {
        let process = system.process(Pid::from_u32(*pid)).filter(|p| !is_zombie(p))?;
        let words: Vec<_> = process.cmd().iter().map(|word| word.to_string_lossy()).collect();
        let command = match (words.is_empty(), process.exe()) {
            (false, _) => words.join("\0"),
            (true, Some(exe)) => exe.display().to_string(),
            (true, None) => format!("[{}]", process.name().to_string_lossy()),
        };
        let started = i64::try_from(process.start_time().saturating_mul(1000)).ok();
        let uid = process.effective_user_id().map(|id| **id);
        let holder = Holder {
            identity: elsewhere::identity(*pid, start_time(process)?),
            uid,
            user: uid.map(|uid| names.of(uid).unwrap_or_else(|| uid.to_string())),
            command: Some(command),
            started_at: started.map(Timestamp::from_millis),
        };
        Some((*pid, holder))
    };
    pids.iter().filter_map(describe).collect()
}

/// Every process at one moment.
pub(in crate::host) struct Table(System);

impl Table {
    pub(in crate::host) fn read() -> Option<Self> {
        let kind =
            ProcessRefreshKind::nothing().with_exe(UpdateKind::Always).with_cwd(UpdateKind::Always);
        let mut system = System::new().ok()?;
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        Some(Self(system))
    }

    fn process(&self, pid: u32) -> Option<&Process> {
        self.0.process(Pid::from_u32(pid)).filter(|process| !is_zombie(process))
    }

    pub(in crate::host) fn get(&self, pid: u32) -> Option<Seen> {
        let process = self.process(pid)?;
        Some(Seen {
            parent: process.parent().map(Pid::as_u32),
            name: process.name().to_string_lossy().into_owned(),
            started: start_time(process),
        })
    }

    pub(in crate::host) fn executable(&self, pid: u32) -> Option<PathBuf> {
        self.process(pid)?.exe().map(Path::to_path_buf)
    }

    pub(in crate::host) fn directory(&self, pid: u32) -> Option<PathBuf> {
        self.process(pid)?.cwd().map(Path::to_path_buf)
    }
}

pub(in crate::host) fn own_figures() -> ProcessFigures {
    let kind = ProcessRefreshKind::nothing().with_memory().with_cpu();
    let pid = std::process::id();
    let system = refreshed(&[pid].into(), kind);
    let own = system.as_ref().and_then(|system| system.process(Pid::from_u32(pid)));
    ProcessFigures {
        resident_bytes: own.map(Process::memory),
        open_descriptors: None,
        cpu_seconds: own.map(|own| own.accumulated_cpu_time() as f64 / 1000.0),
        threads: None,
    }
}
