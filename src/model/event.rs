//! What happened: started, stopped, killed, healed, refused.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Timestamp;
use super::state::words;
use crate::text::Message;

words! {
    /// What was done. Stored by its word: a word is never renamed.
    EventAction {
        /// A watched target failed often enough in a row.
        ServiceUnhealthy = "service-unhealthy",
        /// A watched target answers again.
        ServiceHealthy = "service-healthy",
        /// Calls to the registry began to fail.
        RegistryFailing = "registry-failing",
        /// They go through again.
        RegistryBack = "registry-back",
        /// An instance that the registry had lost or showed otherwise was announced again.
        LeaseHealed = "lease-healed",
        /// An operator set a status over an instance, or took it away.
        LeaseOverride = "lease-override",
        /// An instance could not be taken out of the registry.
        LeaseLeft = "lease-left",
        /// An instance that a dead server had left was taken out of the registry.
        LeaseRemoved = "lease-removed",
        /// A server became ready.
        ServerStarted = "server-started",
        /// A server ended in order.
        ServerStopped = "server-stopped",
        /// A server had to end by force.
        ServerForced = "server-forced",
        /// A service was registered.
        ServiceAdded = "service-added",
        /// A service's registration changed.
        ServiceChanged = "service-changed",
        /// A service was removed.
        ServiceRemoved = "service-removed",
        /// A proxy began to listen.
        ServiceStarted = "service-started",
        /// A proxy stopped listening.
        ServiceStopped = "service-stopped",
        /// A proxy could not be started, or died.
        ServiceFailed = "service-failed",
        /// The active target changed.
        TargetSwitched = "target-switched",
        /// What an unclean end left was put right.
        Repaired = "repaired",
        /// A caller was turned away.
        Refused = "refused",
        /// A process that held a port was ended.
        PortKilled = "port-killed",
        /// A port was to be freed and was left alone.
        PortLeft = "port-left",
        /// A hung server was ended by force.
        ServerEnded = "server-ended",
    }
}

impl EventAction {
    /// Ends of processes, which are kept for ever.
    pub const KILLS: [Self; 2] = [Self::PortKilled, Self::ServerEnded];
}

words! {
    /// How it ended.
    Outcome {
        /// As asked.
        Ok = "ok",
        /// Not done.
        Failed = "failed",
        /// Turned away.
        Refused = "refused",
    }
}

/// Who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A command line that worked on the database itself, by user name or uid.
    Direct(String),
    /// A caller of the control plane, by peer address and, where it is known, user id.
    Control(String),
    /// The server's own accord: start, stop, recovery.
    Server,
    /// The guardian of a server that was killed, or had to end by force.
    Guardian,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(user) => write!(f, "cli:{user}"),
            Self::Control(peer) => write!(f, "control:{peer}"),
            Self::Server => f.write_str("server"),
            Self::Guardian => f.write_str("guardian"),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One row of the append-only record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Ascending, from 1.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What was done, by its word: a newer pmctl may have stored one that is unknown here.
    pub action: String,
    /// To what: a service name, a node, an address.
    pub subject: String,
    /// Who asked, as `Actor` prints it.
    pub actor: String,
    /// How it ended, by its word.
    pub outcome: String,
    /// More, as a sentence; in English where the catalogue no longer has it.
    pub detail: Option<Message>,
}

impl Event {
    /// The most events one call of the control plane gives.
    pub const MAX_PAGE: u32 = 10_000;
}
