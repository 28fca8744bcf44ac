//! The leases of this server, by service: which step is due, what each answer made of it. No calls,
//! no tasks: whoever drives it carries the steps out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::{Entry, Stage, Told, Written};
use super::plan::Wanted;
use crate::eureka::{Answer, InstanceStatus, Lease, Schedule, Step, Verdict};
use crate::model::{Heartbeat, HeartbeatCall, LeaseState, Registration, ServiceId, Timestamp};
use crate::store::RegistrationVersion;
use crate::text::Message;

/// Calls, and events, kept in memory while the database does not take them.
const MOST_PENDING: usize = 10_000;

/// Orphans tried at once: they may all be of a registry that is silent, and what is announced is
/// renewed beside them.
const MOST_RELEASED: usize = 32;

/// Between two looks whether what an earlier entry left is taken out.
const AFTER_RELEASE: Duration = Duration::from_millis(100);

/// A step to be carried out.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: ServiceId,
    generation: u64,
    row: i64,
    pub(super) registration: Arc<Registration>,
    pub(super) health_path: Option<String>,
    pub(super) step: Step,
    /// What stands under its id is looked at first: it may be somebody else's.
    pub(super) looks: bool,
}

/// How a step went.
pub(super) struct Ended {
    pub(super) answer: Answer,
    pub(super) failure: Option<Message>,
    pub(super) registry: Option<String>,
    pub(super) latency: Duration,
    /// Whether the registry was told that the instance is there.
    pub(super) told: Told,
}

/// A service to be written down.
#[derive(Debug)]
pub(super) struct ToPrepare {
    pub(super) wanted: Wanted,
    generation: u64,
}

/// Why something was not written down.
pub(super) enum Unprepared {
    /// As it is configured it never can be.
    Refused(Message),
    /// It is tried again.
    Failed(Message),
}

/// What is due.
#[derive(Default)]
pub(super) struct Due {
    pub(super) prepare: Vec<ToPrepare>,
    pub(super) calls: Vec<Call>,
}

/// What could not be taken out of the registry so far.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) written: Written,
    pub(super) reason: Message,
    pub(super) failures: u64,
    /// When it is tried again; `None` while that is under way.
    pub(super) next: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Book {
    entries: HashMap<ServiceId, Entry>,
    queue: BTreeSet<(Instant, ServiceId)>,
    failing: BTreeSet<ServiceId>,
    pub(super) orphans: Vec<Orphan>,
    /// What is just being taken out, and stands nowhere else in here any more.
    pub(super) going: Vec<Written>,
    pub(super) history: Vec<(ServiceId, Heartbeat)>,
    /// There is more in it than renewals that went through.
    pub(super) has_news: bool,
    pub(super) is_closed: bool,
    generations: u64,
    /// Rows about which a call is under way, whoever waits for its answer still.
    called: Vec<i64>,
    /// Services that leave, whether or not they are announced now: announced anew, they still leave.
    draining: BTreeSet<ServiceId>,
}

