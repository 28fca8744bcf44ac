//! The leases of services in the registry.

use std::time::Duration;

use super::context::Ops;
use super::faults::store_fault;
use crate::model::{
    ActionReport, Actor, DrainProgress, Fault, FaultKind, HeartbeatHistory, HeartbeatView,
    HeartbeatsReport, LeaseCounts, LeaseState, Selection, ServiceName, ServiceView, Success,
};
use crate::text;

impl Ops {
    /// How the lease of each service of `which` is. A name that is not registered fails the whole.
    pub async fn heartbeats_status(&self, which: &Selection) -> Result<HeartbeatsReport, Fault> {
        let services = self.list_services(which).await?.services;
        let heartbeats = services.iter().map(disabled).collect();
        Ok(HeartbeatsReport { success: Success, source: self.source(), heartbeats })
    }

    /// The newest `limit` calls to the registry about a service, oldest first.
    pub async fn heartbeat_history(
        &self,
        name: &ServiceName,
        limit: u32,
    ) -> Result<HeartbeatHistory, Fault> {
        let not_found = || Fault::new(FaultKind::NotFound, text::model::service_not_found(name));
        let store = self.reading_store().ok_or_else(not_found)?;
        let service = store.service(self.node(), name).await.map_err(store_fault)?;
        let id = service.ok_or_else(not_found)?.id;
        let heartbeats = store.heartbeats(id, limit).await.map_err(store_fault)?;
        let (source, service_name) = (self.source(), name.clone());
        Ok(HeartbeatHistory { success: Success, source, service_name, heartbeats })
    }

    /// Takes a service out of the registry, serves on until its consumers have left or `max` has
    /// passed, then stops it; `hear` learns how far it is.
    pub async fn drain_service(
        &self,
        name: &ServiceName,
        _max: Duration,
        by: &Actor,
        _hear: &(dyn Fn(DrainProgress) + Send + Sync),
    ) -> Result<ActionReport, Fault> {
        if self.live().is_none() {
            let message = text::heartbeat::drain_needs_a_server(name);
            return Err(Fault::new(FaultKind::Unavailable, message));
        }
        self.stop_services(&Selection::Named(vec![name.clone()]), by).await
    }

    /// How many leases are in which state; `None` where no registry is configured.
    pub(super) async fn lease_counts(&self) -> Option<LeaseCounts> {
        None
    }
}

fn disabled(service: &ServiceView) -> HeartbeatView {
    HeartbeatView {
        service_name: service.name.clone(),
        port: service.port,
        is_active: false,
        interval: 0,
        instance_id: None,
        state: LeaseState::Disabled,
        reason: None,
        status: None,
        override_status: None,
        registry: None,
        last_success: None,
        consecutive_failures: 0,
        latency_ms: None,
        next_in_ms: None,
        lease_expires_in_ms: None,
    }
}
