//! A moment on the wall clock, as stored and shown.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// Milliseconds since the Unix epoch. Shown as RFC 3339 in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch; moments before it are clamped to it.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.max(0))
    }

    /// Milliseconds since the Unix epoch, never negative.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// From the clock's own type; moments before the epoch are clamped to it.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// How long before `now` this was; zero if it lies after `now` (the clock was set back).
    pub fn age(self, now: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(now.0 - self.0).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest time `humantime` can write is the end of the year 9999.
        const LAST: u64 = 253_402_300_799_999;
        let millis = u64::try_from(self.0).unwrap_or(0).min(LAST);
        let time = UNIX_EPOCH + Duration::from_millis(millis);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339_at_both_ends_of_time() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_millis(-5), Timestamp::from_millis(0));
    }

    #[test]
    fn age_is_zero_when_the_clock_was_set_back() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
        assert_eq!(early.age(late), Duration::from_millis(2_500));
        assert_eq!(late.age(early), Duration::ZERO);
    }
}
