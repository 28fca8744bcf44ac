//! What goes into the store and what comes out of it, beside the nouns of `model`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::model::{
    Actor, Desired, EventAction, HealthCheck, NewTarget, NodeName, Outcome, Port, ProcessIdentity,
    ServiceName, TargetName, Timestamp,
};
use crate::text::Message;

/// Primary key of one run of a server; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i64);

/// A service to be inserted, with its port decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRow {
    /// Unique within the node name.
    pub name: ServiceName,
    /// Unique within the node name.
    pub port: Port,
    /// `None`: every address.
    pub bind: Option<IpAddr>,
    /// What the user asked for.
    pub desired: Desired,
    /// A key of `targets`.
    pub active: TargetName,
    /// At least one.
    pub targets: BTreeMap<TargetName, NewTarget>,
    /// Free labels, kept in this order.
    pub tags: Vec<String>,
    /// Announce it in the registry.
    pub register: bool,
    /// How its active target's health is watched; `None`: not at all.
    pub health: Option<HealthCheck>,
}

/// What changes of a service; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceChange {
    /// A new name.
    pub name: Option<ServiceName>,
    /// Another port.
    pub port: Option<Port>,
    /// Another address; `Some(None)` is every address.
    pub bind: Option<Option<IpAddr>>,
    /// All labels anew.
    pub tags: Option<Vec<String>>,
    /// Announce it, or not.
    pub register: Option<bool>,
    /// Watch its active target's health otherwise; `Some(None)` is no more.
    pub health: Option<Option<HealthCheck>>,
}

/// A run of a server that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its node name.
    pub name: NodeName,
    /// Host name of the machine.
    pub host: String,
    /// Who its process is.
    pub identity: ProcessIdentity,
    /// The program file.
    pub exe: PathBuf,
    /// Version of the program.
    pub version: String,
    /// When it began.
    pub started_at: Timestamp,
}

/// A run of a server as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Key in the database.
    pub id: NodeId,
    /// What was known when it began.
    pub row: NodeRow,
    /// Where its control plane listens, once it does.
    pub control_url: Option<String>,
    /// When it ended in order; `None` while it lives or after it died.
    pub stopped_at: Option<Timestamp>,
    /// Why it ended.
    pub stop_reason: Option<String>,
}

/// A row to be appended to the record of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub action: EventAction,
    /// To what: a service name, a node, an address.
    pub subject: String,
    /// Who asked.
    pub actor: Actor,
    /// How it ended.
    pub outcome: Outcome,
    /// More, as a sentence.
    pub detail: Option<Message>,
}
