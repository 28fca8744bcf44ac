//! A server's life between prepared and stopped.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::build::Prepared;
use super::demo;
use super::force;
use super::observer::{Observer, ReadyView};
use super::shutdown::{self, Ended, Leaving};
use super::sync;
use crate::api;
use crate::host::clock;
use crate::lifecycle::{Importance, Tasks, Watchdog};
use crate::model::{
    Actor, Actual, EventAction, Fault, FaultKind, Outcome, Phase, Selection, ServiceView,
};
use crate::ops::{Live, store_fault};
use crate::rpc;
use crate::store::NewEvent;
use crate::text::{self, Lang};

impl Prepared {
    /// Starts what is wanted, serves until a stop is asked for, and shuts down in order. An error
    /// means that the server never became ready; everything was given back.
    pub async fn run(self, observer: Arc<dyn Observer>) -> Result<Ended, Fault> {
        let last_resort = {
            let (server, location) = (self.server.clone(), self.location.clone());
            let node = self.node.clone();
            move || force::last_resort(&server, &location, &node)
        };
        let watchdog = Watchdog::start(self.stop.watch(), self.shutdown_timeout, last_resort);
        let watchdog = watchdog.map_err(|error| {
            Fault::caused(FaultKind::Internal, text::serve::watchdog_failed(), &error)
        })?;
        let tasks = self.server.tasks.clone();
        let (view, services) = match self.stand_up(&tasks).await {
            Ok(standing) => standing,
            Err(fault) => {
                self.give_back().await;
                watchdog.goodbye();
                return Err(fault);
            }
        };
        let Self { server, ops, store, node, token, access, mut lock, .. } = self;
        let Self { writer, control, stop, lang, .. } = self;
        // Its directory goes when this function ends, after the database is closed.
        let _demo = self.demo;
        let router = api::router(ops.clone()).merge(rpc::router(ops.clone()));
        let of_own = server.clone();
        let guard = api::Guard {
            own: api::Own {
                address: control.address(),
                names: access.control_names,
                is_tls: access.tls.is_some(),
            },
            token: token.token.clone(),
            open_metrics: access.open_metrics,
            is_own: Arc::new(move |headers| of_own.proxies.sent(headers)),
            grpc: rpc::refusal,
            ops: ops.clone(),
        };
        let router = api::guarded(router, guard);
        let close_control = CancellationToken::new();
        let closed = close_control.clone().cancelled_owned();
        let control = tasks.spawn("control", Importance::Vital, control.run(router, closed));
        let syncing = sync::run(ops, server.clone(), stop.watch());
        let sync = tasks.spawn("status-sync", Importance::Helper, syncing);
        if let Err(error) = lock.set_phase(Phase::Ready) {
            tracing::warn!(%error, "the holder's file still says starting");
        }
        drop(writer);
        announce(&view, &services, lang);
        observer.ready(&view);

        stop.watch().stopping().await;
        let since = stop.state().cause().map_or_else(Instant::now, |(_, since)| since);
        let total = self.shutdown_timeout;
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
            total,
            lang,
            observer,
        };
        let ended = shutdown::run(leaving).await;
        watchdog.goodbye();
        Ok(ended)
    }

    /// Everything that may still fail before ready is said.
    async fn stand_up(&self, tasks: &Tasks) -> Result<(ReadyView, Vec<ServiceView>), Fault> {
        self.ops.start_desired(&Actor::Server).await?;
        self.server.set_attention(self.attention.clone());
        self.server.set_phase(Phase::Ready);
        let demo = match &self.demo {
            Some(_) => {
                let mut view = demo::set_up(&self.ops, tasks).await?;
                view.notes.splice(0..0, self.demo_notes.iter().cloned());
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
        if let Err(error) = written.await {
            tracing::warn!(%error, "the next start puts the rows right");
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
