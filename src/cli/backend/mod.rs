//! Whom a command works with: the server, or the database and this machine.
//!
//! Belongs here: finding the server, telling absent from hung from somebody else's, the one place
//! where falling back is decided. Does not belong here: what the verbs do, printing.
//!
//! Ground rules: fall back on absence, never on a refusal; on silence only to read, and say so. The
//! UUID of the database is compared before anything else is asked of a server.

mod direct;
mod faults;
mod freeing;
mod reach;
mod silent;
mod token;
mod verbs;

pub(super) use direct::Repair;
pub(super) use faults::client_fault;
pub(super) use freeing::{Freeing, Here};
pub(super) use reach::{Found, Need, Nobody, Reach};
pub(super) use silent::{Examined, PATIENCE, VERDICT};
pub(super) use verbs::{Backend, cleanup_there, drain_there, kill_there};
