//! macOS and the BSDs: sockets through `listeners`, processes through `sysinfo`, libproc and kqueue.
//!
//! Written without such a machine at hand. `listeners` shows one process of several that share a
//! socket, and only sockets whose process this user may see: another user's listener shows as free,
//! which a bind test then contradicts.

mod ending;
mod start;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use rustix::process::Signal;
use sysinfo::{Pid, ProcessRefreshKind};

use crate::model::{EndSignal, Port, ProcessIdentity};

use super::holders::Listening;
use super::{HostError, Liveness, PinError, elsewhere, unpinned};
use start::start_time;
use table::{is_zombie, refreshed};

pub(super) use elsewhere::{
    details, in_user_namespace, is_own_socket, listening, may_end_any, overflow_uid, own_line,
    peer_socket,
};
pub(super) use table::{Table, describe, own_figures};

/// Every listening socket whose process this user may see.
pub(super) fn all_listening() -> io::Result<Vec<Listening>> {
    let all = listeners::get_all().map_err(|error| io::Error::other(error.to_string()))?;
    let listening = all.into_iter().filter_map(|listener| {
        let is_listener = listener.protocol == listeners::Protocol::TCP
            && listener.state == listeners::SocketState::Listen;
        let port = Port::new(listener.socket.port())?;
        let pids = [listener.process.pid].into();
        is_listener.then_some(Listening { port, uid: None, pids })
    });
    Ok(listening.collect())
}

/// Not told on these systems.
pub(super) fn connections(_ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
    None
}

pub(super) fn is_untouchable(pid: u32) -> bool {
    pid <= 1
}

pub(super) fn own_identity() -> Result<ProcessIdentity, HostError> {
    identity_of(std::process::id())
}

pub(super) fn identity_of(pid: u32) -> Result<ProcessIdentity, HostError> {
    let gone = || HostError::Read {
        what: format!("process {pid}"),
        source: io::ErrorKind::NotFound.into(),
    };
    let system = refreshed(&[pid].into(), ProcessRefreshKind::nothing());
    let system = system.ok_or_else(gone)?;
    let process = system.process(Pid::from_u32(pid)).ok_or_else(gone)?;
    Ok(elsewhere::identity(pid, start_time(process).ok_or_else(gone)?))
}

pub(super) fn liveness(identity: &ProcessIdentity) -> Liveness {
    let kind = ProcessRefreshKind::nothing();
    let Some(system) = refreshed(&[identity.pid].into(), kind) else {
        return Liveness::Unknown;
    };
    match system.process(Pid::from_u32(identity.pid)) {
        Some(process) if is_zombie(process) => Liveness::Dead,
        Some(process) => match start_time(process) {
            Some(started) if started == identity.start_time => Liveness::Alive,
            Some(_) => Liveness::Dead,
            None => Liveness::Unknown,
        },
        None => Liveness::Dead,
    }
}

/// Nothing holds a process here: `kqueue` tells of its end, but does not keep its pid from being given
/// away.
#[derive(Debug)]
pub(super) struct Pin;

impl Pin {
    pub(super) fn new(identity: &ProcessIdentity) -> Result<Self, PinError> {
        unpinned::pid_of(identity)?;
        unpinned::compare(identity).map(|()| Self)
    }

    pub(super) fn may_signal(&self, identity: &ProcessIdentity) -> bool {
        unpinned::pid_of(identity).is_ok_and(unpinned::may_signal)
            && unpinned::compare(identity).is_ok()
    }

    pub(super) fn listens_on(&self, identity: &ProcessIdentity, port: Port) -> bool {
        let is_it = |socket: &Listening| socket.port == port && socket.pids.contains(&identity.pid);
        all_listening().is_ok_and(|sockets| sockets.iter().any(is_it))
            && unpinned::compare(identity).is_ok()
    }

    pub(super) fn end(
        &self,
        identity: &ProcessIdentity,
        signal: Option<EndSignal>,
    ) -> Result<(), PinError> {
        unpinned::send(identity, unpinned::signal_of(signal))
    }

    pub(super) fn resume(&self, identity: &ProcessIdentity) -> Result<(), PinError> {
        unpinned::send(identity, Signal::CONT)
    }

    pub(super) fn freeze(&self, identity: &ProcessIdentity) -> Result<(), PinError> {
        unpinned::send(identity, Signal::STOP)
    }

    pub(super) fn wait(&self, identity: &ProcessIdentity, at_most: Duration) -> bool {
        ending::wait(identity, at_most)
    }

    pub(super) fn has_window(&self) -> bool {
        true
    }
}
