//! Removing what an unclean end left.

use super::kill::{grace, grace_ms};
use super::service::{known_port, known_service};
use super::{Need, Word, all, number};
use crate::model::{
    Actual, CleanupAction, CleanupInstance, CleanupItem, CleanupNode, CleanupProgress,
    CleanupReport, CleanupRequest, Fault, InstanceAction, PortState, Source, Success,
};
use crate::rpc::generated as pb;

impl TryFrom<pb::CleanupRequest> for CleanupRequest {
    type Error = Fault;

    fn try_from(sent: pb::CleanupRequest) -> Result<Self, Fault> {
        Ok(Self { dry_run: sent.dry_run, force: sent.force, grace: grace(sent.grace_ms)? })
    }
}

impl From<&CleanupRequest> for pb::CleanupRequest {
    fn from(request: &CleanupRequest) -> Self {
        let CleanupRequest { dry_run, force, grace } = *request;
        Self { dry_run, force, grace_ms: grace_ms(grace), beat_ms: 0 }
    }
}

impl From<&CleanupProgress> for pb::CleanupProgress {
    fn from(progress: &CleanupProgress) -> Self {
        let CleanupProgress { done, total, message } = progress;
        Self { done: *done, total: *total, message: Some(message.into()) }
    }
}

impl TryFrom<pb::CleanupProgress> for CleanupProgress {
    type Error = Fault;

    fn try_from(sent: pb::CleanupProgress) -> Result<Self, Fault> {
        let message = sent.message.answered("progress.message")?.into();
        Ok(Self { done: sent.done, total: sent.total, message })
    }
}

impl From<&CleanupNode> for pb::CleanupNode {
    fn from(node: &CleanupNode) -> Self {
        Self {
            pid: node.pid,
            message: Some((&node.message).into()),
            fault: node.fault.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::CleanupNode> for CleanupNode {
    type Error = Fault;

    fn try_from(sent: pb::CleanupNode) -> Result<Self, Fault> {
        Ok(Self {
            pid: sent.pid,
            message: sent.message.answered("node.message")?.into(),
            fault: sent.fault.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&CleanupItem> for pb::CleanupItem {
    fn from(item: &CleanupItem) -> Self {
        Self {
            service: item.service.to_string(),
            port: item.port.get().into(),
            before: number::<pb::Actual, _>(item.before),
            found: number::<pb::PortState, _>(item.found),
            holders: item.holders.iter().map(Into::into).collect(),
            action: number::<pb::CleanupAction, _>(item.action),
            after: number::<pb::Actual, _>(item.after),
            message: Some((&item.message).into()),
            fault: item.fault.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::CleanupItem> for CleanupItem {
    type Error = Fault;

    fn try_from(sent: pb::CleanupItem) -> Result<Self, Fault> {
        Ok(Self {
            service: known_service(&sent.service)?,
            port: known_port(sent.port)?,
            before: Actual::read(sent.before, "item.before")?,
            found: PortState::read(sent.found, "item.found")?,
            holders: all(sent.holders)?,
            action: CleanupAction::read(sent.action, "item.action")?,
            after: Actual::read(sent.after, "item.after")?,
            message: sent.message.answered("item.message")?.into(),
            fault: sent.fault.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&CleanupInstance> for pb::CleanupInstance {
    fn from(instance: &CleanupInstance) -> Self {
        Self {
            service: instance.service.to_string(),
            instance_id: instance.instance_id.clone(),
            action: number::<pb::InstanceAction, _>(instance.action),
            message: Some((&instance.message).into()),
            fault: instance.fault.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::CleanupInstance> for CleanupInstance {
    type Error = Fault;

    fn try_from(sent: pb::CleanupInstance) -> Result<Self, Fault> {
        Ok(Self {
            service: known_service(&sent.service)?,
            instance_id: sent.instance_id,
            action: InstanceAction::read(sent.action, "instance.action")?,
            message: sent.message.answered("instance.message")?.into(),
            fault: sent.fault.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&CleanupReport> for pb::CleanupReport {
    fn from(report: &CleanupReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            dry_run: report.dry_run,
            message: Some((&report.message).into()),
            nodes: report.nodes.iter().map(Into::into).collect(),
            services: report.services.iter().map(Into::into).collect(),
            instances: report.instances.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::CleanupReport> for CleanupReport {
    type Error = Fault;

    fn try_from(sent: pb::CleanupReport) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            dry_run: sent.dry_run,
            message: sent.message.answered("message")?.into(),
            nodes: all(sent.nodes)?,
            services: all(sent.services)?,
            instances: all(sent.instances)?,
        })
    }
}
