//! Answers that take a while: actions that drain, events as they happen, a shutdown.
//!
//! A stream owns what it waits for and ends with it; nothing is spawned. Each shows a sign of life
//! at every beat, so that its reader can tell a long wait from a hung server.

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::beat::Beat;
use super::generated::action_update;
use super::generated::{self as pb};
use super::status::status;
use crate::model::{ActionReport, Actual, Event, Fault, ServicesReport, ShutdownProgress};

/// A stream of messages of one kind.
pub(super) type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What is awaited inside a stream.
pub(super) type Pending<T> = BoxFuture<'static, Result<T, Fault>>;

/// Events asked of the store at a time while watching.
const PAGE: u32 = 500;

/// The messages of a call that ends with a report.
pub(super) trait Told: Send + 'static {
    /// What one message may say.
    type Update: Send;

    fn new(update: Option<Self::Update>) -> Self;
}

macro_rules! told {
    ($($message:ident: $module:ident;)*) => {$(
        impl Told for pb::$message {
            type Update = pb::$module::Update;

            fn new(update: Option<Self::Update>) -> Self {
                Self { update }
            }
        }
    )*};
}

told! {
    ActionUpdate: action_update;
    KillUpdate: kill_update;
    CleanupUpdate: cleanup_update;
}

/// What `signs` tell, `None` being a sign of life and nothing more, until the report of `work`.
/// Both are polled together: a sign may wait for a lock that the work holds.
fn until_report<T: Told>(
    work: Pending<T::Update>,
    signs: impl Stream<Item = Option<T::Update>> + Send + 'static,
) -> Updates<T> {
    Box::pin(stream::unfold((Some(work), Box::pin(signs)), |(work, mut signs)| async move {
        let mut work = work?;
        tokio::select! {
            biased;
            report = &mut work => {
                let update = report.map(|report| T::new(Some(report)));
                Some((update.map_err(|fault| status(&fault)), (None, signs)))
            }
            Some(sign) = signs.next() => Some((Ok(T::new(sign)), (Some(work), signs))),
        }
    }))
}

/// How far the services that `look` finds are, at each beat, until the report of `work`.
pub(super) fn action(
    work: Pending<ActionReport>,
    beat: Beat,
    look: impl Fn() -> Pending<ServicesReport> + Send + Sync + 'static,
) -> Updates<pb::ActionUpdate> {
    let work = work.map(|report| Ok(action_update::Update::Report((&report?).into())));
    let signs = stream::unfold(look, move |look| async move {
        beat.next().await;
        // Where it cannot be told now, the update is a sign of life and nothing more.
        let seen = look().await.ok();
        let update = seen.map(|report| action_update::Update::Progress(progress(&report)));
        Some((update, look))
    });
    until_report(work.boxed(), signs)
}

/// Each sign of progress that `work` gives to what it is made with, a sign of life at each quiet
/// beat, until its report.
pub(super) fn told<T, P, F>(
    beat: Beat,
    progress: fn(P) -> T::Update,
    work: impl FnOnce(Box<dyn Fn(P) + Send + Sync>) -> F,
) -> Updates<T>
where
    T: Told,
    P: Send + 'static,
    F: Future<Output = Result<T::Update, Fault>> + Send + 'static,
{
    let (tell, heard) = mpsc::unbounded_channel();
    // Whoever listened may be gone; the work goes on all the same.
    let work = work(Box::new(move |sign| drop(tell.send(sign))));
    let signs = stream::unfold(heard, move |mut heard| async move {
        let sign = tokio::select! {
            biased;
            Some(sign) = heard.recv() => Some(progress(sign)),
            () = beat.next() => None,
        };
        Some((sign, heard))
    });
    until_report(work.boxed(), signs)
}

fn progress(report: &ServicesReport) -> pb::ActionProgress {
    let services = report.services.iter().map(|service| pb::ServiceProgress {
        name: service.name.to_string(),
        actual: pb::Actual::from(service.actual).into(),
        counters: service
            .counters
            .as_ref()
            .filter(|_| service.actual != Actual::Stopped)
            .map(Into::into),
    });
    pb::ActionProgress { services: services.collect() }
}

