//! Freeing ports.

use std::collections::BTreeSet;
use std::time::Duration;

use super::request::port;
use super::service::{known_port, known_service};
use super::{Need, Word, all, not_understood, number};
use crate::model::{
    Bindable, EndSignal, Fault, KillItem, KillProgress, KillReport, KillRequest, PortAction,
    Source, Success,
};
use crate::rpc::generated as pb;
use crate::text::{self, Message};

/// The grace of a request; the default where none is asked for.
pub(super) fn grace(asked_ms: Option<u64>) -> Result<Duration, Fault> {
    let Some(millis) = asked_ms else { return Ok(KillRequest::DEFAULT_GRACE) };
    let grace = Duration::from_millis(millis);
    if grace > KillRequest::MAX_GRACE {
        let most = humantime::format_duration(KillRequest::MAX_GRACE);
        return Err(Fault::usage(text::backend::grace_invalid(format!("{millis}ms"), most)));
    }
    Ok(grace)
}

/// The milliseconds of a grace.
pub(super) fn grace_ms(grace: Duration) -> Option<u64> {
    Some(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))
}

/// The signal asked for; one this build does not know is the caller's mistake.
fn signal(number: i32) -> Result<EndSignal, Fault> {
    EndSignal::read(number, "signal").map_err(|_| Fault::usage(text::model::signal_unknown(number)))
}

impl TryFrom<pb::KillPortsRequest> for KillRequest {
    type Error = Fault;

    fn try_from(sent: pb::KillPortsRequest) -> Result<Self, Fault> {
        let ports = sent.ports.into_iter().map(port).collect::<Result<BTreeSet<_>, _>>()?;
        if ports.is_empty() {
            return Err(Fault::usage(text::control::request_lacks("ports")));
        }
        Ok(Self {
            ports,
            signal: sent.signal.map(signal).transpose()?,
            grace: grace(sent.grace_ms)?,
            dry_run: sent.dry_run,
            force: sent.force,
        })
    }
}

impl From<&KillRequest> for pb::KillPortsRequest {
    fn from(request: &KillRequest) -> Self {
        Self {
            ports: request.ports.iter().map(|port| port.get().into()).collect(),
            signal: request.signal.map(number::<pb::EndSignal, _>),
            grace_ms: grace_ms(request.grace),
            dry_run: request.dry_run,
            force: request.force,
            beat_ms: 0,
        }
    }
}

impl From<&KillProgress> for pb::KillProgress {
    fn from(progress: &KillProgress) -> Self {
        let KillProgress { done, total, message } = progress;
        Self { done: *done, total: *total, message: Some(message.into()) }
    }
}

impl TryFrom<pb::KillProgress> for KillProgress {
    type Error = Fault;

    fn try_from(sent: pb::KillProgress) -> Result<Self, Fault> {
        let message = sent.message.answered("progress.message")?.into();
        Ok(Self { done: sent.done, total: sent.total, message })
    }
}

fn bindable(bindable: &Bindable) -> pb::Bindable {
    match bindable {
        Bindable::Yes => pb::Bindable::Yes,
        Bindable::No(_) => pb::Bindable::No,
        Bindable::Unknown(_) => pb::Bindable::Unknown,
    }
}

fn read_bindable(number: i32, reason: Option<pb::Text>) -> Result<Bindable, Fault> {
    let reason = || reason.map(Message::from).answered("item.bindable_reason");
    match pb::Bindable::try_from(number) {
        Ok(pb::Bindable::Yes) => Ok(Bindable::Yes),
        Ok(pb::Bindable::No) => reason().map(Bindable::No),
        Ok(pb::Bindable::Unknown) => reason().map(Bindable::Unknown),
        Ok(pb::Bindable::Unspecified) | Err(_) => Err(not_understood("item.bindable")),
    }
}

impl From<&KillItem> for pb::KillItem {
    fn from(item: &KillItem) -> Self {
        Self {
            port: item.port.get().into(),
            service: item.service.as_ref().map(ToString::to_string),
            action: number::<pb::PortAction, _>(item.action),
            holders: item.holders.iter().map(Into::into).collect(),
            signal: item.signal.map(number::<pb::EndSignal, _>),
            duration_ms: item.duration_ms,
            bindable: bindable(&item.bindable).into(),
            bindable_reason: item.bindable.reason().map(Into::into),
            message: Some((&item.message).into()),
            notes: item.notes.iter().map(Into::into).collect(),
            fault: item.fault.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::KillItem> for KillItem {
    type Error = Fault;

    fn try_from(sent: pb::KillItem) -> Result<Self, Fault> {
        let signal = |number| EndSignal::read(number, "item.signal");
        Ok(Self {
            port: known_port(sent.port)?,
            service: sent.service.as_deref().map(known_service).transpose()?,
            action: PortAction::read(sent.action, "item.action")?,
            holders: all(sent.holders)?,
            signal: sent.signal.map(signal).transpose()?,
            duration_ms: sent.duration_ms,
            bindable: read_bindable(sent.bindable, sent.bindable_reason)?,
            message: sent.message.answered("item.message")?.into(),
            notes: sent.notes.into_iter().map(Message::from).collect(),
            fault: sent.fault.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&KillReport> for pb::KillReport {
    fn from(report: &KillReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            dry_run: report.dry_run,
            message: Some((&report.message).into()),
            ports: report.ports.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::KillReport> for KillReport {
    type Error = Fault;

    fn try_from(sent: pb::KillReport) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            dry_run: sent.dry_run,
            message: sent.message.answered("message")?.into(),
            ports: all(sent.ports)?,
        })
    }
}
