//! The nouns of pmctl and their pure rules.
//!
//! Belongs here: what a service, a target, a port, an identity, a state, a report, a fault *is*,
//! how it is parsed, compared and written as JSON. Does not belong here: any input or output, any
//! clock, any runtime. Everything here is a value that a unit test can make.
//!
//! Ground rules: this room names `text` and nobody else. A value that exists is valid: the only way
//! to make a [`ServiceName`], [`Port`] or [`TargetUrl`] is through its parser.

mod caller;
mod cleanup;
mod event;
mod fault;
mod guardian;
mod health;
mod identity;
mod kill;
mod lease;
mod listing;
mod mask;
mod name;
mod own_host;
mod port;
mod registry;
mod report;
mod request;
mod selftest;
mod service;
mod state;
mod target;
mod time;
mod verify;

pub use caller::{Access, Caller, Standing, Unproven};
pub use cleanup::{
    CleanupAction, CleanupInstance, CleanupItem, CleanupNode, CleanupProgress, CleanupReport,
    CleanupRequest, InstanceAction,
};
pub use event::{Actor, Event, EventAction, Outcome};
pub use fault::{Fault, FaultKind};
pub use guardian::{GuardianState, GuardianView};
pub use health::{HealthChange, HealthCheck, HealthEdge, HealthPatch, HealthState, HealthView};
pub use identity::ProcessIdentity;
pub use kill::{
    Bindable, EndSignal, HolderDetails, Keeper, KillItem, KillProgress, KillReport, KillRequest,
    ParentView, PortAction,
};
pub use lease::{
    DrainProgress, Heartbeat, HeartbeatCall, HeartbeatHistory, HeartbeatView, HeartbeatsReport,
    LeaseCounts, LeaseState, Registration,
};
pub use listing::{RegistryApplication, RegistryInstance, RegistryReport};
pub use mask::{masked, program_only, without_users};
pub use name::{NodeName, ServiceName, TargetName};
pub use own_host::is_own_host;
pub use port::{Port, PortChoice, PortRange, parse_ports};
pub use registry::{InstanceIdPattern, RegistryUrl, RegistryUrlError};
pub use report::{
    ActionItem, ActionReport, Applied, Counters, Cut, EventsReport, HolderView, InstanceView,
    PortState, PortView, PortsReport, ServerState, ServerView, ServiceView, ServicesReport,
    ShutdownProgress, ShutdownStep, Source, StatusCounts, StatusReport, StepState, Success,
    TargetView,
};
pub use request::{NewService, NewTarget, Selection, ServicePatch};
pub use selftest::{SelftestCount, SelftestReport, SelftestRequest, SelftestViolation, Way};
pub use service::{Service, ServiceId, Target, parse_tags};
pub use state::{Actual, Desired, Phase};
pub use target::{Credentials, Scheme, TargetUrl, UpstreamTls};
pub use time::Timestamp;
pub use verify::{Finding, VerifyCount, VerifyItem, VerifyReport, VerifySubject};
