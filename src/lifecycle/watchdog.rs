//! Keeps the bound of a shutdown when the async runtime cannot: an operating-system thread that
//! ends the process itself.

#[cfg(windows)]
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::StopWatch;

/// How often the thread looks whether a stop was asked for. A quarter of a second costs nothing
/// measurable and is far below any bound.
const LOOK: Duration = Duration::from_millis(250);

/// How long a forced shutdown may still take on the runtime before the thread takes over.
const FORCED_GRACE: Duration = Duration::from_secs(1);

/// Disarmed by [`Watchdog::goodbye`]; dropping it without that leaves it armed, because a shutdown
/// that lost its watchdog's handle in a panic is the very case it exists for.
#[derive(Debug)]
pub struct Watchdog {
    goodbye: Sender<()>,
}

impl Watchdog {
    /// Watches `stop`. When `total` has passed since the stop was asked for, or a second since it
    /// became forced, runs `last_resort` on its own thread (it must bound its own time) and ends
    /// the process with status 1.
    pub fn start(
        stop: StopWatch,
        total: Duration,
        last_resort: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (goodbye, hears) = mpsc::channel();
        let watch = move || {
            loop {
                match hears.recv_timeout(LOOK) {
                    Ok(()) => return,
                    // The handle is gone without a goodbye: stay, and keep the pace.
                    Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if is_overdue(&stop, total, Instant::now()) {
                    break;
                }
            }
            tracing::error!("the bound of the shutdown has passed; ending the process");
            last_resort();
            end_process();
        };
        thread::Builder::new().name("watchdog".into()).spawn(watch)?;
        Ok(Self { goodbye })
    }

    /// The shutdown ended by itself.
    pub fn goodbye(self) {
        // A closed channel means the thread is past the point of being told.
        self.goodbye.send(()).ok();
    }
}

fn is_overdue(stop: &StopWatch, total: Duration, now: Instant) -> bool {
    use super::StopState::{Forced, Graceful, Running};
    match stop.state() {
        Running => false,
        Graceful { since, .. } => now >= since + total,
        Forced { since, forced, .. } => now >= (since + total).min(forced + FORCED_GRACE),
    }
}

/// Ends the process without running anything of it: exit handlers and destructors may wait for the
/// very thread that is stuck.
#[cfg(unix)]
fn end_process() -> ! {
    signal_hook::low_level::exit(1)
}

/// Ends the process without running anything of it.
#[cfg(windows)]
fn end_process() -> ! {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
    // SAFETY: the pseudo handle of the own process is always valid; nothing is passed by reference.
    unsafe { TerminateProcess(GetCurrentProcess(), 1) };
    // Termination of the own process does not return; this satisfies the type.
    process::abort()
}

#[cfg(test)]
mod tests {
    use super::super::{Stop, StopCause, StopSignal};
    use super::*;

    #[test]
    fn a_shutdown_is_overdue_at_its_bound_or_a_second_after_it_was_forced() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let stop = Stop::new();
        let overdue = |at| is_overdue(&stop.watch(), 10 * second, at);
        assert!(!overdue(now + 100 * second));
        stop.request(StopCause::Signal(StopSignal::Terminate), now);
        assert!(!overdue(now + 9 * second));
        assert!(overdue(now + 10 * second));
        stop.request(StopCause::Signal(StopSignal::Terminate), now + 2 * second);
        assert!(!overdue(now + 2 * second));
        assert!(overdue(now + 3 * second));
    }
}
