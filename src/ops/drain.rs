//! Leaving the registry while serving on, until consumers have really left.
//!
//! A consumer may go on calling an instance after the registry was told DOWN: the registry answers
//! lists from a cache of 30 s (`eureka-core`, `ResponseCacheImpl.java`), consumers fetch them every 30 s
//! and their load balancers look at what was fetched every 30 s. So the drain is over once all three
//! have passed and no traffic came for a while after, or its bound has passed.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::context::Ops;
use crate::model::{
    ActionReport, Actor, Counters, DrainProgress, Fault, FaultKind, Phase, Selection, Service,
    ServiceName,
};
use crate::text::{self, Message};

/// Caches between the registry and a consumer's next call.
const CACHES: Duration = Duration::from_secs(90);

/// Without traffic for so long, the consumers have left.
const QUIET: Duration = Duration::from_secs(5);

/// Between two looks at the traffic.
const LOOK: Duration = Duration::from_millis(200);

/// Between two signs of progress.
const SIGN: Duration = Duration::from_secs(1);

impl Ops {
    /// Takes a service out of the registry, serves on until its consumers have left or `max` has
    /// passed, then stops it; `hear` learns how far it is. A service that is not announced is watched
    /// for traffic alone. Other changes of the service are not held up; its start or stop ends the
    /// drain.
    ///
    /// # Errors
    /// `Unavailable` without a live server or if it leaves meanwhile, `NotFound`, `Precondition` if the
    /// service does not run or was stopped meanwhile; else as a stop.
    pub async fn drain_service(
        &self,
        name: &ServiceName,
        max: Duration,
        by: &Actor,
        hear: &(dyn Fn(DrainProgress) + Send + Sync),
    ) -> Result<ActionReport, Fault> {
        if self.live().is_none() {
            let message = text::heartbeat::drain_needs_a_server(name);
            return Err(Fault::new(FaultKind::Unavailable, message));
        }
        let (name, by) = (name.clone(), by.clone());
        let ops = self.clone();
        self.to_its_end_heard(hear, |tell| async move { ops.drain(&name, max, &by, tell).await })
            .await
    }

    async fn drain(
        &self,
        name: &ServiceName,
        max: Duration,
        by: &Actor,
        tell: UnboundedSender<DrainProgress>,
    ) -> Result<ActionReport, Fault> {
        // Refuses where the server leaves already.
        self.store()?;
        let service = self.select_one(name).await?;
        let Some(live) = self.live() else {
            let message = text::heartbeat::drain_needs_a_server(name);
            return Err(Fault::new(FaultKind::Unavailable, message));
        };
        if live.counters(service.id).is_none() {
            let message = text::lease::drain_not_running(name);
            return Err(Fault::new(FaultKind::Precondition, message));
        }
        let until = Instant::now() + max;
        let say = |message: Message| {
            let left = until.saturating_duration_since(Instant::now());
            let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let (service, counters) = (service.name.clone(), live.counters(service.id));
            // Nobody may be watching.
            let _ = tell.send(DrainProgress { service, message, counters, left_ms });
        };
        say(text::lease::drain_telling());
        let left = until.saturating_duration_since(Instant::now());
        let told = tokio::time::timeout(left, live.set_draining(service.id, true)).await;
        let caches = match told {
            Ok(Ok(true)) => CACHES,
            Ok(Ok(false)) => Duration::ZERO,
            Ok(Err(reason)) => {
                say(text::lease::drain_untold(reason));
                CACHES
            }
            Err(_) => CACHES,
        };
        let end = self.wait_for_consumers(&service, until, caches, &say).await;
        if end.is_err() {
            // It serves on: it is to be found again.
            let _ = live.set_draining(service.id, false).await;
        }
        end?;
        self.stop_services(&Selection::Named(vec![name.clone()]), by).await
    }

    async fn wait_for_consumers(
        &self,
        service: &Service,
        until: Instant,
        caches: Duration,
        say: &(dyn Fn(Message) + Send + Sync),
    ) -> Result<(), Fault> {
        let interrupted =
            |kind| Err(Fault::new(kind, text::lease::drain_interrupted(&service.name)));
        let Some(live) = self.live() else { return interrupted(FaultKind::Unavailable) };
        let began = Instant::now();
        let (mut seen, mut quiet_since, mut signed) = (None, began, None);
        loop {
            if live.phase() != Phase::Ready {
                return interrupted(FaultKind::Unavailable);
            }
            let Some(counters) = live.counters(service.id) else {
                return interrupted(FaultKind::Precondition);
            };
            if !live.is_draining(service.id) {
                return interrupted(FaultKind::Precondition);
            }
            let now = Instant::now();
            if seen.replace(traffic(&counters)) != Some(traffic(&counters)) || is_busy(&counters) {
                quiet_since = now;
            }
            let waiting = caches.saturating_sub(now - began);
            if now >= until {
                say(text::lease::drain_bound());
                return Ok(());
            }
            if waiting.is_zero() && now - quiet_since >= QUIET {
                say(text::lease::drain_quiet());
                return Ok(());
            }
            if signed.is_none_or(|at| now - at >= SIGN) {
                signed = Some(now);
                say(match waiting.is_zero() {
                    true => text::lease::drain_waiting_traffic(),
                    false => text::lease::drain_waiting_caches(waiting.as_secs() + 1),
                });
            }
            tokio::time::sleep(LOOK.min(until - now)).await;
        }
    }
}

/// What grows with traffic. Connections alone are none: a pool keeps idle ones for long.
fn traffic(counters: &Counters) -> u64 {
    counters.requests()
}

fn is_busy(counters: &Counters) -> bool {
    counters.in_flight > 0 || counters.tunnels > 0
}
