//! The states of a lease: what is to be done next, and what an answer makes of it.

use std::time::{Duration, Instant};

use super::Schedule;
use crate::eureka::InstanceStatus;
use crate::model::{HeartbeatCall, LeaseState, Timestamp};

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take away what an earlier life may have left under this id, then announce it.
    Announce {
        /// As what.
        status: InstanceStatus,
        /// `lastDirtyTimestamp`.
        dirty: i64,
    },
    /// Announce it again: the registry lost it, or its status changed.
    Again {
        /// As what.
        status: InstanceStatus,
        /// `lastDirtyTimestamp`.
        dirty: i64,
    },
    /// Renew it.
    Renew {
        /// As what it was announced.
        status: InstanceStatus,
        /// `lastDirtyTimestamp` it was announced with.
        dirty: i64,
    },
}

/// How a step was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As asked.
    Done,
    /// The registry does not have the instance.
    Unknown,
    /// In any other way, or not at all.
    Failed,
}

/// What came of a step, for whoever tells people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Fine,
    /// The registry had lost it, and has it again.
    Returned,
    /// The registry has lost it: it is announced again at once.
    Lost,
    /// It failed.
    Failed,
}

/// How far the registry is known to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Never told.
    Unknown,
    /// Told, as this, with this `lastDirtyTimestamp`.
    Told(InstanceStatus, i64),
    /// It said that it does not have it.
    Lost,
}

/// One lease. Whoever drives it asks [`Lease::due`], says [`Lease::begin`], carries the step out and
/// says [`Lease::end`]; there is never more than one step under way.
#[derive(Clone, Debug)]
pub struct Lease {
    schedule: Schedule,
    duration: Duration,
    wanted: InstanceStatus,
    standing: Standing,
    /// The newest `lastDirtyTimestamp` that was ever sent.
    dirty: i64,
    next: Instant,
    under_way: Option<Step>,
    last_success: Option<(Instant, Timestamp)>,
    failures: u64,
    /// The registry had it and has lost it.
    is_lost: bool,
}

impl Lease {
    /// A lease that is to be announced at once.
    pub fn new(
        schedule: Schedule,
        duration: Duration,
        wanted: InstanceStatus,
        now: Instant,
    ) -> Self {
        Self {
            schedule,
            duration,
            wanted,
            standing: Standing::Unknown,
            dirty: 0,
            next: now,
            under_way: None,
            last_success: None,
            failures: 0,
            is_lost: false,
        }
    }

    /// When it is to be looked at next; `None` while a step is under way.
    pub fn due(&self) -> Option<Instant> {
        self.under_way.is_none().then_some(self.next)
    }

    /// Whether a step is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// The step under way.
    pub fn under_way(&self) -> Option<Step> {
        self.under_way
    }

    /// The step that is due. `clock` is the wall clock; where it went back, the next
    /// `lastDirtyTimestamp` still is newer than the last, because an older one loses silently.
    pub fn begin(&mut self, clock: Timestamp) -> Step {
        let status = self.wanted;
        let step = match self.standing {
            Standing::Told(told, dirty) if told == status => Step::Renew { status, dirty },
            standing => {
                self.dirty = clock.as_millis().max(self.dirty + 1);
                let dirty = self.dirty;
                match standing {
                    Standing::Unknown => Step::Announce { status, dirty },
                    Standing::Lost | Standing::Told(..) => Step::Again { status, dirty },
                }
            }
        };
        self.under_way = Some(step);
        step
    }

    /// Takes the answer to the step that was begun.
    pub fn end(&mut self, answer: Answer, now: Instant, clock: Timestamp) -> Verdict {
        let step = self.under_way.take();
        match answer {
            Answer::Done => {
                if let Some(Step::Announce { status, dirty } | Step::Again { status, dirty }) = step
                {
                    self.standing = Standing::Told(status, dirty);
                }
                let returned = self.is_lost;
                self.is_lost = false;
                self.last_success = Some((now, clock));
                self.failures = 0;
                self.next = match self.needs_telling() {
                    true => now,
                    false => self.schedule.next(now),
                };
                if returned { Verdict::Returned } else { Verdict::Fine }
            }
            // Expired, restarted empty, or taken away by somebody else: one answer to all three.
            Answer::Unknown if matches!(step, Some(Step::Renew { .. })) => {
                self.standing = Standing::Lost;
                self.is_lost = true;
                self.last_success = None;
                self.failures = 0;
                self.next = now;
                Verdict::Lost
            }
            Answer::Unknown | Answer::Failed => {
                self.failures += 1;
                self.next = self.schedule.retry(now, self.failures);
                Verdict::Failed
            }
        }
    }

    /// Makes `status` what it is announced as; whether that is news.
    pub fn want(&mut self, status: InstanceStatus, now: Instant) -> bool {
        let is_news = self.wanted != status;
        self.wanted = status;
        if is_news {
            self.next = now;
        }
        is_news
    }

    /// Has it announced again soon although it was told already, because the registry shows another
    /// status.
    pub fn tell_again(&mut self, now: Instant) {
        if let Standing::Told(..) = self.standing {
            self.standing = Standing::Lost;
            self.check(now);
        }
    }

    /// Has it renewed soon, because the registry does not list it.
    pub fn check(&mut self, now: Instant) {
        self.next = self.next.min(self.schedule.soon(now));
    }

