//! Keeps the bound of a shutdown when the async runtime cannot, and sees when it stands still: an
//! operating-system thread that ends the process itself.

use std::future::Future;
use std::io;
use std::pin::pin;
#[cfg(windows)]
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::StopWatch;
use super::budget::bound_after;
use super::pulse::{Change, Pulse};

/// Between two looks whether everything moves, the only wake-up of a server that is left alone.
const BEAT: Duration = Duration::from_secs(1);

const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// What the last resort may take once the bound of a shutdown has passed. What it leaves undone is the
/// guardian's.
const LAST_RESORT: Duration = Duration::from_millis(900);

/// How long a forced shutdown may still take on the runtime before the thread takes over, and how
/// long that one may take: a second together.
const FORCED_GRACE: Duration = Duration::from_millis(600);
const FORCED_LAST_RESORT: Duration = Duration::from_millis(350);

/// For the thread that writes the log: what was said last is said for whoever looks for the reason.
const LAST_WORDS: Duration = Duration::from_millis(30);

/// What is done about something that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is waited for.
    GoOn,
    /// The process ends.
    End,
}

/// What a watchdog looks at, and what it does about it.
pub struct Watch<H, L> {
    /// The stop whose bound is kept.
    pub stop: StopWatch,
    /// The bound, from the moment the stop was asked for.
    pub total: Duration,
    /// What is to move until then.
    pub pulses: Vec<Pulse>,
    /// Hears of something by its name that does not move any more, or (false) moves again.
    pub hang: H,
    /// What is done before the process is ended, on a thread of its own.
    pub last_resort: L,
}

/// Disarmed by [`Watchdog::goodbye`]; dropping it without that leaves it armed, because a shutdown
/// that lost its watchdog's handle in a panic is the very case it exists for.
#[derive(Debug)]
pub struct Watchdog {
    goodbye: Arc<AtomicBool>,
    thread: Thread,
}

