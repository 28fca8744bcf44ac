//! The log of `pmctl serve`: text or JSON, to standard error or a rotated file.

use std::io;
use std::path::Path;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use super::render::Output;
use crate::config::{LogFormat, LogLevel, LogSettings};
use crate::model::{Fault, FaultKind};
use crate::text;

/// Daily files kept.
const FILES_KEPT: usize = 14;

/// Lines that wait for their thread. Room for all of them is taken at the start, 32 bytes each: the
/// library's own 128,000 would be a third of what a server needs.
const LINES_WAITING: usize = 8_192;

/// Begins logging for the life of the process. Lines are written by a thread of their own, and
/// dropped rather than waited for when whoever reads them doesn't: a stuck pipe must not stop
/// traffic. Dropping the guard writes what is left.
pub(super) fn start(settings: &LogSettings, output: &Output) -> Result<WorkerGuard, Fault> {
    let (writer, guard, ansi) = match &settings.file {
        Some(path) => {
            let (writer, guard) = in_background(file(path)?);
            (writer, guard, false)
        }
        None => {
            let (writer, guard) = in_background(output.live().writer());
            (writer, guard, output.style().error_color)
        }
    };
    subscribe(settings, writer, ansi);
    Ok(guard)
}

/// The same for a process without a terminal: in the file, if there is one that can be had.
pub(super) fn start_in_file(settings: &LogSettings) -> Option<WorkerGuard> {
    let (writer, guard) = in_background(file(settings.file.as_deref()?).ok()?);
    subscribe(settings, writer, false);
    Some(guard)
}

fn in_background(to: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(LINES_WAITING).finish(to)
}

fn subscribe(settings: &LogSettings, writer: NonBlocking, ansi: bool) {
    let lines = fmt().with_env_filter(filter(settings.level)).with_writer(writer);
    let set = match settings.format {
        LogFormat::Text => lines.with_ansi(ansi).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    // Set already: only a test does that, which has its own subscriber.
    set.ok();
}

/// Our own lines at the chosen level; of the libraries only what goes wrong.
fn filter(level: LogLevel) -> EnvFilter {
    let level = level.as_str();
    // h2 warns of every frame that a client need not have sent.
    EnvFilter::new(format!("warn,h2=error,pmctl={level}"))
}

/// `PATH.DATE`, a new one each day, with `PATH` a link to the newest.
fn file(path: &Path) -> Result<RollingFileAppender, Fault> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let message = text::serve::log_file_failed(path.display());
        Fault::caused(FaultKind::Usage, message, error)
    };
    let no_name = || failed(&io::Error::other("the path has no file name"));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .latest_symlink(name)
        .max_log_files(FILES_KEPT)
        .build(directory)
        .map_err(|error| failed(&error))
}
