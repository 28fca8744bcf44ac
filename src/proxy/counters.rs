//! What a service's proxy counts, one set of numbers for each worker, so that workers never wait
//! for each other's cache lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use crate::model::Counters;

/// Upper bounds of the latency histogram in seconds, ascending; a last bucket takes the rest.
pub const LATENCY_BOUNDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const BOUNDS_NANOS: [u64; 13] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How long requests took: from the end of the request's head to the head of its answer. What
/// comes after depends on how fast the client reads, or is an event stream; a tunnel is counted at
/// its 101.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyHistogram {
    /// Requests by bucket, not cumulative: each bound of [`LATENCY_BOUNDS`], then the rest.
    pub buckets: [u64; LATENCY_BOUNDS.len() + 1],
    /// Sum of all, in seconds.
    pub sum_seconds: f64,
    /// How many.
    pub count: u64,
}

impl LatencyHistogram {
    /// Cumulative buckets as Prometheus wants them: upper bound in seconds, requests up to it. The
    /// last bound is infinite.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

/// The numbers of one service on one worker. Gauges rise and fall on that worker alone.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct CounterShard {
    in_flight: AtomicU64,
    tunnels: AtomicU64,
    accepted: AtomicU64,
    responses: [AtomicU64; 5],
    upstream_failures: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    latency: [AtomicU64; BOUNDS_NANOS.len() + 1],
    latency_nanos: AtomicU64,
}

impl CounterShard {
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn begun(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn tunnel_begun(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tunnel_ended(&self) {
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
    }

    /// An answer with `status` whose head came `after` its request's.
    pub(super) fn answered(&self, status: StatusCode, after: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.responses[class].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX / 4);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn upstream_failed(&self) {
        self.upstream_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn came_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn went_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, sum: &mut Counters) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        sum.in_flight += read(&self.in_flight);
        sum.tunnels += read(&self.tunnels);
        sum.accepted += read(&self.accepted);
        for (sum, own) in sum.responses.iter_mut().zip(&self.responses) {
            *sum += read(own);
        }
        sum.upstream_failures += read(&self.upstream_failures);
        sum.bytes_in += read(&self.bytes_in);
        sum.bytes_out += read(&self.bytes_out);
    }

    pub(super) fn add_latency_to(&self, sum: &mut LatencyHistogram) {
        for (sum, own) in sum.buckets.iter_mut().zip(&self.latency) {
            *sum += own.load(Ordering::Relaxed);
        }
        let nanos = self.latency_nanos.load(Ordering::Relaxed);
        sum.sum_seconds += Duration::from_nanos(nanos).as_secs_f64();
        sum.count = sum.buckets.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        let shard = CounterShard::default();
        let mut histogram = LatencyHistogram::default();
        for micros in [1, 1_000, 1_001, 10_000_000, 10_000_001] {
            shard.answered(StatusCode::OK, Duration::from_micros(micros));
        }
        shard.add_latency_to(&mut histogram);
        assert_eq!(histogram.count, 5);
        assert_eq!(histogram.buckets[0], 2);
        assert_eq!(histogram.buckets[1], 1);
        assert_eq!(histogram.buckets[12..], [1, 1]);
        assert_eq!(histogram.cumulative().last(), Some((f64::INFINITY, 5)));
        assert!((histogram.sum_seconds - 20.002_003).abs() < 1e-6);
    }

    #[test]
    fn the_bounds_in_seconds_and_in_nanoseconds_are_the_same() {
        for (seconds, nanos) in LATENCY_BOUNDS.into_iter().zip(BOUNDS_NANOS) {
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_nanos(nanos));
        }
    }
}
