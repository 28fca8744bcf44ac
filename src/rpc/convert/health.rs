//! The health of targets.

use super::{Need, Word, millis, number};
use crate::model::{
    Fault, HealthChange, HealthCheck, HealthPatch, HealthState, HealthView, Timestamp,
};
use crate::rpc::generated as pb;

impl From<&HealthCheck> for pb::HealthCheck {
    fn from(check: &HealthCheck) -> Self {
        Self {
            path: Some(check.path.clone()),
            interval_ms: Some(check.interval_ms),
            timeout_ms: Some(check.timeout_ms),
            unhealthy_after: Some(check.unhealthy_after),
            healthy_after: Some(check.healthy_after),
        }
    }
}

impl From<pb::HealthCheck> for HealthPatch {
    fn from(sent: pb::HealthCheck) -> Self {
        let pb::HealthCheck { path, interval_ms, timeout_ms, unhealthy_after, healthy_after } =
            sent;
        Self { path, interval_ms, timeout_ms, unhealthy_after, healthy_after }
    }
}

impl From<&HealthPatch> for pb::HealthCheck {
    fn from(patch: &HealthPatch) -> Self {
        let HealthPatch { path, interval_ms, timeout_ms, unhealthy_after, healthy_after } =
            patch.clone();
        Self { path, interval_ms, timeout_ms, unhealthy_after, healthy_after }
    }
}

impl From<pb::HealthChange> for HealthChange {
    fn from(sent: pb::HealthChange) -> Self {
        sent.check.map_or(Self::Off, |check| Self::Set(check.into()))
    }
}

impl From<&HealthChange> for pb::HealthChange {
    fn from(change: &HealthChange) -> Self {
        match change {
            HealthChange::Off => Self { check: None },
            HealthChange::Set(patch) => Self { check: Some(patch.into()) },
        }
    }
}

impl From<&HealthView> for pb::Health {
    fn from(view: &HealthView) -> Self {
        Self {
            state: number::<pb::HealthState, _>(view.state),
            since_at_ms: view.since.map(millis),
            reason: view.reason.as_ref().map(Into::into),
            check: Some((&view.check).into()),
        }
    }
}

impl TryFrom<pb::Health> for HealthView {
    type Error = Fault;

    fn try_from(sent: pb::Health) -> Result<Self, Fault> {
        let check = sent.check.answered("health.check")?;
        Ok(Self {
            state: HealthState::read(sent.state, "health.state")?,
            since: sent.since_at_ms.map(Timestamp::from_millis),
            reason: sent.reason.map(Into::into),
            check: HealthCheck {
                path: check.path.answered("health.path")?,
                interval_ms: check.interval_ms.answered("health.interval")?,
                timeout_ms: check.timeout_ms.answered("health.timeout")?,
                unhealthy_after: check.unhealthy_after.answered("health.unhealthy_after")?,
                healthy_after: check.healthy_after.answered("health.healthy_after")?,
            },
        })
    }
}
