//! The server assembled: build (lock, migrate, recover, bind) → run → shut down.
//!
//! Belongs here: the order of a server's life, the proxies it runs, its seven-step shutdown, the
//! demo. Does not belong here: what the verbs do (`ops`), how bytes are forwarded (`proxy`), how a
//! call arrives (`rpc`, `api`), printing (`cli::render`, which hears through [`Observer`]).
//!
//! Ground rules: [`prepare`] may fail and leaves nothing behind when it does; [`Prepared::run`]
//! ends only by a shutdown. Ready is said when everything vital stands. Every background task has a
//! name in `lifecycle::Tasks`. The shutdown's steps are in one file, in their order.

mod access;
mod build;
mod control;
#[cfg(feature = "debug-hooks")]
mod debug_hooks;
mod demo;
mod directory;
mod faults;
mod force;
mod guardian;
mod hang;
mod health;
mod heartbeats;
mod manager;
mod observer;
mod progress;
mod proxies;
mod refusals;
mod registry;
mod residue;
mod run;
mod server;
mod shutdown;
mod sync;
mod thrift;

pub use build::{Prepared, prepare};
pub use control::{ControlBindError, ControlListener};
pub use demo::{DemoPlan, PrivateDirectory, demo_upstream};
pub use guardian::{Charge, GUARDIAN, Guarded, Taken, Watched, own_program, take_over, watch};
pub use observer::{DemoView, Observer, ReadyView};
pub use registry::RegistryServer;
pub use run::CONTROL;
pub use shutdown::Ended;
