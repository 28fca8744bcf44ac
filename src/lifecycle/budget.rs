//! How much time a shutdown has, and what of it is kept for its last steps.

use std::time::{Duration, Instant};

use super::StopCause;

/// Kept of the whole for saving the state and closing the database.
const RESERVE: Duration = Duration::from_secs(3);

/// The same in a hurry, and what the steps before may take then: Windows ends a process about 5 s after it told it
/// that the console closes.
const HURRIED_RESERVE: Duration = Duration::from_secs(1);
const HURRIED: Bounds = Bounds {
    total: Duration::from_secs(4),
    registry: Duration::from_secs(1),
    lame_duck: Duration::ZERO,
    service: Duration::from_secs(2),
};

/// What the parts of a shutdown may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// All of it.
    pub total: Duration,
    /// To leave the registry.
    pub registry: Duration,
    /// To serve on after that.
    pub lame_duck: Duration,
    /// To drain each service.
    pub service: Duration,
}

impl Bounds {
    /// What is left of them in a hurry.
    fn hurried(self) -> Self {
        Self {
            total: self.total.min(HURRIED.total),
            registry: self.registry.min(HURRIED.registry),
            lame_duck: self.lame_duck.min(HURRIED.lame_duck),
            service: self.service.min(HURRIED.service),
        }
    }
}

/// The bound of a whole shutdown that was asked for by `cause`, where one in no hurry has `total`.
pub fn bound_after(cause: &StopCause, total: Duration) -> Duration {
    if cause.is_hurried() { total.min(HURRIED.total) } else { total }
}

/// The time of one shutdown. A pure function of the moment it is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    started: Instant,
    bounds: Bounds,
    is_hurried: bool,
}

impl Budget {
    /// A shutdown that was asked for at `started`, by `cause`, and may take what `bounds` say.
    pub fn new(started: Instant, bounds: Bounds, cause: Option<&StopCause>) -> Self {
        let is_hurried = cause.is_some_and(StopCause::is_hurried);
        let bounds = if is_hurried { bounds.hurried() } else { bounds };
        Self { started, bounds, is_hurried }
    }

    /// What its parts may take.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether somebody else ends the process if it does not end soon.
    pub fn is_hurried(&self) -> bool {
        self.is_hurried
    }

    /// When all of it must be over.
    pub fn end(&self) -> Instant {
        self.started + self.bounds.total
    }

    /// When the steps before the last two must be over: 3 s earlier (1 s in a hurry), or half of the
    /// whole where that is shorter than twice as much.
    pub fn drain_end(&self) -> Instant {
        let reserve = if self.is_hurried { HURRIED_RESERVE } else { RESERVE };
        let total = self.bounds.total;
        self.started + total.saturating_sub(reserve.min(total / 2))
    }

    /// What the drain of each service may take that begins at `now`; and whether it is the whole's
    /// bound that limits it. In a hurry the two are one: whatever the steps before it took is not held
    /// against it.
    pub fn drain(&self, now: Instant) -> (Duration, bool) {
        let left = self.drain_end().saturating_duration_since(now);
        let service = self.bounds.service;
        (left.min(service), left < service && !self.is_hurried)
    }

    /// What is left of the whole at `now`.
    pub fn left(&self, now: Instant) -> Duration {
        self.end().saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::StopSignal;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bounds(total: Duration) -> Bounds {
        Bounds { total, registry: 5 * SECOND, lame_duck: 7 * SECOND, service: 10 * SECOND }
    }

    #[test]
    fn a_drain_is_bounded_by_the_service_or_by_the_whole_less_its_reserve() {
        let start = Instant::now();
        let cause = StopCause::Signal(StopSignal::Interrupt);
        let budget = Budget::new(start, bounds(30 * SECOND), Some(&cause));
        assert_eq!(budget.bounds(), bounds(30 * SECOND));
        assert_eq!(budget.drain(start), (10 * SECOND, false));
        assert_eq!(budget.drain(start + 20 * SECOND), (7 * SECOND, true));
        assert_eq!(budget.drain(start + 40 * SECOND), (Duration::ZERO, true));
        assert_eq!(budget.left(start + 29 * SECOND), SECOND);
        assert_eq!(bound_after(&cause, 30 * SECOND), 30 * SECOND);
    }

    #[test]
    fn a_short_budget_keeps_half_for_the_last_steps() {
        let start = Instant::now();
        assert_eq!(Budget::new(start, bounds(SECOND), None).drain(start), (SECOND / 2, true));
        let none = Budget::new(start, bounds(Duration::ZERO), None);
        assert_eq!(none.left(start), Duration::ZERO);
    }

    #[test]
    fn a_console_that_closes_leaves_four_seconds_whose_drain_is_no_failure() {
        let start = Instant::now();
        for signal in [StopSignal::ConsoleClose, StopSignal::Logoff, StopSignal::SystemShutdown] {
            let cause = StopCause::Signal(signal);
            let budget = Budget::new(start, bounds(30 * SECOND), Some(&cause));
            assert_eq!(budget.bounds(), HURRIED);
            assert_eq!(budget.end(), start + 4 * SECOND);
            assert_eq!(budget.drain(start), (2 * SECOND, false));
            assert_eq!(budget.drain(start + 2 * SECOND), (SECOND, false));
            assert_eq!(bound_after(&cause, 30 * SECOND), 4 * SECOND);
            // What is configured to be shorter stays so.
            let short = Budget::new(start, bounds(2 * SECOND), Some(&cause));
            assert_eq!(short.end(), start + 2 * SECOND);
            assert_eq!(short.drain(start), (SECOND, false));
        }
    }
}
