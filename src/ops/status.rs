//! One screen: the server, its services, what needs a person.

use super::context::Ops;
use crate::model::{
    Actual, Desired, Fault, HealthState, Selection, ServerState, ServerView, ServiceView,
    StatusCounts, StatusReport, Success,
};
use crate::store::{Store, WriteTrouble};
use crate::text::{self, Message};

impl Ops {
    /// The server, its services, counts, and what needs a person.
    pub async fn status(&self) -> Result<StatusReport, Fault> {
        let services = self.list_services(&Selection::All).await?.services;
        let server = self.server_view();
        let counts = self.counts(&server, &services);
        let mut attention = self.live().map(|live| live.attention()).unwrap_or_default();
        attention.extend(needs_attention(&server, &services));
        // Without a server nothing is tried that could have failed.
        attention.extend(self.reading_store().and_then(unwritable));
        let (source, heartbeats) = (self.source(), self.lease_counts().await);
        Ok(StatusReport {
            success: Success,
            source,
            server,
            guardian: self.live().map(|live| live.guardian()),
            counts,
            heartbeats,
            services,
            attention,
        })
    }

    pub(super) fn server_view(&self) -> ServerView {
        match (self.live(), self.direct_facts()) {
            (Some(live), _) => live.server(),
            (None, Some(facts)) => ServerView {
                database_uuid: self.database_uuid().map(str::to_owned),
                ..facts.server.clone()
            },
            (None, None) => unreachable!("operations are live or direct"),
        }
    }

    fn counts(&self, server: &ServerView, services: &[ServiceView]) -> StatusCounts {
        // What the row of a server says that died is not what is.
        let is = |s: &ServiceView| match (is_left(server, s), s.desired) {
            (false, _) => s.actual,
            (true, Desired::Running) => Actual::Failed,
            (true, Desired::Stopped) => Actual::Stopped,
        };
        let count = |actual| services.iter().filter(|s| is(s) == actual).count() as u64;
        let open = |s: &ServiceView| s.counters.map_or(0, |c| c.connections);
        StatusCounts {
            services: services.len() as u64,
            running: count(Actual::Running),
            stopped: count(Actual::Stopped),
            failed: count(Actual::Failed),
            connections: self.live().map(|_| services.iter().map(open).sum()),
        }
    }
}

/// Whether the row was left by a server that died: it says that a proxy runs, and nobody runs one.
fn is_left(server: &ServerView, service: &ServiceView) -> bool {
    server.state == ServerState::Down
        && matches!(service.actual, Actual::Running | Actual::Starting | Actual::Draining)
}

fn unwritable(store: &Store) -> Option<Message> {
    Some(match store.trouble()? {
        WriteTrouble::Full => text::ops::attention_database_full(),
        WriteTrouble::Moved => {
            text::ops::attention_database_moved(store.location().path().display())
        }
        WriteTrouble::Other(reason) => text::ops::attention_database_unwritable(reason),
    })
}

fn needs_attention(server: &ServerView, services: &[ServiceView]) -> Vec<Message> {
    let mut needs = Vec::new();
    let is_served = matches!(server.state, ServerState::Ready | ServerState::Draining);
    if server.state == ServerState::Unresponsive {
        let pid = server.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        needs.push(text::ops::attention_unresponsive(pid));
    }
    let left = services.iter().filter(|service| is_left(server, service)).count();
    if left > 0 {
        needs.push(text::cleanup::attention_left(left));
    }
    for service in services {
        let failed = service.actual == Actual::Failed;
        if let (true, Some(reason)) = (failed, &service.reason) {
            needs.push(text::ops::attention_failed(&service.name, reason));
        } else if is_served
            && service.desired == Desired::Running
            && service.actual == Actual::Stopped
        {
            needs.push(text::ops::attention_not_running(&service.name));
        } else if let Some(health) = &service.health
            && health.state == HealthState::Unhealthy
            && let Some(reason) = &health.reason
        {
            let target = &service.active_target;
            needs.push(text::heartbeat::attention_unhealthy(target, &service.name, reason));
        }
    }
    needs
}
