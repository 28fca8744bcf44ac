//! The seven steps, in their order. Irrevocable quick steps come first, all proxies drain in
//! parallel, and one budget stands over everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::access::ControlToken;
use super::control::RemainingCalls;
use super::heartbeats::Left;
use super::observer::Observer;
use super::proxies::Running;
use super::server::{CHANGE, Server};
use crate::host::clock;
use crate::lifecycle::{Bounds, Budget, Stop, StopCause, Tasks};
use crate::model::{
    Actor, Cut, EventAction, NodeName, Outcome, Phase, ShutdownProgress, ShutdownStep, StepState,
};
use crate::ops::Ops;
use crate::proxy::DrainReport;
use crate::store::{NewEvent, OwnerLock, Store};
use crate::text::{self, Lang, Message};

/// For what should take no time: background tasks that only have to hear the stop, control streams
/// that have been told.
const QUICK: Duration = Duration::from_millis(500);

/// For changes that had begun before the stop: their proxies are gone by then, and all that is left
/// to them is to write their rows down and answer.
const CHANGES: Duration = Duration::from_secs(2);

/// Instances named in one line.
const MOST_NAMED: usize = 10;

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why it had to end by force; `None` when everything went in order.
    pub forced: Option<Message>,
    /// Connections that were cut.
    pub cut: Vec<Cut>,
}

/// What is left to give back.
pub(super) struct Leaving {
    pub(super) server: Arc<Server>,
    pub(super) store: Store,
    pub(super) node: NodeName,
    pub(super) token: ControlToken,
    pub(super) lock: OwnerLock,
    pub(super) control: Option<JoinHandle<RemainingCalls>>,
    pub(super) close_control: CancellationToken,
    pub(super) sync: JoinHandle<()>,
    pub(super) tasks: Tasks,
    pub(super) stop: Stop,
    pub(super) since: Instant,
    pub(super) bounds: Bounds,
    pub(super) ops: Ops,
    pub(super) lang: Lang,
    pub(super) observer: Arc<dyn Observer>,
}

