//! Carrying out a plan: every port at once, every process once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Semaphore, mpsc};

use super::plan::{KillPlan, PlannedPort, Step, Target, report};
use super::verdict::{Found, Tried, Verdict};
use super::{proof, record};
use crate::host::{Holder, Holding};
use crate::model::{
    ActionItem, Actor, Bindable, EndSignal, Fault, KillItem, KillProgress, KillReport, KillRequest,
    Outcome, Port, PortAction, ProcessIdentity, Selection, ServiceName,
};
use crate::ops::context::Ops;
use crate::ops::ending::{EndFailure, Ended, end_holder};
use crate::ops::holders;
use crate::text::{self, Message};

/// Ports and processes dealt with at the same time.
const AT_ONCE: usize = 32;

/// That somebody asked for it to be done, and not for what would be done. Only a request that is no
/// dry run makes one.
pub(super) struct Consent {
    signal: Option<EndSignal>,
    grace: Duration,
}

impl Consent {
    pub(super) fn of(request: &KillRequest) -> Option<Self> {
        (!request.dry_run).then_some(Self { signal: request.signal, grace: request.grace })
    }
}

/// The end of a process that several ports may wait for.
type End = Shared<BoxFuture<'static, Arc<Result<Ended, EndFailure>>>>;

/// The stop of every served port's service, in one go.
type Stops = Shared<BoxFuture<'static, Arc<Result<BTreeMap<ServiceName, ActionItem>, Fault>>>>;

struct Run {
    ops: Ops,
    by: Actor,
    tell: mpsc::UnboundedSender<KillProgress>,
    total: u64,
    done: AtomicU64,
    ends: HashMap<ProcessIdentity, End>,
    stops: Option<Stops>,
    /// The servers' processes: that one of them listens again is no failure.
    own: Option<ProcessIdentity>,
}

/// Carries out the plan.
pub(super) async fn apply(
    ops: Ops,
    plan: KillPlan,
    consent: Consent,
    by: Actor,
    tell: mpsc::UnboundedSender<KillProgress>,
) -> KillReport {
    let source = plan.source;
    // Without it a port that the server has again is called held.
    let own = ops.own_process().await.ok().flatten();
    let run = Run {
        total: plan.ports.len() as u64,
        done: AtomicU64::new(0),
        ends: ends(&ops, &plan, &consent),
        stops: stops(&ops, &plan, &consent, &by),
        own,
        ops,
        by,
        tell,
    };
    let refusals = plan.ports.iter().filter_map(|planned| match &planned.step {
        Step::Leave { fault, holders } => {
            Some(record::left(&run.ops, &run.by, planned.port, fault, holders))
        }
        Step::Nothing | Step::Stop(_) | Step::End(_) => None,
    });
    let unrecorded = record::append(&run.ops, refusals.collect()).await;
    let items = stream::iter(plan.ports.into_iter().map(|planned| run.port(planned)));
    let mut items: Vec<KillItem> = items.buffer_unordered(AT_ONCE).collect().await;
    items.sort_by_key(|item| item.port);
    if let Some(note) = unrecorded {
        for item in items.iter_mut().filter(|item| item.action == PortAction::Left) {
            if !item.notes.contains(&note) {
                item.notes.push(note.clone());
            }
        }
    }
    report(source, false, items)
}

/// The end of each process, not yet begun.
fn ends(ops: &Ops, plan: &KillPlan, consent: &Consent) -> HashMap<ProcessIdentity, End> {
    let mut ports: HashMap<ProcessIdentity, Vec<Port>> = HashMap::new();
    for planned in &plan.ports {
        if let Step::End(targets) = &planned.step {
            for target in targets {
                ports.entry(target.holder.identity.clone()).or_default().push(planned.port);
            }
        }
    }
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let (signal, grace) = (consent.signal, consent.grace);
    let end = |(identity, ports): (ProcessIdentity, Vec<Port>)| {
        let (machine, turns, who) = (ops.machine().clone(), turns.clone(), identity.clone());
        let end = async move {
            // Nobody closes it; without a turn there is only less of a bound.
            let _turn = turns.acquire().await.ok();
            Arc::new(end_holder(&machine, &who, &ports, signal, grace).await)
        };
        (identity, end.boxed().shared())
    };
    ports.into_iter().map(end).collect()
}

/// The stop of all services, not yet begun; `None` if there are none.
fn stops(ops: &Ops, plan: &KillPlan, consent: &Consent, by: &Actor) -> Option<Stops> {
    let names: Vec<ServiceName> = plan
        .ports
        .iter()
        .filter_map(|planned| match &planned.step {
            Step::Stop(service) => Some(service.name.clone()),
            Step::Nothing | Step::End(_) | Step::Leave { .. } => None,
        })
        .collect();
    if names.is_empty() {
        return None;
    }
    let (ops, by, grace) = (ops.clone(), by.clone(), consent.grace);
    let stops = async move {
        let stopped = ops.stop(&Selection::Named(names), Some(grace), &by).await;
        let by_name = |item: ActionItem| (item.service.name.clone(), item);
        Arc::new(stopped.map(|report| report.services.into_iter().map(by_name).collect()))
    };
    Some(stops.boxed().shared())
}

impl Run {
    async fn port(&self, planned: PlannedPort) -> KillItem {
        let begun = Instant::now();
        let mut item = match planned.step {
            Step::Nothing | Step::Leave { .. } => return self.finished(planned.item()),
            Step::Stop(ref service) => {
                self.tell(text::kill::kill_stopping(&service.name, planned.port));
                let name = service.name.clone();
                self.stop(planned, &name).await
            }
            Step::End(ref targets) => {
                let names = holders::names(targets.iter().map(|target| &target.holder));
                self.tell(text::kill::kill_ending(names, planned.port));
                let targets = targets.clone();
                self.end(planned, targets).await
            }
        };
        item.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.finished(item)
    }

