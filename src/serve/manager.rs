//! The service manager (systemd, say) learns how the server fares: an observer beside the person's.

use std::sync::Arc;
use std::time::Duration;

use super::observer::{Observer, ReadyView};
use crate::host::{ManagerState, ServiceManager, StopGrace, Stopper};
use crate::lifecycle::{Importance, StopWatch, Tasks};
use crate::model::ShutdownProgress;
use crate::text::{self, Message};

/// What the manager is asked to grant beyond each bound: for the end of the process itself.
const MARGIN: Duration = Duration::from_secs(5);

/// While the server starts it asks so often for more time.
const BEAT: Duration = Duration::from_secs(5);

/// For so much more each time.
const START: Duration = Duration::from_secs(30);

/// `observer`, and the manager beside it where one waits to be told. A start that waits for ports
/// asks for time; a server that runs says so as often as is asked for, from its own runtime, so that
/// it falls silent when that is stuck.
pub(super) fn told_too(
    observer: Arc<dyn Observer>,
    total: Duration,
    tasks: &Tasks,
    stop: StopWatch,
) -> Arc<dyn Observer> {
    let Some(manager) = ServiceManager::of_this_process() else { return observer };
    let (ready, is_ready) = tokio::sync::watch::channel(false);
    let beat = beat(manager.clone(), is_ready, stop.clone());
    tasks.spawn("service-manager", Importance::Helper, beat);
    Arc::new(Told { manager, observer, total, ready, stop })
}

async fn beat(
    manager: ServiceManager,
    mut is_ready: tokio::sync::watch::Receiver<bool>,
    mut stop: StopWatch,
) {
    let starts = async {
        loop {
            manager.tell(vec![ManagerState::Extend(START)]);
            let ready = is_ready.wait_for(|ready| *ready);
            if tokio::time::timeout(BEAT, ready).await.is_ok() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.stopping() => return,
        () = starts => {}
    }
    let Some(interval) = manager.watchdog() else { return };
    loop {
        manager.tell(vec![ManagerState::Alive]);
        tokio::select! {
            biased;
            () = stop.stopping() => return,
            // As sd_watchdog_enabled(3) asks: half of what would be too late.
            () = tokio::time::sleep(interval / 2) => {}
        }
    }
}

struct Told {
    manager: ServiceManager,
    observer: Arc<dyn Observer>,
    total: Duration,
    ready: tokio::sync::watch::Sender<bool>,
    stop: StopWatch,
}

impl Observer for Told {
    fn ready(&self, view: &ReadyView) {
        let url = view.server.url.as_deref().unwrap_or("-");
        let line = text::serve::ready(url, view.running, view.server.pid.unwrap_or_default());
        let status = ManagerState::Status(line.to_string());
        self.manager.tell(vec![ManagerState::Ready, status]);
        self.ready.send_replace(true);
        self.observer.ready(view);
    }

    fn shutdown(&self, progress: &ShutdownProgress) {
        let since = self.stop.state().cause().map(|(_, since)| since);
        let left = self.total.saturating_sub(since.map_or(Duration::ZERO, |at| at.elapsed()));
        // Each sign is a chance that the manager has missed none.
        self.manager.tell(vec![
            ManagerState::Stopping,
            ManagerState::Extend(left + MARGIN),
            ManagerState::Status(progress.message.to_string()),
        ]);
        self.observer.shutdown(progress);
    }
}

/// What is said at a start whose shutdown may take longer than its surroundings grant.
pub(super) fn too_short(grace: Option<StopGrace>, total: Duration) -> Option<Message> {
    let StopGrace { by, grace } = grace.filter(|granted| granted.grace < total)?;
    let seconds = (total + MARGIN).as_secs();
    let (granted, total) = (humantime::format_duration(grace), humantime::format_duration(total));
    Some(match by {
        Stopper::Unit(unit) => text::serve::grace_of_unit_short(unit, granted, total, seconds),
        Stopper::Container("kubernetes") => {
            text::serve::grace_of_pod_short(granted, total, seconds)
        }
        Stopper::Container(runtime) => {
            text::serve::grace_of_container_short(runtime, granted, total, seconds)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_who_is_too_hasty_and_what_to_set() {
        let second = Duration::from_secs(1);
        let of = |by| Some(StopGrace { by, grace: 10 * second });
        assert_eq!(too_short(None, 30 * second), None);
        assert_eq!(too_short(of(Stopper::Container("docker")), 10 * second), None);
        let said = |by| too_short(of(by), 30 * second).map(|message| message.to_string()).unwrap();
        let docker = said(Stopper::Container("docker"));
        assert!(docker.contains("docker stop -t 35") && docker.contains("10s"), "{docker}");
        assert!(
            said(Stopper::Container("kubernetes")).contains("terminationGracePeriodSeconds: 35")
        );
        assert!(said(Stopper::Unit("a.service".into())).contains("TimeoutStopSec=35"));
    }
}
