//! How a proxy ends.
//!
//! The task that owns the listeners carries it out on its worker; callers on any thread only
//! change the terms (the deadline, or "now") and wait for the report. Each connection decides by
//! itself when it may close: it looks at its socket with a real read first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fault::ProxyFault;
use super::handle::{Proxy, ProxyPhase};
use super::table::{Order, lock};
use crate::model::Cut;

/// How long cut connections are waited for: a worker that is stuck must not hold up the report.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// What a drain came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Requests and tunnels that ended by themselves during it.
    pub finished: u64,
    /// Those that were cut because the bound had passed or a caller would not wait.
    pub cut: Vec<Cut>,
    /// From its beginning until everything was closed.
    pub took: Duration,
}

/// The terms of a drain.
#[derive(Debug, Default)]
pub(super) struct DrainControl {
    begun: Option<Instant>,
    /// `None` once begun: as long as it takes.
    deadline: Option<Instant>,
    cut_now: bool,
    pub(super) finished: u64,
    cut: Vec<Cut>,
}

impl Proxy {
    /// Begins a drain that ends at `deadline`, or brings the end of the one under way forward.
    pub(super) fn order_drain(&self, deadline: Option<Instant>) {
        {
            let mut control = lock(&self.drain);
            control.begun.get_or_insert_with(Instant::now);
            control.deadline = match (control.deadline, deadline) {
                (Some(old), Some(new)) => Some(old.min(new)),
                (old, new) => old.or(new),
            };
        }
        self.enter(ProxyPhase::Draining);
        self.progress.notify_one();
    }

    /// Cuts everything at once; what is newly lost by that.
    pub(super) fn order_cut(&self) -> Vec<Cut> {
        {
            let mut control = lock(&self.drain);
            control.begun.get_or_insert_with(Instant::now);
            control.cut_now = true;
        }
        self.enter(ProxyPhase::Draining);
        let cut = self.cut_all();
        self.progress.notify_one();
        cut
    }

    /// Whether nothing more is to be accepted, not even what already waits.
    pub(super) fn is_cut(&self) -> bool {
        lock(&self.drain).cut_now
    }

    fn cut_all(&self) -> Vec<Cut> {
        // Held all the while: a worker that closes the last connection at once must not publish the
        // report before the losses stand in it.
        let mut control = lock(&self.drain);
        let mut cut = Vec::new();
        self.each_connection(|entry| {
            cut.append(&mut entry.losses(&self.name));
            entry.tell(Order::Cut);
        });
        control.cut.extend_from_slice(&cut);
        cut
    }

    fn deadline(&self) -> (Option<Instant>, bool) {
        let control = lock(&self.drain);
        (control.deadline, control.cut_now)
    }

    fn is_empty(&self) -> bool {
        self.connections.load(Ordering::Acquire) == 0
    }
}

/// Carries out the drain of `proxy`, whose listeners are closed.
pub(super) async fn run(proxy: &Arc<Proxy>) {
    proxy.each_connection(|entry| entry.tell(Order::Drain));
    wait_until(proxy, |proxy| proxy.is_empty(), |proxy| proxy.deadline()).await;
    if !proxy.is_empty() {
        proxy.cut_all();
        let grace = Instant::now() + CUT_GRACE;
        wait_until(proxy, |proxy| proxy.is_empty(), |_| (Some(grace), false)).await;
    }
    // Nobody sends requests any more: the connections kept for them go too.
    proxy.forget(&proxy.route.load().generations());
    let grace = Instant::now() + CUT_GRACE;
    let closed = |proxy: &Proxy| proxy.upstreams.load(Ordering::Acquire) == 0;
    wait_until(proxy, closed, |_| (Some(grace), false)).await;
}

/// Waits until `done`, the deadline of `terms` has passed, or they say "now".
async fn wait_until(
    proxy: &Proxy,
    done: impl Fn(&Proxy) -> bool,
    terms: impl Fn(&Proxy) -> (Option<Instant>, bool),
) {
    loop {
        let changed = proxy.progress.notified();
        let (deadline, now) = terms(proxy);
        if done(proxy) || now || deadline.is_some_and(|at| at <= Instant::now()) {
            return;
        }
        match deadline {
            Some(at) => {
                let _ = tokio::time::timeout_at(at.into(), changed).await;
            }
            None => changed.await,
        }
    }
}

/// Its drop ends the proxy and publishes the report, on every way out of the task that owns the
/// listeners: nobody waits for a drain that no longer runs.
pub(super) struct EndGuard(pub(super) Arc<Proxy>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let report = {
            let mut control = lock(&self.0.drain);
            let begun = *control.begun.get_or_insert_with(Instant::now);
            DrainReport {
                finished: control.finished,
                cut: control.cut.clone(),
                took: begun.elapsed(),
            }
        };
        let was_asked = self.0.phase() != ProxyPhase::Running;
        self.0.enter(ProxyPhase::Stopped);
        if !was_asked {
            self.0.tell(ProxyFault::Gone);
        }
        self.0.report.send_replace(Some(Arc::new(report)));
    }
}
