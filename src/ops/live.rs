//! What only a live server knows or can do.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::host::ProcessFigures;
use crate::model::{
    Actor, Actual, Counters, Cut, Fault, GuardianView, HealthView, HeartbeatView, InstanceView,
    Phase, Port, Registration, ServerView, Service, ServiceId, ServiceName, ShutdownProgress,
    Timestamp,
};
use crate::store::NodeId;
use crate::text::Message;

/// What became of a proxy that was to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopResult {
    /// Whether there was one.
    pub was_running: bool,
    /// Connections that the bound cut.
    pub cut: Vec<Cut>,
}

/// How far a server is with announcing an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It announces no such instance there.
    Never,
    /// It is to be announced, and the registry has not said yet that it has it.
    Pending,
    /// The registry said that it has it.
    Confirmed,
}

/// Figures of one service for a metrics page.
#[derive(Clone, Debug)]
pub struct ServiceMetrics {
    /// Its name.
    pub name: ServiceName,
    /// Its port.
    pub port: Port,
    /// What its proxy does.
    pub actual: Actual,
    /// What its proxy counted.
    pub counters: Counters,
    /// Upper bound in seconds and number of requests at or below it, ascending; the last bound is
    /// infinite.
    pub latency: Vec<(f64, u64)>,
    /// Sum of all durations in seconds.
    pub latency_sum_seconds: f64,
}

/// Figures of the whole server for a metrics page.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The process.
    pub process: ProcessFigures,
    /// When it was started.
    pub started_at: Timestamp,
    /// Each service with a proxy.
    pub services: Vec<ServiceMetrics>,
}

/// The live server, as the operations see it.
pub trait Live: Send + Sync {
    /// Its row of this run.
    fn node_id(&self) -> NodeId;

    /// Who and where it is.
    fn server(&self) -> ServerView;

    /// How far it is in its life. Changes are refused unless it is [`Phase::Ready`].
    fn phase(&self) -> Phase;

    /// What the server itself wants a person to know.
    fn attention(&self) -> Vec<Message>;

    /// What the proxy of `id` counted; `None` where it has none.
    fn counters(&self, id: ServiceId) -> Option<Counters>;

    /// The instances that the active target of `id` is spread over; `None` where it is one place.
    fn instances(&self, id: ServiceId) -> Option<Vec<InstanceView>>;

    /// The port that the proxy of `id` listens on; `None` where it has none.
    fn port(&self, id: ServiceId) -> Option<Port>;

    /// Whether the target that `service` is about to use can be used (its CA file reads, say).
    fn check_target(&self, service: &Service) -> Result<(), Fault>;

    /// Binds and runs a proxy for each service that has none, and answers in the order asked.
    fn start<'a>(&'a self, services: &'a [Service]) -> BoxFuture<'a, Vec<Result<(), Fault>>>;

    /// Drains the proxy of each service, all in parallel, and answers in the order asked. No drain
    /// takes longer than the server's own bound, nor than `at_most`.
    fn stop<'a>(
        &'a self,
        services: &'a [Service],
        at_most: Option<Duration>,
    ) -> BoxFuture<'a, Vec<StopResult>>;

    /// Lets the running proxy of `service` listen where its row now says, with nothing dropped where
    /// the operating system allows both listeners at once.
    fn rebind<'a>(&'a self, service: &'a Service) -> BoxFuture<'a, Result<Vec<Cut>, Fault>>;

    /// Points the running proxy of `service` at its active target.
    fn switch(&self, service: &Service) -> Result<(), Fault>;

    /// How the active target of `id` was last seen; `None` where nobody looks at it.
    fn health(&self, id: ServiceId) -> Option<HealthView>;

    /// Grows whenever a service comes to be healthy, unhealthy or unknown.
    fn health_signal(&self) -> watch::Receiver<u64>;

    /// Looks at the active target of a running `service` as its row now says, or no more.
    fn watch_health(&self, service: &Service);

    /// Whether there is a registry to announce services in.
    fn has_registry(&self) -> bool;

    /// Whether that service is announced, about to be or just leaving.
    fn has_lease(&self, id: ServiceId) -> bool;

    /// How far it is with announcing the instance of a registration at the same registry.
    fn announced(&self, of: &Registration) -> Announced;

    /// How the lease of `service` is.
    fn lease(&self, service: &Service) -> HeartbeatView;

    /// Announces a service that runs, or takes it out of the registry, as its row now says. What
    /// cannot be taken out in time is tried again.
    fn set_registered<'a>(&'a self, service: &'a Service) -> BoxFuture<'a, ()>;

    /// Lets the registry show a service as DOWN because it leaves, or no more. False where it is not
    /// announced; `Err` where the registry did not take it in time, and is told as soon as it does.
    fn set_draining(
        &self,
        id: ServiceId,
        is_draining: bool,
    ) -> BoxFuture<'_, Result<bool, Message>>;

    /// Whether [`Live::set_draining`] said so, and neither its start nor its stop has ended that.
    fn is_draining(&self, id: ServiceId) -> bool;

    /// Runs work to its end on a named task of the server, whatever becomes of who asked for it.
    fn carry_out(&self, work: BoxFuture<'static, ()>);

    /// Asks for a graceful stop. Every caller gets the whole progress of the one shutdown; the
    /// channel closes when the server is about to exit.
    fn request_shutdown(&self, by: &Actor) -> mpsc::UnboundedReceiver<ShutdownProgress>;

    /// Misbehaves as it is asked to, for a test.
    #[cfg(feature = "debug-hooks")]
    fn misbehave(&self, how: &str);

    /// Its guardian.
    fn guardian(&self) -> GuardianView;

    /// Figures for a metrics page.
    fn metrics(&self) -> Metrics;

    /// Id of the newest event that is known, as it grows.
    fn event_signal(&self) -> watch::Receiver<i64>;

    /// Says that events up to `newest` exist.
    fn events_reach(&self, newest: i64);
}