/// Shuts down. Always comes to its end; the watchdog ends the process if the runtime doesn't.
pub(super) async fn run(leaving: Leaving) -> Ended {
    let Leaving { server, store, node, mut lock, control, tasks, stop, .. } = leaving;
    let (sync, token) = (leaving.sync, leaving.token);
    let cause = stop.state().cause().map(|(cause, _)| cause.clone());
    let budget = Budget::new(leaving.since, leaving.bounds, cause.as_ref());
    let mut told = Teller {
        server: server.clone(),
        observer: leaving.observer,
        lang: leaving.lang,
        forced: None,
        cut: Vec::new(),
    };
    let asked_by = cause.as_ref().map_or_else(String::new, cause_name);
    if let Some(StopCause::TaskEnded(task)) = cause {
        told.forced = Some(text::serve::forced_by_task(task));
    }

    // 1. No new calls; those in flight and the streams go on to step 6.
    let step = told.begin(ShutdownStep::CloseControl, opening(cause.as_ref()));
    server.set_phase(Phase::Draining);
    if let Err(error) = lock.set_phase(Phase::Draining) {
        tracing::debug!(%error, "the holder's file still says ready");
    }
    leaving.close_control.cancel();
    // Its task panicked or hangs: nothing of it can be waited for, the runtime's end takes it.
    let calls = match control {
        Some(control) => tokio::time::timeout(QUICK, control).await.ok().and_then(Result::ok),
        None => None,
    };
    told.done(step, text::serve::step_control_closed());

    // 2. The status synchronisation has heard the stop.
    let step = told.begin(ShutdownStep::StopSync, text::serve::step_sync_stopping());
    // A pass that is starting a service must be over before the drain looks at what runs.
    let abort = sync.abort_handle();
    if tokio::time::timeout(QUICK, sync).await.is_err() {
        abort.abort();
    }
    server.proxies.close();
    told.done(step, text::serve::step_sync_stopped());

    // 3. Consumers are to find nothing here any more before anything here ends.
    let has_left_registry = leave_registry(&server, &stop, budget, &mut told).await;
    lame_duck(&stop, budget, &mut told).await;

    // 4. Every proxy at once.
    drain(&server, &stop, budget, &mut told).await;

    // A change that writes its rows after the next step would leave them as they are not.
    let now = Instant::now();
    let bound = CHANGES.min(budget.left(now) / 2);
    if !server.tasks.ended_of(CHANGE, now + bound).await {
        tracing::warn!("a change did not end in time; its rows may be as it left them");
    }

    // What was called last belongs to the history.
    let flush = server.heartbeats.flush(&leaving.ops);
    tokio::time::timeout(QUICK.min(budget.left(Instant::now())), flush).await.ok();

    // 5. One transaction.
    told.heed(&stop);
    let step = told.begin(ShutdownStep::SaveState, text::serve::step_state_saving());
    let save = save_state(&store, &server, &node, &told, &asked_by);
    match tokio::time::timeout(budget.left(Instant::now()), save).await {
        Ok(Ok(())) => told.done(step, text::serve::step_state_saved()),
        Ok(Err(error)) => told.failed(step, text::serve::step_state_unsaved(chain(&error))),
        Err(_) => told.failed(step, text::serve::step_state_unsaved("timed out")),
    }

    // 6. The streams have heard everything they can hear.
    let step = told.begin(ShutdownStep::CloseDatabase, text::serve::step_database_closing());
    server.proxies.stop_plane();
    told.announce_closing();
    server.progress.end();
    if let Some(calls) = calls {
        tokio::time::timeout(QUICK.min(budget.left(Instant::now())), calls.end()).await.ok();
    }
    let left = tasks.ended(Instant::now() + QUICK.min(budget.left(Instant::now()))).await;
    if !left.is_empty() {
        tracing::debug!(tasks = ?left, "tasks end with the process");
    }
    server.set_phase(Phase::Stopped);
    match tokio::time::timeout(budget.left(Instant::now()), store.close()).await {
        Ok(Ok(())) => told.done(step, text::serve::step_database_closed()),
        Ok(Err(error)) => told.failed(step, text::serve::step_database_failed(chain(&error))),
        Err(_) => told.failed(step, text::serve::step_database_failed("timed out")),
    }
    // Before the lock: from there on the file may be the next server's.
    drop(token);
    drop(lock);

    // 7. Only the exit is left.
    told.heed(&stop);
    // After a shutdown by force, or in too much of a hurry for the registry, the guardian looks once
    // more, as soon as this process is gone.
    if told.forced.is_none() && (has_left_registry || !budget.is_hurried()) {
        server.guardian.goodbye().await;
    }
    let step = told.begin(ShutdownStep::Exit, text::serve::step_exiting());
    match told.forced.clone() {
        None => told.done(step, text::serve::step_all_safe()),
        Some(reason) => told.failed(step, text::serve::step_forced(reason.render(told.lang))),
    }
    Ended { forced: told.forced, cut: told.cut }
}

/// Stops the renewals and takes every instance out of the registry, within one bound. What could not
/// be taken out is said; it stays written down for whoever comes after. Whether that is nothing.
async fn leave_registry(server: &Server, stop: &Stop, budget: Budget, told: &mut Teller) -> bool {
    let step = told.begin(ShutdownStep::Deregister, text::serve::step_leases_ending());
    let deadline = (Instant::now() + budget.bounds().registry).min(budget.drain_end());
    let mut watch = stop.watch();
    let left = tokio::select! {
        left = server.heartbeats.end(deadline) => left,
        // Nothing is waited for any more; whoever comes after finds what is written down.
        () = watch.forced() => Vec::new(),
    };
    if left.is_empty() {
        told.done(step, text::serve::step_leases_ended());
        return true;
    }
    for Left { instance, reason } in &left {
        tracing::warn!(%instance, "{}", reason.render(told.lang));
    }
    let mut named: Vec<&str> = left.iter().map(|left| left.instance.as_str()).collect();
    named.sort_unstable();
    let more = if named.len() > MOST_NAMED { ", …" } else { "" };
    named.truncate(MOST_NAMED);
    let named = named.join(", ") + more;
    told.done(step, text::lease::step_leases_left(left.len(), named));
    false
}

