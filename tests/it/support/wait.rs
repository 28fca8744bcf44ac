//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take on a slow, busy machine before a test gives up on it.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Asks `probe` until it has an answer; its last `Err` is the status shown on failure.
#[track_caller]
pub fn wait_until<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    wait_within(DEADLINE, what, probe)
}

/// [`wait_until`] with another deadline.
#[track_caller]
pub fn wait_within<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match probe() {
            Ok(value) => return value,
            Err(status) if started.elapsed() > deadline => {
                panic!("not within {deadline:?}: {what}\nlast status: {status}")
            }
            // The pause between two looks at a condition; no outcome depends on its length.
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}
