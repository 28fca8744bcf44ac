//! The person's face: what is typed, whom it is asked of, what is shown.
//!
//! Belongs here: the command line (`args`), its help pages (`help`), the choice between server and
//! database (`backend`), one file for each noun, exit codes, everything that prints (`render`).
//! Does not belong here: what a verb does (`ops`), what the server is (`serve`).
//!
//! Ground rules: *typed* and *resolved* are different types, execution sees only what is resolved.
//! Only `render` prints. The process ends by the code that [`run`] returns.

pub mod args;
mod backend;
mod cleanup;
mod context;
mod eureka;
mod events;
mod exit;
mod guardian;
mod heartbeat;
mod help;
#[cfg(unix)]
mod init;
mod kill;
mod logging;
mod ports;
mod render;
mod run;
mod selftest;
mod serve;
mod service;
mod status;

pub use exit::ExitCode;
pub use run::run;
