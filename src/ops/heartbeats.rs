//! The leases of services in the registry: how they are, what was called.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::context::Ops;
use super::faults::store_fault;
use crate::eureka::{Instance, InstanceStatus, NodeMark, RegistryCalls, find};
use crate::model::{
    Fault, FaultKind, Heartbeat, HeartbeatHistory, HeartbeatView, HeartbeatsReport, LeaseCounts,
    LeaseState, Registration, Selection, Service, ServiceName, Success, Timestamp,
};
use crate::store::RegistrationRow;
use crate::text::{self, Message};

/// For the registry's own view, where no server is asked: a person waits.
const LOOK: Duration = Duration::from_secs(2);

/// Calls of registries at once.
const MOST_CALLS: usize = 64;

/// Calls looked at for the last that went through.
const CALLS: u32 = 100;

impl Ops {
    /// How the lease of each service of `which` is: by the live server, or without one by the database
    /// and, where a registry is configured and answers, by what it lists. A name that is not
    /// registered fails the whole.
    pub async fn heartbeats_status(&self, which: &Selection) -> Result<HeartbeatsReport, Fault> {
        let mut services = self.select(which).await?;
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let heartbeats = match self.live() {
            Some(live) => services.iter().map(|service| live.lease(service)).collect(),
            None => self.recorded(&services).await?,
        };
        Ok(HeartbeatsReport { success: Success, source: self.source(), heartbeats })
    }

    /// The newest `limit` calls to the registry about a service, oldest first.
    pub async fn heartbeat_history(
        &self,
        name: &ServiceName,
        limit: u32,
    ) -> Result<HeartbeatHistory, Fault> {
        let not_found = || Fault::new(FaultKind::NotFound, text::model::service_not_found(name));
        let store = self.reading_store().ok_or_else(not_found)?;
        let service = store.service(self.node(), name).await.map_err(store_fault)?;
        let id = service.ok_or_else(not_found)?.id;
        let heartbeats = store.heartbeats(id, limit).await.map_err(store_fault)?;
        let (source, service_name) = (self.source(), name.clone());
        Ok(HeartbeatHistory { success: Success, source, service_name, heartbeats })
    }

    /// How many leases are in which state; `None` where no registry is configured, or no server was
    /// asked.
    pub(super) async fn lease_counts(&self) -> Option<LeaseCounts> {
        let live = self.live().filter(|live| live.has_registry())?;
        let services = self.select(&Selection::All).await.ok()?;
        let heartbeats = services.iter().map(|service| live.lease(service)).collect();
        let source = self.source();
        Some(HeartbeatsReport { success: Success, source, heartbeats }.counts())
    }

    /// Inside a live server: announces a service that runs and should be, and takes out one that
    /// should not be.
    pub(super) async fn heal_lease(&self, service: &Service) -> Result<(), Fault> {
        let Some(live) = self.live().filter(|live| live.has_registry()) else { return Ok(()) };
        let is_wanted = |service: &Service| service.register && live.counters(service.id).is_some();
        if is_wanted(service) == live.has_lease(service.id) {
            return Ok(());
        }
        // Whoever is changing it now may be about to put it right: look again in our turn.
        let _turn = self.turn(service.id).await;
        let Some(service) = self.by_id(service.id).await? else { return Ok(()) };
        if is_wanted(&service) != live.has_lease(service.id) {
            live.set_registered(&service).await;
        }
        Ok(())
    }

