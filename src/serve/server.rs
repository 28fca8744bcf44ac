//! The live server as the operations see it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, watch};

use super::directory::Directory;
use super::faults::ProxyFaults;
use super::guardian::Guardian;
use super::health::Health;
use super::heartbeats::Heartbeats;
use super::progress::Progress;
use super::proxies::Proxies;
use crate::host;
use crate::lifecycle::{Importance, Stop, StopCause, Tasks};
use crate::model::{
    Actor, Actual, Counters, Cut, Fault, GuardianView, HealthState, HealthView, HeartbeatView,
    InstanceView, Phase, Port, Registration, ServerState, ServerView, Service, ServiceId,
    ShutdownProgress, Timestamp,
};
use crate::ops::{Announced, Live, Metrics, ServiceMetrics, StopResult};
use crate::proxy::ProxyPhase;
use crate::store::NodeId;
use crate::text::{self, Message};

/// The task of a change that a caller asked for.
pub(super) const CHANGE: &str = "change";

/// Shared by the control plane, the shutdown and the watchdog.
pub(super) struct Server {
    pub(super) node_id: NodeId,
    pub(super) proxies: Proxies,
    pub(super) stop: Stop,
    pub(super) tasks: Tasks,
    pub(super) progress: Progress,
    pub(super) health: Health,
    pub(super) heartbeats: Heartbeats,
    pub(super) directory: Directory,
    pub(super) guardian: Guardian,
    pub(super) faults: ProxyFaults,
    pub(super) service_timeout: Duration,
    pub(super) started_at: Timestamp,
    view: ServerView,
    phase: watch::Sender<Phase>,
    events: watch::Sender<i64>,
    attention: Mutex<Vec<Message>>,
    /// Threads that stand still.
    hung: Mutex<BTreeSet<String>>,
}

/// What a server is made of.
pub(super) struct Parts {
    pub(super) proxies: Proxies,
    pub(super) heartbeats: Heartbeats,
    pub(super) directory: Directory,
    pub(super) guardian: Guardian,
    pub(super) faults: ProxyFaults,
}

