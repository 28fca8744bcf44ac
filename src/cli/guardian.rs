//! This program as a guardian: what a server starts beside itself, and nobody by hand.

use super::exit::ExitCode;
use super::logging;
use crate::serve::{Taken, Watched, take_over, watch};
use crate::{host, lifecycle};

/// Watches until the server is gone, and cleans up after one that died. Nothing else of the program
/// is set up before that: a guardian is small.
pub(super) fn run() -> ExitCode {
    // One that a signal for the whole session can end is better than none.
    lifecycle::ignore_stop_signals().ok();
    host::detach().ok();
    let Watched::Died(charge) = watch() else { return ExitCode::Success };
    // Where everything was removed, nothing is to be done, and the log's directory is not made anew.
    let _log = charge.is_left().then(|| logging::start_in_file(charge.log())).flatten();
    match take_over(&charge) {
        Ok(Taken::Done) => ExitCode::Success,
        Ok(Taken::NotOurs) => ExitCode::LeftAlone,
        Err(fault) => {
            tracing::error!("{fault}");
            fault.kind.into()
        }
    }
}