    /// What the database and the registry know while no server renews anything.
    async fn recorded(&self, services: &[Service]) -> Result<Vec<HeartbeatView>, Fault> {
        let Some(store) = self.reading_store() else { return Ok(Vec::new()) };
        let rows = store.registrations(self.node()).await.map_err(store_fault)?;
        let of: HashMap<_, _> =
            rows.into_iter().map(|row| (row.registration.service_id, row)).collect();
        let is_configured = self.registries().is_some_and(|r| r.configured().is_some());
        let now = self.now();
        let mut views = Vec::with_capacity(services.len());
        for service in services {
            let mut view = HeartbeatView::disabled(service);
            if let Some(row) = of.get(&service.id) {
                let calls = store.heartbeats(service.id, CALLS).await.map_err(store_fault)?;
                remember(&mut view, &row.registration, &calls, now);
            } else if service.register && is_configured {
                view.state = LeaseState::Unregistered;
                view.reason = Some(text::lease::lease_no_server());
            }
            views.push(view);
        }
        let written = views.iter_mut().zip(services);
        let written = written.filter_map(|(view, service)| Some((view, of.get(&service.id)?)));
        self.look_up(written.collect(), store.uuid()).await;
        Ok(views)
    }

    /// What the registry itself says of them, all within [`LOOK`]; what was recorded stays where it
    /// does not answer.
    async fn look_up(&self, written: Vec<(&mut HeartbeatView, &RegistrationRow)>, uuid: &str) {
        let Some(registries) = self.registries() else { return };
        let mut at: HashMap<&[String], Arc<dyn RegistryCalls>> = HashMap::new();
        for (_, row) in &written {
            let urls = &row.registration.registries;
            at.entry(urls).or_insert_with(|| registries.at(urls));
        }
        let deadline = tokio::time::Instant::now() + LOOK;
        let mut looks = Vec::with_capacity(written.len());
        for (view, row) in written {
            let (of, registry) = (&row.registration, &at[row.registration.registries.as_slice()]);
            let mark = NodeMark::new(uuid, self.node(), row.node.0);
            looks.push(async move {
                let look = find(registry.as_ref(), &of.app, &of.instance_id);
                let found = match tokio::time::timeout_at(deadline, look).await {
                    Ok(found) => found.map_err(|error| error.message()),
                    Err(_) => Err(text::lease::lease_registry_silent(of.registries.join(", "))),
                };
                compare(view, of, &mark, found);
            });
        }
        stream::iter(looks).buffer_unordered(MOST_CALLS).collect().await
    }
}

/// Puts what the registry said over what was recorded.
fn compare(
    view: &mut HeartbeatView,
    of: &Registration,
    mark: &NodeMark,
    found: Result<Option<Instance>, Message>,
) {
    match found {
        Ok(Some(instance)) if mark.is_of_node(&instance) => {
            let set_over = instance.overridden_status;
            let is_set = set_over != InstanceStatus::Unknown;
            view.status = Some(instance.status.as_str().to_owned());
            view.override_status = is_set.then(|| set_over.as_str().to_owned());
        }
        Ok(Some(theirs)) => {
            let whose = format!("{}:{}", theirs.host_name, theirs.port.number);
            view.state = LeaseState::Unregistered;
            view.reason = Some(text::lease::lease_instance_taken(&of.instance_id, whose));
        }
        Ok(None) => view.state = LeaseState::Unregistered,
        Err(reason) => view.reason = Some(reason),
    }
}

fn remember(view: &mut HeartbeatView, of: &Registration, calls: &[Heartbeat], now: Timestamp) {
    let fine = calls.iter().rev().find(|call| call.failure.is_none());
    let failures = calls.iter().rev().take_while(|call| call.failure.is_some()).count();
    let age = fine.map(|call| call.at.age(now));
    view.interval = of.interval.as_secs();
    view.instance_id = Some(of.instance_id.clone());
    view.registry = of.registries.first().cloned();
    view.last_success = fine.map(|call| call.at);
    view.consecutive_failures = failures as u64;
    view.latency_ms = calls.last().map(|call| call.latency_ms);
    let left = age.map(|age| of.duration.saturating_sub(age));
    view.lease_expires_in_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    view.state = match left {
        None => LeaseState::Unregistered,
        Some(Duration::ZERO) => LeaseState::Expired,
        Some(_) if failures > 0 => LeaseState::Failing,
        Some(_) => LeaseState::Up,
    };
    view.reason = Some(text::lease::lease_no_server());
}
