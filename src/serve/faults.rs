//! Proxies whose own code panicked: said, and started again where they are gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::server::Server;
use crate::lifecycle::{Importance, StopWatch};
use crate::model::{Actor, ServiceId};
use crate::ops::Ops;
use crate::proxy::{Faults, ProxyFault};
use crate::text::{self, Message};

/// How long a panic is something that needs a person.
const FRESH: Duration = Duration::from_secs(600);

/// Before a proxy that is gone is started again, from the second time on; doubles up to the longest,
/// which the status synchronisation does not wait out either.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What was heard of late, and what is heard.
pub(super) struct ProxyFaults {
    tell: UnboundedSender<(ServiceId, ProxyFault)>,
    told: Mutex<Option<UnboundedReceiver<(ServiceId, ProxyFault)>>>,
    seen: Mutex<HashMap<ServiceId, Seen>>,
}

/// Panics of one service's proxy, each soon after the one before.
#[derive(Clone)]
struct Seen {
    name: String,
    times: u32,
    last: Instant,
}

impl Default for ProxyFaults {
    fn default() -> Self {
        let (tell, told) = unbounded_channel();
        Self { tell, told: Mutex::new(Some(told)), seen: Mutex::default() }
    }
}

impl ProxyFaults {
    /// What the data plane calls.
    pub(super) fn hear(&self) -> Faults {
        let tell = self.tell.clone();
        Arc::new(move |id, fault| {
            // The server is gone: nobody starts anything again.
            tell.send((id, fault)).ok();
        })
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<ServiceId, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person has to know.
    pub(super) fn attention(&self) -> Vec<Message> {
        let mut seen = self.seen();
        seen.retain(|_, seen| seen.last.elapsed() < FRESH);
        let needs = seen.values().map(|s| text::guardian::attention_panicked(&s.name, s.times));
        needs.collect()
    }

    /// Notes one more panic; how many there have been of late.
    fn count(&self, id: ServiceId, name: String) -> u32 {
        let mut seen = self.seen();
        let entry = seen.entry(id).or_insert(Seen { name, times: 0, last: Instant::now() });
        if entry.last.elapsed() >= FRESH {
            entry.times = 0;
        }
        entry.times = entry.times.saturating_add(1);
        entry.last = Instant::now();
        entry.times
    }
}

/// Hears of faults until a stop was asked for.
pub(super) async fn run(ops: Ops, server: Arc<Server>, mut stop: StopWatch) {
    let told = server.faults.told.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut told) = told else { return };
    loop {
        let heard = tokio::select! {
            biased;
            () = stop.stopping() => return,
            heard = told.recv() => heard,
        };
        let Some((id, fault)) = heard else { return };
        let Some(running) = server.proxies.get(id) else { continue };
        let times = server.faults.count(id, running.name.to_string());
        if let ProxyFault::Gone = fault {
            server.proxies.forget_gone(id);
            server.health.forget(id);
        }
        let detail = text::guardian::proxy_panicked(times);
        tracing::error!(service = %running.name, times, "a proxy panicked");
        if let Err(error) = ops.record_fault(id, fault == ProxyFault::Gone, detail).await {
            tracing::warn!(%error, "a proxy's panic is not in the events");
        }
        if let ProxyFault::Gone = fault {
            let again = start_again(ops.clone(), id, times, stop.clone());
            server.tasks.spawn("proxy-restart", Importance::Helper, again);
        }
    }
}

/// Starts the proxy of a service again, unless it was started or is no more wanted meanwhile. What
/// fails is tried again by the status synchronisation.
async fn start_again(ops: Ops, id: ServiceId, times: u32, mut stop: StopWatch) {
    if times > 1 {
        // Nobody is to be sent there meanwhile.
        if let Err(error) = ops.withdraw_gone(id).await {
            tracing::warn!(%error, "a proxy that panicked is not taken out of the registry yet");
        }
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(times - 2).min(64);
        tokio::select! {
            () = tokio::time::sleep(pause.min(LONGEST_PAUSE)) => {}
            () = stop.stopping() => return,
        }
    }
    if let Err(error) = ops.start_again(id, &Actor::Server).await {
        tracing::warn!(%error, "a proxy that panicked is not started again yet");
    }
}
