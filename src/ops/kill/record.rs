//! Every kill and every refusal, in the events.

use super::plan::Target;
use crate::host::Holder;
use crate::model::{Actor, EndSignal, EventAction, Fault, FaultKind, Outcome};
use crate::ops::context::{Ops, done};
use crate::ops::holders;
use crate::store::NewEvent;
use crate::text::{self, Message};

/// That a process was signalled to free what `subject` says. `signal` is the last one it was sent.
pub(super) fn killed(
    ops: &Ops,
    by: &Actor,
    subject: impl ToString,
    target: &Target,
    signal: Option<EndSignal>,
    outcome: Outcome,
) -> NewEvent {
    let name = holders::full_name(&target.holder);
    let signal = signal.map_or("-", EndSignal::as_str);
    let detail = match outcome {
        Outcome::Ok => text::kill::event_port_killed(signal, name),
        Outcome::Failed | Outcome::Refused => text::kill::event_port_kill_failed(signal, name),
    };
    let event = done(ops.now(), EventAction::PortKilled, subject, by, detail);
    NewEvent { outcome, ..event }
}

/// That something was left alone.
pub(super) fn left<'a>(
    ops: &Ops,
    by: &Actor,
    subject: impl ToString,
    fault: &Fault,
    holders: impl IntoIterator<Item = &'a Holder>,
) -> NewEvent {
    let names: Vec<String> = holders.into_iter().map(holders::full_name).collect();
    let detail = match names.is_empty() {
        true => fault.message.clone(),
        false => text::kill::event_port_left(&fault.message, names.join(", ")),
    };
    let outcome = match fault.kind {
        FaultKind::LeftAlone | FaultKind::Denied => Outcome::Refused,
        FaultKind::Usage
        | FaultKind::NotFound
        | FaultKind::Exists
        | FaultKind::Precondition
        | FaultKind::Unavailable
        | FaultKind::Timeout
        | FaultKind::Internal => Outcome::Failed,
    };
    let event = done(ops.now(), EventAction::PortLeft, subject, by, detail);
    NewEvent { outcome, ..event }
}

/// Appends the events; if that cannot be done, what to tell of it. Nothing is undone for it.
pub(super) async fn append(ops: &Ops, events: Vec<NewEvent>) -> Option<Message> {
    if events.is_empty() {
        return None;
    }
    let Some(store) = ops.reading_store() else {
        return Some(text::kill::note_unrecorded_nowhere());
    };
    match store.append_events(events).await {
        Ok(()) => {
            ops.events_appended().await;
            None
        }
        Err(error) => {
            tracing::warn!(%error, "what became of a port is not recorded");
            Some(text::kill::note_unrecorded(error))
        }
    }
}
