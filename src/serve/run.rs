//! A server's life between ready and the stop request.

use std::sync::Arc;
use std::time::Instant;

use super::build::Prepared;
use super::demo;
use super::force;
use super::observer::{Observer, ReadyView};
use super::shutdown::{self, Ended, Leaving};
use super::sync;
use crate::api;
use crate::host::clock;
use crate::lifecycle::{Importance, Tasks, Watchdog};
use crate::model::{Actor, Actual, EventAction, Fault, FaultKind, Outcome, Phase};
use crate::ops::{Live, store_fault};
use crate::rpc;
use crate::store::NewEvent;
use crate::text;

impl Prepared {
    /// Starts what is wanted, serves until a stop is asked for, and shuts down in order. An error
    /// means that the server never became ready; everything was given back.
    pub async fn run(self, observer: Arc<dyn Observer>) -> Result<Ended, Fault> {
        let Self { server, ops, store, location, node, mut lock, writer, control, .. } = self;
        let (stop, lang) = (self.stop, self.lang);
        let tasks = Tasks::new(stop.clone());
        let last_resort = {
            let (server, location, node) = (server.clone(), location.clone(), node.clone());
            move || force::last_resort(&server, &location, &node)
        };
        let watchdog = Watchdog::start(stop.watch(), self.shutdown_timeout, last_resort);
        let watchdog = watchdog.map_err(|error| {
            Fault::caused(FaultKind::Internal, text::serve::watchdog_failed(), &error)
        })?;

        let failed = ops.start_desired(&Actor::Server).await?;
        server.set_attention(self.attention);
        server.set_phase(Phase::Ready);
        lock.set_phase(Phase::Ready).map_err(store_fault)?;
        drop(writer);

        let control_address = control.local_addr();
        let router = api::router(ops.clone()).merge(rpc::router(ops.clone()));
        let router = api::guarded(router, control_address);
        let control = control.serve(router, &tasks);
        let watch = stop.watch();
        let syncing = sync::run(ops.clone(), server.clone(), watch);
        let sync = tasks.spawn("status-sync", Importance::Helper, syncing);

        // Its directory goes when this function ends, after the database is closed.
        let demo_plan = self.demo;
        let demo = match &demo_plan {
            Some(_) => Some(demo::set_up(&ops, &tasks, &stop).await?),
            None => None,
        };
        let services = ops.list_services(&crate::model::Selection::All).await?.services;
        let view = server.server();
        let url = view.url.clone().unwrap_or_default();
        let event = NewEvent {
            at: clock::now(),
            action: EventAction::ServerStarted,
            subject: node.to_string(),
            actor: Actor::Server,
            outcome: Outcome::Ok,
            detail: Some(text::ops::event_server_started(view.pid.unwrap_or(0), &url)),
        };
        store.append_events(vec![event]).await.map_err(store_fault)?;
        ops.events_appended().await;
        let running = services.iter().filter(|s| s.actual == Actual::Running).count();
        let ready = text::serve::ready(&url, running, view.pid.unwrap_or(0));
        tracing::info!(services = running, failed, "{}", ready.render(lang));
        for service in services.iter().filter(|s| s.actual == Actual::Failed) {
            let reason = service.reason.as_ref().map(|reason| reason.render(lang));
            let reason = reason.unwrap_or_default();
            let line = text::ops::attention_failed(&service.name, &reason);
            tracing::warn!(service = %service.name, "{}", line.render(lang));
        }
        observer.ready(&ReadyView {
            server: view,
            running,
            failed,
            attention: server.attention(),
            demo,
        });

        stop.watch().stopping().await;
        let since = stop.state().cause().map_or_else(Instant::now, |(_, since)| since);
        let leaving = Leaving {
            server,
            store,
            node,
            lock,
            control,
            sync,
            tasks,
            stop,
            since,
            total: self.shutdown_timeout,
            lang,
            observer,
        };
        let ended = shutdown::run(leaving).await;
        watchdog.goodbye();
        drop(demo_plan);
        Ok(ended)
    }
}
