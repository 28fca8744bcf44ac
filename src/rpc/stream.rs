//! Answers that take a while: actions that drain, events as they happen, a shutdown.
//!
//! A stream owns what it waits for and ends with it; nothing is spawned. Each shows a sign of life
//! at every beat, so that its reader can tell a long wait from a hung server.

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::beat::Beat;
use super::generated as pb;
use super::status::status;
use crate::model::{ActionReport, Actual, Event, Fault, Selection, ShutdownProgress};
use crate::ops::Ops;

/// A stream of messages of one kind.
pub(super) type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Events asked of the store at a time while watching.
const PAGE: u32 = 500;

/// The progress of `work` on `which`, then its report.
pub(super) fn action(
    ops: Ops,
    which: Selection,
    beat: Beat,
    work: BoxFuture<'static, Result<ActionReport, Fault>>,
) -> Updates<pb::ActionUpdate> {
    Box::pin(stream::unfold(Some(work), move |work| {
        let (ops, which) = (ops.clone(), which.clone());
        async move {
            let mut work = work?;
            // Both are polled together: the list may wait for a lock that the work holds.
            let progress = async {
                beat.next().await;
                progress(&ops, &which).await
            };
            tokio::select! {
                biased;
                report = &mut work => {
                    let report = report.map(|report| pb::action_update::Update::Report((&report).into()));
                    let update = report.map(|report| pb::ActionUpdate { update: Some(report) });
                    Some((update.map_err(|fault| status(&fault)), None))
                }
                progress = progress => Some((Ok(progress), Some(work))),
            }
        }
    }))
}

/// How far the services of an action are; an empty update where that cannot be told now.
async fn progress(ops: &Ops, which: &Selection) -> pb::ActionUpdate {
    let update = ops.list_services(which).await.ok().map(|report| {
        let services = report.services.iter().map(|service| pb::ServiceProgress {
            name: service.name.to_string(),
            actual: pb::Actual::from(service.actual).into(),
            counters: service
                .counters
                .as_ref()
                .filter(|_| service.actual != Actual::Stopped)
                .map(Into::into),
        });
        pb::action_update::Update::Progress(pb::ActionProgress { services: services.collect() })
    });
    pb::ActionUpdate { update }
}

struct Watching {
    ops: Ops,
    signal: watch::Receiver<i64>,
    beat: Beat,
    /// Read, not yet sent.
    ready: VecDeque<Event>,
    /// The newest event that was read.
    seen: i64,
}

/// The newest `last` events (those after `after` if that is given), then each that happens. Ends
/// when the server does.
///
/// # Errors
/// Those of reading the past events.
pub(super) async fn events(
    ops: Ops,
    mut signal: watch::Receiver<i64>,
    last: u32,
    after: Option<i64>,
    beat: Beat,
) -> Result<Updates<pb::EventUpdate>, Fault> {
    // Marked as seen before anything is read: what happens meanwhile wakes the watcher.
    let newest = *signal.borrow_and_update();
    let ready = match (last.min(Event::MAX_PAGE), after) {
        (0, _) => VecDeque::new(),
        (last, None) => ops.events(last, None).await?.events.into(),
        (last, Some(after)) => ops.events(last, Some(after)).await?.events.into(),
    };
    let seen = ready.back().map_or(after.unwrap_or(newest), |event| event.id);
    let mut watching = Watching { ops, signal, beat, ready, seen };
    // Whoever begins behind the newest event has unread ones waiting.
    if watching.seen < newest {
        watching.signal.mark_changed();
    }
    Ok(Box::pin(stream::unfold(watching, |watching| watching.next())))
}

impl Watching {
    async fn next(mut self) -> Option<(Result<pb::EventUpdate, Status>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                let update = pb::EventUpdate { event: Some((&event).into()) };
                return Some((Ok(update), self));
            }
            tokio::select! {
                biased;
                changed = self.signal.changed() => changed.ok()?,
                () = self.beat.next() => {
                    return Some((Ok(pb::EventUpdate { event: None }), self));
                }
            }
            match self.ops.events(PAGE, Some(self.seen)).await {
                Ok(page) => self.take(page.events),
                Err(fault) => return Some((Err(status(&fault)), self)),
            }
        }
    }

    fn take(&mut self, events: Vec<Event>) {
        if let Some(newest) = events.last() {
            self.seen = newest.id;
            // More than a page may have happened.
            if self.seen < *self.signal.borrow() {
                self.signal.mark_changed();
            }
        }
        self.ready = events.into();
    }
}

/// Every sign of progress of a shutdown; ends just before the server does.
pub(super) fn shutdown(
    progress: mpsc::UnboundedReceiver<ShutdownProgress>,
    beat: Beat,
) -> Updates<pb::ShutdownUpdate> {
    Box::pin(stream::unfold(progress, move |mut progress| async move {
        let update = tokio::select! {
            biased;
            sign = progress.recv() => Some((&sign?).into()),
            () = beat.next() => None,
        };
        Some((Ok(pb::ShutdownUpdate { progress: update }), progress))
    }))
}