    /// What the registry was told it is; `None` where it was not told or lost it.
    pub fn told(&self) -> Option<InstanceStatus> {
        match self.standing {
            Standing::Told(status, _) => Some(status),
            Standing::Unknown | Standing::Lost => None,
        }
    }

    /// Whether the registry had it and has lost it.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether what the registry was told differs from what is wanted.
    pub fn needs_telling(&self) -> bool {
        self.told() != Some(self.wanted)
    }

    /// How it is at `now`.
    pub fn state(&self, now: Instant) -> LeaseState {
        match self.last_success {
            None => LeaseState::Unregistered,
            Some((at, _)) if now.duration_since(at) >= self.duration => LeaseState::Expired,
            Some(_) if self.failures > 0 => LeaseState::Failing,
            Some(_) => LeaseState::Up,
        }
    }

    /// When a call last went through, by the wall clock.
    pub fn last_success(&self) -> Option<Timestamp> {
        self.last_success.map(|(_, at)| at)
    }

    /// When a call last went through.
    pub fn fresh_since(&self) -> Option<Instant> {
        self.last_success.map(|(at, _)| at)
    }

    /// How long the registry certainly keeps it from `now` on; `None` where it does not have it.
    pub fn expires_in(&self, now: Instant) -> Option<Duration> {
        self.last_success.map(|(at, _)| self.duration.saturating_sub(now.duration_since(at)))
    }

    /// Failures in a row.
    pub fn failures(&self) -> u64 {
        self.failures
    }
}

impl Step {
    /// What it is called in the history.
    pub fn call(self) -> HeartbeatCall {
        match self {
            Self::Announce { .. } => HeartbeatCall::Register,
            Self::Again { status: InstanceStatus::Up, .. } => HeartbeatCall::Register,
            Self::Again { .. } => HeartbeatCall::Status,
            Self::Renew { .. } => HeartbeatCall::Renew,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Kit {
        lease: Lease,
        now: Instant,
        clock: Timestamp,
    }

    impl Kit {
        fn new() -> Self {
            let now = Instant::now();
            let schedule = Schedule::new(now, 30 * SECOND, 5);
            let lease = Lease::new(schedule, 90 * SECOND, InstanceStatus::Up, now);
            Self { lease, now, clock: Timestamp::from_millis(1_000_000) }
        }

        /// Goes to the next due moment and carries the step out.
        fn go(&mut self, answer: Answer) -> (Step, Verdict) {
            self.now = self.lease.due().unwrap().max(self.now);
            let step = self.lease.begin(self.clock);
            assert_eq!(self.lease.due(), None, "never two steps at once");
            let verdict = self.lease.end(answer, self.now, self.clock);
            (step, verdict)
        }
    }

    #[test]
    fn a_lease_is_announced_then_renewed_and_announced_again_once_lost() {
        let mut kit = Kit::new();
        assert_eq!(kit.lease.state(kit.now), LeaseState::Unregistered);
        let up = InstanceStatus::Up;
        let dirty = 1_000_000;
        assert_eq!(kit.go(Answer::Done), (Step::Announce { status: up, dirty }, Verdict::Fine));
        assert_eq!(kit.lease.state(kit.now), LeaseState::Up);
        assert_eq!(kit.go(Answer::Done), (Step::Renew { status: up, dirty }, Verdict::Fine));
        assert_eq!(kit.go(Answer::Unknown).1, Verdict::Lost);
        assert_eq!(kit.lease.state(kit.now), LeaseState::Unregistered);
        // At once, and newer although the clock stands still.
        let (before, again) = (kit.now, Step::Again { status: up, dirty: dirty + 1 });
        assert_eq!(kit.go(Answer::Done), (again, Verdict::Returned));
        assert_eq!(kit.now, before);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_make_the_next_announcement_older() {
        let mut kit = Kit::new();
        kit.go(Answer::Done);
        kit.clock = Timestamp::from_millis(5);
        kit.lease.want(InstanceStatus::Down, kit.now);
        let down = Step::Again { status: InstanceStatus::Down, dirty: 1_000_001 };
        assert_eq!(kit.go(Answer::Done).0, down);
        assert_eq!(down.call(), HeartbeatCall::Status);
        assert_eq!(kit.lease.told(), Some(InstanceStatus::Down));
    }

    #[test]
    fn a_lease_fails_expires_and_heals() {
        let mut kit = Kit::new();
        kit.go(Answer::Done);
        assert_eq!(kit.go(Answer::Failed).1, Verdict::Failed);
        assert_eq!(kit.lease.state(kit.now), LeaseState::Failing);
        assert_eq!(kit.go(Answer::Failed).1, Verdict::Failed);
        assert_eq!(kit.lease.failures(), 2);
        kit.now += 90 * SECOND;
        assert_eq!(kit.lease.state(kit.now), LeaseState::Expired);
        assert_eq!(kit.lease.expires_in(kit.now), Some(Duration::ZERO));
        assert_eq!(kit.go(Answer::Done).1, Verdict::Fine);
        assert_eq!(kit.lease.state(kit.now), LeaseState::Up);
    }

    #[test]
    fn a_change_during_a_call_is_told_right_after_it() {
        let mut kit = Kit::new();
        kit.lease.begin(kit.clock);
        kit.lease.want(InstanceStatus::Down, kit.now);
        assert_eq!(kit.lease.due(), None);
        kit.lease.end(Answer::Done, kit.now, kit.clock);
        assert!(kit.lease.needs_telling());
        assert_eq!(kit.lease.due(), Some(kit.now));
    }
}
