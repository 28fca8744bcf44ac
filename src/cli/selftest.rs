//! `pmctl selftest`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::ExitCode;
use super::render::Output;
use crate::config::Settings;
use crate::lifecycle::listen_for_stop_signals;
use crate::model::{Fault, FaultKind, SelftestRequest};
use crate::selftest::{self, Heard};
use crate::text;

/// Ends servers of a sandbox. A stop signal lets the round under way end; nothing is left.
pub(super) fn run(
    settings: &Settings,
    request: &SelftestRequest,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let end = Arc::<AtomicBool>::default();
    let told = Arc::clone(&end);
    let hear = move |_| told.store(true, Ordering::Relaxed);
    listen_for_stop_signals(hear).map_err(|error| {
        Fault::caused(FaultKind::Internal, text::serve::signals_failed(), &error)
    })?;
    let round = |number, total, way| output.selftest_round(number, total, way);
    let heard = Heard { round: &round, end: &end, lang: settings.lang };
    let report = selftest::run(request, &heard)?;
    Ok(output.selftest_report(&report))
}
