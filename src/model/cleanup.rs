//! Removing what an unclean end left: what is asked and what was found and done.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::report::fault_or_null;
use super::state::words;
use super::{Actual, Fault, HolderView, Port, PortState, ServiceName, Source, Success};
use crate::text::Message;

/// What `cleanup` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanupRequest {
    /// Say what would be done and do nothing.
    pub dry_run: bool,
    /// End a hung server, and foreign holders of ports that an unclean row claims.
    pub force: bool,
    /// How long a process may take to end by itself.
    pub grace: Duration,
}

words! {
    /// What was done for a service; in a dry run, what would be.
    CleanupAction {
        /// All was as it should be.
        Nothing = "nothing",
        /// Its row said otherwise than the world, and was put right.
        RowRepaired = "row-repaired",
        /// What held its port was ended, and its row put right.
        HolderEnded = "holder-ended",
        /// A live server brought it to what is wanted.
        Healed = "healed",
        /// Its row was put right where that was needed; whoever has its port was left alone.
        Left = "left",
    }
}

/// What became of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupItem {
    /// Which.
    pub service: ServiceName,
    /// Its port.
    pub port: Port,
    /// What its row said.
    pub before: Actual,
    /// Who was found on its port.
    pub found: PortState,
    /// Who listened, where that is visible.
    pub holders: Vec<HolderView>,
    /// What was done.
    pub action: CleanupAction,
    /// What its row says now.
    pub after: Actual,
    /// One sentence about it.
    pub message: Message,
    /// Why something was left; null where nothing was.
    #[serde(serialize_with = "fault_or_null")]
    pub fault: Option<Fault>,
}

/// What became of a server that never said goodbye.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupNode {
    /// Its process id then.
    pub pid: u32,
    /// One sentence: found dead, ended by force, …
    pub message: Message,
    /// Why it was left; null where it was not.
    #[serde(serialize_with = "fault_or_null")]
    pub fault: Option<Fault>,
}

words! {
    /// What became of an instance that a dead server may have left in a registry; in a dry run, what
    /// would.
    InstanceAction {
        /// It was there, and was taken out. In a dry run: it is there, and would be taken out.
        Cancelled = "cancelled",
        /// It was no longer there.
        Gone = "gone",
        /// There is one of that id, but somebody else's: it was left alone.
        Foreign = "foreign",
        /// The registry could not be asked: it stays written down.
        Unreachable = "unreachable",
        /// The live server is about to announce the service again: what is there is its affair.
        Pending = "pending",
    }
}

/// What became of an instance that a dead server may have left in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupInstance {
    /// The service it was announced for.
    pub service: ServiceName,
    /// Its id in the registry.
    pub instance_id: String,
    /// What became of it.
    pub action: InstanceAction,
    /// One sentence about it.
    pub message: Message,
    /// Why it was left; null where it was not.
    #[serde(serialize_with = "fault_or_null")]
    pub fault: Option<Fault>,
}

/// `cleanup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupReport {
    /// Always true: everything was looked at; see each item's `fault`.
    pub success: Success,
    /// Who did it.
    pub source: Source,
    /// Nothing was done.
    pub dry_run: bool,
    /// One sentence about all of it.
    pub message: Message,
    /// Servers that never said goodbye.
    pub nodes: Vec<CleanupNode>,
    /// One for each service, by name.
    pub services: Vec<CleanupItem>,
    /// Instances that dead servers may have left in a registry.
    pub instances: Vec<CleanupInstance>,
}

/// Progress of `cleanup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupProgress {
    /// Services dealt with so far.
    pub done: u64,
    /// Services in all.
    pub total: u64,
    /// Under way now.
    pub message: Message,
}
