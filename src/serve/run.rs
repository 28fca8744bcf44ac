//! A server's life between prepared and stopped.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::build::Prepared;
use super::control::RemainingCalls;
use super::demo;
use super::faults;
use super::force;
use super::hang;
use super::health;
use super::manager;
use super::observer::{Observer, ReadyView};
use super::residue;
use super::shutdown::{self, Ended, Leaving};
use super::sync;
use super::thrift;
use crate::api;
use crate::config::OnConflict;
use crate::host::{clock, stop_grace};
use crate::lifecycle::{Bounds, Importance, Pulse, Tasks, Watch, Watchdog};
use crate::model::{
    Actor, Actual, EventAction, Fault, FaultKind, KillRequest, Outcome, Phase, Selection,
    ServiceId, ServiceName, ServiceView,
};
use crate::ops::{Live, store_fault};
use crate::rpc;
use crate::store::NewEvent;
use crate::text::{self, Lang};

/// Name of the threads of the control plane.
pub const CONTROL: &str = "control";

/// Between two looks at ports that a start waits for.
const TRY_AGAIN: Duration = Duration::from_millis(250);

impl Prepared {
    /// Starts what is wanted, serves until a stop is asked for, and shuts down in order. An error
    /// means that the server never became ready; everything was given back.
    pub async fn run(self, observer: Arc<dyn Observer>) -> Result<Ended, Fault> {
        let watchdog = self.start_watchdog();
        let watchdog = watchdog.map_err(|error| {
            Fault::caused(FaultKind::Internal, text::serve::watchdog_failed(), &error)
        })?;
        let tasks = self.server.tasks.clone();
        let (total, stopping) = (self.shutdown_timeout, self.stop.watch());
        let observer = manager::told_too(observer, total, &tasks, stopping);
        let mut run = self;
        if let Some(demo) = &mut run.demo {
            demo.serve_registry(&tasks);
        }
        // Until the shutdown waits for the tasks: the goodbye comes after that.
        let keeping = run.server.guardian.clone().keep(run.lang, run.stop.watch());
        tasks.spawn_until_end("guardian", keeping);
        if let Err(fault) = run.start_wanted().await {
            run.give_back().await;
            watchdog.goodbye();
            return Err(fault);
        }
        let close_control = CancellationToken::new();
        let mut control = None;
        let standing = match run.ports_are_free(&tasks, &close_control, &mut control).await {
            Ok(true) => {
                // Before anybody is told: one that stands still from then on is no longer starting.
                if let Err(error) = run.lock.set_phase(Phase::Ready) {
                    tracing::warn!(%error, "the holder's file still says starting");
                }
                let standing = run.stand_up(&tasks).await;
                if standing.is_ok() {
                    // Whoever is answered from here on finds everything there.
                    run.serve_control(&tasks, &close_control, &mut control);
                }
                standing.map(Some)
            }
            Ok(false) => Ok(None),
            Err(fault) => Err(fault),
        };
        let standing = match standing {
            Ok(standing) => standing,
            Err(fault) => {
                close_control.cancel();
                run.give_back().await;
                watchdog.goodbye();
                return Err(fault);
            }
        };
        let Self { server, ops, store, node, token, lock, writer, stop, lang, .. } = run;
        // Its directory goes when this function ends, after the database is closed.
        let _demo = run.demo;
        let told = server.health.edges();
        let edges = health::record(ops.clone(), told, stop.watch());
        tasks.spawn("health-events", Importance::Needed, edges);
        let (driven, driving) = (server.clone(), ops.clone());
        tasks.spawn("heartbeats", Importance::Needed, async move {
            let health = driven.health_signal();
            driven.heartbeats.drive(&driving, health, |id| driven.is_unhealthy(id)).await;
        });
        let (followed, heard, beat) = (server.clone(), stop.watch(), run.fetch_interval);
        tasks.spawn("directory", Importance::Helper, async move {
            followed.directory.follow(&followed.proxies, beat, heard).await;
        });
        let residue = residue::run(ops.clone(), run.heartbeat_timeout, stop.watch());
        tasks.spawn("registry-residue", Importance::Helper, residue);
        tasks.spawn("thrift", Importance::Helper, thrift::run(stop.watch()));
        let syncing = sync::run(ops.clone(), server.clone(), run.sync_interval, stop.watch());
        let sync = tasks.spawn("status-sync", Importance::Needed, syncing);
        let faults = faults::run(ops.clone(), server.clone(), stop.watch());
        tasks.spawn("proxy-faults", Importance::Needed, faults);
        drop(writer);
        if let Some((view, services)) = standing {
            announce(&view, &services, lang);
            if let Some(warning) = manager::too_short(stop_grace(), total) {
                tracing::warn!("{}", warning.render(lang));
            }
            observer.ready(&view);
        }

        stop.watch().stopping().await;
        let since = stop.state().cause().map_or_else(Instant::now, |(_, since)| since);
        let bounds = Bounds {
            total,
            registry: run.heartbeat_timeout,
            lame_duck: run.lame_duck,
            service: server.service_timeout,
        };
        let leaving = Leaving {
            server,
            store,
            node,
            token,
            lock,
            control,
            close_control,
            sync,
            tasks,
            stop,
            since,
            bounds,
            ops,
            lang,
            observer,
        };
        let ended = shutdown::run(leaving).await;
        watchdog.goodbye();
        Ok(ended)
    }

