//! What is known of processes beyond who they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::process::{Process, own_usage, own_user};
use super::snapshot::{Listed, snapshot};
use super::words::words;
use crate::host::elsewhere::{self, Seen};
use crate::host::{Holder, ProcessFigures, current_user_name};
use crate::model::Timestamp;

/// From 1601, where the system's time begins, to 1970, in milliseconds.
const TO_1970: u64 = 11_644_473_600_000;

/// Units of the system's time in a millisecond and in a second.
const IN_A_MILLISECOND: u64 = 10_000;
const IN_A_SECOND: f64 = 10_000_000.0;

/// What is known of each process that still lives.
pub(in crate::host) fn describe(pids: &BTreeSet<u32>) -> BTreeMap<u32, Holder> {
    let own_user = own_user();
    let describe = |pid: &u32| {
        let process = Process::open(*pid).ok().filter(Process::is_running)?;
        let created_at = process.created_at().ok()?;
        let command = match process.command_line() {
            Some(line) => Some(words(&line).join("\0")),
            None => process.executable().map(|path| path.display().to_string()),
        };
        // Whose another one is, a domain may have to be asked for.
        let is_ours = own_user.is_some() && process.user() == own_user;
        let started = created_at / IN_A_MILLISECOND;
        let started = i64::try_from(started.saturating_sub(TO_1970)).ok();
        let holder = Holder {
            identity: elsewhere::identity(*pid, created_at),
            uid: None,
            user: is_ours.then(current_user_name),
            command: Some(command.unwrap_or_else(|| format!("[{pid}]"))),
            started_at: started.map(Timestamp::from_millis),
        };
        Some((*pid, holder))
    };
    pids.iter().filter_map(describe).collect()
}

/// Every process at one moment.
pub(in crate::host) struct Table(BTreeMap<u32, Listed>);

impl Table {
    pub(in crate::host) fn read() -> Option<Self> {
        Some(snapshot()).filter(|all| !all.is_empty()).map(Self)
    }

    pub(in crate::host) fn get(&self, pid: u32) -> Option<Seen> {
        let listed = self.0.get(&pid)?;
        let created_at = Process::open(pid).and_then(|process| process.created_at());
        Some(Seen {
            parent: Some(listed.parent).filter(|parent| *parent != 0),
            name: listed.name.clone(),
            started: created_at.ok(),
        })
    }

    pub(in crate::host) fn executable(&self, pid: u32) -> Option<PathBuf> {
        Process::open(pid).ok()?.executable()
    }

    /// It stands in the process's own memory, which is not read.
    pub(in crate::host) fn directory(&self, _pid: u32) -> Option<PathBuf> {
        None
    }
}

pub(in crate::host) fn own_figures() -> ProcessFigures {
    let pid = std::process::id();
    let (resident_bytes, open_descriptors) = own_usage();
    let used = Process::open(pid).and_then(|own| own.times()).ok().map(|times| times.used);
    ProcessFigures {
        resident_bytes,
        open_descriptors,
        cpu_seconds: used.map(|used| used as f64 / IN_A_SECOND),
        threads: snapshot().get(&pid).map(|own| own.threads.into()),
    }
}
