//! Processes as `/proc` shows them (proc_pid_stat(5), proc_pid_status(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::{fs, io};

use rustix::process::{Pid, test_kill_process};

use crate::host::user::UserNames;
use crate::host::{Holder, HostError, Liveness, ProcessFigures};
use crate::model::{ProcessIdentity, Timestamp};

/// Of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Its program's name, cut to 15 bytes by the kernel.
    pub(super) name: String,
    state: u8,
    /// 0 where it has none, or none in this pid namespace.
    pub(super) parent: u32,
    /// The kernel's `PF_…`.
    flags: u64,
    /// Processor time in ticks, user and system together.
    cpu_ticks: u64,
    threads: u64,
    /// In ticks since boot.
    pub(super) start_time: u64,
}

impl Stat {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        Self::read(&pid.to_string())
    }

    fn read(pid: &str) -> io::Result<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Whether the kernel itself runs it.
    pub(super) fn is_kernel_thread(&self) -> bool {
        const PF_KTHREAD: u64 = 0x0020_0000;
        self.flags & PF_KTHREAD != 0
    }

    /// The command's name is in parentheses and may have anything in it, parentheses and line ends
    /// too: only what follows the last one is to be trusted.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let begin = stat.iter().position(|byte| *byte == b'(')?;
        let name = String::from_utf8_lossy(stat.get(begin + 1..end)?).into_owned();
        let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts fields from 1, and two stand before these.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            name,
            parent: u32::try_from(number(4)?).ok()?,
            flags: number(9)?,
            state: *fields.first()?.as_bytes().first()?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            threads: number(20)?,
            start_time: number(22)?,
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// What is the same for every process and never changes while this one lives.
struct Here {
    boot_id: String,
    pid_namespace: u64,
}

impl Here {
    fn get() -> Result<&'static Self, HostError> {
        static HERE: OnceLock<Here> = OnceLock::new();
        if let Some(here) = HERE.get() {
            return Ok(here);
        }
        // A `/proc` that counts in another pid namespace (`unshare --pid` without `--mount-proc`) shows
        // other processes than those that a signal to the same pid would reach.
        let who = "/proc/self";
        let own = fs::read_link(who)
            .map_err(|source| HostError::Read { what: who.to_owned(), source })?;
        if !is_own_pid(&own) {
            let source = io::Error::other("/proc counts in another pid namespace");
            return Err(HostError::Read { what: who.to_owned(), source });
        }
        let boot_id = read_text("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let namespace = "/proc/self/ns/pid";
        let pid_namespace = fs::metadata(namespace)
            .map_err(|source| HostError::Read { what: namespace.to_owned(), source })?
            .ino();
        Ok(HERE.get_or_init(|| Self { boot_id, pid_namespace }))
    }
}

fn is_own_pid(link: &Path) -> bool {
    link.to_str().and_then(|pid| pid.parse().ok()) == Some(std::process::id())
}

pub(in crate::host) fn own_identity() -> Result<ProcessIdentity, HostError> {
    // By number: `self` is this process too, but a pid of another namespace's `/proc` would show.
    identity_of(std::process::id())
}

pub(in crate::host) fn identity_of(pid: u32) -> Result<ProcessIdentity, HostError> {
    let here = Here::get()?;
    let stat = Stat::of(pid)
        .map_err(|source| HostError::Read { what: format!("/proc/{pid}/stat"), source })?;
    Ok(identity(here, pid, &stat))
}

fn identity(here: &Here, pid: u32, stat: &Stat) -> ProcessIdentity {
    let (boot_id, pid_namespace) = (here.boot_id.clone(), here.pid_namespace);
    ProcessIdentity { boot_id, pid_namespace, pid, start_time: stat.start_time }
}

pub(in crate::host) fn liveness(identity: &ProcessIdentity) -> Liveness {
    let Ok(here) = Here::get() else { return Liveness::Unknown };
    if identity.boot_id != here.boot_id {
        return Liveness::Dead;
    }
    if identity.pid_namespace != here.pid_namespace {
        return Liveness::Unknown;
    }
    match Stat::of(identity.pid) {
        Ok(stat) if stat.is_dead() || stat.start_time != identity.start_time => Liveness::Dead,
        Ok(_) => Liveness::Alive,
        // Gone, or hidden by the mount option `hidepid`: the system still tells the two apart.
        Err(_) => match i32::try_from(identity.pid).ok().and_then(Pid::from_raw) {
            Some(pid) if test_kill_process(pid) != Err(rustix::io::Errno::SRCH) => {
                Liveness::Unknown
            }
            _ => Liveness::Dead,
        },
    }
}

pub(in crate::host) fn seen_here(identity: &ProcessIdentity) -> Vec<ProcessIdentity> {
    let Ok(here) = Here::get() else { return Vec::new() };
    if identity.boot_id != here.boot_id {
        return Vec::new();
    }
    if identity.pid_namespace == here.pid_namespace {
        return vec![identity.clone()];
    }
    let seen = |pid: u32| {
        let stat = Stat::of(pid).ok().filter(|stat| stat.start_time == identity.start_time)?;
        if innermost_pid(pid)? != identity.pid {
            return None;
        }
        // Of another user: it may be the one that is meant, and counts as it.
        let namespace = fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|link| link.ino());
        let is_it = namespace.is_none_or(|namespace| namespace == identity.pid_namespace);
        is_it.then(|| self::identity(here, pid, &stat))
    };
    super::descriptors::pids().filter_map(seen).collect()
}

