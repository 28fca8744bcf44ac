//! The server, its totals, lists of services, and what became of an action.

use super::{Need, Word, all, millis, number};
use crate::model::{
    ActionItem, ActionReport, Applied, Fault, GuardianState, GuardianView, ServerState, ServerView,
    ServicesReport, Source, StatusCounts, StatusReport, Success, Timestamp,
};
use crate::rpc::generated as pb;
use crate::text::Message;

impl From<&ServerView> for pb::Server {
    fn from(view: &ServerView) -> Self {
        Self {
            state: number::<pb::ServerState, _>(view.state),
            pid: view.pid,
            url: view.url.clone(),
            node: view.node.clone(),
            version: view.version.clone(),
            started_at_ms: view.started_at.map(millis),
            database: view.database.clone(),
            database_uuid: view.database_uuid.clone(),
        }
    }
}

impl TryFrom<pb::Server> for ServerView {
    type Error = Fault;

    fn try_from(sent: pb::Server) -> Result<Self, Fault> {
        Ok(Self {
            state: ServerState::read(sent.state, "server.state")?,
            pid: sent.pid,
            url: sent.url,
            node: sent.node,
            version: sent.version,
            started_at: sent.started_at_ms.map(Timestamp::from_millis),
            database: sent.database,
            database_uuid: sent.database_uuid,
        })
    }
}

impl From<GuardianView> for pb::Guardian {
    fn from(view: GuardianView) -> Self {
        Self { state: number::<pb::GuardianState, _>(view.state), pid: view.pid }
    }
}

impl TryFrom<pb::Guardian> for GuardianView {
    type Error = Fault;

    fn try_from(sent: pb::Guardian) -> Result<Self, Fault> {
        Ok(Self { state: GuardianState::read(sent.state, "guardian.state")?, pid: sent.pid })
    }
}

impl From<&StatusReport> for pb::StatusReport {
    fn from(report: &StatusReport) -> Self {
        let counts = pb::StatusCounts {
            services: report.counts.services,
            running: report.counts.running,
            stopped: report.counts.stopped,
            failed: report.counts.failed,
            connections: report.counts.connections,
        };
        Self {
            source: number::<pb::Source, _>(report.source),
            server: Some((&report.server).into()),
            counts: Some(counts),
            services: report.services.iter().map(Into::into).collect(),
            attention: report.attention.iter().map(Into::into).collect(),
            heartbeats: report.heartbeats.as_ref().map(Into::into),
            guardian: report.guardian.map(Into::into),
        }
    }
}

impl TryFrom<pb::StatusReport> for StatusReport {
    type Error = Fault;

    fn try_from(sent: pb::StatusReport) -> Result<Self, Fault> {
        let counts = sent.counts.answered("counts")?;
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            server: sent.server.answered("server")?.try_into()?,
            guardian: sent.guardian.map(TryInto::try_into).transpose()?,
            counts: StatusCounts {
                services: counts.services,
                running: counts.running,
                stopped: counts.stopped,
                failed: counts.failed,
                connections: counts.connections,
            },
            heartbeats: sent.heartbeats.map(Into::into),
            services: all(sent.services)?,
            attention: sent.attention.into_iter().map(Message::from).collect(),
        })
    }
}

impl From<&ServicesReport> for pb::ServicesReport {
    fn from(report: &ServicesReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            services: report.services.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::ServicesReport> for ServicesReport {
    type Error = Fault;

    fn try_from(sent: pb::ServicesReport) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            services: all(sent.services)?,
        })
    }
}

impl From<&ActionItem> for pb::ActionItem {
    fn from(item: &ActionItem) -> Self {
        Self {
            service: Some((&item.service).into()),
            message: Some((&item.message).into()),
            cut: item.cut.iter().map(Into::into).collect(),
            fault: item.fault.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::ActionItem> for ActionItem {
    type Error = Fault;

    fn try_from(sent: pb::ActionItem) -> Result<Self, Fault> {
        Ok(Self {
            service: sent.service.answered("item.service")?.try_into()?,
            message: sent.message.answered("item.message")?.into(),
            cut: all(sent.cut)?,
            fault: sent.fault.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&ActionReport> for pb::ActionReport {
    fn from(report: &ActionReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            applied: number::<pb::Applied, _>(report.applied),
            services: report.services.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::ActionReport> for ActionReport {
    type Error = Fault;

    fn try_from(sent: pb::ActionReport) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            applied: Applied::read(sent.applied, "applied")?,
            services: all(sent.services)?,
        })
    }
}
