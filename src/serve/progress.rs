//! The progress of the one shutdown, for everyone who watches it, however late they came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::model::ShutdownProgress;

/// Cheap to clone. The number of signs of progress is bounded by the number of steps and services,
/// so the channels need no bound of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    past: Vec<ShutdownProgress>,
    watchers: Vec<UnboundedSender<ShutdownProgress>>,
    is_over: bool,
}

impl Progress {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything from the beginning; ends with [`Progress::end`].
    pub(super) fn watch(&self) -> UnboundedReceiver<ShutdownProgress> {
        let (sender, receiver) = unbounded_channel();
        let mut inner = self.inner();
        let caught_up = inner.past.iter().all(|sign| sender.send(sign.clone()).is_ok());
        if caught_up && !inner.is_over {
            inner.watchers.push(sender);
        }
        receiver
    }

    pub(super) fn publish(&self, sign: ShutdownProgress) {
        let mut inner = self.inner();
        // A watcher that went away is no longer told.
        inner.watchers.retain(|watcher| watcher.send(sign.clone()).is_ok());
        inner.past.push(sign);
    }

    /// Nothing more will be said.
    pub(super) fn end(&self) {
        let mut inner = self.inner();
        inner.is_over = true;
        inner.watchers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ShutdownStep, StepState};
    use crate::text;

    fn sign(step: ShutdownStep) -> ShutdownProgress {
        ShutdownProgress {
            step,
            state: StepState::Done,
            message: text::ops::no_database(),
            duration_ms: Some(1),
            proxies: None,
            cut: Vec::new(),
            forced: false,
        }
    }

    #[tokio::test]
    async fn who_watches_late_hears_everything_and_the_end() {
        let progress = Progress::default();
        progress.publish(sign(ShutdownStep::CloseControl));
        let mut watcher = progress.watch();
        progress.publish(sign(ShutdownStep::StopSync));
        progress.end();
        let mut later = progress.watch();
        for receiver in [&mut watcher, &mut later] {
            let mut steps = Vec::new();
            while let Some(sign) = receiver.recv().await {
                steps.push(sign.step);
            }
            assert_eq!(steps, [ShutdownStep::CloseControl, ShutdownStep::StopSync]);
        }
    }
}
