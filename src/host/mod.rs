//! This machine: its clock, its processes, its listening sockets.
//!
//! Belongs here: what the operating system knows, asked through one interface with one file for
//! each system behind it. Does not belong here: what follows from it (who may be killed, what a
//! state is called), any sentence a person reads.
//!
//! Ground rules: this room names `model` only. Nothing here is asynchronous: whoever calls from a
//! runtime uses a blocking thread. What cannot be known is said to be unknown.

mod bind;
pub mod clock;
mod error;
mod figures;
mod holders;
mod identity;
mod limit;
mod user;

pub use bind::{BindFailure, try_bind};
pub use error::HostError;
pub use figures::{ProcessFigures, own_figures};
pub use holders::{Holder, Holding, holders};
pub use identity::{Liveness, is_alive, liveness, own_identity};
pub use limit::{DescriptorLimit, raise_descriptor_limit};
pub use user::{current_user_name, hostname};
