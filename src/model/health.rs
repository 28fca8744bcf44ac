//! How the health of a service's active target is watched, and what was seen.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::state::words;
use crate::text::{self, Message};
use std::fmt;

/// Most bytes of the path of a check.
const MAX_PATH_BYTES: usize = 2_048;

/// How the health of a service's active target is watched. Made by [`HealthPatch::over`], which
/// keeps its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Path below the target's base URL; an answer of 200 to 399 is healthy.
    pub path: String,
    /// Between two looks, in milliseconds: 100 to 3,600,000.
    pub interval_ms: u64,
    /// How long an answer may take, in milliseconds: 10 to the interval.
    pub timeout_ms: u64,
    /// Failures in a row before it counts as unhealthy, 1 to 100.
    pub unhealthy_after: u32,
    /// Successes in a row before it counts as healthy again, 1 to 100.
    pub healthy_after: u32,
}

impl HealthCheck {
    /// Between two looks where nothing else is asked for.
    pub const DEFAULT_INTERVAL_MS: u64 = 10_000;
    /// How long an answer may take then; no longer than the interval.
    pub const DEFAULT_TIMEOUT_MS: u64 = 2_000;
    /// Failures in a row then.
    pub const DEFAULT_UNHEALTHY_AFTER: u32 = 3;
    /// Successes in a row then.
    pub const DEFAULT_HEALTHY_AFTER: u32 = 2;
    /// Shortest and longest interval, in milliseconds.
    pub const INTERVALS_MS: (u64, u64) = (100, 3_600_000);
    /// Shortest time for an answer, in milliseconds.
    pub const LEAST_TIMEOUT_MS: u64 = 10;
    /// Most looks in a row that a change may be made to take.
    pub const MOST_IN_A_ROW: u32 = 100;
}

/// What changes of a [`HealthCheck`]; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthPatch {
    /// Another path.
    pub path: Option<String>,
    /// Another interval, in milliseconds.
    pub interval_ms: Option<u64>,
    /// Another time for an answer, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Another number of failures in a row.
    pub unhealthy_after: Option<u32>,
    /// Another number of successes in a row.
    pub healthy_after: Option<u32>,
}

impl HealthPatch {
    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The check that this makes of `before`; without one, of the defaults.
    ///
    /// # Errors
    /// The sentence about the first value that is out of its bounds, or that a path is missing.
    pub fn over(&self, before: Option<&HealthCheck>) -> Result<HealthCheck, Message> {
        let path = match (&self.path, before) {
            (Some(path), _) => checked_path(path)?,
            (None, Some(before)) => before.path.clone(),
            (None, None) => return Err(text::heartbeat::health_path_missing()),
        };
        let (least, most) = HealthCheck::INTERVALS_MS;
        let interval_ms = self
            .interval_ms
            .or(before.map(|before| before.interval_ms))
            .unwrap_or(HealthCheck::DEFAULT_INTERVAL_MS);
        if !(least..=most).contains(&interval_ms) {
            return Err(text::heartbeat::health_interval_out_of_bounds(
                milliseconds(interval_ms),
                milliseconds(least),
                milliseconds(most),
            ));
        }
        let timeout_ms = match (self.timeout_ms, before) {
            (Some(timeout), _) => timeout,
            // What was not asked for now follows an interval that was shortened below it.
            (None, Some(before)) => before.timeout_ms.min(interval_ms),
            (None, None) => HealthCheck::DEFAULT_TIMEOUT_MS.min(interval_ms),
        };
        if !(HealthCheck::LEAST_TIMEOUT_MS..=interval_ms).contains(&timeout_ms) {
            return Err(text::heartbeat::health_timeout_out_of_bounds(
                milliseconds(timeout_ms),
                milliseconds(HealthCheck::LEAST_TIMEOUT_MS),
                milliseconds(interval_ms),
            ));
        }
        let row = |asked: Option<u32>, before: Option<u32>, default: u32| {
            let number = asked.or(before).unwrap_or(default);
            match number {
                1..=HealthCheck::MOST_IN_A_ROW => Ok(number),
                _ => Err(text::heartbeat::health_count_out_of_bounds(
                    number,
                    HealthCheck::MOST_IN_A_ROW,
                )),
            }
        };
        Ok(HealthCheck {
            path,
            interval_ms,
            timeout_ms,
            unhealthy_after: row(
                self.unhealthy_after,
                before.map(|before| before.unhealthy_after),
                HealthCheck::DEFAULT_UNHEALTHY_AFTER,
            )?,
            healthy_after: row(
                self.healthy_after,
                before.map(|before| before.healthy_after),
                HealthCheck::DEFAULT_HEALTHY_AFTER,
            )?,
        })
    }
}

