//! What an operation found or did: the documents of `-o json`, the JSON API and gRPC.
//!
//! Every report says where its facts came from. Unknown is `null`, never 0 and never left out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::state::words;
use super::{
    Access, Actual, Desired, Event, Fault, GuardianView, HealthView, HolderDetails, LeaseCounts,
    Phase, Port, Service, ServiceName, TargetName, Timestamp, program_only,
};
use crate::text::Message;
use std::fmt;

words! {
    /// Who was asked.
    Source {
        /// The live server.
        Server = "server",
        /// The database and the operating system.
        Database = "database",
    }
}

words! {
    /// Whether the change is in force or only noted for the next start.
    Applied {
        /// The live server carried it out.
        Live = "live",
        /// Stands in the database; the next `serve` carries it out.
        Desired = "desired",
    }
}

words! {
    /// Who has a port.
    PortState {
        /// The live server, for a service of its own.
        Serving = "serving",
        /// What a dead or hung node left.
        Residue = "residue",
        /// A process that is not provably ours.
        Foreign = "foreign",
        /// Nobody listens.
        Free = "free",
        /// Somebody listens, but who is not visible to the caller.
        Unknown = "unknown",
    }
}

words! {
    /// How the server of a database is.
    ServerState {
        /// Holds the lock, not ready yet.
        Starting = "starting",
        /// Ready.
        Ready = "ready",
        /// Stopping.
        Draining = "draining",
        /// Holds the lock and does not answer, for whatever reason.
        Unresponsive = "unresponsive",
        /// Nobody holds the lock.
        Down = "down",
    }
}

impl From<Phase> for ServerState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Starting => Self::Starting,
            Phase::Ready => Self::Ready,
            Phase::Draining | Phase::Stopped => Self::Draining,
        }
    }
}

/// Serialises the `success` every document begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Success;

impl Serialize for Success {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderView {
    /// Process id.
    pub pid: u32,
    /// User it runs as; the uid in digits where it has no name.
    pub user: Option<String>,
    /// Command line, without the secrets that stand in it.
    pub command: Option<String>,
    /// When it was started.
    pub start_time: Option<Timestamp>,
    /// More of it; left out where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<HolderDetails>,
}

/// One port of [`PortsReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortView {
    /// Somebody listens on it.
    pub in_use: bool,
    /// The first holder's.
    pub pid: Option<u32>,
    /// The registered service of that port.
    pub service: Option<ServiceName>,
    /// Who has it.
    pub state: PortState,
    /// Every visible process with a listening socket on it.
    pub holders: Vec<HolderView>,
    /// Open client connections; unknown where the system does not tell, and in a survey of all
    /// registered ports for those that the asked server does not serve.
    pub connections: Option<u64>,
}

/// `ports status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortsReport {
    /// Always true.
    pub success: Success,
    /// Who was asked.
    pub source: Source,
    /// By port number.
    pub ports: BTreeMap<Port, PortView>,
}

impl PortsReport {
    /// The report as a caller of that access may see it.
    pub fn shown_to(mut self, access: Access) -> Self {
        if access < Access::Full {
            for holder in self.ports.values_mut().flat_map(|port| &mut port.holders) {
                holder.command = holder.command.as_deref().map(program_only);
                holder.details = None;
            }
        }
        self
    }
}

/// A target as shown: without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    /// Normalised base URL.
    pub url: String,
    /// Whether a user name or password is kept for it.
    pub has_credentials: bool,
    /// PEM file of the authorities trusted for it.
    pub ca_file: Option<PathBuf>,
    /// Any certificate is accepted.
    pub insecure: bool,
}

/// What a proxy counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Open client connections now.
    pub connections: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// Open upgraded connections now.
    pub tunnels: u64,
    /// Client connections accepted.
    pub accepted: u64,
    /// Answers by status class: index 0 is 1xx, 4 is 5xx.
    pub responses: [u64; 5],
    /// Answers that pmctl made itself because the target did not answer (502, 504).
    pub upstream_failures: u64,
    /// Body bytes from clients to targets.
    pub bytes_in: u64,
    /// Body bytes from targets to clients.
    pub bytes_out: u64,
}

impl Counters {
    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.responses.iter().sum()
    }
}

/// A service as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Name.
    pub name: ServiceName,
    /// Listen port.
    pub port: Port,
    /// Listen address; null is every address.
    pub bind: Option<IpAddr>,
    /// Asked for.
    pub desired: Desired,
    /// Known last.
    pub actual: Actual,
    /// Why.
    pub reason: Option<Message>,
    /// Since when `actual` holds.
    pub since: Timestamp,
    /// Where requests go.
    pub active_target: TargetName,
    /// All targets.
    pub targets: BTreeMap<TargetName, TargetView>,
    /// Labels.
    pub tags: Vec<String>,
    /// Announced in the registry.
    pub register: bool,
    /// How its active target is; null where that is not watched.
    pub health: Option<HealthView>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its registration last changed.
    pub updated_at: Timestamp,
    /// Changes of its registration.
    pub revision: i64,
    /// What its proxy counted; null where no proxy of a live server was asked.
    pub counters: Option<Counters>,
    /// The instances that its active target is spread over; null where it is one place, and where no
    /// proxy of a live server was asked.
    pub instances: Option<Vec<InstanceView>>,
}

/// An instance of the application that a target names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Where it is, with the target's base path.
    pub url: String,
    /// Requests under way to it.
    pub in_flight: u64,
    /// Milliseconds for which others are preferred because it failed; 0 where they are not.
    pub aside_ms: u64,
}

