//! The guardian of a server: the process that finishes its cleanup if it is killed.

use std::fmt;

use serde::Serialize;

use super::state::words;

words! {
    /// Whether a server has a guardian.
    GuardianState {
        /// It watches.
        Watching = "watching",
        /// It ended, or could not be started; it is started again.
        Restarting = "restarting",
        /// The server was started without one.
        Off = "off",
    }
}

/// The guardian as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardianView {
    /// Whether there is one.
    pub state: GuardianState,
    /// Its process id, while it watches.
    pub pid: Option<u32>,
}

impl GuardianView {
    /// There is none, as asked.
    pub const OFF: Self = Self { state: GuardianState::Off, pid: None };

    /// There is none, against what was asked.
    pub const RESTARTING: Self = Self { state: GuardianState::Restarting, pid: None };

    /// The process `pid` watches.
    pub fn watching(pid: u32) -> Self {
        Self { state: GuardianState::Watching, pid: Some(pid) }
    }
}
