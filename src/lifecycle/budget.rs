//! How much time a shutdown has, and what of it is kept for its last steps.

use std::time::{Duration, Instant};

/// Kept of the whole for saving the state and closing the database.
const RESERVE: Duration = Duration::from_secs(3);

/// The time of one shutdown. A pure function of the moment it is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    started: Instant,
    total: Duration,
}

impl Budget {
    /// A shutdown that was asked for at `started` and may take `total`.
    pub fn new(started: Instant, total: Duration) -> Self {
        Self { started, total }
    }

    /// When all of it must be over.
    pub fn end(&self) -> Instant {
        self.started + self.total
    }

    /// When the steps before the last two must be over: 3 s earlier, or half of the whole where
    /// that is shorter than 6 s.
    pub fn drain_end(&self) -> Instant {
        self.started + self.total.saturating_sub(RESERVE.min(self.total / 2))
    }

    /// What a drain that begins at `now` may take if each service has `service`; and whether it is
    /// the whole's bound that limits it.
    pub fn drain(&self, now: Instant, service: Duration) -> (Duration, bool) {
        let left = self.drain_end().saturating_duration_since(now);
        (left.min(service), left < service)
    }

    /// What is left of the whole at `now`.
    pub fn left(&self, now: Instant) -> Duration {
        self.end().saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_bounded_by_the_service_or_by_the_whole_less_its_reserve() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let budget = Budget::new(start, 30 * second);
        assert_eq!(budget.drain(start, 10 * second), (10 * second, false));
        assert_eq!(budget.drain(start + 20 * second, 10 * second), (7 * second, true));
        assert_eq!(budget.drain(start + 40 * second, 10 * second), (Duration::ZERO, true));
        assert_eq!(budget.left(start + 29 * second), second);
    }

    #[test]
    fn a_short_budget_keeps_half_for_the_last_steps() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(Budget::new(start, second).drain(start, 10 * second), (second / 2, true));
        assert_eq!(Budget::new(start, Duration::ZERO).left(start), Duration::ZERO);
    }
}
