//! Leases in the registry, and leaving it in order.

use std::time::Duration;

use super::service::{known_port, known_service};
use super::{Need, Word, all, millis, number};
use crate::model::{
    DrainProgress, Fault, Heartbeat, HeartbeatCall, HeartbeatHistory, HeartbeatView,
    HeartbeatsReport, LeaseCounts, LeaseState, Source, Success, Timestamp,
};
use crate::rpc::generated as pb;
use crate::text;

/// How many calls are asked for; 0 stands for the default.
pub(in crate::rpc) fn history_limit(limit: u32) -> Result<u32, Fault> {
    match limit {
        0 => Ok(HeartbeatHistory::DEFAULT_CALLS),
        1..=HeartbeatHistory::MAX_CALLS => Ok(limit),
        _ => {
            let most = HeartbeatHistory::MAX_CALLS;
            Err(Fault::usage(text::heartbeat::history_limit_out_of_range(limit, most)))
        }
    }
}

/// How long a drain may take at most.
pub(in crate::rpc) fn drain_max(asked_ms: Option<u64>) -> Result<Duration, Fault> {
    let Some(millis) = asked_ms else { return Ok(DrainProgress::DEFAULT_MAX) };
    let max = Duration::from_millis(millis);
    if max > DrainProgress::MAX_MAX {
        let most = humantime::format_duration(DrainProgress::MAX_MAX);
        let message = text::heartbeat::drain_max_out_of_range(format!("{millis}ms"), most);
        return Err(Fault::usage(message));
    }
    Ok(max)
}

impl From<&LeaseCounts> for pb::LeaseCounts {
    fn from(counts: &LeaseCounts) -> Self {
        let LeaseCounts { up, failing, expired, unregistered, disabled } = *counts;
        Self { up, failing, expired, unregistered, disabled }
    }
}

impl From<pb::LeaseCounts> for LeaseCounts {
    fn from(sent: pb::LeaseCounts) -> Self {
        let pb::LeaseCounts { up, failing, expired, unregistered, disabled } = sent;
        Self { up, failing, expired, unregistered, disabled }
    }
}

impl From<&HeartbeatView> for pb::Lease {
    fn from(view: &HeartbeatView) -> Self {
        Self {
            service: view.service_name.to_string(),
            port: view.port.get().into(),
            is_active: view.is_active,
            interval_s: view.interval,
            instance_id: view.instance_id.clone(),
            state: number::<pb::LeaseState, _>(view.state),
            reason: view.reason.as_ref().map(Into::into),
            status: view.status.clone(),
            override_status: view.override_status.clone(),
            registry: view.registry.clone(),
            last_success_at_ms: view.last_success.map(millis),
            consecutive_failures: view.consecutive_failures,
            latency_ms: view.latency_ms,
            next_in_ms: view.next_in_ms,
            lease_expires_in_ms: view.lease_expires_in_ms,
        }
    }
}

impl TryFrom<pb::Lease> for HeartbeatView {
    type Error = Fault;

    fn try_from(sent: pb::Lease) -> Result<Self, Fault> {
        Ok(Self {
            service_name: known_service(&sent.service)?,
            port: known_port(sent.port)?,
            is_active: sent.is_active,
            interval: sent.interval_s,
            instance_id: sent.instance_id,
            state: LeaseState::read(sent.state, "lease.state")?,
            reason: sent.reason.map(Into::into),
            status: sent.status,
            override_status: sent.override_status,
            registry: sent.registry,
            last_success: sent.last_success_at_ms.map(Timestamp::from_millis),
            consecutive_failures: sent.consecutive_failures,
            latency_ms: sent.latency_ms,
            next_in_ms: sent.next_in_ms,
            lease_expires_in_ms: sent.lease_expires_in_ms,
        })
    }
}

impl From<&HeartbeatsReport> for pb::HeartbeatsReport {
    fn from(report: &HeartbeatsReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            heartbeats: report.heartbeats.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::HeartbeatsReport> for HeartbeatsReport {
    type Error = Fault;

    fn try_from(sent: pb::HeartbeatsReport) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            heartbeats: all(sent.heartbeats)?,
        })
    }
}

impl From<&Heartbeat> for pb::Heartbeat {
    fn from(call: &Heartbeat) -> Self {
        Self {
            at_ms: millis(call.at),
            call: number::<pb::HeartbeatCall, _>(call.call),
            failure: call.failure.as_ref().map(Into::into),
            latency_ms: call.latency_ms,
        }
    }
}

impl TryFrom<pb::Heartbeat> for Heartbeat {
    type Error = Fault;

    fn try_from(sent: pb::Heartbeat) -> Result<Self, Fault> {
        Ok(Self {
            at: Timestamp::from_millis(sent.at_ms),
            call: HeartbeatCall::read(sent.call, "heartbeat.call")?,
            failure: sent.failure.map(Into::into),
            latency_ms: sent.latency_ms,
        })
    }
}

impl From<&HeartbeatHistory> for pb::HeartbeatHistory {
    fn from(history: &HeartbeatHistory) -> Self {
        Self {
            source: number::<pb::Source, _>(history.source),
            service: history.service_name.to_string(),
            heartbeats: history.heartbeats.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::HeartbeatHistory> for HeartbeatHistory {
    type Error = Fault;

    fn try_from(sent: pb::HeartbeatHistory) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            service_name: known_service(&sent.service)?,
            heartbeats: all(sent.heartbeats)?,
        })
    }
}

impl From<&DrainProgress> for pb::DrainProgress {
    fn from(progress: &DrainProgress) -> Self {
        Self {
            service: progress.service.to_string(),
            message: Some((&progress.message).into()),
            counters: progress.counters.as_ref().map(Into::into),
            left_ms: progress.left_ms,
        }
    }
}

impl TryFrom<pb::DrainProgress> for DrainProgress {
    type Error = Fault;

    fn try_from(sent: pb::DrainProgress) -> Result<Self, Fault> {
        Ok(Self {
            service: known_service(&sent.service)?,
            message: sent.message.answered("progress.message")?.into(),
            counters: sent.counters.map(TryInto::try_into).transpose()?,
            left_ms: sent.left_ms,
        })
    }
}