struct Watching<F> {
    read: F,
    signal: watch::Receiver<i64>,
    beat: Beat,
    /// Read, not yet sent.
    ready: VecDeque<Event>,
    /// The newest event that was read.
    seen: i64,
}

/// The newest `last` events (the first `last` after `after`, if that is given), then each that
/// happens. `read` gives events as `ops::Ops::events` does, `signal` the id of the newest one.
/// Ends when the sender of `signal` does.
///
/// # Errors
/// Those of reading the past events.
pub(super) async fn events<F>(
    read: F,
    mut signal: watch::Receiver<i64>,
    last: u32,
    after: Option<i64>,
    beat: Beat,
) -> Result<Updates<pb::EventUpdate>, Fault>
where
    F: Fn(u32, Option<i64>) -> Pending<Vec<Event>> + Send + Sync + 'static,
{
    // Marked as seen before anything is read: what happens meanwhile wakes the watcher.
    let newest = *signal.borrow_and_update();
    let ready: VecDeque<_> = match last.min(Event::MAX_PAGE) {
        0 => VecDeque::new(),
        last => read(last, after).await?.into(),
    };
    let seen = ready.back().map_or(after.unwrap_or(newest), |event| event.id);
    // Whoever begins behind the newest event has unread ones waiting.
    if seen < newest {
        signal.mark_changed();
    }
    let watching = Watching { read, signal, beat, ready, seen };
    Ok(Box::pin(stream::unfold(watching, Watching::next)))
}

