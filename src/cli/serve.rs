//! `pmctl serve`.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::exit::ExitCode;
use super::logging;
use super::render::{Output, ShutdownLines};
use crate::config::{OutputFormat, Settings};
use crate::host;
use crate::lifecycle::{Stop, StopCause, listen_for_stop_signals, log_panics};
use crate::model::{Fault, FaultKind, ShutdownProgress, ShutdownStep, StepState};
use crate::serve::{CONTROL, DemoPlan, Guarded, Observer, ReadyView, prepare};
use crate::text;

/// Threads of the control plane, apart from those of the data plane: it answers few calls, and must
/// answer them while the data plane is busy.
const CONTROL_THREADS: usize = 2;

/// How long the last lines may take on their way to the terminal. One that takes nothing any more
/// must not keep a server that has stopped.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Serves until a stop signal and shuts down in order.
pub(super) fn run(
    mut settings: Settings,
    is_demo: bool,
    guarded_by: Option<u32>,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let mut demo = is_demo
        .then(DemoPlan::new)
        .transpose()
        .map_err(|error| Fault::caused(FaultKind::Internal, text::serve::demo_failed(), &error))?;
    if let Some(demo) = &demo {
        settings.database_url = demo.database_url();
        settings.database_is_named = true;
    }
    let guarded = match (guarded_by, settings.serve.guardian) {
        (Some(parent), _) => Guarded::ByParent(parent),
        (None, true) => Guarded::ByChild,
        (None, false) => Guarded::ByNobody,
    };
    log_panics();
    // One for each thread of the data plane, and one for all the others.
    host::share_heaps(u16::try_from(settings.serve.workers.saturating_add(1)).unwrap_or(u16::MAX));
    host::keep_large_pieces_apart();
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
        .thread_name(CONTROL)
        .enable_all()
        .build()
        .map_err(|error| Fault::caused(FaultKind::Internal, text::serve::plane_failed(), &error))?;
    // Drawing may block on a slow terminal; the server must not. Not joined, because it may do so for
    // ever: its sender is dropped when everything is drawn.
    let (drawing, drawn) = mpsc::channel::<()>();
    let display = output.clone();
    // A log in a file leaves the person at the terminal without a word.
    let lines = match settings.serve.log.file.is_some() && settings.output == OutputFormat::Table {
        true => ShutdownLines::Shown,
        false => ShutdownLines::Logged,
    };
    let draw = move || {
        show(&display, &signs, lines);
        drop(drawing);
    };
    thread::Builder::new()
        .name("display".into())
        .spawn(draw)
        .map_err(|error| Fault::caused(FaultKind::Internal, text::serve::plane_failed(), &error))?;
    let ended = runtime.block_on(async {
        // A registry that was named is used, also by the demo.
        if let Some(demo) = demo.as_mut().filter(|_| settings.eureka.urls.is_empty()) {
            settings.eureka.urls.push(demo.with_registry(settings.lang).await?);
        }
        match prepare(&settings, demo, guarded, stop).await? {
            Some(prepared) => prepared.run(observer).await.map(|ended| ended.forced),
            // Nothing runs yet, so nothing is left: what was asked for.
            None => Ok(None),
        }
    });
    // What is still on the runtime has nothing left to give back; without it the observer is gone
    // and the drawing ends.
    runtime.shutdown_background();
    // Drawn or not.
    let _ = drawn.recv_timeout(LAST_LINES);
    Ok(match ended? {
        None => ExitCode::Success,
        Some(_) => ExitCode::Failed,
    })
}

/// What the server says of itself, on its way to the thread that shows it.
enum Sign {
    Ready(Box<ReadyView>),
    Shutdown(Box<ShutdownProgress>),
}

struct Forward(Mutex<Sender<Sign>>);

impl Forward {
    fn send(&self, sign: Sign) {
        // Nobody draws any more: the log has it all.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send(sign).ok();
    }
}

impl Observer for Forward {
    fn ready(&self, view: &ReadyView) {
        self.send(Sign::Ready(Box::new(view.clone())));
    }

    fn shutdown(&self, progress: &ShutdownProgress) {
        let is_last = progress.step == ShutdownStep::Exit && progress.state != StepState::Started;
        self.send(Sign::Shutdown(Box::new(progress.clone())));
        if is_last {
            // The sender lives in the server; this ends the drawing although it may stay alive.
            let (nowhere, _) = mpsc::channel();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = nowhere;
        }
    }
}

fn show(output: &Output, signs: &Receiver<Sign>, lines: ShutdownLines) {
    let mut view = output.shutdown(lines);
    let mut code = ExitCode::Success;
    let mut is_stopping = false;
    for sign in signs {
        match sign {
            Sign::Ready(ready) => {
                if lines == ShutdownLines::Shown {
                    let url = ready.server.url.as_deref().unwrap_or("-");
                    let pid = ready.server.pid.unwrap_or_default();
                    output.done(&text::serve::ready(url, ready.running, pid));
                }
                output.ready(&ready);
            }
            Sign::Shutdown(progress) => {
                is_stopping = true;
                if progress.forced {
                    code = ExitCode::Failed;
                }
                view.show(&progress);
            }
        }
    }
    // A start that failed is told by its fault, not as a shutdown.
    if is_stopping {
        view.finish(code);
    }
}