    fn tell(&self, message: Message) {
        let done = self.done.load(Ordering::Relaxed);
        // Whoever asked may be gone.
        self.tell.send(KillProgress { done, total: self.total, message }).ok();
    }

    fn finished(&self, item: KillItem) -> KillItem {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let message = item.message.clone();
        self.tell.send(KillProgress { done, total: self.total, message }).ok();
        item
    }

    async fn stop(&self, planned: PlannedPort, name: &ServiceName) -> KillItem {
        let port = planned.port;
        let stopped = match &self.stops {
            Some(stops) => stops.clone().await,
            None => Arc::new(Ok(BTreeMap::new())),
        };
        let cut = match stopped.as_ref() {
            Ok(items) => items.get(name).map_or(0, |item| item.cut.len()),
            Err(fault) => return self.left(planned, fault.clone(), &[]).await,
        };
        let found = match proof::settled(self.ops.machine(), port, false).await {
            Ok(found) => found,
            Err(fault) => return self.left(planned, fault, &[]).await,
        };
        let message = text::kill::kill_stopped(port, name, cut);
        let verdict = match Found::of(port, &found, None) {
            Found::Free => Verdict::freed(PortAction::Stopped, None, message),
            Found::Unseen(fault) => Verdict::left(fault),
            // `own` is not asked for here: if this server listens on, it was not stopped.
            Found::Own | Found::Held(_) => Verdict::left(Fault::new(
                crate::model::FaultKind::LeftAlone,
                text::kill::port_held_again(port, holders::names(found.seen())),
            )),
        };
        self.closed(planned, verdict, &found).await
    }

    async fn end(&self, planned: PlannedPort, targets: Vec<Target>) -> KillItem {
        let port = planned.port;
        let ends = targets.iter().filter_map(|t| self.ends.get(&t.holder.identity).cloned());
        let ends = join_all(ends).await;
        let tried: Vec<Tried> = targets
            .iter()
            .zip(&ends)
            .map(|(target, end)| Tried { target, end: end.as_ref() })
            .collect();
        let events = tried.iter().filter_map(|tried| {
            let (signal, outcome) = match tried.end {
                Ok(ended) => (ended.signal, Outcome::Ok),
                Err(EndFailure::LetGo { after: Some(signal) }) => (Some(*signal), Outcome::Ok),
                Err(EndFailure::Survived) => (Some(EndSignal::Kill), Outcome::Failed),
                Err(_) => return None,
            };
            Some(record::killed(&self.ops, &self.by, port, tried.target, signal, outcome))
        });
        // Before anything else is looked at: it has been done.
        let unrecorded = record::append(&self.ops, events.collect()).await;
        let is_kept = tried.iter().any(Tried::may_be_restarted);
        let (verdict, found) = match proof::settled(self.ops.machine(), port, is_kept).await {
            Ok(found) => {
                let keepers = self.keepers(&found).await;
                let own = self.own.as_ref();
                (Verdict::of(port, &tried, &Found::of(port, &found, own), &keepers), found)
            }
            Err(fault) => (Verdict::left(fault), Holding::Free),
        };
        let mut item = self.closed(planned, verdict, &found).await;
        if let Some(note) = unrecorded
            && !item.notes.contains(&note)
        {
            item.notes.push(note);
        }
        item
    }

    /// Who keeps those that listen now.
    async fn keepers(&self, found: &Holding) -> Vec<crate::model::Keeper> {
        let holders: Vec<Holder> = found.seen().to_vec();
        if holders.is_empty() {
            return Vec::new();
        }
        let details = holders::ask(self.ops.machine(), move |machine| machine.details(&holders));
        // Without them the sentence only says less.
        details.await.unwrap_or_default().into_iter().filter_map(|d| d.keeper).collect()
    }

    /// The port's line, once it is known what became of it.
    async fn closed(&self, planned: PlannedPort, verdict: Verdict, found: &Holding) -> KillItem {
        let port = planned.port;
        if let Some(fault) = verdict.fault {
            return self.left(planned, fault, found.seen()).await;
        }
        let bindable = match found {
            Holding::Free => {
                let tried =
                    holders::ask(self.ops.machine(), move |machine| proof::bindable(machine, port));
                tried.await.unwrap_or_else(|fault| Bindable::Unknown(fault.message))
            }
            Holding::Held(_) | Holding::HeldUnseen { .. } => Bindable::No(text::kill::bind_held()),
        };
        let mut item = KillItem {
            action: verdict.action,
            signal: verdict.signal,
            message: verdict.message,
            bindable,
            ..blank(planned)
        };
        item.notes.extend(verdict.notes);
        item
    }

    async fn left(&self, planned: PlannedPort, fault: Fault, holders: &[Holder]) -> KillItem {
        let event = record::left(&self.ops, &self.by, planned.port, &fault, holders);
        let unrecorded = record::append(&self.ops, vec![event]).await;
        let mut item = KillItem {
            action: PortAction::Left,
            message: fault.message.clone(),
            fault: Some(fault),
            ..blank(planned)
        };
        item.notes.extend(unrecorded);
        item
    }
}

/// What a port's line says whatever became of it.
fn blank(planned: PlannedPort) -> KillItem {
    KillItem {
        port: planned.port,
        service: planned.service.map(|service| service.name),
        action: PortAction::AlreadyFree,
        holders: planned.holders,
        signal: None,
        duration_ms: 0,
        bindable: planned.bindable,
        message: text::kill::kill_already_free(planned.port),
        notes: planned.notes,
        fault: None,
    }
}
