//! Ports and who holds them.

use super::service::{known_port, known_service};
use super::{Word, all, millis, number};
use crate::model::{
    Fault, HolderView, Port, PortState, PortView, PortsReport, Source, Success, Timestamp,
};
use crate::rpc::generated as pb;

impl From<&HolderView> for pb::Holder {
    fn from(holder: &HolderView) -> Self {
        Self {
            pid: holder.pid,
            user: holder.user.clone(),
            command: holder.command.clone(),
            started_at_ms: holder.start_time.map(millis),
            details: None,
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
            details: None,
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
