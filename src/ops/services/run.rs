//! Starting and stopping services.

use std::time::Duration;

use super::list::Claim;
use crate::model::{
    ActionItem, ActionReport, Actor, Actual, Desired, EventAction, Fault, Selection, Service,
    ServiceId,
};
use crate::ops::context::{Ops, done, failed};
use crate::ops::faults::store_fault;
use crate::ops::live::StopResult;
use crate::text::{self, Message};

impl Ops {
    /// Makes running the desired state of `which`, and inside a live server the actual one.
    pub(super) async fn start(&self, which: &Selection, by: &Actor) -> Result<ActionReport, Fault> {
        let claim = self.want(which, Desired::Running, by).await?;
        let services = &claim.services;
        let Some(live) = self.live() else {
            return self.noted(services, |s| text::ops::start_noted(s.port)).await;
        };
        let was_running: Vec<bool> =
            services.iter().map(|s| live.counters(s.id).is_some()).collect();
        let results = self.run_now(services, by).await?;
        let mut items = self.items_now(services).await?;
        for ((item, result), was_running) in items.iter_mut().zip(results).zip(was_running) {
            let port = item.service.port;
            item.message = match (&result, was_running) {
                (Ok(()), true) => text::ops::already_running(port),
                (Ok(()), false) => text::ops::started(port),
                (Err(fault), _) => fault.message.clone(),
            };
            item.fault = result.err();
        }
        Ok(self.report(items))
    }

    /// Makes stopped the desired state of `which`, and inside a live server the actual one, after
    /// a drain; `at_most` shortens the server's own bound of it.
    pub(in crate::ops) async fn stop(
        &self,
        which: &Selection,
        at_most: Option<Duration>,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let claim = self.want(which, Desired::Stopped, by).await?;
        let services = &claim.services;
        if self.live().is_none() {
            return self.noted(services, |s| text::ops::stop_noted(s.port)).await;
        }
        let results = self.stop_now(services, at_most, by).await?;
        let mut items = self.items_now(services).await?;
        for (item, result) in items.iter_mut().zip(results) {
            let port = item.service.port;
            item.message = match result.was_running {
                true => text::ops::stopped(port, result.cut.len()),
                false => text::ops::already_stopped(port),
            };
            item.cut = result.cut;
        }
        Ok(self.report(items))
    }

    /// Stops and starts `which`; without a server it makes running the desired state.
    pub(super) async fn restart(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let claim = self.want(which, Desired::Running, by).await?;
        let services = &claim.services;
        if self.live().is_none() {
            return self.noted(services, |s| text::ops::start_noted(s.port)).await;
        }
        let stopped = self.stop_now(services, None, by).await?;
        let results = self.run_now(services, by).await?;
        let mut items = self.items_now(services).await?;
        for ((item, result), stopped) in items.iter_mut().zip(results).zip(stopped) {
            item.message = match &result {
                Ok(()) => text::ops::restarted(item.service.port),
                Err(fault) => fault.message.clone(),
            };
            item.cut = stopped.cut;
            item.fault = result.err();
        }
        Ok(self.report(items))
    }

    /// Starts every service whose desired state is running: what a server does when it begins. The
    /// failed ones are failed services, not a failed server; the number of them is returned.
    pub async fn start_desired(&self, by: &Actor) -> Result<usize, Fault> {
        let mut services = self.select(&Selection::All).await?;
        services.retain(|service| service.desired == Desired::Running);
        let results = self.run_now(&services, by).await?;
        Ok(results.iter().filter(|result| result.is_err()).count())
    }

    /// Selects, and writes the desired state of all of them in one transaction.
    async fn want(&self, which: &Selection, desired: Desired, by: &Actor) -> Result<Claim, Fault> {
        let store = self.store()?;
        let claim = self.claim(which).await?;
        let changed = || claim.services.iter().filter(|s| s.desired != desired);
        if changed().next().is_none() {
            return Ok(claim);
        }
        let now = self.now();
        let ids: Vec<ServiceId> = changed().map(|s| s.id).collect();
        let event = |s: &Service| {
            let detail = text::ops::event_desired(desired);
            done(now, EventAction::ServiceChanged, &s.name, by, detail)
        };
        let events = changed().map(event).collect();
        store.set_desired(&ids, desired, events).await.map_err(store_fault)?;
        self.events_appended().await;
        Ok(claim)
    }

