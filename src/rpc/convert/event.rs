//! The record of what happened.

use super::{Word, all, millis, number};
use crate::model::{Event, EventsReport, Fault, Source, Success, Timestamp};
use crate::rpc::generated as pb;

impl From<&Event> for pb::Event {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id,
            at_ms: millis(event.at),
            action: event.action.clone(),
            subject: event.subject.clone(),
            actor: event.actor.clone(),
            outcome: event.outcome.clone(),
            detail: event.detail.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::Event> for Event {
    type Error = Fault;

    fn try_from(sent: pb::Event) -> Result<Self, Fault> {
        Ok(Self {
            id: sent.id,
            at: Timestamp::from_millis(sent.at_ms),
            action: sent.action,
            subject: sent.subject,
            actor: sent.actor,
            outcome: sent.outcome,
            detail: sent.detail.map(Into::into),
        })
    }
}

impl From<&EventsReport> for pb::EventsReport {
    fn from(report: &EventsReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            events: report.events.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::EventsReport> for EventsReport {
    type Error = Fault;

    fn try_from(sent: pb::EventsReport) -> Result<Self, Fault> {
        Ok(Self {
            success: Success,
            source: Source::read(sent.source, "source")?,
            events: all(sent.events)?,
        })
    }
}
