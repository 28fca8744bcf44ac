//! `pmctl serve`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::exit::ExitCode;
use super::logging;
use super::render::Output;
use crate::config::Settings;
use crate::lifecycle::{Stop, StopCause, listen_for_stop_signals};
use crate::model::{Fault, FaultKind};
use crate::serve::{DemoPlan, prepare};
use crate::text;

/// Threads of the control plane, apart from those of the data plane: it answers few calls, and must
/// answer them while the data plane is busy.
const CONTROL_THREADS: usize = 2;

/// Serves until a stop signal and shuts down in order.
pub(super) fn run(
    mut settings: Settings,
    is_demo: bool,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let demo = is_demo.then(DemoPlan::new).transpose().map_err(|error| {
        Fault::caused(FaultKind::Internal, text::serve::demo_failed(), &error)
    })?;
    if let Some(demo) = &demo {
        settings.database_url = demo.database_url();
        settings.database_is_named = true;
    }
    let _log = logging::start(&settings.serve.log, output)?;
    let (sender, signs) = mpsc::channel();
    let observer = Arc::new(Forward(Mutex::new(sender)));
    let stop = Stop::new();
    let heard = stop.clone();
    let hear = move |signal| heard.request(StopCause::Signal(signal), Instant::now());
    listen_for_stop_signals(hear).map_err(|error| {
        Fault::caused(FaultKind::Internal, text::serve::signals_failed(), &error)
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| {
            Fault::caused(FaultKind::Internal, text::serve::plane_failed(), &error)
        })?;
    let ended = runtime.block_on(async {
        let prepared = prepare(&settings, demo, stop).await?;
        prepared.run(observer).await
    });
    // What is still on the runtime has nothing left to give back.
    runtime.shutdown_background();
    Ok(match ended?.forced {
        None => ExitCode::Success,
        Some(_) => ExitCode::Failed,
    })
}
