//! One service in the book: how far its announcement is, and what the registry was told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::Wanted;
use crate::eureka::{InstanceStatus, Lease, Schedule};
use crate::model::Registration;
use crate::ops::Announced;
use crate::store::RegistrationVersion;
use crate::text::Message;

/// A registration as written down.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) row: i64,
    pub(super) registration: Arc<Registration>,
}

impl Written {
    /// Which row it is, as it was written then.
    pub(super) fn version(&self) -> RegistrationVersion {
        RegistrationVersion { id: self.row, since: self.registration.since }
    }
}

pub(super) enum Stage {
    /// To be written down at that moment.
    Waiting(Instant),
    /// Being written down.
    Preparing,
    /// Not to be announced as it is configured.
    Refused(Message),
    /// Written down.
    Leased { written: Written, lease: Lease, told: Told },
}

/// Whether the registry was told of an instance, and so has to be told of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// Never: nothing has to be taken back.
    No,
    /// It was sent, and nobody knows what became of it; or the registry has lost it since. What
    /// stands under its id may be somebody else's.
    Perhaps,
    /// It said so.
    Yes,
}

/// A service that is to be announced.
pub(super) struct Entry {
    pub(super) wanted: Wanted,
    pub(super) stage: Stage,
    /// Tells the answer to an earlier entry of the same service from one of this.
    pub(super) generation: u64,
    pub(super) schedule: Schedule,
    pub(super) duration: Duration,
    /// Failures before it was written down.
    pub(super) unprepared: u64,
    pub(super) is_draining: bool,
    pub(super) is_unhealthy: bool,
    /// It is being taken back: nothing new is begun.
    pub(super) is_leaving: bool,
    pub(super) failure: Option<Message>,
    pub(super) latency: Option<Duration>,
    pub(super) registry: Option<String>,
    /// The status that the registry showed last.
    pub(super) shown: Option<InstanceStatus>,
    /// What somebody set over it, as the registry showed it last.
    pub(super) set_over: InstanceStatus,
    /// When the registry was last told something new.
    pub(super) told_at: Option<Instant>,
    pub(super) queued: Option<Instant>,
}

impl Entry {
    pub(super) fn status(&self) -> InstanceStatus {
        match self.is_draining || self.is_unhealthy {
            true => InstanceStatus::Down,
            false => InstanceStatus::Up,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        if self.is_leaving {
            return None;
        }
        match &self.stage {
            Stage::Waiting(at) => Some(*at),
            Stage::Leased { lease, .. } => lease.due(),
            Stage::Preparing | Stage::Refused(_) => None,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        match &self.stage {
            Stage::Preparing => true,
            Stage::Leased { lease, .. } => lease.is_busy(),
            Stage::Waiting(_) | Stage::Refused(_) => false,
        }
    }

    /// How far the instance of a registration is announced.
    pub(super) fn announced(&self, of: &Registration) -> Announced {
        let is_same =
            |own: &Registration| (&own.app, &own.instance_id) == (&of.app, &of.instance_id);
        match &self.stage {
            Stage::Waiting(_) | Stage::Preparing => Announced::Pending,
            Stage::Leased { written, .. } if !is_same(&written.registration) => Announced::Never,
            Stage::Leased { told: Told::Yes, .. } if !self.is_leaving => Announced::Confirmed,
            Stage::Leased { .. } => Announced::Pending,
            Stage::Refused(_) => Announced::Never,
        }
    }

    /// Whether calls about it fail now.
    pub(super) fn is_failing(&self) -> bool {
        match &self.stage {
            Stage::Leased { lease, .. } => lease.failures() > 0,
            Stage::Waiting(_) | Stage::Preparing => self.unprepared > 0,
            Stage::Refused(_) => false,
        }
    }
}
