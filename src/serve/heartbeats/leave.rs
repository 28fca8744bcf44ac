//! Leaving the registry: marked first, the call under way awaited, then taken back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};

use super::book::Orphan;
use super::driver::event;
use super::entry::{Entry, Stage, Told, Written};
use super::{Heartbeats, Plan};
use crate::host::clock;
use crate::model::{EventAction, HeartbeatCall, Outcome, ServiceId};
use crate::store::RegistrationVersion;
use crate::text::{self, Message};

/// Calls at once while leaving: everything has to be over within one bound.
const MOST_CALLS: usize = 128;

/// For writing down what was taken out, however late that was.
const LEAST_FOR_ROWS: Duration = Duration::from_millis(500);

/// What could not be taken out of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Left {
    pub(in crate::serve) instance: String,
    pub(in crate::serve) reason: Message,
}

impl Heartbeats {
    /// Takes services out of the registry, all at once, within the bound of a stop's calls. What
    /// cannot be taken out stays written down and is tried again.
    pub(in crate::serve) async fn withdraw(&self, ids: &[ServiceId]) {
        let Some(plan) = &self.plan else { return };
        let deadline = Instant::now() + plan.timeout;
        let left = self.take_back(plan, ids, deadline).await;
        let next = Some(Instant::now() + plan.settings.interval.min(Duration::from_secs(10)));
        for (written, reason) in left {
            let of = &written.registration;
            tracing::warn!(service = %of.service, %reason, "not taken out of the registry yet");
            let detail = text::lease::event_lease_left(&of.instance_id, &reason);
            self.say(event(EventAction::LeaseLeft, &of.service, Outcome::Failed, detail));
            let mut book = self.book();
            book.going.retain(|going| going.row != written.row);
            book.orphans.push(Orphan { written, reason, failures: 1, next });
        }
        self.wake.notify_one();
    }

    /// Takes everything out of the registry until `deadline`, for good: from now on nothing is
    /// announced or renewed. What could not be taken out.
    pub(in crate::serve) async fn end(&self, deadline: Instant) -> Vec<Left> {
        let Some(plan) = &self.plan else { return Vec::new() };
        // What another caller is taking out ends with the process, finished or not.
        let (ids, orphans, going) = {
            let mut book = self.book();
            book.is_closed = true;
            (book.ids(), std::mem::take(&mut book.orphans), std::mem::take(&mut book.going))
        };
        self.wake.notify_one();
        let orphans = orphans.into_iter().map(|orphan| orphan.written).chain(going).collect();
        let (of_services, of_orphans) = tokio::join!(
            self.take_back(plan, &ids, deadline),
            self.cancel_all(plan, orphans, deadline),
        );
        self.drop_calls.cancel();
        let mut left = Vec::new();
        for (written, reason) in of_services.into_iter().chain(of_orphans) {
            let of = &written.registration;
            let detail = text::lease::event_lease_left(&of.instance_id, &reason);
            self.say(event(EventAction::LeaseLeft, &of.service, Outcome::Failed, detail));
            left.push(Left { instance: of.instance_id.clone(), reason });
        }
        left
    }

    /// Takes services back until `deadline`; what could not be. Those with a call under way wait for
    /// its end, for half of the time: the other half is for taking back.
    async fn take_back(
        &self,
        plan: &Plan,
        ids: &[ServiceId],
        deadline: Instant,
    ) -> Vec<(Written, Message)> {
        let (busy, idle): (Vec<_>, Vec<_>) = {
            let mut book = self.book();
            for id in ids {
                book.change(*id, |entry| entry.is_leaving = true);
            }
            ids.iter().partition(|id| book.get(**id).is_some_and(Entry::is_busy))
        };
        let waiting = async {
            let now = Instant::now();
            let half = now + deadline.saturating_duration_since(now) / 2;
            // Late or not: whose call is still under way is seen below.
            let _late = tokio::time::timeout_at(half.into(), self.until_idle(&busy)).await;
            self.take_back_now(plan, &busy, deadline).await
        };
        let (mut left, late) = tokio::join!(self.take_back_now(plan, &idle, deadline), waiting);
        left.extend(late);
        left
    }

