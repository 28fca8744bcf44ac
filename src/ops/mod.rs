//! What pmctl can do, each verb once: an operation over the store, this machine and, where there is
//! one, the live server.
//!
//! Belongs here: the rules of every command that changes or reports services, ports, events and the
//! server's status. Does not belong here: how a request arrived (`rpc`, `api`, `cli`), how a proxy
//! is run (`serve`, `proxy`), SQL (`store`), system calls (`host`).
//!
//! Ground rules: what only a live server knows comes through the [`Live`] trait; without one the
//! same verb works on the database and says so in its report. Whatever is acquired is written down
//! first. A bulk change is one transaction. One failing service does not stop the others.

mod cleanup;
mod context;
mod drain;
mod ending;
mod events;
mod faults;
mod finish;
mod health;
mod heartbeats;
mod holders;
mod kill;
mod live;
mod machine;
#[cfg(test)]
mod made_up;
mod ports;
mod refusals;
mod registry_residue;
mod services;
mod status;
mod verify;

pub use cleanup::{HungServer, repair_rows};
pub use context::{DirectFacts, Ops};
pub use faults::{
    bind_fault, store_fault, taken_address_fault, taken_port_fault, token_file_fault,
};
pub use kill::KillPlan;
pub use live::{Announced, Live, Metrics, ServiceMetrics, StopResult};
pub use refusals::Refusal;

pub use crate::host::ProcessFigures as ProcessMetrics;
