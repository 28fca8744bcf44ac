//! Named background tasks: watched while they run, listed when the shutdown waits for them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Stop, StopCause};

/// Whether the server can go on without the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Its end before a stop starts the shutdown.
    Vital,
    /// It may end when it has done its part; its panic before a stop starts the shutdown.
    Needed,
    /// Its end is its own affair.
    Helper,
}

/// Spawns tasks under a name and knows which still run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    stop: Stop,
    tracker: TaskTracker,
    end: CancellationToken,
    running: Arc<Mutex<BTreeMap<u64, &'static str>>>,
    /// Told whenever a task was taken off the list.
    fewer: Arc<Notify>,
}

/// Takes the task off the list when it ends, however it ends.
struct Listed {
    tasks: Tasks,
    key: u64,
    name: &'static str,
    importance: Importance,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        self.tasks.list().remove(&self.key);
        self.tasks.fewer.notify_waiters();
        if panicking {
            tracing::error!(task = self.name, "a task panicked");
        }
        let is_missed = match self.importance {
            Importance::Vital => true,
            Importance::Needed => panicking,
            Importance::Helper => false,
        };
        if is_missed {
            self.tasks.stop.request(StopCause::TaskEnded(self.name), Instant::now());
        }
    }
}

impl Tasks {
    /// Tasks whose vital members ask `stop` for a stop when they end.
    pub fn new(stop: Stop) -> Self {
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        Self { stop, tracker, end, running: Arc::default(), fewer: Arc::default() }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, &'static str>> {
        // A map of numbers to names is whole after any panic.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the current runtime under `name`.
    pub fn spawn<F>(
        &self,
        name: &'static str,
        importance: Importance,
        work: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let key = {
            let mut list = self.list();
            let key = list.last_key_value().map_or(0, |(last, _)| last + 1);
            list.insert(key, name);
            key
        };
        let listed = Listed { tasks: self.clone(), key, name, importance };
        self.tracker.spawn(async move {
            let _listed = listed;
            work.await
        })
    }

    /// Runs `work` until the shutdown waits for the tasks: for what others may need until then and
    /// what has no end of its own. It is dropped at that moment.
    pub fn spawn_until_end(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let end = self.end.clone();
        self.spawn(name, Importance::Helper, async move {
            end.run_until_cancelled(work).await;
        });
    }

    /// Names of the tasks that still run.
    pub fn running(&self) -> Vec<&'static str> {
        self.list().values().copied().collect()
    }

    /// Waits until no task of that name runs, at most until `deadline`; whether none does.
    pub async fn ended_of(&self, name: &str, deadline: Instant) -> bool {
        let none = async {
            loop {
                // Heard from here on: a task that ends between the look and the wait is no loss.
                let fewer = self.fewer.notified();
                if !self.running().contains(&name) {
                    return;
                }
                fewer.await;
            }
        };
        tokio::time::timeout_at(deadline.into(), none).await.is_ok()
    }

    /// Waits until every task has ended, at most until `deadline`; the names of those that have
    /// not.
    pub async fn ended(&self, deadline: Instant) -> Vec<&'static str> {
        self.tracker.close();
        self.end.cancel();
        // Late or not: the list says what is left.
        let _late = tokio::time::timeout_at(deadline.into(), self.tracker.wait()).await;
        self.running()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_vital_task_starts_the_shutdown_even_by_a_panic() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        assert!(tasks.spawn("helper", Importance::Helper, async {}).await.is_ok());
        assert!(!stop.state().is_stopping());
        let task = tasks.spawn("control", Importance::Vital, async { panic!("on purpose") });
        assert!(task.await.is_err());
        assert_eq!(
            stop.state().cause().map(|(cause, _)| cause.clone()),
            Some(StopCause::TaskEnded("control"))
        );
    }

    #[tokio::test]
    async fn a_needed_task_may_end_but_not_panic() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        assert!(tasks.spawn("sync", Importance::Needed, async {}).await.is_ok());
        assert!(!stop.state().is_stopping());
        let task = tasks.spawn("sync", Importance::Needed, async { panic!("on purpose") });
        assert!(task.await.is_err());
        assert!(stop.state().is_stopping());
    }

    #[tokio::test]
    async fn a_task_without_an_end_of_its_own_ends_when_the_shutdown_waits() {
        let tasks = Tasks::new(Stop::new());
        tasks.spawn_until_end("endless", std::future::pending());
        assert_eq!(tasks.running(), ["endless"]);
        let later = Instant::now() + Duration::from_secs(10);
        assert!(tasks.ended(later).await.is_empty());
    }

    #[tokio::test]
    async fn tasks_of_one_name_are_waited_for_and_the_others_are_not() {
        let tasks = Tasks::new(Stop::new());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let other = tasks.spawn("other", Importance::Helper, std::future::pending::<()>());
        let change = tasks.spawn("change", Importance::Helper, gone);
        assert!(!tasks.ended_of("change", Instant::now() + Duration::from_millis(20)).await);
        drop(go);
        let later = Instant::now() + Duration::from_secs(10);
        assert!(tasks.ended_of("change", later).await);
        assert!(change.await.is_ok());
        assert_eq!(tasks.running(), ["other"]);
        other.abort();
    }

    #[tokio::test]
    async fn a_task_that_outlives_the_deadline_is_named() {
        let tasks = Tasks::new(Stop::new());
        let stuck = tasks.spawn("stuck", Importance::Helper, std::future::pending::<()>());
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(tasks.ended(soon).await, ["stuck"]);
        stuck.abort();
        let later = Instant::now() + Duration::from_secs(10);
        assert!(tasks.ended(later).await.is_empty());
    }
}