/// Wakes the watchdog's thread when the stop it waits for changes.
struct Alarm(Thread);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Watchdog {
    /// Begins to watch. When the bound has passed since the stop was asked for, or most of a second
    /// since it became forced, runs the last resort and ends the process with status 1; likewise when
    /// `hang` says so of something that stands still.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub fn start<H, L>(watch: Watch<H, L>) -> io::Result<Self>
    where
        H: FnMut(&str, bool) -> Verdict + Send + 'static,
        L: FnOnce() + Send + 'static,
    {
        let goodbye = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&goodbye);
        let run = move || {
            let Watch { stop, total, mut pulses, mut hang, last_resort } = watch;
            if let Some(at_most) = until_the_end(&told, stop, total, &mut pulses, &mut hang) {
                run_bounded(last_resort, at_most);
                thread::sleep(LAST_WORDS);
                end_process();
            }
        };
        let thread = thread::Builder::new().name("watchdog".into()).spawn(run)?;
        Ok(Self { goodbye, thread: thread.thread().clone() })
    }

    /// The shutdown ended by itself.
    pub fn goodbye(self) {
        self.goodbye.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Watches until the process has to be ended, and says how long the last resort may take; `None` once
/// goodbye was said.
fn until_the_end(
    goodbye: &AtomicBool,
    stop: StopWatch,
    total: Duration,
    pulses: &mut [Pulse],
    hang: &mut impl FnMut(&str, bool) -> Verdict,
) -> Option<Duration> {
    let waker = Waker::from(Arc::new(Alarm(thread::current())));
    let mut changes = stop.clone();
    let beat_length = beat_length();
    let mut next_beat = Instant::now() + beat_length;
    loop {
        if goodbye.load(Ordering::Acquire) {
            return None;
        }
        let now = Instant::now();
        let wake_at = match due(&stop, total) {
            Some((at, at_most)) if now >= at => {
                tracing::error!("the bound of the shutdown has passed; ending the process");
                return Some(at_most);
            }
            Some((at, _)) => at,
            // Nothing is to move: the stop alone wakes.
            None if pulses.is_empty() => now + NEVER,
            None if now < next_beat => next_beat,
            None => {
                next_beat = now + beat_length;
                if let Verdict::End = beat(pulses, hang) {
                    return Some(LAST_RESORT);
                }
                next_beat
            }
        };
        // Registered before the thread sleeps, so that no change falls between.
        let mut changed = pin!(changes.changed());
        if changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            thread::park_timeout(wake_at.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(not(feature = "debug-hooks"))]
fn beat_length() -> Duration {
    BEAT
}

/// Shorter where a test says so.
#[cfg(feature = "debug-hooks")]
fn beat_length() -> Duration {
    let millis = std::env::var("PMCTL_DEBUG_BEAT_MS").ok().and_then(|text| text.parse().ok());
    millis.map_or(BEAT, Duration::from_millis)
}

fn beat(pulses: &mut [Pulse], hang: &mut impl FnMut(&str, bool) -> Verdict) -> Verdict {
    let mut verdict = Verdict::GoOn;
    for pulse in pulses {
        if let Some(change) = pulse.beat()
            && hang(pulse.name(), change == Change::Stuck) == Verdict::End
        {
            verdict = Verdict::End;
        }
    }
    verdict
}

/// When a stop that was asked for is overdue, and how long the last resort may take then.
fn due(stop: &StopWatch, total: Duration) -> Option<(Instant, Duration)> {
    use super::StopState::{Forced, Graceful, Running};
    match stop.state() {
        Running => None,
        Graceful { cause, since } => Some((since + bound_after(&cause, total), LAST_RESORT)),
        Forced { cause, since, forced } => {
            let bound = since + bound_after(&cause, total);
            let second = forced + FORCED_GRACE;
            Some(if second < bound { (second, FORCED_LAST_RESORT) } else { (bound, LAST_RESORT) })
        }
    }
}

/// Runs `work`, and waits for it no longer than that: it may need the very lock that is never let go
/// of.
fn run_bounded(work: impl FnOnce() + Send + 'static, at_most: Duration) {
    let (done, hears) = mpsc::channel();
    let run = move || {
        work();
        // Whoever waited may have given up.
        done.send(()).ok();
    };
    match thread::Builder::new().name("last-resort".into()).spawn(run) {
        Ok(_) if hears.recv_timeout(at_most).is_ok() => {}
        Ok(_) => tracing::error!("what was to be done at last did not end in time"),
        Err(error) => tracing::error!(%error, "no thread for what was to be done at last"),
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
    fn a_shutdown_is_overdue_at_its_bound_or_within_a_second_after_it_was_forced() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let stop = Stop::new();
        let due = || due(&stop.watch(), 10 * second);
        assert_eq!(due(), None);
        stop.request(StopCause::Signal(StopSignal::Terminate), now);
        assert_eq!(due(), Some((now + 10 * second, LAST_RESORT)));
        stop.request(StopCause::Signal(StopSignal::Terminate), now + 2 * second);
        let (at, at_most) = due().unwrap();
        assert!(at > now + 2 * second && at + at_most < now + 3 * second);
        let late = Stop::new();
        late.request(StopCause::Signal(StopSignal::Terminate), now);
        late.request(StopCause::Signal(StopSignal::Terminate), now + 9 * second + second / 2);
        assert_eq!(super::due(&late.watch(), 10 * second), Some((now + 10 * second, LAST_RESORT)));
    }

    #[test]
    fn a_goodbye_ends_the_watch_and_a_verdict_ends_it_otherwise() {
        let (goodbye, stop) = (AtomicBool::new(true), Stop::new());
        let second = Duration::from_secs(1);
        let end = until_the_end(&goodbye, stop.watch(), second, &mut [], &mut |_, _| Verdict::End);
        assert_eq!(end, None);
        let (silent, mut heard) = (Pulse::new("x".into(), 1, drop), Vec::new());
        let mut pulses = [silent];
        let ends = (0..20).position(|_| {
            let mut hear = |name: &str, stuck| {
                heard.push((name.to_owned(), stuck));
                Verdict::End
            };
            beat(&mut pulses, &mut hear) == Verdict::End
        });
        assert_eq!((ends, heard), (Some(10), vec![("x".to_owned(), true)]));
    }
}
