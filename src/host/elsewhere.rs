//! Processes on systems other than Linux, through `sysinfo`.
//!
//! Start times are moments there, not ticks since boot: they differ between boots by themselves, so
//! the boot id is the same for all. (The boot *time* that these systems tell moves with the clock,
//! and would make every process another one after a correction.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use sysinfo::{
    Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind,
};

use crate::model::{HolderDetails, Keeper, ParentView, Port, ProcessIdentity, Timestamp};

use super::forwarder::forwards_for;
use super::holders::Listening;
use super::{Holder, HostError, Liveness, PeerSocket, ProcessFigures, liveness, platform};

/// Who the process with that pid is, for a start time in the platform's unit.
pub(super) fn identity(pid: u32, start_time: u64) -> ProcessIdentity {
    ProcessIdentity { boot_id: "-".to_owned(), pid_namespace: 0, pid, start_time }
}

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
pub(super) fn describe(pids: &BTreeSet<u32>) -> BTreeMap<u32, Holder> {
    let kind = ProcessRefreshKind::nothing()
        .with_user(UpdateKind::Always)
        .with_cmd(UpdateKind::Always)
        .with_exe(UpdateKind::Always);
    if pids.is_empty() {
        return BTreeMap::new();
    }
    let with_own = pids.iter().copied().chain([std::process::id()]).collect();
    let Some(system) = refreshed(&with_own, kind) else { return BTreeMap::new() };
    let name_of = user_names(&system);
    let describe = |pid: &u32| {
        let process = system.process(Pid::from_u32(*pid)).filter(|p| !is_zombie(p))?;
        let words: Vec<_> = process.cmd().iter().map(|word| word.to_string_lossy()).collect();
        let command = match (words.is_empty(), process.exe()) {
            (false, _) => words.join("\0"),
            (true, Some(exe)) => exe.display().to_string(),
            (true, None) => format!("[{}]", process.name().to_string_lossy()),
        };
        let started = i64::try_from(process.start_time().saturating_mul(1000)).ok();
        let holder = Holder {
            identity: platform::identity_of(*pid).ok()?,
            #[cfg(unix)]
            uid: process.effective_user_id().map(|id| **id),
            #[cfg(not(unix))]
            uid: None,
            user: name_of(process),
            command: Some(command),
            started_at: started.map(Timestamp::from_millis),
        };
        Some((*pid, holder))
    };
    pids.iter().filter_map(describe).collect()
}

/// Finds the name of the user a process runs as.
#[cfg(unix)]
fn user_names(_system: &System) -> impl Fn(&Process) -> Option<String> {
    let names = super::user::UserNames::read();
    move |process| {
        let uid = **process.effective_user_id()?;
        Some(names.of(uid).unwrap_or_else(|| uid.to_string()))
    }
}

/// Finds the name of the user a process runs as, where that is our own. (The list of all users that
/// `sysinfo` makes reads through a null pointer under Wine, and asks a domain for every one of them.)
#[cfg(not(unix))]
fn user_names(system: &System) -> impl Fn(&Process) -> Option<String> {
    let own = system.process(Pid::from_u32(std::process::id()));
    let own = own.and_then(|process| process.user_id().cloned());
    move |process| {
        let is_ours = own.is_some() && process.user_id() == own.as_ref();
        is_ours.then(super::current_user_name)
    }
}

pub(super) fn listening(
    ports: &BTreeSet<Port>,
    _known_pids: &[u32],
) -> Result<Vec<Listening>, HostError> {
    let mut sockets =
        platform::all_listening().map_err(|source| HostError::Listeners { source })?;
    sockets.retain(|socket| ports.contains(&socket.port));
    Ok(sockets)
}

pub(super) fn details(holders: &[Holder]) -> Vec<HolderDetails> {
    let kind =
        ProcessRefreshKind::nothing().with_exe(UpdateKind::Always).with_cwd(UpdateKind::Always);
    if holders.is_empty() {
        return Vec::new();
    }
    let sockets = platform::all_listening().unwrap_or_default();
    let Some(system) = all(kind) else { return vec![HolderDetails::default(); holders.len()] };
    let details = |holder: &Holder| {
        let pid = holder.identity.pid;
        let process = system.process(Pid::from_u32(pid)).filter(|process| !is_zombie(process))?;
        let listens = |socket: &&Listening| socket.pids.contains(&pid);
        let name = process.name().to_string_lossy();
        let runtime = forwards_for(process.exe(), &name);
        let details = HolderDetails {
            executable: process.exe().map(Path::to_path_buf),
            directory: process.cwd().map(Path::to_path_buf),
            parents: ancestors(&system, pid).collect(),
            other_ports: sockets.iter().filter(listens).map(|socket| socket.port).collect(),
            keeper: runtime.map(|runtime| Keeper::Forwarder { runtime: runtime.to_owned() }),
        };
        // All of it was about the process that was meant only if that one still has the pid.
        (liveness(&holder.identity) == Liveness::Alive).then_some(details)
    };
    holders.iter().map(|holder| details(holder).unwrap_or_default()).collect()
}

/// Every process with what `kind` asks for.
fn all(kind: ProcessRefreshKind) -> Option<System> {
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    Some(system)
}

/// Its parent first. A parent that is younger than its child is another process with that pid.
fn ancestors(system: &System, pid: u32) -> impl Iterator<Item = ParentView> {
    let mut child = system.process(Pid::from_u32(pid));
    let mut seen = BTreeSet::from([pid]);
    std::iter::from_fn(move || {
        let of = child?;
        let pid = of.parent()?;
        if !seen.insert(pid.as_u32()) {
            return None;
        }
        child = system.process(pid);
        if child.is_some_and(|parent| parent.start_time() > of.start_time()) {
            child = None;
            return None;
        }
        let name = child.map(|parent| parent.name().to_string_lossy().into_owned());
        Some(ParentView { pid: pid.as_u32(), name })
    })
}

pub(super) fn own_line() -> BTreeSet<u32> {
    let own = std::process::id();
    let system = all(ProcessRefreshKind::nothing());
    let parents = system.iter().flat_map(|system| ancestors(system, own)).map(|parent| parent.pid);
    parents.chain([own]).collect()
}

/// Not told on these systems.
pub(super) fn connections(_ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
    None
}

pub(super) fn may_end_any() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    false
}

/// Not told on these systems.
pub(super) fn peer_socket(_local: SocketAddr, _peer: SocketAddr) -> Option<PeerSocket> {
    None
}

pub(super) fn is_own_socket(_inode: u64) -> bool {
    false
}

pub(super) fn in_user_namespace() -> bool {
    false
}

pub(super) fn overflow_uid() -> u32 {
    65_534
}

pub(super) fn own_figures() -> ProcessFigures {
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