    async fn until_idle(&self, ids: &[ServiceId]) {
        loop {
            let ended = self.ended.notified();
            {
                let book = self.book();
                if ids.iter().all(|id| book.get(*id).is_none_or(|entry| !entry.is_busy())) {
                    return;
                }
            }
            ended.await;
        }
    }

    async fn take_back_now(
        &self,
        plan: &Plan,
        ids: &[ServiceId],
        deadline: Instant,
    ) -> Vec<(Written, Message)> {
        let (mut going, mut untold) = (Vec::new(), Vec::new());
        {
            let mut book = self.book();
            for id in ids {
                // Another caller may have announced it anew.
                if book.get(*id).is_none_or(|entry| !entry.is_leaving) {
                    continue;
                }
                let Some(entry) = book.forget(*id) else { continue };
                match entry.stage {
                    Stage::Leased { written, told: Told::No, lease } if !lease.is_busy() => {
                        untold.push(written.version());
                    }
                    Stage::Leased { written, .. } => going.push(written),
                    Stage::Waiting(_) | Stage::Preparing | Stage::Refused(_) => {}
                }
            }
            book.going.extend(going.iter().cloned());
        }
        let rows: BTreeSet<i64> = going.iter().map(|written| written.row).collect();
        let forgotten = self.forget_rows_by(plan, &untold, deadline);
        let (left, ()) = tokio::join!(self.cancel_all(plan, going, deadline), forgotten);
        // What is left stays there until whoever asked has put it where it is tried again.
        let is_left = |row| left.iter().any(|(written, _)| written.row == row);
        let is_over = |row| rows.contains(&row) && !is_left(row);
        self.book().going.retain(|written| !is_over(written.row));
        left
    }

    /// Takes instances back until `deadline` and forgets their rows; what could not be.
    async fn cancel_all(
        &self,
        plan: &Plan,
        going: Vec<Written>,
        deadline: Instant,
    ) -> Vec<(Written, Message)> {
        let cancel = async |written: Written| {
            let of = &written.registration;
            let began = Instant::now();
            // A call of its own that has not ended may still arrive after ours.
            let is_uncertain = self.book().is_called(written.row);
            // What the registry once said it has may be somebody else's by now: it lost ours, and took
            // theirs under the same id.
            let left = deadline.saturating_duration_since(began);
            let result = match plan.take_out(of, left).await {
                Ok(_) if is_uncertain => {
                    Err(text::lease::lease_registry_silent(of.registries.join(", ")))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error.message()),
            };
            let latency = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (failure, at) = (result.as_ref().err().cloned(), clock::now());
            self.book().note(of.service_id, HeartbeatCall::Cancel, failure, latency, at);
            (written, result)
        };
        let calls = going.into_iter().map(cancel);
        let results: Vec<_> = stream::iter(calls).buffer_unordered(MOST_CALLS).collect().await;
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for (written, result) in results {
            match result {
                Ok(()) => gone.push(written.version()),
                Err(reason) => left.push((written, reason)),
            }
        }
        self.forget_rows_by(plan, &gone, deadline).await;
        left
    }

    /// [`Heartbeats::forget_rows`] until `deadline`, or a moment longer where that has passed: a disk
    /// that is busy holds up no stop. Whoever looks later finds that they are gone from the registry.
    async fn forget_rows_by(&self, plan: &Plan, rows: &[RegistrationVersion], deadline: Instant) {
        let deadline = deadline.max(Instant::now() + LEAST_FOR_ROWS);
        let forgotten = self.forget_rows(plan, rows);
        if tokio::time::timeout_at(deadline.into(), forgotten).await.is_err() {
            tracing::warn!("registrations stay written down; the next start looks at them");
        }
    }
}
