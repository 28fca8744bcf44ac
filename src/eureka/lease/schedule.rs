//! When a lease is renewed: spread evenly over the interval, backed off while the registry is down.

use std::time::{Duration, Instant};

/// The first pause after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What is looked at soon is looked at within this.
const SOON: Duration = Duration::from_secs(10);

/// Parts of an interval. Renewals of the same part go out together: a process that is awake already
/// makes another call for a third of what the first one costs it.
const PARTS: u32 = 300;

/// The moments of one lease's renewals: `start + phase + n × interval`. The phases of leases with
/// consecutive keys divide the interval as evenly as can be, however many there are (multiples of
/// the golden ratio), but for the width of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    start: Instant,
    interval: Duration,
    phase: Duration,
    key: u64,
}

impl Schedule {
    /// The schedule of the lease `key`, counted from `start`; an interval below 10 ms is 10 ms.
    pub fn new(start: Instant, interval: Duration, key: u64) -> Self {
        let interval = interval.max(Duration::from_millis(10));
        // 2^64 divided by the golden ratio: the product's bits are the fraction of `key / ratio`.
        let fraction = share(key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at least 0 and less than the number of parts"
        )]
        let part = (fraction * f64::from(PARTS)) as u32;
        Self { start, interval, phase: interval / PARTS * part, key }
    }

    /// Between two renewals.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The first moment of the schedule after `now`.
    pub fn next(&self, now: Instant) -> Instant {
        let first = self.start + self.phase;
        let Some(past) = now.checked_duration_since(first) else { return first };
        let whole = past.as_nanos() / self.interval.as_nanos();
        let into = past.as_nanos() - whole * self.interval.as_nanos();
        let left = self.interval - Duration::from_nanos(u64::try_from(into).unwrap_or(0));
        now + left
    }

    /// A moment soon after `now`: as the renewals are spread over the interval, those of many leases are
    /// spread over 10 s, or over the interval if that is less.
    pub fn soon(&self, now: Instant) -> Instant {
        let share = self.phase.as_secs_f64() / self.interval.as_secs_f64();
        now + SOON.min(self.interval).mul_f64(share)
    }

    /// When to try again after the `failures`th failure in a row at `now`: the pause doubles up to
    /// half of the interval, less up to a half by chance, so that a registry that comes back hears of
    /// every lease within one interval and not of all of them at once.
    pub fn retry(&self, now: Instant, failures: u64) -> Instant {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let pause = (FIRST_RETRY * 2_u32.pow(doublings)).min(self.interval / 2);
        let chance = share(mixed(self.key ^ failures.rotate_left(32)));
        now + pause.mul_f64(0.5 + chance / 2.0)
    }
}

/// 64 bits as a share of one.
fn share(bits: u64) -> f64 {
    // 53 bits are what the number can hold.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

/// Bits that look like chance (the finaliser of SplitMix64).
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn a_thousand_leases_never_renew_in_one_tick() {
        let now = Instant::now();
        let (mut usual, mut soon) = (vec![0; 300], vec![0; 100]);
        for key in 4_001..5_001 {
            let schedule = Schedule::new(now, INTERVAL, key);
            let slot = |at: Instant| usize::try_from((at - now).as_millis() / 100).unwrap();
            usual[slot(schedule.next(now + INTERVAL)) % 300] += 1;
            soon[slot(schedule.soon(now))] += 1;
        }
        // 2 % of them are 20; evenly it would be 3.3 and 10.
        assert!(usual.iter().all(|count| *count <= 6), "{usual:?}");
        assert!(soon.iter().all(|count| *count <= 14), "{soon:?}");
    }

    #[test]
    fn leases_of_one_part_of_the_interval_are_due_in_the_same_moment() {
        let now = Instant::now();
        let later = now + 7 * INTERVAL + Duration::from_millis(1_234);
        let moments: std::collections::BTreeSet<Instant> =
            (1..=1_000).map(|key| Schedule::new(now, INTERVAL, key).next(later)).collect();
        assert_eq!(moments.len(), 300);
    }

    #[test]
    fn renewals_follow_each_other_by_the_interval_whenever_one_is_asked_for() {
        let start = Instant::now();
        let schedule = Schedule::new(start, INTERVAL, 77);
        let first = schedule.next(start);
        assert!(first > start && first <= start + INTERVAL);
        assert_eq!(schedule.next(first), first + INTERVAL);
        assert_eq!(schedule.next(first + INTERVAL / 3), first + INTERVAL);
        assert_eq!(schedule.next(first + 7 * INTERVAL + INTERVAL / 2), first + 8 * INTERVAL);
    }

    #[test]
    fn a_failing_lease_is_tried_again_ever_later_but_twice_in_an_interval() {
        let now = Instant::now();
        let schedule = Schedule::new(now, INTERVAL, 3);
        let pauses: Vec<Duration> = (1..40).map(|n| schedule.retry(now, n) - now).collect();
        assert!(pauses[0] >= FIRST_RETRY / 2 && pauses[0] <= FIRST_RETRY, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= INTERVAL / 2), "{pauses:?}");
        assert!(pauses[10..].iter().all(|pause| *pause >= INTERVAL / 4), "{pauses:?}");
        let of = |key| Schedule::new(now, INTERVAL, key).retry(now, 9);
        assert!((4..40).any(|key| of(key) != of(3)), "leases are tried at different moments");
        let quick = Schedule::new(now, Duration::from_secs(1), 3);
        assert!(quick.retry(now, u64::MAX) <= now + Duration::from_millis(500));
    }
}