/// Serves on for a while, for consumers that have not looked yet.
async fn lame_duck(stop: &Stop, budget: Budget, told: &mut Teller) {
    let duration = budget.bounds().lame_duck;
    if duration.is_zero() || stop.state().is_forced() {
        return;
    }
    let duration = duration.min(budget.drain_end().saturating_duration_since(Instant::now()));
    let shown = humantime::format_duration(Duration::from_millis(millis(duration)));
    told.line_of(ShutdownStep::Deregister, text::lease::step_lame_duck(shown));
    let mut watch = stop.watch();
    let forced = watch.forced();
    // A second signal ends it; else it is over when its time is.
    let _ = tokio::time::timeout(duration, forced).await;
}

async fn drain(server: &Server, stop: &Stop, budget: Budget, told: &mut Teller) {
    let running = server.proxies.alive();
    let count = running.len();
    let message = text::serve::step_draining(count);
    let step = told.begin_counting(ShutdownStep::DrainProxies, message, Some((0, count as u64)));
    let mut named: Vec<&Running> = running.iter().collect();
    named.sort_by(|a, b| a.name.cmp(&b.name));
    for proxy in named {
        told.line(text::serve::step_draining_one(&proxy.name, proxy.port));
    }
    let (bound, whole_is_shorter) = budget.drain(Instant::now());
    let mut drains: FuturesUnordered<_> = running
        .iter()
        .map(|proxy| async move { (proxy, proxy.handle.drain(bound).await) })
        .collect();
    let mut watch = stop.watch();
    let mut finished = 0;
    loop {
        tokio::select! {
            biased;
            ended = drains.next() => {
                let Some((proxy, report)) = ended else { break };
                finished += 1;
                told.drained(step, proxy, report, (finished, count as u64));
            }
            () = watch.forced(), if !stop_was_forced(told) => {
                told.forced = Some(text::serve::forced_by_signal());
                // The drains hear it and end with what was cut in their reports.
                server.cut_everything();
            }
        }
    }
    if whole_is_shorter && !told.cut.is_empty() && told.forced.is_none() {
        told.forced = Some(text::serve::forced_by_bound());
    }
    match told.cut.len() {
        0 => told.done(step, text::serve::step_drained()),
        cut => told.done(step, text::serve::step_drained_with_cuts(cut)),
    }
}

fn stop_was_forced(told: &Teller) -> bool {
    told.forced.is_some()
}

async fn save_state(
    store: &Store,
    server: &Server,
    node: &NodeName,
    told: &Teller,
    asked_by: &str,
) -> Result<(), crate::store::StoreError> {
    let now = clock::now();
    let (action, outcome, detail, reason) = match &told.forced {
        None => {
            let detail = text::ops::event_server_stopped(asked_by, server.proxies.all().len());
            (EventAction::ServerStopped, Outcome::Ok, detail, asked_by.to_owned())
        }
        Some(why) => {
            let detail = text::ops::event_server_forced(asked_by, why);
            (EventAction::ServerForced, Outcome::Failed, detail, why.to_string())
        }
    };
    let event = NewEvent {
        at: now,
        action,
        subject: node.to_string(),
        actor: Actor::Server,
        outcome,
        detail: Some(detail),
    };
    store.stop_all(node, now, vec![event]).await?;
    store.finish_node(server.node_id, now, &reason).await
}

fn opening(cause: Option<&StopCause>) -> Message {
    match cause {
        Some(StopCause::Signal(signal)) => text::serve::step_signal_received(signal),
        Some(StopCause::Control(actor)) => text::serve::step_stop_requested(actor),
        Some(StopCause::TaskEnded(task)) => text::serve::step_task_ended(task),
        None => text::serve::step_stop_requested("?"),
    }
}

