//! A stop as a state: asked for or not, gracefully or by force, by whom.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::StopSignal;

/// Who or what asked for the stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The operating system or a person at the terminal.
    Signal(StopSignal),
    /// A caller of the control plane, as its actor prints.
    Control(String),
    /// A task without which the server is none ended by itself.
    TaskEnded(&'static str),
}

impl StopCause {
    /// Whether Windows ends the process by itself about 5 s after it.
    pub fn is_hurried(&self) -> bool {
        match self {
            Self::Signal(signal) => signal.is_hurried(),
            Self::Control(_) | Self::TaskEnded(_) => false,
        }
    }
}

/// How far a stop has been asked for. Ordered: a later value overrides an earlier one, never the
/// other way round.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum StopState {
    /// Not at all.
    #[default]
    Running,
    /// In order.
    Graceful {
        /// By whom.
        cause: StopCause,
        /// When; every bound of the shutdown counts from here.
        since: Instant,
    },
    /// At once, whatever is still open.
    Forced {
        /// By whom first.
        cause: StopCause,
        /// When first asked for.
        since: Instant,
        /// When it became forced.
        forced: Instant,
    },
}

impl StopState {
    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        !matches!(self, Self::Running)
    }

    /// Whether it is to end at once.
    pub fn is_forced(&self) -> bool {
        matches!(self, Self::Forced { .. })
    }

    /// Who asked first, and when.
    pub fn cause(&self) -> Option<(&StopCause, Instant)> {
        match self {
            Self::Running => None,
            Self::Graceful { cause, since } | Self::Forced { cause, since, .. } => {
                Some((cause, *since))
            }
        }
    }

    /// What the state becomes when `cause` asks at `now`. A second *signal* forces; a second call
    /// over the control plane only watches, and a task that ends during a stop is no news.
    fn after(&self, cause: StopCause, now: Instant) -> Option<Self> {
        match (self, &cause) {
            (Self::Running, _) => Some(Self::Graceful { cause, since: now }),
            (Self::Graceful { cause: first, since }, StopCause::Signal(_)) => {
                Some(Self::Forced { cause: first.clone(), since: *since, forced: now })
            }
            _ => None,
        }
    }
}

/// The sending half: whoever may ask for a stop holds a clone. Works from any thread.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<StopState>>);

impl Stop {
    /// A stop that nobody has asked for.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(StopState::Running)))
    }

    /// Asks for a stop at `now`.
    pub fn request(&self, cause: StopCause, now: Instant) {
        self.0.send_if_modified(|state| match state.after(cause, now) {
            Some(next) => {
                *state = next;
                true
            }
            None => false,
        });
    }

    /// Turns a stop that was asked for into a forced one, because its bound has passed.
    pub fn force(&self, now: Instant) {
        self.0.send_if_modified(|state| match state {
            StopState::Graceful { cause, since } => {
                *state = StopState::Forced { cause: cause.clone(), since: *since, forced: now };
                true
            }
            StopState::Running | StopState::Forced { .. } => false,
        });
    }

    /// The state now.
    pub fn state(&self) -> StopState {
        self.0.borrow().clone()
    }

    /// The receiving half.
    pub fn watch(&self) -> StopWatch {
        StopWatch(self.0.subscribe())
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// The hearing half: whoever must end holds a clone.
#[derive(Clone, Debug)]
pub struct StopWatch(watch::Receiver<StopState>);

impl StopWatch {
    /// Resolves once a stop was asked for, at once if it already was. Never resolves if every
    /// [`Stop`] is gone without asking.
    pub async fn stopping(&mut self) {
        self.until(StopState::is_stopping).await;
    }

    /// Resolves once the stop is a forced one.
    pub async fn forced(&mut self) {
        self.until(StopState::is_forced).await;
    }

    /// Resolves when the state changes from what this half saw last. Never resolves if every [`Stop`]
    /// is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn until(&mut self, reached: fn(&StopState) -> bool) {
        if self.0.wait_for(reached).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The state now.
    pub fn state(&self) -> StopState {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_signal_forces_and_a_second_call_does_not() {
        let now = Instant::now();
        let stop = Stop::new();
        stop.force(now);
        assert_eq!(stop.state(), StopState::Running);
        stop.request(StopCause::Control("a".into()), now);
        stop.request(StopCause::Control("b".into()), now);
        stop.request(StopCause::TaskEnded("control"), now);
        let cause = StopCause::Control("a".into());
        assert_eq!(stop.state(), StopState::Graceful { cause: cause.clone(), since: now });
        stop.request(StopCause::Signal(StopSignal::Terminate), now);
        assert_eq!(stop.state(), StopState::Forced { cause, since: now, forced: now });
    }

    #[tokio::test]
    async fn a_watch_made_after_the_request_still_hears_it() {
        let stop = Stop::new();
        stop.request(StopCause::Signal(StopSignal::Interrupt), Instant::now());
        stop.watch().stopping().await;
        stop.request(StopCause::Signal(StopSignal::Interrupt), Instant::now());
        stop.watch().forced().await;
        assert!(stop.watch().state().is_forced());
    }
}
