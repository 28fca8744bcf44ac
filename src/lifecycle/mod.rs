//! How work ends: stop requests as state, operating-system signals as values, named tasks that the
//! shutdown can list, the budget of a shutdown, and the watchdog that keeps the bound when the
//! runtime cannot.
//!
//! Belongs here: everything that decides *when* and *how firmly* something ends. Does not belong
//! here: what is ended (proxies, rows, connections).
//!
//! Ground rules: a stop is a state that can be read at any time, never an event that can be missed.
//! Stop reasons are ordered, so "which one wins" is `Ord`. Signals belong to an operating-system
//! thread, so that they are heard while the runtime is stuck. This room names `model` and `text`.

mod budget;
#[cfg(unix)]
mod first_process;
mod panics;
mod pulse;
mod signals;
mod stop;
mod tasks;
mod watchdog;

pub use budget::{Bounds, Budget};
#[cfg(unix)]
pub use first_process::{ChildEnd, Reaper, give_terminal_to};
pub use panics::log_panics;
pub use pulse::{Pulse, Question};
pub use signals::{SignalError, StopSignal, ignore_stop_signals, listen_for_stop_signals};
pub use stop::{Stop, StopCause, StopState, StopWatch};
pub use tasks::{Importance, Tasks};
pub use watchdog::{Verdict, Watch, Watchdog};