    /// The report of a change that only the next start carries out.
    async fn noted(
        &self,
        services: &[Service],
        message: impl Fn(&Service) -> Message,
    ) -> Result<ActionReport, Fault> {
        let named = Selection::Named(services.iter().map(|s| s.name.clone()).collect());
        let services = self.select(&named).await?;
        let item = |service: Service| {
            let message = message(&service);
            self.item(service, message)
        };
        Ok(self.report(services.into_iter().map(item).collect()))
    }

    /// Items of the services as they are now, in the given order, still without their sentence.
    async fn items_now(&self, services: &[Service]) -> Result<Vec<ActionItem>, Fault> {
        let named = Selection::Named(services.iter().map(|s| s.name.clone()).collect());
        let services = self.select(&named).await?;
        let item = |service: Service| {
            let message = text::ops::started(service.port);
            self.item(service, message)
        };
        Ok(services.into_iter().map(item).collect())
    }

    /// Runs a proxy for each service through the live server: `starting` is written before the
    /// ports are bound, the outcome after, each in one transaction.
    pub(super) async fn run_now(
        &self,
        services: &[Service],
        by: &Actor,
    ) -> Result<Vec<Result<(), Fault>>, Fault> {
        let (Some(live), Some(store)) = (self.live(), self.reading_store()) else {
            return Ok(Vec::new());
        };
        let node = Some(live.node_id());
        let is_new: Vec<bool> = services.iter().map(|s| live.counters(s.id).is_none()).collect();
        let fresh = || services.iter().zip(&is_new).filter(|(_, new)| **new).map(|(s, _)| s);
        let starting: Vec<_> = fresh().map(|s| (s.id, Actual::Starting, None)).collect();
        if !starting.is_empty() {
            let begun = store.set_actual(node, &starting, self.now(), Vec::new()).await;
            begun.map_err(store_fault)?;
        }
        let results = live.start(services).await;
        let now = self.now();
        let (mut states, mut events) = (Vec::new(), Vec::new());
        for ((service, result), is_new) in services.iter().zip(&results).zip(&is_new) {
            match result {
                Ok(()) if *is_new => {
                    states.push((service.id, Actual::Running, None));
                    let detail = text::ops::event_started(service.port);
                    let action = EventAction::ServiceStarted;
                    events.push(done(now, action, &service.name, by, detail));
                }
                Ok(()) => {}
                Err(fault) => {
                    states.push((service.id, Actual::Failed, Some(fault.message.clone())));
                    let action = EventAction::ServiceFailed;
                    events.push(failed(now, action, &service.name, by, fault));
                }
            }
        }
        if !states.is_empty() {
            store.set_actual(node, &states, now, events).await.map_err(store_fault)?;
            self.events_appended().await;
        }
        Ok(results)
    }

    /// Drains the proxy of each service through the live server and writes `draining` before,
    /// `stopped` after. `at_most` shortens the server's own bound of a drain.
    pub(super) async fn stop_now(
        &self,
        services: &[Service],
        at_most: Option<Duration>,
        by: &Actor,
    ) -> Result<Vec<StopResult>, Fault> {
        let (Some(live), Some(store)) = (self.live(), self.reading_store()) else {
            return Ok(Vec::new());
        };
        let node = Some(live.node_id());
        let running = services.iter().filter(|s| live.counters(s.id).is_some());
        let draining: Vec<_> = running.map(|s| (s.id, Actual::Draining, None)).collect();
        if !draining.is_empty() {
            let begun = store.set_actual(node, &draining, self.now(), Vec::new()).await;
            begun.map_err(store_fault)?;
        }
        let results = live.stop(services, at_most).await;
        let now = self.now();
        let stopped: Vec<_> = services.iter().map(|s| (s.id, Actual::Stopped, None)).collect();
        let event = |(service, result): (&Service, &StopResult)| {
            let detail = text::ops::stopped(service.port, result.cut.len());
            let event = done(now, EventAction::ServiceStopped, &service.name, by, detail);
            result.was_running.then_some(event)
        };
        let events = services.iter().zip(&results).filter_map(event).collect();
        store.set_actual(node, &stopped, now, events).await.map_err(store_fault)?;
        self.events_appended().await;
        Ok(results)
    }
}