impl ServiceView {
    /// The service as shown, without its credentials. How its target is only a live server knows.
    pub fn new(service: Service, counters: Option<Counters>) -> Self {
        let view = |t: super::Target| TargetView {
            url: t.url.to_string(),
            has_credentials: t.credentials.is_some(),
            ca_file: t.tls.ca_file,
            insecure: t.tls.insecure,
        };
        Self {
            name: service.name,
            port: service.port,
            bind: service.bind,
            desired: service.desired,
            actual: service.actual,
            reason: service.reason,
            since: service.since,
            active_target: service.active_target,
            targets: service.targets.into_iter().map(|(n, t)| (n, view(t))).collect(),
            tags: service.tags,
            register: service.register,
            health: service.health.map(HealthView::unknown),
            created_at: service.created_at,
            updated_at: service.updated_at,
            revision: service.revision,
            counters,
            instances: None,
        }
    }
}

/// `service list`, `service show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesReport {
    /// Always true.
    pub success: Success,
    /// Who was asked.
    pub source: Source,
    /// By name.
    pub services: Vec<ServiceView>,
}

/// What became of one service of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionItem {
    /// The service as it is now, or was just before it was removed.
    pub service: ServiceView,
    /// One sentence: what was done.
    pub message: Message,
    /// Connections that were cut because the drain's bound had passed.
    pub cut: Vec<Cut>,
    /// What failed for this one service; the others were still tried.
    #[serde(serialize_with = "fault_or_null")]
    pub fault: Option<Fault>,
}

pub(super) fn fault_or_null<S: Serializer>(fault: &Option<Fault>, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        error: String,
        code: &'static str,
    }
    fault.as_ref().map(|f| Shown { error: f.to_string(), code: f.message.code() }).serialize(s)
}

/// Any command that changes services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionReport {
    /// Always true: at least one service was dealt with; see each item's `fault`.
    pub success: Success,
    /// Who did it.
    pub source: Source,
    /// In force now, or noted.
    pub applied: Applied,
    /// One for each service, in the order asked.
    pub services: Vec<ActionItem>,
}

/// A connection that was closed before it was finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cut {
    /// Whose.
    pub service: ServiceName,
    /// Client address.
    pub peer: String,
    /// `request` or `tunnel`.
    pub kind: String,
    /// Method and path without query of the request under way.
    pub request: String,
    /// How long the request or tunnel had been open, in milliseconds.
    pub age_ms: u64,
    /// Body bytes that had passed, both ways.
    pub bytes: u64,
}

/// The server of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerView {
    /// How it is.
    pub state: ServerState,
    /// Process id, where one is known.
    pub pid: Option<u32>,
    /// Control URL.
    pub url: Option<String>,
    /// Node name.
    pub node: String,
    /// Version of the pmctl that runs.
    pub version: Option<String>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// The database, without credentials.
    pub database: String,
    /// UUID of the database; null where there is none yet.
    pub database_uuid: Option<String>,
}

/// How many services are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusCounts {
    /// Registered.
    pub services: u64,
    /// Listening.
    pub running: u64,
    /// Not listening, as asked.
    pub stopped: u64,
    /// Wanted but not there.
    pub failed: u64,
    /// Open client connections; null without a live server.
    pub connections: Option<u64>,
}

/// `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// Always true.
    pub success: Success,
    /// Who was asked.
    pub source: Source,
    /// The server.
    pub server: ServerView,
    /// Its guardian; null where the server was not asked.
    pub guardian: Option<GuardianView>,
    /// Totals.
    pub counts: StatusCounts,
    /// Their leases; null where no registry is configured, or that is not known.
    pub heartbeats: Option<LeaseCounts>,
    /// Each service.
    pub services: Vec<ServiceView>,
    /// What needs a person.
    pub attention: Vec<Message>,
}

/// `events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsReport {
    /// Always true.
    pub success: Success,
    /// Who was asked.
    pub source: Source,
    /// Oldest first.
    pub events: Vec<Event>,
}

words! {
    /// The steps of a shutdown, in their order (contract of `pmctl serve`).
    ShutdownStep {
        /// Readiness off, the control listener closed.
        CloseControl = "close-control",
        /// Status synchronisation stopped.
        StopSync = "stop-sync",
        /// Heartbeats stopped, every instance deregistered.
        Deregister = "deregister",
        /// Proxies drained in parallel.
        DrainProxies = "drain-proxies",
        /// Every actual state set to stopped.
        SaveState = "save-state",
        /// Control streams ended, database closed, lock released.
        CloseDatabase = "close-database",
        /// The process ends.
        Exit = "exit",
    }
}

words! {
    /// How far a step is.
    StepState {
        /// Under way.
        Started = "started",
        /// Done in its bound.
        Done = "done",
        /// Not done, or only in part.
        Failed = "failed",
    }
}

/// One sign of progress of a shutdown; a stream of them ends with the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownProgress {
    /// Which step.
    pub step: ShutdownStep,
    /// How far.
    pub state: StepState,
    /// The sentence of the log for it.
    pub message: Message,
    /// How long the step took, in milliseconds; null while it is under way.
    pub duration_ms: Option<u64>,
    /// Proxies stopped so far and in all, while they drain.
    pub proxies: Option<(u64, u64)>,
    /// Connections that a drain's bound cut; each stands in one sign of progress only.
    pub cut: Vec<Cut>,
    /// Whether the shutdown has become a forced one.
    pub forced: bool,
}