fn milliseconds(ms: u64) -> humantime::FormattedDuration {
    humantime::format_duration(std::time::Duration::from_millis(ms))
}

/// A path that can stand in a request line as it is.
fn checked_path(path: &str) -> Result<String, Message> {
    let is_sendable = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '\\' | '"' | '<' | '>');
    let is_fine = path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= MAX_PATH_BYTES
        && path.chars().all(is_sendable);
    match is_fine {
        true => Ok(path.to_owned()),
        false => Err(text::heartbeat::health_path_invalid(path.escape_debug())),
    }
}

/// What `service set` does about the health of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// It is not watched any more.
    Off,
    /// It is watched, or watched otherwise.
    Set(HealthPatch),
}

words! {
    /// How the active target is.
    HealthState {
        /// It answered well often enough in a row.
        Healthy = "healthy",
        /// It failed often enough in a row.
        Unhealthy = "unhealthy",
        /// Not looked at often enough yet, or not at all: the service does not run, or no server
        /// was asked.
        Unknown = "unknown",
    }
}

/// The health of a service whose target is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthView {
    /// How it is.
    pub state: HealthState,
    /// Since when; null where nothing was seen yet.
    pub since: Option<Timestamp>,
    /// What the last failed look met; null where the last one went well.
    pub reason: Option<Message>,
    /// How it is watched.
    pub check: HealthCheck,
}

impl HealthView {
    /// What is known where nobody looks.
    pub fn unknown(check: HealthCheck) -> Self {
        Self { state: HealthState::Unknown, since: None, reason: None, check }
    }
}

/// That the health of a service changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEdge {
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub service: super::ServiceName,
    /// What it came to be: healthy or unhealthy.
    pub state: HealthState,
    /// What was seen.
    pub detail: Message,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(path: &str) -> HealthPatch {
        HealthPatch { path: Some(path.to_owned()), ..HealthPatch::default() }
    }

    fn code(patch: &HealthPatch, before: Option<&HealthCheck>) -> &'static str {
        patch.over(before).err().map_or("", |message| message.code())
    }

    #[test]
    fn a_check_of_a_path_alone_has_the_defaults() {
        let check = patch("/up?full=1").over(None).unwrap_or_else(|e| panic!("{e}"));
        let expected = HealthCheck {
            path: "/up?full=1".to_owned(),
            interval_ms: 10_000,
            timeout_ms: 2_000,
            unhealthy_after: 3,
            healthy_after: 2,
        };
        assert_eq!(check, expected);
    }

    #[test]
    fn what_is_not_asked_for_stays_and_the_time_for_an_answer_follows_a_shorter_interval() {
        let before = patch("/up").over(None).unwrap_or_else(|e| panic!("{e}"));
        let faster = HealthPatch { interval_ms: Some(500), ..HealthPatch::default() };
        let after = faster.over(Some(&before)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((after.path.as_str(), after.interval_ms, after.timeout_ms), ("/up", 500, 500));
        assert_eq!(code(&faster, None), "health-path-missing");
    }

    #[test]
    fn values_out_of_their_bounds_are_refused_by_name() {
        for bad in ["", "up", "//up", "/a b", "/a#b", "/\u{7}", "/ü", &format!("/{:2048}", "")] {
            assert_eq!(code(&patch(bad), None), "health-path-invalid", "{bad}");
        }
        let with = |change: fn(&mut HealthPatch)| {
            let mut patch = patch("/up");
            change(&mut patch);
            code(&patch, None)
        };
        assert_eq!(with(|p| p.interval_ms = Some(99)), "health-interval-out-of-bounds");
        assert_eq!(with(|p| p.interval_ms = Some(3_600_001)), "health-interval-out-of-bounds");
        assert_eq!(with(|p| p.timeout_ms = Some(10_001)), "health-timeout-out-of-bounds");
        assert_eq!(with(|p| p.timeout_ms = Some(0)), "health-timeout-out-of-bounds");
        assert_eq!(with(|p| p.healthy_after = Some(0)), "health-count-out-of-bounds");
        assert_eq!(with(|p| p.unhealthy_after = Some(101)), "health-count-out-of-bounds");
    }
}
