//! macOS and the BSDs: sockets through `listeners`, processes through `sysinfo`.
//!
//! Written without such a machine at hand. `listeners` shows one process of several that share a
//! socket, and only sockets whose process this user may see: another user's listener shows as free,
//! which a bind test then contradicts.

use std::collections::BTreeSet;
use std::io;

use sysinfo::{Pid, ProcessRefreshKind};

use crate::model::{Port, ProcessIdentity};

use super::holders::Listening;
use super::{HostError, Liveness, elsewhere};

pub(super) use elsewhere::{describe, own_figures};

pub(super) fn listening(
    ports: &BTreeSet<Port>,
    _known_pids: &[u32],
) -> Result<Vec<Listening>, HostError> {
    let all = listeners::get_all()
        .map_err(|error| HostError::Listeners { source: io::Error::other(error.to_string()) })?;
    let listening = all.into_iter().filter_map(|listener| {
        let is_listener = listener.protocol == listeners::Protocol::TCP
            && listener.state == listeners::SocketState::Listen;
        let port = Port::new(listener.socket.port())?;
        (is_listener && ports.contains(&port)).then(|| Listening {
            port,
            uid: None,
            pids: [listener.process.pid].into(),
        })
    });
    Ok(listening.collect())
}

pub(super) fn own_identity() -> Result<ProcessIdentity, HostError> {
    identity_of(std::process::id())
}

/// The start time counts in seconds there: it is what `sysinfo` has.
pub(super) fn identity_of(pid: u32) -> Result<ProcessIdentity, HostError> {
    let gone = || HostError::Read {
        what: format!("process {pid}"),
        source: io::ErrorKind::NotFound.into(),
    };
    let system = elsewhere::refreshed(&[pid].into(), ProcessRefreshKind::nothing());
    let system = system.ok_or_else(gone)?;
    let process = system.process(Pid::from_u32(pid)).ok_or_else(gone)?;
    Ok(elsewhere::identity(pid, process.start_time()))
}

pub(super) fn liveness(identity: &ProcessIdentity) -> Liveness {
    let kind = ProcessRefreshKind::nothing();
    let Some(system) = elsewhere::refreshed(&[identity.pid].into(), kind) else {
        return Liveness::Unknown;
    };
    match system.process(Pid::from_u32(identity.pid)) {
        Some(process) if elsewhere::is_zombie(process) => Liveness::Dead,
        Some(process) if process.start_time() == identity.start_time => Liveness::Alive,
        _ => Liveness::Dead,
    }
}
