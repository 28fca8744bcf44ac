//! A defect in the data plane's own code: what panicked is started again, and somebody is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::ServiceId;

/// A second panic soon after the first is waited for; the pause doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What ran so long did not panic because of its start.
const LONG_RUN: Duration = Duration::from_secs(60);

/// What became of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// Its accepting panicked. Its listeners and connections are as they were; it accepts again after
    /// that pause.
    Accepting(Duration),
    /// It is gone, with its listeners and connections: the worker that it had its home on panicked.
    Gone,
}

/// Hears of the fault of a proxy, on the thread of a worker: it must not block.
pub type Faults = Arc<dyn Fn(ServiceId, ProxyFault) + Send + Sync>;

/// Pauses before something that panicked is started again: none at first.
#[derive(Debug)]
pub(super) struct Restarts {
    begun: Instant,
    next: Duration,
}

impl Restarts {
    /// Of something that begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { begun: now, next: Duration::ZERO }
    }

    /// It panicked at `now`: how long it is to rest.
    pub(super) fn pause(&mut self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.begun) >= LONG_RUN {
            self.next = Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.begun = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_in_a_row_are_waited_for_longer_and_longer() {
        let start = Instant::now();
        let mut restarts = Restarts::new(start);
        let pauses: Vec<_> = (0..9).map(|_| restarts.pause(start).as_millis()).collect();
        assert_eq!(pauses, [0, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(restarts.pause(start + 2 * LONG_RUN), Duration::ZERO);
    }
}
