//! The leases of the running services: announced, renewed, and taken back before anything else ends.
//!
//! Belongs here: which services are announced ([`Heartbeats`]), the one task that carries due steps
//! out (`driver`), leaving the registry (`leave`), comparing with what the registry lists
//! (`presence`), the address consumers are told (`plan`). Does not belong here: when a lease is due and
//! what an answer means (`eureka`), how a call is made (`eureka`).
//!
//! Ground rules: a registration stands in the database before the registry hears of it and until it is
//! known to be gone there. Nothing here delays or fails the data path. Whatever leaves is marked
//! first, its call under way awaited, then taken back: a late renewal never brings it back. Without a
//! registry all of this is nothing.

mod book;
mod driver;
mod entry;
mod leave;
mod plan;
mod presence;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::book::{Book, keep_newest};
use self::entry::{Entry, Stage, Told};
pub(super) use self::leave::Left;
pub(super) use self::plan::Plan;
use self::plan::Wanted;
use self::presence::Presence;
use crate::eureka::InstanceStatus;
use crate::model::{HeartbeatView, LeaseState, Registration, Service, ServiceId};
use crate::ops::Announced;
use crate::store::NewEvent;
use crate::text::{self, Message};

/// The leases of this server.
pub(super) struct Heartbeats {
    /// `None`: there is no registry.
    plan: Option<Plan>,
    book: Mutex<Book>,
    presence: tokio::sync::Mutex<Presence>,
    /// Events that are not written yet.
    events: Mutex<Vec<NewEvent>>,
    /// Whether calls fail, as it was said last.
    outage: Mutex<bool>,
    /// Tells the driver that something may be due.
    wake: Notify,
    /// Tells whoever waits for a call to end.
    ended: Notify,
    /// The driver drops what is under way.
    drop_calls: CancellationToken,
}

impl Heartbeats {
    pub(super) fn new(plan: Option<Plan>) -> Self {
        Self {
            plan,
            book: Mutex::default(),
            presence: tokio::sync::Mutex::default(),
            events: Mutex::default(),
            outage: Mutex::default(),
            wake: Notify::new(),
            ended: Notify::new(),
            drop_calls: CancellationToken::new(),
        }
    }

    /// Whether there is a registry.
    pub(super) fn is_on(&self) -> bool {
        self.plan.is_some()
    }

    /// Whether a service is announced, about to be or just leaving.
    pub(super) fn has(&self, id: ServiceId) -> bool {
        self.plan.is_some() && self.book().get(id).is_some()
    }

