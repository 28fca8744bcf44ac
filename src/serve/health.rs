//! The health of targets: each watched one is looked at on a beat of its own, apart from all
//! traffic, which goes on whatever is seen here.

use std::collections::HashMap;
use std::error::Error;
use std::iter;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::host::clock;
use crate::lifecycle::{Importance, Stop, StopWatch, Tasks};
use crate::model::{
    HealthCheck, HealthEdge, HealthState, HealthView, Service, ServiceId, ServiceName, Target,
    Timestamp,
};
use crate::ops::Ops;
use crate::proxy::{self, Balancer, ProbeError, Route};
use crate::text::{self, Message};

/// The task of one watched target.
const TASK: &str = "health";

/// Instances of an application that one look asks at most.
const MOST_INSTANCES: usize = 3;

/// The first looks at many targets are spread over this, or over the interval if that is less.
const FIRST: Duration = Duration::from_secs(1);

/// Who is watched, and what was seen. A service is in it while it runs and is to be watched.
pub(super) struct Health {
    tasks: Tasks,
    stop: Stop,
    /// Where this server takes orders; it is not asked.
    control: SocketAddr,
    watched: Mutex<HashMap<ServiceId, Watched>>,
    changes: watch::Sender<u64>,
    tell: mpsc::UnboundedSender<HealthEdge>,
    told: Mutex<Option<mpsc::UnboundedReceiver<HealthEdge>>>,
}

struct Watched {
    target: Target,
    seen: Arc<Mutex<Seen>>,
    /// Its drop ends the looking.
    _end: DropGuard,
}

