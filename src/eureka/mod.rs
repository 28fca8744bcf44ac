//! The service registry of the Eureka contract: its wire shapes, a client of it, and a registry of our
//! own for development and CI.
//!
//! Belongs here: applications and instances as they travel in JSON and XML (`wire`), the rules of
//! leases, statuses and deltas (`registry`), the HTTP face over them (`server`), and the client half
//! (`lease`). Does not belong here: which services are announced and when (`ops`, `serve`),
//! listening, signals and what a person sees (`serve`, `cli`).
//!
//! Ground rules: what real servers and clients do is the specification, so files of Netflix' `eureka`
//! repository are named where a rule comes from them. Rules take the time as an argument. The
//! registry is one node without peers: nothing is replicated. This room names `model` and `text`.

mod lease;
mod registry;
mod report;
mod server;
mod wire;

pub use lease::{
    Announcement, Answer, Answered, CALL, CallError, ClientError, Consent, Extent, HttpRegistries,
    Lease, NodeMark, Registries, RegistryCalls, Removal, Schedule, Step, Verdict, app_name, find,
    take_out,
};
pub use registry::{Registry, RegistryCounts, RegistrySettings};
pub use server::{Node, Users, router};
pub use wire::{
    Action, Application, Applications, DataCenter, DataCenterName, Document, Format, Instance,
    InstanceStatus, LeaseInfo, Listed, PortEntry, Roll, WireError,
};
