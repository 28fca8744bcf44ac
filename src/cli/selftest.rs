//! `pmctl selftest`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::ExitCode;
use super::render::Output;
use crate::config::Settings;
use crate::lifecycle::listen_for_stop_signals;
use crate::model::{Fault, FaultKind, SelftestRequest};
use crate::selftest::{self, Abort, Heard};
use crate::text;

/// Ends servers of a sandbox. A stop signal lets the round under way end, a second one does not wait for
/// it; nothing is left either way.
pub(super) fn run(
    settings: &Settings,
    request: &SelftestRequest,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let end = Arc::<AtomicBool>::default();
    let told = Arc::clone(&end);
    let abort = Arc::<Abort>::default();
    let at_once = Arc::clone(&abort);
    let hear = move |_| {
        if told.swap(true, Ordering::Relaxed) {
            at_once.now();
            #[expect(
                clippy::disallowed_methods,
                reason = "the main thread is in the middle of a round"
            )]
            std::process::exit(ExitCode::Failed.number().into());
        }
    };
    listen_for_stop_signals(hear).map_err(|error| {
        Fault::caused(FaultKind::Internal, text::serve::signals_failed(), &error)
    })?;
    let round = |number, total, way| output.selftest_round(number, total, way);
    let heard = Heard { round: &round, end: &end, abort: &abort, lang: settings.lang };
    let report = selftest::run(request, &heard)?;
    Ok(output.selftest_report(&report))
}