fn cause_name(cause: &StopCause) -> String {
    match cause {
        StopCause::Signal(signal) => signal.to_string(),
        StopCause::Control(actor) => actor.clone(),
        StopCause::TaskEnded(task) => (*task).to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Says each step to the log, to whoever watches, and remembers what the end depends on.
struct Teller {
    server: Arc<Server>,
    observer: Arc<dyn Observer>,
    lang: Lang,
    forced: Option<Message>,
    cut: Vec<Cut>,
}

/// A step under way.
#[derive(Clone, Copy)]
struct Step {
    step: ShutdownStep,
    since: Instant,
}

impl Teller {
    /// A second stop signal counts whenever it comes, also where nothing was left to cut.
    fn heed(&mut self, stop: &Stop) {
        if stop.state().is_forced() && self.forced.is_none() {
            self.forced = Some(text::serve::forced_by_signal());
        }
    }

    fn begin(&mut self, step: ShutdownStep, message: Message) -> Step {
        self.begin_counting(step, message, None)
    }

    /// The same for a step that goes on by numbers: a watcher learns at once of how many.
    fn begin_counting(
        &mut self,
        step: ShutdownStep,
        message: Message,
        proxies: Option<(u64, u64)>,
    ) -> Step {
        let since = Instant::now();
        if matches!(step, ShutdownStep::CloseControl | ShutdownStep::DrainProxies) {
            tracing::info!(step = step.as_str(), "{}", message.render(self.lang));
        }
        self.publish(step, StepState::Started, message, None, proxies, Vec::new());
        Step { step, since }
    }

    fn done(&mut self, step: Step, message: Message) {
        self.finish(step, StepState::Done, message);
    }

    fn failed(&mut self, step: Step, message: Message) {
        if self.forced.is_none() {
            self.forced = Some(message.clone());
        }
        self.finish(step, StepState::Failed, message);
    }

    fn finish(&mut self, Step { step, since }: Step, state: StepState, message: Message) {
        let duration_ms = millis(since.elapsed());
        let line = message.render(self.lang);
        match state {
            StepState::Failed => {
                tracing::error!(step = step.as_str(), duration_ms, "{line}");
            }
            StepState::Started | StepState::Done => {
                tracing::info!(step = step.as_str(), duration_ms, "{line}");
            }
        }
        self.publish(step, state, message, Some(duration_ms), None, Vec::new());
    }

    /// A line below a step that is no step of its own.
    fn line(&self, message: Message) {
        self.line_of(ShutdownStep::DrainProxies, message);
    }

    fn line_of(&self, step: ShutdownStep, message: Message) {
        tracing::info!("{}", message.render(self.lang));
        self.publish(step, StepState::Started, message, None, None, Vec::new());
    }

    fn drained(&mut self, step: Step, proxy: &Running, report: DrainReport, done: (u64, u64)) {
        for cut in &report.cut {
            let (peer, request) = (&cut.peer, &cut.request);
            let line = text::serve::step_cut(&cut.service, peer, &cut.kind, request, cut.age_ms);
            tracing::warn!(bytes = cut.bytes, "{}", line.render(self.lang));
        }
        self.cut.extend_from_slice(&report.cut);
        let message = text::serve::step_drained_one(&proxy.name, proxy.port);
        self.publish(step.step, StepState::Started, message, None, Some(done), report.cut);
    }

    /// The last sign that goes out before the streams end: whoever watches learns the outcome.
    fn announce_closing(&self) {
        let message = text::serve::step_streams_ending();
        let step = ShutdownStep::CloseDatabase;
        self.publish(step, StepState::Started, message, None, None, Vec::new());
    }

    fn publish(
        &self,
        step: ShutdownStep,
        state: StepState,
        message: Message,
        duration_ms: Option<u64>,
        proxies: Option<(u64, u64)>,
        cut: Vec<Cut>,
    ) {
        let forced = self.forced.is_some();
        let sign = ShutdownProgress { step, state, message, duration_ms, proxies, cut, forced };
        self.observer.shutdown(&sign);
        self.server.progress.publish(sign);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