    fn start_watchdog(&self) -> io::Result<Watchdog> {
        let (server, location) = (self.server.clone(), self.location.clone());
        let node = self.node.clone();
        let mut pulses = self.server.proxies.pulses();
        pulses.push(Pulse::of_runtime(CONTROL.to_owned(), Handle::current()));
        Watchdog::start(Watch {
            stop: self.stop.watch(),
            total: self.shutdown_timeout,
            pulses,
            hang: hang::hear(self.server.clone(), self.on_hang, self.lang),
            last_resort: move || force::last_resort(&server, &location, &node),
        })
    }

    /// Starts what is wanted; what an unclean server left on its ports is ended first if that was
    /// asked for.
    async fn start_wanted(&mut self) -> Result<(), Fault> {
        if self.on_conflict == OnConflict::KillResidue {
            let unclean = std::mem::take(&mut self.unclean);
            let grace = KillRequest::DEFAULT_GRACE;
            self.ops.end_residue(unclean, grace, &Actor::Server).await?;
        }
        self.ops.start_desired(&Actor::Server).await.map(drop)
    }

    /// Serves the control address from here on, unless that has begun before.
    fn serve_control(
        &mut self,
        tasks: &Tasks,
        close: &CancellationToken,
        served: &mut Option<JoinHandle<RemainingCalls>>,
    ) {
        let Some(control) = self.control.take() else { return };
        let router = api::router(self.ops.clone()).merge(rpc::router(self.ops.clone()));
        let server = self.server.clone();
        let guard = api::Guard {
            own: api::Own {
                address: control.address(),
                names: self.access.control_names.clone(),
                is_tls: self.access.tls.is_some(),
            },
            token: self.token.token.clone(),
            open_metrics: self.access.open_metrics,
            is_own: Arc::new(move |headers| server.proxies.sent(headers)),
            grpc: rpc::refusal,
            ops: self.ops.clone(),
        };
        let router = api::guarded(router, guard);
        let running = control.run(router, close.clone().cancelled_owned());
        *served = Some(tasks.spawn("control", Importance::Vital, running));
    }

