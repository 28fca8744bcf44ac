//! How often a quiet stream shows a sign of life.

use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The time between two signs of life: 100 ms to 60 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat(Duration);

impl Beat {
    /// What a request asks for: 0 stands for a second, the rest is brought within the bounds.
    pub(super) fn asked(millis: u32) -> Self {
        let millis = if millis == 0 { 1_000 } else { millis.clamp(100, 60_000) };
        Self(Duration::from_millis(millis.into()))
    }

    /// What a reader asks for who takes `silence` for a dead server: three signs in that time,
    /// so that one late sign is no alarm.
    pub(super) fn for_silence(silence: Duration) -> u32 {
        u32::try_from(silence.as_millis() / 3).unwrap_or(u32::MAX).clamp(100, 60_000)
    }

    /// The next sign, from now.
    pub(super) fn next(self) -> Sleep {
        tokio::time::sleep_until(Instant::now() + self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_stays_within_its_bounds() {
        let millis = |asked| Beat::asked(asked).0.as_millis();
        assert_eq!([0, 1, 250, u32::MAX].map(millis), [1_000, 100, 250, 60_000]);
        assert_eq!(Beat::for_silence(Duration::from_secs(5)), 1_666);
        assert_eq!(Beat::for_silence(Duration::MAX), 60_000);
    }
}
