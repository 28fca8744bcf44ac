//! What pmctl can do, each verb once. Placeholder: only the signatures that the faces call.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::model::{
    ActionReport, Actor, Actual, Counters, EventsReport, Fault, FaultKind, NewService, NewTarget,
    Phase, Port, PortsReport, Selection, ServerView, ServiceName, ServicePatch, ServicesReport,
    ShutdownProgress, StatusReport, TargetName, Timestamp,
};

/// The verbs.
#[derive(Clone, Default)]
pub struct Ops {
    live: Option<Arc<dyn Live>>,
}

fn missing<T>() -> Result<T, Fault> {
    Err(Fault::new(FaultKind::Internal, crate::text::control::said_by_server("not built yet")))
}

#[expect(unused_variables, clippy::missing_errors_doc, missing_docs, reason = "placeholder")]
impl Ops {
    pub async fn status(&self) -> Result<StatusReport, Fault> {
        missing()
    }
    pub async fn list_services(&self, which: &Selection) -> Result<ServicesReport, Fault> {
        missing()
    }
    pub async fn add_service(&self, new: NewService, by: &Actor) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn start_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn stop_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn restart_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn remove_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn set_service(
        &self,
        name: &ServiceName,
        patch: ServicePatch,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn add_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        target: NewTarget,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn remove_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn switch_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        missing()
    }
    pub async fn ports_status(&self, ports: &BTreeSet<Port>) -> Result<PortsReport, Fault> {
        missing()
    }
    pub async fn events(&self, limit: u32, after: Option<i64>) -> Result<EventsReport, Fault> {
        missing()
    }
    pub fn live(&self) -> Option<&Arc<dyn Live>> {
        self.live.as_ref()
    }
}

/// What only a live server knows.
pub trait Live: Send + Sync {
    /// The server.
    fn server(&self) -> ServerView;
    /// How far it is.
    fn phase(&self) -> Phase;
    /// Begins the shutdown, or observes the one under way.
    fn request_shutdown(&self, by: &Actor) -> mpsc::UnboundedReceiver<ShutdownProgress>;
    /// What it counted.
    fn metrics(&self) -> Metrics;
    /// Id of the newest event.
    fn event_signal(&self) -> watch::Receiver<i64>;
}

/// Figures of a live server.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// The process.
    pub process: ProcessMetrics,
    /// Each service.
    pub services: Vec<ServiceMetrics>,
    /// When the server was started.
    pub started_at: Timestamp,
}

/// Figures of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessMetrics {
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_descriptors: Option<u64>,
    /// CPU time, user and system.
    pub cpu_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// Figures of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceMetrics {
    /// Name.
    pub name: ServiceName,
    /// Port.
    pub port: Port,
    /// State.
    pub actual: Actual,
    /// Counters.
    pub counters: Counters,
    /// Upper bound in seconds, cumulative count; ascending.
    pub latency: Vec<(f64, u64)>,
    /// Sum of all latencies in seconds.
    pub latency_sum_seconds: f64,
}
