//! The crash promise, demonstrated: a server of its own, under load, ended in every way there is.
//!
//! Belongs here: the sandbox (`sandbox`), the load on its proxies (`load`), the changes that are asked
//! of it (`churn`), the ways to end it (`round`), what must hold afterwards (`check`). Does not belong
//! here: what is printed (`cli`), what `verify` and `cleanup` do.
//!
//! Ground rules: what is tested is the program itself, as a process of its own, through the commands
//! that everybody has; nothing here reaches into it. Chance comes from one seed. Everything here may
//! block and runs on threads of its own; only the registry and the upstreams are on a runtime. Ended are
//! only processes that were started here.

mod check;
mod churn;
mod load;
mod round;
mod run;
mod sandbox;

pub use run::{Heard, run};