impl<F> Watching<F>
where
    F: Fn(u32, Option<i64>) -> Pending<Vec<Event>> + Send + Sync + 'static,
{
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
            match (self.read)(PAGE, Some(self.seen)).await {
                Ok(events) => self.take(events),
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::{Applied, KillProgress, KillReport, Source, Success, Timestamp};
    use crate::rpc::generated::kill_update;

    fn event(id: i64) -> Event {
        Event {
            id,
            at: Timestamp::from_millis(id),
            action: "service-added".to_owned(),
            subject: "a".to_owned(),
            actor: "server".to_owned(),
            outcome: "ok".to_owned(),
            detail: None,
        }
    }

    /// A record of events, read the way the operations read theirs.
    #[derive(Clone, Default)]
    struct Record(Arc<Mutex<Vec<Event>>>);

    impl Record {
        fn add(&self, ids: std::ops::RangeInclusive<i64>) {
            self.0.lock().unwrap_or_else(|e| panic!("{e}")).extend(ids.map(event));
        }

        fn reader(&self) -> impl Fn(u32, Option<i64>) -> Pending<Vec<Event>> + use<> {
            let events = Arc::clone(&self.0);
            move |limit, after| {
                let events = events.lock().unwrap_or_else(|e| panic!("{e}")).clone();
                let limit = limit as usize;
                let page = match after {
                    Some(after) => {
                        events.into_iter().filter(|e| e.id > after).take(limit).collect()
                    }
                    None => events[events.len().saturating_sub(limit)..].to_vec(),
                };
                async move { Ok(page) }.boxed()
            }
        }
    }

    async fn ids(updates: &mut Updates<pb::EventUpdate>, count: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match updates.next().await {
                Some(Ok(update)) => ids.extend(update.event.map(|event| event.id)),
                other => panic!("after {ids:?}: {other:?}"),
            }
        }
        ids
    }

    #[tokio::test]
    async fn a_watcher_sees_the_last_events_and_then_each_new_one_once() {
        let record = Record::default();
        record.add(1..=5);
        let (signal, watch) = watch::channel(5);
        let beat = Beat::asked(60_000);
        let started = events(record.reader(), watch, 2, None, beat).await;
        let mut updates = started.unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(ids(&mut updates, 2).await, [4, 5]);
        // More than one page at once.
        record.add(6..=1_300);
        signal.send_replace(1_300);
        assert_eq!(ids(&mut updates, 1_295).await, (6..=1_300).collect::<Vec<_>>());
        drop(signal);
        assert!(updates.next().await.is_none(), "ends with the server");
    }

    #[tokio::test]
    async fn a_watcher_that_comes_back_begins_where_it_left() {
        let record = Record::default();
        record.add(1..=9);
        for (last, after, expected) in [(0, Some(6), [7, 8, 9]), (2, Some(6), [7, 8, 9])] {
            let (_signal, watch) = watch::channel(9);
            let beat = Beat::asked(60_000);
            let started = events(record.reader(), watch, last, after, beat).await;
            let mut updates = started.unwrap_or_else(|fault| panic!("{fault}"));
            assert_eq!(ids(&mut updates, 3).await, expected);
        }
    }

    #[tokio::test]
    async fn a_quiet_watch_shows_signs_of_life() {
        let (_signal, watch) = watch::channel(0);
        let started = events(Record::default().reader(), watch, 0, None, Beat::asked(100)).await;
        let mut updates = started.unwrap_or_else(|fault| panic!("{fault}"));
        let sign = updates.next().await.and_then(Result::ok);
        assert_eq!(sign, Some(pb::EventUpdate { event: None }));
    }

    #[tokio::test]
    async fn an_action_goes_on_while_the_look_at_it_waits_for_its_lock() {
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        let (held, go) = (Arc::clone(&lock), Arc::new(tokio::sync::Notify::new()));
        let looked = Arc::clone(&go);
        let work = async move {
            let _guard = held.lock().await;
            go.notified().await;
            let (source, applied) = (Source::Server, Applied::Live);
            Ok(ActionReport { success: Success, source, applied, services: Vec::new() })
        };
        let look = move || {
            let lock = Arc::clone(&lock);
            looked.notify_one();
            async move {
                let _guard = lock.lock().await;
                Ok(ServicesReport {
                    success: Success,
                    source: Source::Server,
                    services: Vec::new(),
                })
            }
            .boxed()
        };
        let mut updates = action(work.boxed(), Beat::asked(100), look);
        let update = updates.next().await.and_then(Result::ok).and_then(|update| update.update);
        assert!(matches!(update, Some(action_update::Update::Report(_))), "{update:?}");
        assert!(updates.next().await.is_none());
    }

    #[tokio::test]
    async fn told_work_gives_its_signs_then_beats_then_its_report() {
        use kill_update::Update;
        let go = Arc::new(tokio::sync::Notify::new());
        let gone = Arc::clone(&go);
        let message = crate::text::control::selection_empty();
        let sign = KillProgress { done: 1, total: 2, message: message.clone() };
        let mut updates: Updates<pb::KillUpdate> = told(
            Beat::asked(100),
            |sign: KillProgress| Update::Progress((&sign).into()),
            |hear| async move {
                hear(sign);
                gone.notified().await;
                let (dry_run, ports) = (false, Vec::new());
                let (success, source) = (Success, Source::Server);
                let report = KillReport { success, source, dry_run, message, ports };
                Ok(Update::Report((&report).into()))
            },
        );
        let mut said = Vec::new();
        while let Some(update) = updates.next().await {
            said.push(match update.map(|update| update.update) {
                Ok(Some(Update::Progress(sign))) => format!("{} of {}", sign.done, sign.total),
                Ok(Some(Update::Report(_))) => "report".to_owned(),
                Ok(None) => {
                    go.notify_one();
                    "alive".to_owned()
                }
                Err(status) => panic!("{status}"),
            });
        }
        said.dedup();
        assert_eq!(said, ["1 of 2", "alive", "report"]);
    }

    #[tokio::test]
    async fn an_action_that_fails_ends_its_stream_with_the_fault() {
        let fault = Fault::usage(crate::text::control::selection_empty());
        let work = {
            let fault = fault.clone();
            async move { Err(fault) }
        };
        let nothing = || std::future::pending().boxed();
        let mut updates = action(work.boxed(), Beat::asked(0), nothing);
        let status = updates.next().await.and_then(Result::err);
        assert_eq!(status.and_then(|status| super::super::status::fault(&status)), Some(fault));
        assert!(updates.next().await.is_none());
    }
}
