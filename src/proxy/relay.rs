//! A waker between a connection to a target and the task that drives it for the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// A pooled connection changes hands, and hyper wakes it for every message put into its channels,
/// by the very task that drives it next anyway. Muted, a wake is only noted: that saves one
/// spurious poll of the whole client connection for each request.
#[derive(Default)]
pub(super) struct Relay {
    target: AtomicWaker,
    muted: AtomicBool,
    noted: AtomicBool,
}

impl Relay {
    pub(super) fn aim(&self, waker: &Waker) {
        self.target.register(waker);
    }

    pub(super) fn mute(&self) {
        self.muted.store(true, Ordering::Release);
    }

    pub(super) fn unmute(&self) {
        self.muted.store(false, Ordering::Release);
    }

    /// Whether a wake was noted since this was last asked.
    pub(super) fn take_noted(&self) -> bool {
        self.noted.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.muted.load(Ordering::Acquire) {
            true => self.noted.store(true, Ordering::Release),
            false => self.target.wake(),
        }
    }
}