impl Health {
    pub(super) fn new(tasks: Tasks, stop: Stop, control: SocketAddr) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let (watched, changes) = (Mutex::default(), watch::Sender::new(0));
        Self { tasks, stop, control, watched, changes, tell, told: Mutex::new(Some(told)) }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ServiceId, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The changes that are worth an event; whoever takes them first hears all of them.
    pub(super) fn edges(&self) -> Option<mpsc::UnboundedReceiver<HealthEdge>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Grows with every change.
    pub(super) fn signal(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What was last seen of `id`; `None` where nobody looks.
    pub(super) fn seen(&self, id: ServiceId) -> Option<HealthView> {
        self.table().get(&id).map(|watched| lock(&watched.seen).view.clone())
    }

    /// Nobody looks any more.
    pub(super) fn forget(&self, id: ServiceId) {
        if self.table().remove(&id).is_some() {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Looks at the active target of `service` from now on, which is `route`. What was seen of the
    /// same target so far still counts; its CA file may have been read anew.
    pub(super) fn watch(&self, service: &Service, check: &HealthCheck, route: Route) {
        let Some(target) = service.active().cloned() else { return };
        let mut table = self.table();
        let kept = match table.get(&service.id) {
            Some(known) if known.target == target => lock(&known.seen).clone().with(check.clone()),
            Some(_) | None => Seen::new(check.clone()),
        };
        let seen = Arc::new(Mutex::new(kept));
        let end = CancellationToken::new();
        let look = Look {
            service: service.name.clone(),
            check: check.clone(),
            first: first_look(service.id, check),
            route,
            control: self.control,
            seen: Arc::clone(&seen),
            changes: self.changes.clone(),
            tell: self.tell.clone(),
        };
        let (ended, mut stop) = (end.clone(), self.stop.watch());
        self.tasks.spawn(TASK, Importance::Helper, async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = stop.stopping() => {}
                () = look.run() => {}
            }
        });
        table.insert(service.id, Watched { target, seen, _end: end.drop_guard() });
        drop(table);
        self.changes.send_modify(|count| *count += 1);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a target is first looked at: early, but not all of them in one moment.
fn first_look(id: ServiceId, check: &HealthCheck) -> Duration {
    let whole = FIRST.min(Duration::from_millis(check.interval_ms));
    // The fractional parts of multiples of the golden ratio fill a span evenly, however many.
    let part = (id.0.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u32;
    whole * part / 65_536
}

/// What one target was seen to do.
#[derive(Clone)]
struct Seen {
    view: HealthView,
    good_in_a_row: u32,
    bad_in_a_row: u32,
}

impl Seen {
    fn new(check: HealthCheck) -> Self {
        Self { view: HealthView::unknown(check), good_in_a_row: 0, bad_in_a_row: 0 }
    }

    fn with(mut self, check: HealthCheck) -> Self {
        self.view.check = check;
        self
    }

    /// Takes a look into account: `Err` is what it met. True if the state is another one now.
    ///
    /// The first good look is enough where nothing was known, because nothing has to be made up for.
    fn take(&mut self, look: Result<(), Message>, now: Timestamp) -> bool {
        let check = &self.view.check;
        let state = match look {
            Ok(()) => {
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
                self.bad_in_a_row = 0;
                self.view.reason = None;
                let is_enough = self.good_in_a_row >= check.healthy_after
                    || self.view.state == HealthState::Unknown;
                is_enough.then_some(HealthState::Healthy)
            }
            Err(met) => {
                self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
                self.good_in_a_row = 0;
                self.view.reason = Some(met);
                let is_enough = self.bad_in_a_row >= check.unhealthy_after;
                is_enough.then_some(HealthState::Unhealthy)
            }
        };
        match state {
            Some(state) if state != self.view.state => {
                (self.view.state, self.view.since) = (state, Some(now));
                true
            }
            _ => false,
        }
    }
}

/// Looking at one target.
struct Look {
    service: ServiceName,
    check: HealthCheck,
    first: Duration,
    route: Route,
    control: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    changes: watch::Sender<u64>,
    tell: mpsc::UnboundedSender<HealthEdge>,
}

impl Look {
    async fn run(self) {
        let interval = Duration::from_millis(self.check.interval_ms);
        let mut beat = tokio::time::interval_at(Instant::now() + self.first, interval);
        // After a sleep of the machine one look is enough.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            self.once().await;
        }
    }

    fn no_instance(&self) -> Message {
        let application = self.route.balancer().map_or("", Balancer::application);
        text::balance::health_no_instance(application)
    }

    async fn once(&self) {
        if !self.route.is_known() {
            return;
        }
        let timeout = Duration::from_millis(self.check.timeout_ms);
        let path = &self.check.path;
        let (mut status, mut look) = (0, Err(self.no_instance()));
        for upstream in self.route.upstreams().iter().take(MOST_INSTANCES) {
            let answer = proxy::probe(upstream, path, timeout, Some(self.control)).await;
            status = answer.as_ref().map_or(0, |status| status.as_u16());
            look = match answer {
                Ok(status) if (200..400).contains(&status.as_u16()) => Ok(()),
                Ok(status) => Err(text::heartbeat::health_status(path, status.as_u16())),
                Err(error) => Err(met(path, &error)),
            };
            // One instance that is well is enough for the requests.
            if look.is_ok() {
                break;
            }
        }
        let (before, after) = {
            let mut seen = lock(&self.seen);
            let before = seen.view.state;
            let changed = seen.take(look, clock::now());
            (before, changed.then(|| seen.view.clone()))
        };
        let Some(after) = after else { return };
        self.changes.send_modify(|count| *count += 1);
        let target = self.route.name();
        let detail = match after.state {
            HealthState::Healthy if before == HealthState::Unknown => return,
            HealthState::Healthy => {
                tracing::info!(service = %self.service, %target, status, "target healthy again");
                text::heartbeat::health_answered(target, status)
            }
            HealthState::Unhealthy | HealthState::Unknown => {
                let reason = after.reason.map(|reason| reason.to_string()).unwrap_or_default();
                tracing::warn!(service = %self.service, %target, reason, "target unhealthy");
                text::heartbeat::attention_unhealthy(target, &self.service, reason)
            }
        };
        let at = after.since.unwrap_or_else(clock::now);
        let (service, state) = (self.service.clone(), after.state);
        // Without a listener the server is leaving, and nothing is written any more.
        let _ = self.tell.send(HealthEdge { at, service, state, detail });
    }
}

/// What a look met that got no answer.
fn met(path: &str, error: &ProbeError) -> Message {
    let causes = iter::successors(Some(error as &dyn Error), |error| (*error).source());
    let reason = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    match error {
        ProbeError::Silent(after) => {
            text::heartbeat::health_silent(path, humantime::format_duration(*after))
        }
        ProbeError::Connect(_) | ProbeError::Control | ProbeError::NotSendable(_) => {
            text::heartbeat::health_unreachable(reason)
        }
        ProbeError::Broken(_) => text::heartbeat::health_broken(path, reason),
    }
}

/// Makes events of changes until a stop was asked for; those of one moment in one transaction.
pub(super) async fn record(
    ops: Ops,
    edges: Option<mpsc::UnboundedReceiver<HealthEdge>>,
    mut stop: StopWatch,
) {
    let Some(mut edges) = edges else { return };
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.stopping() => return,
            count = edges.recv_many(&mut batch, 1_000) => {
                if count == 0 {
                    return;
                }
            }
        }
        if let Err(error) = ops.note_health(&batch).await {
            tracing::warn!(%error, "changes of health are missing among the events");
        }
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HealthPatch;

    fn seen() -> Seen {
        let patch = HealthPatch { path: Some("/up".to_owned()), ..HealthPatch::default() };
        Seen::new(patch.over(None).unwrap_or_else(|e| panic!("{e}")))
    }

    fn states(looks: &[bool]) -> Vec<(&'static str, bool)> {
        let mut seen = seen();
        let mut look = |good: &bool| {
            let met = if *good { Ok(()) } else { Err(text::heartbeat::health_status("/up", 500)) };
            let changed = seen.take(met, Timestamp::from_millis(1));
            (seen.view.state.as_str(), changed)
        };
        looks.iter().map(&mut look).collect()
    }

    #[test]
    fn a_state_changes_only_after_its_looks_in_a_row() {
        let bad = ("unhealthy", false);
        assert_eq!(
            states(&[true, false, false, true, false, false, false, false]),
            [
                ("healthy", true),
                ("healthy", false),
                ("healthy", false),
                ("healthy", false),
                ("healthy", false),
                ("healthy", false),
                ("unhealthy", true),
                bad,
            ]
        );
        let from_nothing = states(&[false, false, false, true, false, true, true]);
        assert_eq!(
            from_nothing,
            [
                ("unknown", false),
                ("unknown", false),
                ("unhealthy", true),
                bad,
                bad,
                bad,
                ("healthy", true),
            ]
        );
    }

    #[test]
    fn the_reason_is_that_of_the_last_look() {
        let mut seen = seen();
        let at = Timestamp::from_millis;
        seen.take(Ok(()), at(1));
        seen.take(Err(text::heartbeat::health_status("/up", 500)), at(2));
        assert!(seen.view.reason.is_some());
        assert_eq!(seen.view.since, Some(at(1)));
        seen.take(Ok(()), at(3));
        assert_eq!(seen.view.reason, None);
    }

    #[test]
    fn first_looks_are_spread_over_a_second_or_the_interval() {
        let check = seen().view.check;
        let mut slots = [0_u32; 10];
        for id in 1..=1_000 {
            let first = first_look(ServiceId(id), &check);
            assert!(first < FIRST, "{first:?}");
            slots[first.as_millis() as usize / 100] += 1;
        }
        assert!(slots.iter().all(|count| (80..=120).contains(count)), "{slots:?}");
        let fast = HealthCheck { interval_ms: 100, ..check };
        assert!((1..=99).all(|id| first_look(ServiceId(id), &fast).as_millis() < 100));
    }
}
