//! The command line as typed, and the requests it stands for.
//!
//! Belongs here: the grammar ([`Args`], by clap), and its conversion into a [`Command`] whose fields
//! are values of the model, with every mistake reported at once. Does not belong here: the texts of
//! the help pages (`cli::help`), the merging with environment and file (`config`), doing anything.
//!
//! Ground rules: `*Args` hold what was typed and never touch the world; a mistake is a usage error
//! and nothing was done. Flags that are also settings go to [`Flags`](crate::config::Flags) as
//! text, because the same parser reads them from the environment and the file.

mod command;
mod convert;
mod early;
mod eureka;
mod health;
mod parse;
mod selftest;
mod typed;

pub use command::{
    Command, HeartbeatCommand, PortsCommand, ServiceCommand, Wait, WaitForPorts, WaitForServer,
};
pub use early::Early;
pub use eureka::{EurekaCommand, RegistryServe};
pub use parse::{Invocation, Stop, parse};
pub use typed::Args;
pub(crate) use typed::{SERVER_CA, with_server_ca};
