//! The wall clock, read in this one place.

use std::time::SystemTime;

use crate::model::Timestamp;

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
