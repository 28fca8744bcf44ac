//! Ports and who holds them.

use std::path::PathBuf;

use super::service::{known_port, known_service};
use super::{Word, all, millis, number};
use crate::model::{
    Fault, HolderDetails, HolderView, Keeper, ParentView, Port, PortState, PortView, PortsReport,
    Source, Success, Timestamp,
};
use crate::rpc::generated as pb;

impl From<&HolderView> for pb::Holder {
    fn from(holder: &HolderView) -> Self {
        Self {
            pid: holder.pid,
            user: holder.user.clone(),
            command: holder.command.clone(),
            started_at_ms: holder.start_time.map(millis),
            details: holder.details.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::Holder> for HolderView {
    type Error = Fault;

    fn try_from(sent: pb::Holder) -> Result<Self, Fault> {
        Ok(Self {
            pid: sent.pid,
            user: sent.user,
            command: sent.command,
            start_time: sent.started_at_ms.map(Timestamp::from_millis),
            details: sent.details.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&HolderDetails> for pb::HolderDetails {
    fn from(details: &HolderDetails) -> Self {
        // Paths are shown to people, so one that is not Unicode loses only what cannot be shown.
        let shown = |path: &PathBuf| path.to_string_lossy().into_owned();
        let parent =
            |parent: &ParentView| pb::Parent { pid: parent.pid, name: parent.name.clone() };
        Self {
            executable: details.executable.as_ref().map(shown),
            directory: details.directory.as_ref().map(shown),
            parents: details.parents.iter().map(parent).collect(),
            other_ports: details.other_ports.iter().map(|port| port.get().into()).collect(),
            keeper: details.keeper.as_ref().map(keeper),
        }
    }
}

fn keeper(keeper: &Keeper) -> pb::holder_details::Keeper {
    use pb::holder_details::Keeper as Sent;
    match keeper.clone() {
        Keeper::Unit { name, user, restarts } => Sent::Unit(pb::Unit { name, user, restarts }),
        Keeper::Container { runtime, id } => Sent::Container(pb::Container { runtime, id }),
        Keeper::Forwarder { runtime } => Sent::Forwarder(pb::Forwarder { runtime }),
    }
}

fn read_keeper(sent: pb::holder_details::Keeper) -> Keeper {
    use pb::holder_details::Keeper as Sent;
    match sent {
        Sent::Unit(pb::Unit { name, user, restarts }) => Keeper::Unit { name, user, restarts },
        Sent::Container(pb::Container { runtime, id }) => Keeper::Container { runtime, id },
        Sent::Forwarder(pb::Forwarder { runtime }) => Keeper::Forwarder { runtime },
    }
}

impl TryFrom<pb::HolderDetails> for HolderDetails {
    type Error = Fault;

    fn try_from(sent: pb::HolderDetails) -> Result<Self, Fault> {
        let parent = |parent: pb::Parent| ParentView { pid: parent.pid, name: parent.name };
        Ok(Self {
            executable: sent.executable.map(PathBuf::from),
            directory: sent.directory.map(PathBuf::from),
            parents: sent.parents.into_iter().map(parent).collect(),
            other_ports: sent.other_ports.into_iter().map(known_port).collect::<Result<_, _>>()?,
            keeper: sent.keeper.map(read_keeper),
        })
    }
}

fn port(number_: Port, view: &PortView) -> pb::Port {
    pb::Port {
        port: number_.get().into(),
        in_use: view.in_use,
        pid: view.pid,
        service: view.service.as_ref().map(ToString::to_string),
        state: number::<pb::PortState, _>(view.state),
        holders: view.holders.iter().map(Into::into).collect(),
        connections: view.connections,
    }
}

fn read_port(sent: pb::Port) -> Result<(Port, PortView), Fault> {
    let view = PortView {
        in_use: sent.in_use,
        pid: sent.pid,
        service: sent.service.as_deref().map(known_service).transpose()?,
        state: PortState::read(sent.state, "port.state")?,
        holders: all(sent.holders)?,
        connections: sent.connections,
    };
    Ok((known_port(sent.port)?, view))
}

impl From<&PortsReport> for pb::PortsReport {
    fn from(report: &PortsReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            ports: report.ports.iter().map(|(number, view)| port(*number, view)).collect(),
        }
    }
}

impl TryFrom<pb::PortsReport> for PortsReport {
    type Error = Fault;

    fn try_from(sent: pb::PortsReport) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            ports: sent.ports.into_iter().map(read_port).collect::<Result<_, _>>()?,
        })
    }
}