impl Server {
    pub(super) fn new(
        node_id: NodeId,
        view: ServerView,
        parts: Parts,
        stop: Stop,
        service_timeout: Duration,
        started_at: Timestamp,
    ) -> Self {
        let Parts { proxies, heartbeats, directory, guardian, faults } = parts;
        let tasks = Tasks::new(stop.clone());
        Self {
            node_id,
            health: Health::new(tasks.clone(), stop.clone(), proxies.control()),
            proxies,
            heartbeats,
            directory,
            guardian,
            faults,
            tasks,
            stop,
            progress: Progress::default(),
            service_timeout,
            started_at,
            view,
            phase: watch::Sender::new(Phase::Starting),
            events: watch::Sender::new(0),
            attention: Mutex::default(),
            hung: Mutex::default(),
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Replaces what the server wants a person to know.
    pub(super) fn set_attention(&self, messages: Vec<Message>) {
        *self.attention.lock().unwrap_or_else(PoisonError::into_inner) = messages;
    }

    /// Remembers that those threads stand still, or do no more.
    pub(super) fn set_hung(&self, threads: &str, is_stuck: bool) {
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        match is_stuck {
            true => drop(hung.insert(threads.to_owned())),
            false => drop(hung.remove(threads)),
        }
    }

    /// Closes every listener and connection at once, from whatever thread.
    pub(super) fn cut_everything(&self) -> Vec<Cut> {
        self.proxies.alive().into_iter().flat_map(|running| running.handle.cut_now()).collect()
    }

    /// Whether the target of a service was seen to be unhealthy.
    pub(super) fn is_unhealthy(&self, id: ServiceId) -> bool {
        self.health.seen(id).is_some_and(|health| health.state == HealthState::Unhealthy)
    }

    async fn start_one(&self, service: &Service) -> Result<(), Fault> {
        if self.proxies.get(service.id).is_some() {
            // Whoever starts it wants it to stay.
            self.heartbeats.set_draining(service.id, false);
            return Ok(());
        }
        self.start_proxy(service).await?;
        self.watch_health(service);
        self.announce(service);
        Ok(())
    }

    fn announce(&self, service: &Service) {
        self.heartbeats.announce(service, self.is_unhealthy(service.id));
        // What was seen between the look and the announcement.
        self.heartbeats.set_unhealthy(service.id, self.is_unhealthy(service.id));
    }

    async fn start_proxy(&self, service: &Service) -> Result<(), Fault> {
        self.proxies.start(service).await?;
        if let Some(running) = self.proxies.get(service.id) {
            self.directory.seek(&running, self.proxies.control());
        }
        Ok(())
    }

    async fn stop_one(&self, service: &Service, bound: Duration) -> StopResult {
        self.health.forget(service.id);
        let Some(running) = self.proxies.get(service.id) else {
            return StopResult::default();
        };
        let report = running.handle.drain(bound).await;
        self.proxies.forget(service.id);
        StopResult { was_running: true, cut: report.cut }
    }

    async fn move_one(&self, service: &Service) -> Result<Vec<Cut>, Fault> {
        let Some(old) = self.proxies.get(service.id) else { return Ok(Vec::new()) };
        if old.port != service.port {
            self.start_proxy(service).await?;
            // The registry learns of the new place before the old one is left.
            self.heartbeats.withdraw(&[service.id]).await;
            self.announce(service);
            return Ok(old.handle.drain(self.service_timeout).await.cut);
        }
        // Two listeners on one port exclude each other unless their addresses differ, which only
        // the operating system can tell: the old one goes first, and comes back if the new one
        // cannot be had.
        self.proxies.route(service)?;
        self.heartbeats.withdraw(&[service.id]).await;
        let cut = old.handle.drain(self.service_timeout).await.cut;
        match self.start_proxy(service).await {
            Ok(()) => {
                self.announce(service);
                Ok(cut)
            }
            Err(fault) => {
                let as_before = Service { bind: old.bind, port: old.port, ..service.clone() };
                if let Err(error) = self.start_proxy(&as_before).await {
                    self.proxies.forget(service.id);
                    self.health.forget(service.id);
                    tracing::error!(service = %service.name, %error, "cannot listen again");
                } else {
                    self.announce(&as_before);
                }
                Err(fault)
            }
        }
    }
}

impl Live for Server {
    fn node_id(&self) -> NodeId {
        self.node_id
    }

    fn server(&self) -> ServerView {
        ServerView { state: ServerState::from(self.phase()), ..self.view.clone() }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    fn attention(&self) -> Vec<Message> {
        let mut needs = self.attention.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        needs.extend(hung.iter().map(text::guardian::attention_hung));
        drop(hung);
        needs.extend(self.faults.attention());
        needs.extend(self.guardian.attention());
        needs.extend(self.heartbeats.attention());
        needs.extend(self.directory.attention(&self.proxies));
        needs
    }

    fn counters(&self, id: ServiceId) -> Option<Counters> {
        self.proxies.get(id).map(|running| running.handle.counters())
    }

    fn instances(&self, id: ServiceId) -> Option<Vec<InstanceView>> {
        let running = self.proxies.get(id)?;
        running.handle.balancer().map(|balancer| balancer.views())
    }

    fn port(&self, id: ServiceId) -> Option<Port> {
        self.proxies.get(id).map(|running| running.port)
    }

    fn check_target(&self, service: &Service) -> Result<(), Fault> {
        self.proxies.route(service).map(drop)
    }

    fn start<'a>(&'a self, services: &'a [Service]) -> BoxFuture<'a, Vec<Result<(), Fault>>> {
        // One after the other: binding is quick, and taken ports are looked up one at a time.
        async move {
            let mut results = Vec::with_capacity(services.len());
            for service in services {
                results.push(self.start_one(service).await);
            }
            results
        }
        .boxed()
    }

    fn stop<'a>(
        &'a self,
        services: &'a [Service],
        at_most: Option<Duration>,
    ) -> BoxFuture<'a, Vec<StopResult>> {
        let bound = self.service_timeout.min(at_most.unwrap_or(Duration::MAX));
        async move {
            // Consumers are to find it no more before it takes no more from them.
            let ids: Vec<ServiceId> = services.iter().map(|service| service.id).collect();
            self.heartbeats.withdraw(&ids).await;
            ids.iter().for_each(|id| self.heartbeats.set_draining(*id, false));
            join_all(services.iter().map(|service| self.stop_one(service, bound))).await
        }
        .boxed()
    }

    fn rebind<'a>(&'a self, service: &'a Service) -> BoxFuture<'a, Result<Vec<Cut>, Fault>> {
        self.move_one(service).boxed()
    }

    fn switch(&self, service: &Service) -> Result<(), Fault> {
        let route = self.proxies.route(service)?;
        if let Some(running) = self.proxies.get(service.id) {
            running.handle.switch(route);
            self.directory.seek(&running, self.proxies.control());
            self.watch_health(service);
        }
        Ok(())
    }

    fn has_registry(&self) -> bool {
        self.heartbeats.is_on()
    }

    fn has_lease(&self, id: ServiceId) -> bool {
        self.heartbeats.has(id)
    }

    fn announced(&self, of: &Registration) -> Announced {
        self.heartbeats.announced(of)
    }

    fn lease(&self, service: &Service) -> HeartbeatView {
        self.heartbeats.view(service)
    }

    fn set_registered<'a>(&'a self, service: &'a Service) -> BoxFuture<'a, ()> {
        async move {
            match service.register && self.proxies.get(service.id).is_some() {
                true => self.announce(service),
                false => self.heartbeats.withdraw(&[service.id]).await,
            }
        }
        .boxed()
    }

    fn set_draining(
        &self,
        id: ServiceId,
        is_draining: bool,
    ) -> BoxFuture<'_, Result<bool, Message>> {
        self.heartbeats.set_draining(id, is_draining);
        self.heartbeats.told(id).boxed()
    }

