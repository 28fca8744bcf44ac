//! Signs of progress of a shutdown.

use super::service::known_service;
use super::{Need, Word, all, number};
use crate::model::{Cut, Fault, ShutdownProgress, ShutdownStep, StepState};
use crate::rpc::generated as pb;

impl From<&Cut> for pb::Cut {
    fn from(cut: &Cut) -> Self {
        Self {
            service: cut.service.to_string(),
            peer: cut.peer.clone(),
            kind: cut.kind.clone(),
            request: cut.request.clone(),
            age_ms: cut.age_ms,
            bytes: cut.bytes,
        }
    }
}

impl TryFrom<pb::Cut> for Cut {
    type Error = Fault;

    fn try_from(sent: pb::Cut) -> Result<Self, Fault> {
        Ok(Self {
            service: known_service(&sent.service)?,
            peer: sent.peer,
            kind: sent.kind,
            request: sent.request,
            age_ms: sent.age_ms,
            bytes: sent.bytes,
        })
    }
}

impl From<&ShutdownProgress> for pb::ShutdownProgress {
    fn from(progress: &ShutdownProgress) -> Self {
        let count = |(stopped, total)| pb::ProxyCount { stopped, total };
        Self {
            step: number::<pb::ShutdownStep, _>(progress.step),
            state: number::<pb::StepState, _>(progress.state),
            message: Some((&progress.message).into()),
            duration_ms: progress.duration_ms,
            proxies: progress.proxies.map(count),
            cut: progress.cut.iter().map(Into::into).collect(),
            forced: progress.forced,
        }
    }
}

impl TryFrom<pb::ShutdownProgress> for ShutdownProgress {
    type Error = Fault;

    fn try_from(sent: pb::ShutdownProgress) -> Result<Self, Fault> {
        Ok(Self {
            step: ShutdownStep::read(sent.step, "shutdown.step")?,
            state: StepState::read(sent.state, "shutdown.state")?,
            message: sent.message.answered("shutdown.message")?.into(),
            duration_ms: sent.duration_ms,
            proxies: sent.proxies.map(|count| (count.stopped, count.total)),
            cut: all(sent.cut)?,
            forced: sent.forced,
        })
    }
}
