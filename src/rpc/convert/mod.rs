//! Between the model and the proto, both ways.
//!
//! `From` writes: every model value has a message. `TryFrom` reads, and what cannot be read is a
//! [`Fault`]: of the usage kind where a request is read, `answer-not-understood` where the answer
//! of a server of another version is.

mod cleanup;
mod event;
mod health;
mod heartbeat;
mod kill;
mod port;
mod report;
mod request;
mod sentence;
mod service;
mod shutdown;
mod verify;

pub(super) use heartbeat::{drain_max, history_limit};
pub(super) use request::{event_limit, names, selection, service_name, target_name};

use crate::model::{
    Actual, Applied, CleanupAction, Desired, EndSignal, Fault, FaultKind, Finding, GuardianState,
    HealthState, HeartbeatCall, InstanceAction, LeaseState, Phase, PortAction, PortState,
    ServerState, ShutdownStep, Source, StepState, Timestamp, VerifySubject,
};
use crate::rpc::generated as pb;
use crate::text;

/// The version of this pmctl, as it stands in sentences.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The fault of an answer whose `field` this build cannot read.
pub(super) fn not_understood(field: &str) -> Fault {
    Fault::new(FaultKind::Internal, text::control::answer_not_understood(field, VERSION))
}

/// An optional part of a message that must be there.
pub(super) trait Need<T> {
    /// The part of a request; a usage fault that names it if it is missing.
    fn asked(self, field: &str) -> Result<T, Fault>;
    /// The part of an answer.
    fn answered(self, field: &str) -> Result<T, Fault>;
}

impl<T> Need<T> for Option<T> {
    fn asked(self, field: &str) -> Result<T, Fault> {
        self.ok_or_else(|| Fault::usage(text::control::request_lacks(field)))
    }

    fn answered(self, field: &str) -> Result<T, Fault> {
        self.ok_or_else(|| not_understood(field))
    }
}

/// A closed list of words that has an enum in the proto.
pub(super) trait Word: Sized {
    /// The value of an answer's enum `number`; `field` is named if this build does not know it.
    fn read(number: i32, field: &str) -> Result<Self, Fault>;
}

macro_rules! words {
    ($($type:ident { $($variant:ident),* $(,)? })*) => {$(
        impl From<$type> for pb::$type {
            fn from(value: $type) -> Self {
                match value { $($type::$variant => Self::$variant,)* }
            }
        }

        impl Word for $type {
            fn read(number: i32, field: &str) -> Result<Self, Fault> {
                match pb::$type::try_from(number) {
                    $(Ok(pb::$type::$variant) => Ok(Self::$variant),)*
                    Ok(pb::$type::Unspecified) | Err(_) => Err(not_understood(field)),
                }
            }
        }
    )*};
}

words! {
    FaultKind {
        Usage, NotFound, Exists, Precondition, LeftAlone, Unavailable, Denied, Timeout, Internal,
    }
    Phase { Starting, Ready, Draining, Stopped }
    ServerState { Starting, Ready, Draining, Unresponsive, Down }
    Source { Server, Database }
    Desired { Running, Stopped }
    Actual { Stopped, Starting, Running, Draining, Failed }
    Applied { Live, Desired }
    PortState { Serving, Residue, Foreign, Free, Unknown }
    EndSignal { Term, Int, Hup, Quit, Kill }
    PortAction { Stopped, Killed, Terminated, AlreadyFree, Left }
    CleanupAction { Nothing, RowRepaired, HolderEnded, Healed, Left }
    InstanceAction { Cancelled, Gone, Foreign, Unreachable, Pending }
    ShutdownStep {
        CloseControl, StopSync, Deregister, DrainProxies, SaveState, CloseDatabase, Exit,
    }
    StepState { Started, Done, Failed }
    VerifySubject { Process, Node, Service, Port, Registration, Instance }
    Finding { Clean, Elsewhere, Live, Unproved, Left }
    HealthState { Healthy, Unhealthy, Unknown }
    LeaseState { Up, Failing, Expired, Unregistered, Disabled }
    GuardianState { Watching, Restarting, Off }
    HeartbeatCall { Register, Renew, Status, Cancel }
}

/// The wire number of a word.
fn number<P: From<T> + Into<i32>, T>(value: T) -> i32 {
    P::from(value).into()
}

fn millis(at: Timestamp) -> i64 {
    at.as_millis()
}

/// Reads every message of a list.
pub(super) fn all<T, P>(list: Vec<P>) -> Result<Vec<T>, Fault>
where
    T: TryFrom<P, Error = Fault>,
{
    list.into_iter().map(T::try_from).collect()
}

#[cfg(test)]
mod tests;