/// The pid that the process has in its own pid namespace, where that is one below this one.
fn innermost_pid(pid: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().skip(1).last()?.parse().ok()
}

/// Whether its pid counts in the pid namespace of this process.
pub(super) fn is_in_this_pid_namespace(identity: &ProcessIdentity) -> bool {
    Here::get().is_ok_and(|here| here.pid_namespace == identity.pid_namespace)
}

/// What is known of each process that still lives.
pub(in crate::host) fn describe(pids: &BTreeSet<u32>) -> BTreeMap<u32, Holder> {
    let Ok(here) = Here::get() else { return BTreeMap::new() };
    if pids.is_empty() {
        return BTreeMap::new();
    }
    let (names, booted) = (UserNames::read(), booted_at());
    let describe = |pid: &u32| {
        let stat = Stat::of(*pid).ok().filter(|stat| !stat.is_dead())?;
        let uid = effective_uid(*pid);
        let since_boot = stat.start_time.saturating_mul(1000) / auxiliary().ticks_per_second;
        let started = |booted: i64| Some(booted.saturating_add(i64::try_from(since_boot).ok()?));
        let holder = Holder {
            identity: identity(here, *pid, &stat),
            uid,
            user: uid.map(|uid| names.of(uid).unwrap_or_else(|| uid.to_string())),
            command: command_line(*pid),
            started_at: booted.and_then(started).map(Timestamp::from_millis),
        };
        Some((*pid, holder))
    };
    pids.iter().filter_map(describe).collect()
}

/// Not the owner of `/proc/PID`: that is root for a process that may not be traced.
fn effective_uid(pid: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The arguments with NUL between them; the name in brackets, as `ps` has it, where there are none.
fn command_line(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    if line.is_empty() {
        let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
        return Some(format!("[{}]", String::from_utf8_lossy(name.trim_ascii_end())));
    }
    Some(String::from_utf8_lossy(line).into_owned())
}

/// In milliseconds since the Unix epoch, to the second.
fn booted_at() -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse::<i64>().ok()?.checked_mul(1000)
}

pub(in crate::host) fn own_figures() -> ProcessFigures {
    let stat = Stat::read("self").ok();
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|m| m.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    let seconds = |s: &Stat| s.cpu_ticks as f64 / auxiliary().ticks_per_second as f64;
    ProcessFigures {
        resident_bytes: pages.map(|pages| pages.saturating_mul(auxiliary().page_bytes)),
        open_descriptors: open_descriptors(),
        cpu_seconds: stat.as_ref().map(seconds),
        threads: stat.as_ref().map(|stat| stat.threads),
    }
}

fn open_descriptors() -> Option<u64> {
    let directory = "/proc/self/fd";
    // Since Linux 6.2 the size of the directory is their number.
    match fs::metadata(directory).ok()?.len() {
        // The one that reads the directory does not count.
        0 => Some((fs::read_dir(directory).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// What the kernel tells each program when it starts it.
struct Auxiliary {
    page_bytes: u64,
    ticks_per_second: u64,
}

fn auxiliary() -> &'static Auxiliary {
    static VECTOR: OnceLock<Auxiliary> = OnceLock::new();
    VECTOR.get_or_init(|| {
        const AT_PAGESZ: usize = 6;
        const AT_CLKTCK: usize = 17;
        const WORD: usize = size_of::<usize>();
        // Unreadable where this process may not be traced: then what every common system has.
        let mut vector = Auxiliary { page_bytes: 4096, ticks_per_second: 100 };
        let bytes = fs::read("/proc/self/auxv").unwrap_or_default();
        let word = |bytes: &[u8]| bytes.first_chunk().copied().map(usize::from_ne_bytes);
        for pair in bytes.chunks_exact(2 * WORD) {
            match (word(pair), word(&pair[WORD..])) {
                (Some(AT_PAGESZ), Some(value @ 1..)) => vector.page_bytes = value as u64,
                (Some(AT_CLKTCK), Some(value @ 1..)) => vector.ticks_per_second = value as u64,
                _ => {}
            }
        }
        vector
    })
}

fn read_text(path: &str) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|source| HostError::Read { what: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let tail = "S 1 2 2 0 -1 4194560 5 6 7 8 90 10 0 0 20 0 3 0 4711 1000 2 184467";
        for name in ["sleep", "a) R 9 9 9 (b", "\n)", ""] {
            let stat = Stat::parse(format!("42 ({name}) {tail}\n").as_bytes());
            let expected = Stat {
                name: name.to_owned(),
                state: b'S',
                parent: 1,
                flags: 4_194_560,
                cpu_ticks: 100,
                threads: 3,
                start_time: 4711,
            };
            assert_eq!(stat, Some(expected), "{name:?}");
        }
        for nonsense in [&b""[..], b"42 (sleep", b"42 (sleep)", b"42 (sleep) S 1 2"] {
            assert_eq!(Stat::parse(nonsense), None);
        }
    }

    #[test]
    fn a_link_to_another_pid_shows_a_foreign_proc() {
        assert!(is_own_pid(Path::new(&std::process::id().to_string())));
        for other in ["1", "", "self"] {
            assert!(!is_own_pid(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn pid_1_is_described_or_hidden_but_never_wrong() {
        let of = describe(&[1, u32::MAX].into());
        assert!(of.keys().all(|pid| *pid == 1));
    }
}
