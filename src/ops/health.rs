//! What was seen of the health of targets, written down.

use super::context::{Ops, done, failed};
use super::faults::store_fault;
use crate::model::{Actor, EventAction, Fault, FaultKind, HealthEdge, HealthState};

impl Ops {
    /// Appends an event for each change of health, all in one transaction.
    pub async fn note_health(&self, edges: &[HealthEdge]) -> Result<(), Fault> {
        let Some(store) = self.reading_store() else { return Ok(()) };
        let event = |edge: &HealthEdge| match edge.state {
            HealthState::Healthy => {
                let (action, detail) = (EventAction::ServiceHealthy, edge.detail.clone());
                done(edge.at, action, &edge.service, &Actor::Server, detail)
            }
            HealthState::Unhealthy | HealthState::Unknown => {
                let fault = Fault::new(FaultKind::Precondition, edge.detail.clone());
                let action = EventAction::ServiceUnhealthy;
                failed(edge.at, action, &edge.service, &Actor::Server, &fault)
            }
        };
        store.append_events(edges.iter().map(event).collect()).await.map_err(store_fault)?;
        self.events_appended().await;
        Ok(())
    }
}
