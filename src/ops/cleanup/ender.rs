//! Ending holders that the rules gave free, each process once, each end recorded.

use std::collections::HashMap;
use std::time::Duration;

use crate::host::Holder;
use crate::model::{Actor, EndSignal, EventAction, Fault, FaultKind, Port, ProcessIdentity};
use crate::ops::context::{Ops, done, failed};
use crate::ops::ending::{EndFailure, end_holder};
use crate::ops::faults::store_fault;
use crate::ops::holders;
use crate::text::{self, Message};

/// Ends processes and remembers which.
pub(super) struct Ender<'a> {
    ops: &'a Ops,
    grace: Duration,
    by: &'a Actor,
    ended: HashMap<ProcessIdentity, Option<EndSignal>>,
}

impl<'a> Ender<'a> {
    pub(super) fn new(ops: &'a Ops, grace: Duration, by: &'a Actor) -> Self {
        Self { ops, grace, by, ended: HashMap::new() }
    }

    /// Ends `holder`, which the rules allow, while it still listens on `port`. The inner error is
    /// about this process, the outer one about the record.
    pub(super) async fn end(
        &mut self,
        port: Port,
        holder: &Holder,
    ) -> Result<Result<(), Fault>, Fault> {
        if self.ended.contains_key(&holder.identity) {
            return Ok(Ok(()));
        }
        if let Some(store) = self.ops.reading_store() {
            // Nobody is ended of whom no record would tell.
            store.check_writable().await.map_err(store_fault)?;
        }
        let machine = self.ops.machine();
        let result = end_holder(machine, &holder.identity, &[port], None, self.grace).await;
        let (now, name) = (self.ops.now(), holders::name(holder));
        let action = EventAction::PortKilled;
        let (event, result) = match result {
            Ok(ended) => {
                self.ended.insert(holder.identity.clone(), ended.signal);
                let signal = word(ended.signal);
                let detail = text::cleanup::event_holder_ended(holders::full_name(holder), signal);
                (done(now, action, port, self.by, detail), Ok(()))
            }
            // What was asked for, without a signal of ours.
            Err(EndFailure::Gone | EndFailure::LetGo { after: None }) => return Ok(Ok(())),
            // It was signalled, and lives on without the port.
            Err(EndFailure::LetGo { after: Some(signal) }) => {
                let signal = signal.as_str();
                let detail = text::cleanup::event_holder_let_go(holders::full_name(holder), signal);
                (done(now, action, port, self.by, detail), Ok(()))
            }
            Err(failure) => {
                let fault = end_fault(port, &name, &failure);
                (failed(now, action, port, self.by, &fault), Err(fault))
            }
        };
        if let Some(store) = self.ops.reading_store() {
            store.append_events(vec![event]).await.map_err(store_fault)?;
            self.ops.events_appended().await;
        }
        Ok(result)
    }

    /// How the process was ended; `None` for one that ended by itself.
    pub(super) fn how(&self, identity: &ProcessIdentity) -> Option<&'static str> {
        self.ended.get(identity).map(|signal| word(*signal))
    }
}

fn word(signal: Option<EndSignal>) -> &'static str {
    signal.map_or("TerminateProcess", EndSignal::as_str)
}

fn end_fault(port: Port, name: &str, failure: &EndFailure) -> Fault {
    let fault = |kind, message: Message| Fault::caused(kind, message, failure);
    match failure {
        EndFailure::Denied => {
            let message = text::cleanup::cleanup_left_other_user(port, name);
            Fault::new(FaultKind::Denied, message)
        }
        EndFailure::Survived => {
            Fault::new(FaultKind::Internal, text::cleanup::cleanup_survived(port, name))
        }
        EndFailure::Unsupported(_) => {
            fault(FaultKind::LeftAlone, text::cleanup::cleanup_not_sure(port, name))
        }
        EndFailure::Gone
        | EndFailure::LetGo { .. }
        | EndFailure::Other(_)
        | EndFailure::CutShort => {
            fault(FaultKind::Internal, text::cleanup::cleanup_not_ended(port, name))
        }
    }
}
