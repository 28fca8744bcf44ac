//! Coarse deadlines of one worker: a number each, one sweep over all of them, no timer apiece.
//!
//! The sweep runs every [`BEAT`] and only while there is something to look at, so an idle worker
//! sleeps in the kernel whatever the number of its listeners.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;

/// How often deadlines are looked at; under the fuzzer, where most conversations end by one, far more
/// often.
pub(super) const BEAT: Duration = Duration::from_millis(if cfg!(fuzzing) { 5 } else { 250 });

const UNSET: u64 = u64::MAX;
const PASSED: u64 = 0;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since this process first asked, never 0.
pub(super) fn now_ms() -> u64 {
    millis(EPOCH.elapsed()) + 1
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

struct Slot {
    at: u64,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Timers {
    slots: Slab<Slot>,
    kick: Rc<Notify>,
}

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::default();
}

/// What wakes this worker's sweep when it sleeps for want of deadlines.
pub(super) fn kick() -> Rc<Notify> {
    TIMERS.with_borrow(|timers| Rc::clone(&timers.kick))
}

/// Whether this worker has any deadline to look at.
pub(super) fn is_idle() -> bool {
    TIMERS.with_borrow(|timers| timers.slots.is_empty())
}

/// Wakes whoever waits on a deadline that has passed at `now`.
pub(super) fn sweep(now: u64) {
    // Wakers are called outside of the borrow: waking may drop a task and its deadline with it.
    let passed: Vec<Waker> = TIMERS.with_borrow_mut(|timers| {
        let late = timers.slots.iter_mut().filter(|(_, slot)| slot.at <= now);
        late.filter_map(|(_, slot)| {
            slot.at = PASSED;
            slot.waker.take()
        })
        .collect()
    });
    passed.into_iter().for_each(Waker::wake);
}

/// One coarse deadline of the worker whose thread made it.
pub(super) struct Deadline {
    key: usize,
    local: PhantomData<*const ()>,
}

impl Deadline {
    /// A deadline that is not set yet.
    pub(super) fn unset() -> Self {
        let key = TIMERS.with_borrow_mut(|timers| {
            if timers.slots.is_empty() {
                timers.kick.notify_one();
            }
            timers.slots.insert(Slot { at: UNSET, waker: None })
        });
        Self { key, local: PhantomData }
    }

    /// A deadline `after` from now.
    pub(super) fn after(after: Duration) -> Self {
        let deadline = Self::unset();
        deadline.set(after);
        deadline
    }

    /// Sets it anew, `after` from now.
    pub(super) fn set(&self, after: Duration) {
        let at = now_ms().saturating_add(millis(after)).min(UNSET - 1);
        self.store(at);
    }

    /// Makes it never pass.
    pub(super) fn clear(&self) {
        self.store(UNSET);
    }

    fn store(&self, at: u64) {
        TIMERS.with_borrow_mut(|timers| {
            if let Some(slot) = timers.slots.get_mut(self.key) {
                slot.at = at;
            }
        });
    }

    /// Ready once the sweep has found it passed; stays ready until it is set or cleared.
    pub(super) fn poll_passed(&self, cx: &Context<'_>) -> Poll<()> {
        TIMERS.with_borrow_mut(|timers| {
            let Some(slot) = timers.slots.get_mut(self.key) else {
                return Poll::Ready(());
            };
            if slot.at == PASSED {
                return Poll::Ready(());
            }
            match &mut slot.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // A deadline may outlive the thread's storage when a runtime is torn down at thread exit.
        let _ = TIMERS.try_with(|timers| {
            if let Ok(mut timers) = timers.try_borrow_mut() {
                timers.slots.try_remove(self.key)
            } else {
                None
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_only_in_a_sweep_at_or_after_it_and_can_be_set_again() {
        let cx = Context::from_waker(Waker::noop());
        let deadline = Deadline::after(Duration::from_secs(5));
        let now = now_ms();
        sweep(now + 4_000);
        assert!(deadline.poll_passed(&cx).is_pending());
        sweep(now + 6_000);
        assert!(deadline.poll_passed(&cx).is_ready());
        deadline.set(Duration::from_secs(5));
        assert!(deadline.poll_passed(&cx).is_pending());
        deadline.clear();
        sweep(u64::MAX - 1);
        assert!(deadline.poll_passed(&cx).is_pending());
        assert!(!is_idle());
        drop(deadline);
        assert!(is_idle());
    }
}
