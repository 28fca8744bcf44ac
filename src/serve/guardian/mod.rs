//! The guardian: a small process beside the server that finishes its cleanup if it is killed.
//!
//! The server keeps it (`keeper`) and tells it through a pipe what it needs (`charge`); the pipe's end
//! without a goodbye, or the end of the process, is the server's death (`watch`). What is done then is
//! what `pmctl cleanup` does (`duty`).

mod charge;
mod duty;
mod keeper;
mod watch;

pub use charge::Charge;
pub use duty::{Taken, take_over};
pub(super) use keeper::Guardian;
pub use keeper::{GUARDIAN, Guarded, own_program};
pub use watch::{Watched, watch};
