//! The one task that carries due steps out, a bounded number at a time, and writes down what came of
//! them.

use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use super::book::{Call, Ended, Orphan, ToPrepare, Unprepared};
use super::entry::{Told, Written};
use super::{Heartbeats, Plan};
use crate::eureka::{Answer, CALL, CallError, NodeMark, Step, Verdict};
use crate::host::clock;
use crate::model::{Actor, EventAction, Outcome, ServiceId};
use crate::ops::Ops;
use crate::store::{NewEvent, RegistrationVersion};
use crate::text::{self, Message};

/// Calls at once.
const MOST_CALLS: usize = 64;

/// Between two writes of the history.
const FLUSH: Duration = Duration::from_secs(1);

/// The same while there are only renewals that went through: a server that idles is to leave the disk
/// alone.
const LAZY_FLUSH: Duration = Duration::from_secs(5);

/// Calls kept of each service.
const KEPT: u32 = 100;

/// The longest pause of the driver.
const REST: Duration = Duration::from_secs(3_600);

impl Heartbeats {
    /// Announces and renews until the leases are closed and every call has ended. Whenever `health`
    /// changes, services are asked whether they are unhealthy.
    pub(in crate::serve) async fn drive(
        &self,
        ops: &Ops,
        mut health: watch::Receiver<u64>,
        is_unhealthy: impl Fn(ServiceId) -> bool + Send + Sync,
    ) {
        let Some(plan) = &self.plan else { return };
        health.mark_changed();
        let mut works: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let (mut flushed, mut writing) = (Instant::now(), None::<BoxFuture<'_, ()>>);
        loop {
            let now = Instant::now();
            let room = MOST_CALLS.saturating_sub(works.len());
            let (due, orphans, next, is_closed) = {
                let mut book = self.book();
                let due = book.begin(now, clock::now(), room);
                let orphans = if room > 0 { book.due_orphans(now) } else { Vec::new() };
                (due, orphans, book.next_due(), book.is_closed)
            };
            works.extend(due.calls.into_iter().map(|call| self.carry_out(plan, call).boxed()));
            works.extend(orphans.into_iter().map(|orphan| self.release(plan, orphan).boxed()));
            if !due.prepare.is_empty() {
                works.push(self.prepare(plan, due.prepare).boxed());
            }
            let write_at = self.pause().filter(|_| writing.is_none()).map(|pause| flushed + pause);
            if write_at.is_some_and(|at| now >= at) {
                writing = Some(self.flush(ops).boxed());
            }
            if is_closed && works.is_empty() {
                break;
            }
            let mut until = if room > 0 { next.unwrap_or(now + REST) } else { now + REST };
            if let Some(at) = write_at.filter(|at| *at > now) {
                until = until.min(at);
            }
            let rest = pin!(tokio::time::sleep_until(until.into()));
            tokio::select! {
                biased;
                () = self.drop_calls.cancelled() => break,
                _ = works.next(), if !works.is_empty() => {}
                () = ended(&mut writing) => (flushed, writing) = (Instant::now(), None),
                () = self.wake.notified() => {}
                () = heard(&mut health) => self.heed_health(&is_unhealthy),
                () = rest => {}
            }
        }
        drop(works);
        if let Some(writing) = writing {
            writing.await;
        }
        self.flush(ops).await;
    }

    fn heed_health(&self, is_unhealthy: &dyn Fn(ServiceId) -> bool) {
        // Let go of before each of them is set.
        let ids = self.book().ids();
        for id in ids {
            self.set_unhealthy(id, is_unhealthy(id));
        }
    }

    /// Writes services down, so that their calls may begin.
    async fn prepare(&self, plan: &Plan, asked: Vec<ToPrepare>) {
        let route = match plan.settings.advertise.as_deref().map(str::parse::<IpAddr>) {
            // Nothing has to be looked up.
            Some(Ok(_)) => Ok(None),
            _ => plan.route().await.map(Some),
        };
        let (now, clock) = (Instant::now(), clock::now());
        let mut fine = Vec::new();
        for asked in asked {
            let registration = match &route {
                Ok(route) => {
                    plan.registration(&asked.wanted, *route, clock).map_err(Unprepared::Refused)
                }
                Err(why) => Err(Unprepared::Failed(why.clone())),
            };
            match registration {
                Ok(registration) => fine.push((asked, registration)),
                Err(why) => {
                    if let Unprepared::Refused(reason) = &why {
                        let service = &asked.wanted.name;
                        tracing::warn!(%service, %reason, "not announced");
                    }
                    self.book().prepared(&asked, Err(why), now);
                }
            }
        }
        let registrations: Vec<_> = fine.iter().map(|(_, r)| r.clone()).collect();
        let rows = plan.store.put_registrations(plan.node, &registrations).await;
        let now = Instant::now();
        let mut unwanted = Vec::new();
        match rows {
            Ok(rows) => {
                let mut book = self.book();
                for ((asked, registration), row) in fine.into_iter().zip(rows) {
                    let written = Written { row, registration: registration.into() };
                    unwanted.extend(book.prepared(&asked, Ok(written), now));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "registrations are not written down");
                let mut book = self.book();
                for (asked, _) in fine {
                    let why = text::lease::lease_unwritten(&error);
                    book.prepared(&asked, Err(Unprepared::Failed(why)), now);
                }
            }
        }
        self.forget_rows(plan, &unwanted.iter().map(Written::version).collect::<Vec<_>>()).await;
        self.after_a_change(false);
    }

    /// One call and what it makes of its lease.
    async fn carry_out(&self, plan: &Plan, call: Call) {
        let began = Instant::now();
        let mut told = Told::No;
        let met = self.step(plan, &call, &mut told).await;
        let (answer, failure, registry) = match met {
            Ok(registry) => (Answer::Done, None, Some(registry)),
            Err(Met::Call(error @ CallError::NotFound { .. })) => {
                (Answer::Unknown, Some(error.message()), None)
            }
            Err(Met::Call(error)) => (Answer::Failed, Some(error.message()), None),
            Err(Met::Unwanted(message) | Met::Taken(message)) => {
                (Answer::Failed, Some(message), None)
            }
        };
        let now = Instant::now();
        let latency = now - began;
        let ended = Ended { answer, failure, registry, latency, told };
        let verdict = self.book().ended(&call, &ended, now, clock::now());
        if verdict == Some(Verdict::Returned) {
            let (service, id) = (&call.registration.service, &call.registration.instance_id);
            tracing::info!(%service, "the registry had lost the instance; announced again");
            let detail = text::lease::event_lease_returned(id);
            self.say(event(EventAction::LeaseHealed, service, Outcome::Ok, detail));
        }
        self.after_a_change(answer != Answer::Failed);
    }

    /// Carries one step out; the registry that did it. What is known of whether it was told of the
    /// instance stands in `told` all along: the call may be dropped.
    async fn step(&self, plan: &Plan, call: &Call, told: &mut Told) -> Result<String, Met> {
        let of = &call.registration;
        let (app, id) = (of.app.as_str(), of.instance_id.as_str());
        let is_first = matches!(call.step, Step::Announce { .. });
        let found = match is_first || call.looks {
            true => plan.registry.instance(app, id).await?,
            false => None,
        };
        let has_own = found.as_ref().is_some_and(|found| plan.mark.is_on(found));
        let stranger = found.filter(|_| !has_own);
        if let Some(found) = &stranger {
            let is_here = found.ip_addr == of.address && found.port.number == of.port.get();
            // Of an earlier life, or of whoever had this very address before. What has come under
            // our id since we announced it is neither.
            let is_old = is_first && (plan.mark.is_of_node(found) || is_here);
            // One without a mark is taken over.
            if NodeMark::is_any(found) && !is_old {
                let whose = format!("{}:{}", found.host_name, found.port.number);
                return Err(Met::Taken(text::lease::lease_instance_taken(id, whose)));
            }
        }
        let (status, dirty) = match call.step {
            // Renewing would keep what is not ours alive.
            Step::Renew { .. } if stranger.is_some() => {
                return Err(CallError::NotFound { url: plan.urls() }.into());
            }
            Step::Renew { status, dirty } => {
                let renewed = plan.registry.renew(app, id, status, dirty).await?;
                if has_own {
                    *told = Told::Yes;
                }
                return Ok(renewed.registry);
            }
            Step::Again { status, dirty } | Step::Announce { status, dirty } => (status, dirty),
        };
        // What stands there under our id would win by a newer timestamp, and its override would stick:
        // it goes first.
        if stranger.is_some() || (is_first && has_own) {
            plan.registry.cancel(app, id).await?;
        }
        if !self.book().is_wanted(call) {
            return Err(Met::Unwanted(text::lease::lease_stopping()));
        }
        let instance = plan.instance(of, call.health_path.as_deref(), status, dirty);
        *told = Told::Perhaps;
        match plan.registry.register(&instance).await {
            Ok(answered) => {
                *told = Told::Yes;
                Ok(answered.registry)
            }
            Err(error) => {
                if !error.may_be_done() {
                    *told = Told::No;
                }
                Err(error.into())
            }
        }
    }

    /// Tries once more to take out what could not be taken out.
    async fn release(&self, plan: &Plan, orphan: Orphan) {
        let of = &orphan.written.registration;
        let result = plan.take_out(of, CALL).await;
        let was_answered = result.is_ok();
        match result {
            Ok(_) => {
                let mut gone = Some(orphan.written.version());
                while let Some(version) = gone {
                    self.forget_rows(plan, &[version]).await;
                    // Written down anew meanwhile, it waits for the end of this one.
                    gone = self.book().released(version);
                }
            }
            Err(error) => {
                let failures = orphan.failures + 1;
                let next = plan.schedule(of.service_id).retry(Instant::now(), failures);
                let mut book = self.book();
                let row = orphan.written.row;
                // Unless it was announced again, or everything is given up, meanwhile.
                if let Some(known) = book.orphans.iter_mut().find(|o| o.written.row == row) {
                    known.reason = error.message();
                    (known.failures, known.next) = (failures, Some(next));
                }
            }
        }
        self.after_a_change(was_answered);
    }

    pub(super) async fn forget_rows(&self, plan: &Plan, rows: &[RegistrationVersion]) {
        if rows.is_empty() {
            return;
        }
        if let Err(error) = plan.store.forget_registrations(rows).await {
            tracing::warn!(%error, "registrations stay written down; the next start looks at them");
        }
    }

    /// Says on its edge that calls fail or go through again, and tells who waits. That nothing fails
    /// any more shows that the registry answers only where it just did (`was_answered`).
    fn after_a_change(&self, was_answered: bool) {
        let (why, is_left) = {
            let book = self.book();
            (book.failing().1, !book.orphans.is_empty())
        };
        let mut outage = self.outage.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let was_failing = *outage;
        *outage = why.is_some() || (was_failing && (is_left || !was_answered));
        let is_failing = *outage;
        drop(outage);
        match (was_failing, why) {
            (false, Some(reason)) => {
                tracing::warn!(%reason, "calls to the registry fail");
                let detail = text::lease::event_registry_failing(reason);
                self.say(event(EventAction::RegistryFailing, "eureka", Outcome::Failed, detail));
            }
            (true, None) if !is_failing => {
                tracing::info!("the registry answers again");
                let detail = text::lease::event_registry_back();
                self.say(event(EventAction::RegistryBack, "eureka", Outcome::Ok, detail));
            }
            _ => {}
        }
        self.ended.notify_waiters();
    }

    /// How long after the last write there is to be another; `None`: there is nothing to write.
    fn pause(&self) -> Option<Duration> {
        // One lock after the other, never both: others take them in the other order.
        let has_events =
            !self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty();
        let book = self.book();
        match book.history.is_empty() {
            true => has_events.then_some(FLUSH),
            false if has_events || book.has_news => Some(FLUSH),
            false => Some(LAZY_FLUSH),
        }
    }

    /// Writes history and events. What the database does not take now it is given again, up to a
    /// bound.
    pub(in crate::serve) async fn flush(&self, ops: &Ops) {
        let Some(plan) = &self.plan else { return };
        let calls = {
            let mut book = self.book();
            book.has_news = false;
            std::mem::take(&mut book.history)
        };
        let events = {
            let mut events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut *events)
        };
        if !calls.is_empty()
            && let Err(error) = plan.store.append_heartbeats(&calls, KEPT).await
        {
            tracing::debug!(%error, "heartbeats are written later");
            self.book().note_again(calls);
        }
        if !events.is_empty() {
            match plan.store.append_events(events.clone()).await {
                Ok(()) => ops.events_appended().await,
                Err(error) => {
                    tracing::debug!(%error, "events of leases are written later");
                    self.say_again(events);
                }
            }
        }
    }
}

/// An event of the server's own accord.
pub(super) fn event(
    action: EventAction,
    subject: impl ToString,
    outcome: Outcome,
    detail: Message,
) -> NewEvent {
    let (at, subject, actor) = (clock::now(), subject.to_string(), Actor::Server);
    NewEvent { at, action, subject, actor, outcome, detail: Some(detail) }
}

/// The next change of anybody's health; never, once there can be none.
async fn heard(health: &mut watch::Receiver<u64>) {
    if health.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The end of what is being done; never, where that is nothing.
async fn ended(work: &mut Option<BoxFuture<'_, ()>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

enum Met {
    Call(CallError),
    /// It is being taken back meanwhile.
    Unwanted(Message),
    /// The instance of that id is somebody else's.
    Taken(Message),
}

impl From<CallError> for Met {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