impl Book {
    pub(super) fn get(&self, id: ServiceId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (ServiceId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    pub(super) fn ids(&self) -> Vec<ServiceId> {
        self.entries.keys().copied().collect()
    }

    /// A service that is to be announced from now on; nothing where it is already, as it is, or is
    /// just leaving: what leaves is taken back first.
    pub(super) fn put(
        &mut self,
        wanted: Wanted,
        schedule: Schedule,
        duration: Duration,
        is_unhealthy: bool,
        now: Instant,
    ) -> bool {
        let id = wanted.id;
        if self.is_closed || self.entries.contains_key(&id) {
            return false;
        }
        self.generations += 1;
        let entry = Entry {
            wanted,
            stage: Stage::Waiting(now),
            generation: self.generations,
            schedule,
            duration,
            unprepared: 0,
            is_draining: self.draining.contains(&id),
            is_unhealthy,
            is_leaving: false,
            failure: None,
            latency: None,
            registry: None,
            shown: None,
            set_over: InstanceStatus::Unknown,
            told_at: None,
            queued: None,
        };
        self.entries.insert(id, entry);
        self.settle(id);
        true
    }

    /// Changes an entry and looks anew at when it is due.
    pub(super) fn change<T>(
        &mut self,
        id: ServiceId,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let changed = change(self.entries.get_mut(&id)?);
        self.settle(id);
        Some(changed)
    }

    /// A service leaves, or no more; whether that is news to the registry.
    pub(super) fn set_draining(&mut self, id: ServiceId, is_draining: bool, now: Instant) -> bool {
        match is_draining {
            true => self.draining.insert(id),
            false => self.draining.remove(&id),
        };
        self.change(id, |entry| entry.is_draining = is_draining).is_some() && self.restate(id, now)
    }

    pub(super) fn is_draining(&self, id: ServiceId) -> bool {
        self.draining.contains(&id)
    }

    /// Lets the status of an entry be what its flags say; whether that is news to the registry.
    pub(super) fn restate(&mut self, id: ServiceId, now: Instant) -> bool {
        let change = |entry: &mut Entry| {
            let status = entry.status();
            match &mut entry.stage {
                Stage::Leased { lease, .. } => lease.want(status, now),
                Stage::Waiting(_) | Stage::Preparing | Stage::Refused(_) => false,
            }
        };
        self.change(id, change).unwrap_or(false)
    }

    /// Takes note of when an entry is due and whether its calls fail, after any change of it.
    fn settle(&mut self, id: ServiceId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match entry.is_failing() {
            true => self.failing.insert(id),
            false => self.failing.remove(&id),
        };
        let due = entry.due();
        if entry.queued == due {
            return;
        }
        if let Some(old) = entry.queued.take() {
            self.queue.remove(&(old, id));
        }
        if let Some(due) = due {
            entry.queued = Some(due);
            self.queue.insert((due, id));
        }
    }

    pub(super) fn forget(&mut self, id: ServiceId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(old) = entry.queued {
            self.queue.remove(&(old, id));
        }
        self.failing.remove(&id);
        Some(entry)
    }

    /// When the next step is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let has_room = self.room_for_orphans() > 0;
        let can_go =
            self.orphans.iter().filter(|orphan| has_room && !self.is_called(orphan.written.row));
        let orphan = can_go.filter_map(|orphan| orphan.next).min();
        let queued = self.queue.first().map(|(at, _)| *at);
        queued.into_iter().chain(orphan).min().filter(|_| !self.is_closed)
    }

    /// How many orphans more may be tried now.
    fn room_for_orphans(&self) -> usize {
        let under_way = self.orphans.iter().filter(|orphan| orphan.next.is_none()).count();
        MOST_RELEASED.saturating_sub(under_way)
    }

    /// Whether a call about a row is under way, of whichever life.
    pub(super) fn is_called(&self, row: i64) -> bool {
        self.called.contains(&row)
    }

    /// Orphans to be tried again, a bounded number at once. A call of its last life that is still under way might bring it back
    /// right after, so that one is waited for.
    pub(super) fn due_orphans(&mut self, now: Instant) -> Vec<Orphan> {
        let room = self.room_for_orphans();
        let called = &self.called;
        let is_due = |orphan: &&mut Orphan| {
            orphan.next.is_some_and(|next| next <= now) && !called.contains(&orphan.written.row)
        };
        let due = self.orphans.iter_mut().filter(is_due).take(room);
        due.map(|orphan| {
            orphan.next = None;
            orphan.clone()
        })
        .collect()
    }

    /// Takes note that an orphan is out and its row forgotten. Gives back the row that was written in
    /// its place meanwhile, which is to be forgotten as well.
    pub(super) fn released(&mut self, gone: RegistrationVersion) -> Option<RegistrationVersion> {
        let at = self.orphans.iter().position(|orphan| orphan.written.row == gone.id)?;
        let known = self.orphans[at].written.version();
        if known == gone {
            self.orphans.swap_remove(at);
        }
        (known != gone).then_some(known)
    }

    /// Whether the entry that a call is about is to stay in the registry still.
    pub(super) fn is_wanted(&self, call: &Call) -> bool {
        let entry = self.entries.get(&call.id);
        entry.is_some_and(|e| e.generation == call.generation && !e.is_leaving)
    }

    /// Begins what is due at `now`, at most `room` calls.
    pub(super) fn begin(&mut self, now: Instant, clock: Timestamp, room: usize) -> Due {
        let mut due = Due::default();
        while !self.is_closed && due.calls.len() < room {
            let Some((at, id)) = self.queue.first().copied() else { break };
            if at > now {
                break;
            }
            let Some(entry) = self.entries.get_mut(&id) else {
                self.queue.pop_first();
                continue;
            };
            let generation = entry.generation;
            let is_being_released = |orphan: &Orphan| {
                orphan.next.is_none() && orphan.written.registration.service_id == id
            };
            match &mut entry.stage {
                // A call that takes away what its last life left might arrive after its announcement.
                Stage::Waiting(at) if self.orphans.iter().any(is_being_released) => {
                    *at = now + AFTER_RELEASE;
                }
                Stage::Waiting(_) => {
                    let wanted = entry.wanted.clone();
                    due.prepare.push(ToPrepare { wanted, generation });
                    entry.stage = Stage::Preparing;
                }
                Stage::Leased { written, lease, told } => {
                    // The registry has given it up or lost it, and somebody else may have come.
                    let looks = lease.state(now) == LeaseState::Expired || lease.is_lost();
                    if looks {
                        *told = (*told).min(Told::Perhaps);
                    }
                    let step = lease.begin(clock);
                    let registration = Arc::clone(&written.registration);
                    let health_path = entry.wanted.health_path.clone();
                    self.called.push(written.row);
                    let row = written.row;
                    due.calls.push(Call {
                        id,
                        generation,
                        row,
                        registration,
                        health_path,
                        step,
                        looks,
                    });
                }
                Stage::Preparing | Stage::Refused(_) => {}
            }
            self.settle(id);
        }
        due
    }

    /// Takes what became of writing a service down. Gives back a row that nobody wants any more.
    pub(super) fn prepared(
        &mut self,
        asked: &ToPrepare,
        result: Result<Written, Unprepared>,
        now: Instant,
    ) -> Option<Written> {
        let id = asked.wanted.id;
        let is_orphan =
            |written: &Written| self.orphans.iter().any(|o| o.written.row == written.row);
        let was_orphan = result.as_ref().is_ok_and(is_orphan);
        // What takes the orphan out forgets its row as it is written now.
        if let Ok(written) = &result {
            for orphan in &mut self.orphans {
                if orphan.written.row == written.row {
                    orphan.written = written.clone();
                }
            }
        }
        let entry = self.entries.get_mut(&id).filter(|e| e.generation == asked.generation);
        let Some(entry) = entry else { return result.ok().filter(|_| !was_orphan) };
        match result {
            // What its last life left is just being taken out, which might take away what is announced
            // now: that ends first.
            Ok(written) if is_being_released(&self.orphans, written.row) => {
                entry.stage = Stage::Waiting(now + AFTER_RELEASE);
            }
            Ok(written) => {
                // Announced again under the same id, it is no orphan any more; but what its last life
                // told the registry may still stand there.
                self.orphans.retain(|orphan| orphan.written.row != written.row);
                let told = if was_orphan { Told::Perhaps } else { Told::No };
                let lease = Lease::new(entry.schedule, entry.duration, entry.status(), now);
                entry.failure = None;
                entry.stage = Stage::Leased { written, lease, told };
            }
            Err(Unprepared::Refused(why)) => {
                entry.failure = Some(why.clone());
                entry.stage = Stage::Refused(why);
            }
            Err(Unprepared::Failed(why)) => {
                entry.failure = Some(why);
                entry.unprepared += 1;
                entry.stage = Stage::Waiting(entry.schedule.retry(now, entry.unprepared));
            }
        }
        self.settle(id);
        None
    }

    /// Takes the answer to a call; `None` where nobody waits for it any more.
    pub(super) fn ended(
        &mut self,
        call: &Call,
        ended: &Ended,
        now: Instant,
        clock: Timestamp,
    ) -> Option<Verdict> {
        let latency_ms = u64::try_from(ended.latency.as_millis()).unwrap_or(u64::MAX);
        self.note(call.id, call.step.call(), ended.failure.clone(), latency_ms, clock);
        if let Some(at) = self.called.iter().position(|row| *row == call.row) {
            self.called.swap_remove(at);
        }
        let entry = self.entries.get_mut(&call.id).filter(|e| e.generation == call.generation)?;
        let Stage::Leased { lease, told, .. } = &mut entry.stage else { return None };
        *told = (*told).max(ended.told);
        let verdict = lease.end(ended.answer, now, clock);
        // The registry has lost it and has not taken it anew: somebody else may have come meanwhile.
        if lease.is_lost() {
            *told = (*told).min(Told::Perhaps);
        }
        entry.latency = Some(ended.latency);
        entry.failure.clone_from(&ended.failure);
        if ended.answer == Answer::Done {
            entry.registry.clone_from(&ended.registry);
            if !matches!(call.step, Step::Renew { .. }) {
                entry.told_at = Some(now);
                entry.shown = None;
            }
        }
        self.settle(call.id);
        Some(verdict)
    }

    /// Keeps a call for the history.
    pub(super) fn note(
        &mut self,
        id: ServiceId,
        call: HeartbeatCall,
        failure: Option<Message>,
        latency_ms: u64,
        at: Timestamp,
    ) {
        self.has_news |= call != HeartbeatCall::Renew || failure.is_some();
        self.history.push((id, Heartbeat { at, call, failure, latency_ms }));
        keep_newest(&mut self.history);
    }

    /// Keeps calls that could not be written, older than those that are kept already.
    pub(super) fn note_again(&mut self, mut calls: Vec<(ServiceId, Heartbeat)>) {
        calls.append(&mut self.history);
        self.history = calls;
        keep_newest(&mut self.history);
    }

    /// Entries about which calls fail, and why the first of them does.
    pub(super) fn failing(&self) -> (usize, Option<Message>) {
        let first = self.failing.first().and_then(|id| self.entries.get(id));
        (self.failing.len(), first.and_then(|entry| entry.failure.clone()))
    }
}

fn is_being_released(orphans: &[Orphan], row: i64) -> bool {
    orphans.iter().any(|orphan| orphan.written.row == row && orphan.next.is_none())
}

/// Half of them go at once, so that it is not done for each that comes.
pub(super) fn keep_newest<T>(pending: &mut Vec<T>) {
    if pending.len() > MOST_PENDING {
        pending.drain(..pending.len() - MOST_PENDING / 2);
    }
}

#[cfg(test)]
mod tests;
