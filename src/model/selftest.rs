//! The crash promise, demonstrated: what is asked of a selftest and what it found.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::state::words;
use crate::text::Message;

words! {
    /// A way for a server to end.
    Way {
        /// Asked by a signal, in the middle of traffic.
        Stop = "stop",
        /// Asked by `pmctl shutdown`.
        Shutdown = "shutdown",
        /// Asked again while it still drains.
        SecondSignal = "second-signal",
        /// Killed.
        KillServer = "kill-server",
        /// Its guardian is killed, then it is asked to stop.
        KillGuardian = "kill-guardian",
        /// Killed together with its guardian.
        KillBoth = "kill-both",
        /// Killed before it was ready.
        KillStarting = "kill-starting",
        /// Stopped by a signal that lets nothing run any more, and ended by `cleanup --force`.
        Freeze = "freeze",
    }
}

impl Way {
    /// Those that this system knows: without signals there is only the end by force and by request.
    pub fn here() -> Vec<Self> {
        let needs_signals = [Self::Stop, Self::SecondSignal, Self::Freeze];
        let known = |way: &&Self| cfg!(unix) || !needs_signals.contains(way);
        Self::ALL.iter().filter(known).copied().collect()
    }
}

/// What a selftest is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelftestRequest {
    /// Chooses the ways and the moments; the same one chooses the same again. `None`: a new one.
    pub seed: Option<u64>,
    /// How often a server is ended; 1 to 100,000. `None`: each way as often as it takes to be seen.
    pub rounds: Option<u32>,
    /// In which ways; empty is every one.
    pub ways: Vec<Way>,
}

impl SelftestRequest {
    /// The command that asks for the same rounds with that seed.
    pub fn command(&self, seed: u64) -> String {
        let mut command = format!("pmctl selftest --seed {seed}");
        if let Some(rounds) = self.rounds {
            command.push_str(&format!(" --rounds {rounds}"));
        }
        for way in &self.ways {
            command.push_str(&format!(" --way {}", way.as_str()));
        }
        command
    }
}

/// One thing that was not as promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SelftestViolation {
    /// In which round, from 1.
    pub round: u32,
    /// How the server ended.
    pub way: Way,
    /// What it is.
    pub message: Message,
}

/// What the rounds of one way came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SelftestCount {
    /// Which.
    pub way: Way,
    /// How often.
    pub rounds: u32,
    /// Requests that were answered while the server lived.
    pub requests: u64,
    /// Changes that were acknowledged.
    pub writes: u64,
    /// The longest time from the end's beginning until nothing was left, in milliseconds.
    pub slowest_ms: u64,
    /// What was not as promised.
    pub violations: u32,
}

/// `selftest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelftestReport {
    /// What chose the ways and the moments.
    pub seed: u64,
    /// One sentence about all of it.
    pub message: Message,
    /// One for each way, in their order.
    pub counts: Vec<SelftestCount>,
    /// Everything that was not as promised.
    pub violations: Vec<SelftestViolation>,
    /// It was asked to end before the last round.
    pub interrupted: bool,
}

impl SelftestReport {
    /// Whether every promise was kept, in every round that was asked for.
    pub fn is_kept(&self) -> bool {
        self.violations.is_empty() && !self.interrupted
    }
}

impl Serialize for SelftestReport {
    /// With `success`, which is the verdict.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("SelftestReport", 8)?;
        report.serialize_field("success", &self.is_kept())?;
        if self.is_kept() {
            report.skip_field("error")?;
            report.skip_field("code")?;
        } else {
            report.serialize_field("error", &self.message.to_string())?;
            report.serialize_field("code", self.message.code())?;
        }
        report.serialize_field("seed", &self.seed)?;
        report.serialize_field("message", &self.message)?;
        report.serialize_field("counts", &self.counts)?;
        report.serialize_field("violations", &self.violations)?;
        report.serialize_field("interrupted", &self.interrupted)?;
        report.end()
    }
}