    fn is_draining(&self, id: ServiceId) -> bool {
        self.heartbeats.is_draining(id)
    }

    fn health(&self, id: ServiceId) -> Option<HealthView> {
        self.health.seen(id)
    }

    fn health_signal(&self) -> watch::Receiver<u64> {
        self.health.signal()
    }

    fn watch_health(&self, service: &Service) {
        match (self.proxies.get(service.id), &service.health) {
            // Where its requests go, so that both see the same instances.
            (Some(running), Some(check)) => {
                self.health.watch(service, check, running.handle.route());
            }
            _ => self.health.forget(service.id),
        }
    }

    fn carry_out(&self, work: BoxFuture<'static, ()>) {
        self.tasks.spawn(CHANGE, Importance::Helper, work);
    }

    fn request_shutdown(&self, by: &Actor) -> mpsc::UnboundedReceiver<ShutdownProgress> {
        let progress = self.progress.watch();
        self.stop.request(StopCause::Control(by.to_string()), Instant::now());
        progress
    }

    #[cfg(feature = "debug-hooks")]
    fn misbehave(&self, how: &str) {
        super::debug_hooks::misbehave(self, how);
    }

    fn guardian(&self) -> GuardianView {
        self.guardian.view()
    }

    fn metrics(&self) -> Metrics {
        let mut services: Vec<ServiceMetrics> = self
            .proxies
            .all()
            .into_iter()
            .map(|(_, running)| {
                let latency = running.handle.latency();
                ServiceMetrics {
                    name: running.name,
                    port: running.port,
                    actual: match running.handle.phase() {
                        ProxyPhase::Running => Actual::Running,
                        ProxyPhase::Draining => Actual::Draining,
                        ProxyPhase::Stopped => Actual::Stopped,
                    },
                    counters: running.handle.counters(),
                    latency: latency.cumulative().collect(),
                    latency_sum_seconds: latency.sum_seconds,
                }
            })
            .collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let process = host::own_figures();
        Metrics { process, started_at: self.started_at, services }
    }

    fn event_signal(&self) -> watch::Receiver<i64> {
        self.events.subscribe()
    }

    fn events_reach(&self, newest: i64) {
        self.events.send_if_modified(|known| {
            let grows = newest > *known;
            *known = newest.max(*known);
            grows
        });
    }
}