    /// How far it is with announcing the instance of a registration, by whichever run, at the same
    /// registry.
    pub(super) fn announced(&self, of: &Registration) -> Announced {
        let Some(plan) = &self.plan else { return Announced::Never };
        let book = self.book();
        // A service that was removed and registered anew has another id, and the same instance.
        let is_same = |(id, entry): &(ServiceId, &Entry)| {
            *id == of.service_id || entry.wanted.name == of.service
        };
        let Some((_, entry)) = book.entries().find(is_same) else { return Announced::Never };
        match entry.announced(of) {
            // What it put in its place stands elsewhere, or cannot be put there now: where the older
            // one may still be, nothing else takes it out.
            Announced::Confirmed if !plan.is_at(&of.registries) => Announced::Never,
            Announced::Pending if entry.is_failing() && plan.is_apart_from(&of.registries) => {
                Announced::Never
            }
            announced => announced,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, event: NewEvent) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Keeps events that could not be written, older than those that are kept already.
    fn say_again(&self, mut events: Vec<NewEvent>) {
        let mut newer = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.append(&mut newer);
        keep_newest(&mut events);
        *newer = events;
    }

    /// Announces a service that runs, unless it is not to be: as DOWN where its target is unhealthy or
    /// it leaves.
    pub(super) fn announce(&self, service: &Service, is_unhealthy: bool) {
        let Some(plan) = self.plan.as_ref().filter(|_| service.register) else { return };
        let wanted = Wanted {
            id: service.id,
            name: service.name.clone(),
            port: service.port,
            bind: service.bind,
            health_path: service.health.as_ref().map(|health| health.path.clone()),
        };
        let (schedule, duration) = (plan.schedule(service.id), plan.settings.lease_duration);
        if self.book().put(wanted, schedule, duration, is_unhealthy, Instant::now()) {
            self.wake.notify_one();
        }
    }

    /// Lets the registry show a service as down, or no more, because it leaves.
    pub(super) fn set_draining(&self, id: ServiceId, is_draining: bool) {
        if self.book().set_draining(id, is_draining, Instant::now()) {
            self.wake.notify_one();
        }
    }

    /// Whether a service leaves.
    pub(super) fn is_draining(&self, id: ServiceId) -> bool {
        self.book().is_draining(id)
    }

    /// Lets the registry show a service as down, or no more, because its target is unhealthy.
    pub(super) fn set_unhealthy(&self, id: ServiceId, is_unhealthy: bool) {
        let mut book = self.book();
        let changed = book.change(id, |entry| entry.is_unhealthy = is_unhealthy);
        if changed.is_some() && book.restate(id, Instant::now()) {
            self.wake.notify_one();
        }
    }

    /// Waits until the registry was told what a service is now; `Err` if that does not happen within
    /// the bound of a stop's calls, `Ok(false)` if it is not announced at all.
    pub(super) async fn told(&self, id: ServiceId) -> Result<bool, Message> {
        let Some(plan) = &self.plan else { return Ok(false) };
        let deadline = Instant::now() + plan.timeout;
        loop {
            // Heard from here on: a call that ends between the look and the wait is no loss.
            let ended = self.ended.notified();
            let failure = {
                let book = self.book();
                let Some(entry) = book.get(id) else { return Ok(false) };
                match &entry.stage {
                    Stage::Refused(_) => return Ok(false),
                    Stage::Leased { lease, .. } if !lease.needs_telling() => return Ok(true),
                    _ => entry.failure.clone(),
                }
            };
            if tokio::time::timeout_at(deadline.into(), ended).await.is_err() {
                return Err(
                    failure.unwrap_or_else(|| text::lease::lease_registry_silent(plan.urls()))
                );
            }
        }
    }

    /// What a person should know.
    pub(super) fn attention(&self) -> Vec<Message> {
        if self.plan.is_none() {
            return Vec::new();
        }
        let book = self.book();
        let mut refused: Vec<_> = book
            .entries()
            .filter_map(|(_, entry)| match &entry.stage {
                Stage::Refused(why) => Some((&entry.wanted.name, why)),
                _ => None,
            })
            .collect();
        refused.sort_by_key(|(name, _)| *name);
        let mut needs: Vec<Message> = refused
            .into_iter()
            .map(|(name, why)| text::lease::attention_lease_refused(name, why))
            .collect();
        if let (count, Some(reason)) = book.failing() {
            needs.push(text::lease::attention_leases_failing(count, reason));
        }
        if let Some(orphan) = book.orphans.first() {
            needs.push(text::lease::attention_leases_left(book.orphans.len(), &orphan.reason));
        }
        needs
    }

    /// How the lease of a service is.
    pub(super) fn view(&self, service: &Service) -> HeartbeatView {
        let mut view = HeartbeatView::disabled(service);
        view.interval = self.plan.as_ref().map_or(0, |plan| plan.settings.interval.as_secs());
        if self.plan.is_none() || !service.register {
            return view;
        }
        view.state = LeaseState::Unregistered;
        let book = self.book();
        match book.get(service.id) {
            None => view.reason = Some(text::lease::lease_not_running(&service.name)),
            Some(entry) => fill(&mut view, entry, Instant::now()),
        }
        view
    }
}

impl Plan {
    /// The registry, for a sentence.
    fn urls(&self) -> String {
        let urls: Vec<&str> = self.settings.urls.iter().map(|url| url.as_str()).collect();
        urls.join(", ")
    }
}

fn fill(view: &mut HeartbeatView, entry: &Entry, now: Instant) {
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    view.registry.clone_from(&entry.registry);
    view.latency_ms = entry.latency.map(millis);
    view.reason = match (&entry.failure, entry.is_leaving, entry.is_draining, entry.is_unhealthy) {
        (_, true, _, _) => Some(text::lease::lease_stopping()),
        (Some(failure), _, _, _) => Some(failure.clone()),
        (None, _, true, _) => Some(text::lease::lease_draining()),
        (None, _, _, true) => Some(text::lease::lease_unhealthy()),
        (None, ..) => None,
    };
    view.status = entry.shown.map(|status| status.as_str().to_owned());
    let is_set = entry.set_over != InstanceStatus::Unknown;
    view.override_status = is_set.then(|| entry.set_over.as_str().to_owned());
    match &entry.stage {
        Stage::Leased { written, lease, told } => {
            let id = &written.registration.instance_id;
            view.instance_id = (*told != Told::No).then(|| id.clone());
            view.is_active = !entry.is_leaving;
            view.state = lease.state(now);
            view.last_success = lease.last_success();
            view.consecutive_failures = lease.failures();
            view.lease_expires_in_ms = lease.expires_in(now).map(millis);
            let due = lease.due().filter(|_| !entry.is_leaving);
            view.next_in_ms = due.map(|due| millis(due.saturating_duration_since(now)));
            // What it was told is what it shows, until it was looked at.
            view.status = view.status.take().or(lease.told().map(|told| told.as_str().to_owned()));
        }
        Stage::Waiting(_) | Stage::Preparing => {
            view.reason = view.reason.take().or_else(|| Some(text::lease::lease_waiting()));
        }
        Stage::Refused(why) => view.reason = Some(why.clone()),
    }
}