    /// With `--on-conflict wait`: waits until no port of a wanted service is taken any more. Whatever
    /// else can be served is served meanwhile, and the control address says that it starts. False if
    /// a stop was asked for first.
    async fn ports_are_free(
        &mut self,
        tasks: &Tasks,
        close: &CancellationToken,
        control: &mut Option<JoinHandle<RemainingCalls>>,
    ) -> Result<bool, Fault> {
        let mut stopping = self.stop.watch();
        let mut waiting: HashMap<ServiceId, ServiceName> = HashMap::new();
        loop {
            let conflicts = match self.on_conflict {
                OnConflict::Wait => self.ops.conflicts().await?,
                OnConflict::Fail | OnConflict::KillResidue => return Ok(true),
            };
            waiting.retain(|id, name| {
                let is_waiting = conflicts.iter().any(|service| service.id == *id);
                if !is_waiting {
                    tracing::info!("{}", text::cleanup::port_came_free(name).render(self.lang));
                }
                is_waiting
            });
            if conflicts.is_empty() {
                return Ok(true);
            }
            self.serve_control(tasks, close, control);
            for service in conflicts {
                if waiting.insert(service.id, service.name.clone()).is_none() {
                    let reason = service.reason.as_ref().map(|reason| reason.render(self.lang));
                    let reason = reason.unwrap_or_default();
                    let line = text::cleanup::waiting_for_port(&service.name, service.port, reason);
                    tracing::warn!("{}", line.render(self.lang));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TRY_AGAIN) => {}
                () = stopping.stopping() => return Ok(false),
            }
            self.ops.heal_services(&Actor::Server).await?;
        }
    }

    /// Everything that may still fail before ready is said.
    async fn stand_up(&self, tasks: &Tasks) -> Result<(ReadyView, Vec<ServiceView>), Fault> {
        self.server.set_attention(self.attention.clone());
        self.server.set_phase(Phase::Ready);
        let demo = match &self.demo {
            Some(_) => {
                let mut view = demo::set_up(&self.ops, tasks).await?;
                view.notes.splice(0..0, self.demo_notes.iter().cloned());
                view.registry = self.registry_url.clone();
                // On Linux the socket tells whose a connection is.
                view.token_file = (!cfg!(target_os = "linux")).then(|| self.token.path.clone());
                Some(view)
            }
            None => None,
        };
        let services = self.ops.list_services(&Selection::All).await?.services;
        let server = self.server.server();
        let (pid, url) = (server.pid.unwrap_or(0), server.url.clone().unwrap_or_default());
        let event = NewEvent {
            at: clock::now(),
            action: EventAction::ServerStarted,
            subject: self.node.to_string(),
            actor: Actor::Server,
            outcome: Outcome::Ok,
            detail: Some(text::ops::event_server_started(pid, url)),
        };
        self.store.append_events(vec![event]).await.map_err(store_fault)?;
        self.ops.events_appended().await;
        let count = |actual| services.iter().filter(|s| s.actual == actual).count();
        let (running, failed) = (count(Actual::Running), count(Actual::Failed));
        let attention = self.server.attention();
        Ok((ReadyView { server, running, failed, attention, demo }, services))
    }

    /// After a failure before ready: nothing listens, no row says running, no lock is held.
    async fn give_back(self) {
        self.server.cut_everything();
        self.server.proxies.stop_plane();
        let now = clock::now();
        let written = async {
            self.store.stop_all(&self.node, now, Vec::new()).await?;
            self.store.finish_node(self.server.node_id, now, "could not start").await?;
            self.store.close().await
        };
        match written.await {
            Ok(()) => {
                let guardian = self.server.guardian.clone();
                drop((self.token, self.lock));
                guardian.goodbye().await;
            }
            // The guardian hears no goodbye, and tries again.
            Err(error) => tracing::warn!(%error, "the next start puts the rows right"),
        }
    }
}

fn announce(view: &ReadyView, services: &[ServiceView], lang: Lang) {
    let (pid, url) = (view.server.pid.unwrap_or(0), view.server.url.as_deref().unwrap_or("-"));
    let (running, failed) = (view.running, view.failed);
    let ready = text::serve::ready(url, running, pid);
    tracing::info!(failed, "{}", ready.render(lang));
    for service in services.iter().filter(|service| service.actual == Actual::Failed) {
        let reason = service.reason.as_ref().map(|reason| reason.render(lang));
        let line = text::ops::attention_failed(&service.name, reason.unwrap_or_default());
        tracing::warn!("{}", line.render(lang));
    }
    for message in &view.attention {
        tracing::warn!("{}", message.render(lang));
    }
}
