//! Operations on a made-up machine, with a real database.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::host::clock;
use crate::model::{
    Actor, Counters, Cut, Desired, Event, Fault, GuardianView, HealthView, HeartbeatView,
    InstanceView, KillReport, KillRequest, NewTarget, NodeName, Phase, PortAction, PortRange,
    ProcessIdentity, Registration, ServerState, ServerView, Service, ServiceId, ShutdownProgress,
    TargetUrl, UpstreamTls,
};
use crate::ops::context::{DirectFacts, Ops, done};
use crate::ops::live::{Announced, Live, Metrics, StopResult};
use crate::ops::made_up::{MadeUp, OWN_PID, identity, port};
use crate::store::{
    Acquired, HolderKind, Location, LockHolder, NodeId, NodeRow, OwnerLock, ServiceRow, Store,
};
use crate::text::{self, Message};

pub(super) const BY: &str = "ann";

/// A database in a directory of its own.
pub(super) struct Database {
    pub(super) store: Store,
    _lock: OwnerLock,
    _directory: tempfile::TempDir,
}

impl Database {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::from_path(&directory.path().join("pmctl.db")).unwrap();
        let holder = LockHolder {
            kind: HolderKind::Serve,
            identity: identity(OWN_PID, 1),
            node: NodeName::default(),
            url: None,
            phase: None,
            shutdown_timeout: None,
        };
        let acquired = OwnerLock::try_acquire(&location, holder, |_| false).unwrap();
        let Acquired::Lock(lock) = acquired else { panic!("the lock is held") };
        let store = Store::open_as_owner(&location, &lock).await.unwrap();
        Self { store, _lock: lock, _directory: directory }
    }

    pub(super) async fn register(&self, name: &str, number: u16) -> Service {
        let (url, credentials) =
            TargetUrl::parse_with_credentials("http://localhost:9001").unwrap();
        let target = NewTarget { url, credentials, tls: UpstreamTls::default() };
        let row = ServiceRow {
            health: None,
            name: name.parse().unwrap(),
            port: port(number),
            bind: None,
            desired: Desired::Running,
            active: "a".parse().unwrap(),
            targets: [("a".parse().unwrap(), target)].into(),
            tags: vec![],
            register: true,
        };
        let by = Actor::Direct(BY.into());
        let detail = text::ops::removed(number);
        let event = done(clock::now(), crate::model::EventAction::ServiceAdded, name, &by, detail);
        self.store.insert_service(&NodeName::default(), row, clock::now(), event).await.unwrap()
    }

    /// A run of a server that never stopped, of another node name.
    pub(super) async fn other_server(&self, identity: ProcessIdentity) {
        self.server("other", identity).await;
    }

    async fn server(&self, name: &str, identity: ProcessIdentity) -> NodeId {
        let row = NodeRow {
            name: name.parse().unwrap(),
            host: "here".into(),
            identity,
            exe: "pmctl".into(),
            version: "0".into(),
            started_at: clock::now(),
        };
        self.store.start_node(row).await.unwrap()
    }

    /// The events about ports: action, subject, outcome, detail.
    pub(super) async fn events(&self) -> Vec<(String, String, String, String)> {
        let events = self.store.events(1000, None).await.unwrap();
        let told = |event: Event| {
            let detail = event.detail.map(|detail| detail.to_string()).unwrap_or_default();
            (event.action, event.subject, event.outcome, detail)
        };
        events.into_iter().filter(|e| e.action.starts_with("port-")).map(told).collect()
    }
}

pub(super) fn view(state: ServerState, url: Option<&str>) -> ServerView {
    ServerView {
        state,
        pid: None,
        url: url.map(str::to_owned),
        node: "default".into(),
        version: None,
        started_at: None,
        database: "sqlite://x".into(),
        database_uuid: None,
    }
}

fn ports() -> PortRange {
    PortRange::new(port(20_000), port(20_010)).unwrap()
}

/// Operations of a command line; `owner` is the process of the database's server, if there is one.
pub(super) fn direct(
    machine: &MadeUp,
    database: Option<&Database>,
    state: ServerState,
    owner: Option<ProcessIdentity>,
) -> Ops {
    let store = database.map(|database| database.store.clone());
    let facts = DirectFacts { server: view(state, Some("http://127.0.0.1:3000")), owner };
    Ops::direct(store, NodeName::default(), ports(), facts).on_machine(Arc::new(machine.clone()))
}

/// Operations of a command line where there is no server.
pub(super) fn alone(machine: &MadeUp, database: Option<&Database>) -> Ops {
    direct(machine, database, ServerState::Down, None)
}

pub(super) fn request(numbers: &[u16]) -> KillRequest {
    KillRequest {
        ports: numbers.iter().map(|number| port(*number)).collect(),
        signal: None,
        grace: Duration::from_millis(10),
        dry_run: false,
        force: false,
    }
}

pub(super) fn forced(numbers: &[u16]) -> KillRequest {
    KillRequest { force: true, ..request(numbers) }
}

pub(super) async fn kill(ops: &Ops, request: &KillRequest) -> Result<KillReport, Fault> {
    ops.kill_ports(request, &Actor::Direct(BY.into()), &|_| {}).await
}

/// What was done for each port, and the code of the fault where it was left.
pub(super) async fn done_for(
    ops: &Ops,
    request: &KillRequest,
) -> Vec<(PortAction, Option<&'static str>)> {
    let report = kill(ops, request).await.unwrap();
    let code = |fault: &Fault| fault.message.code();
    report.ports.iter().map(|item| (item.action, item.fault.as_ref().map(code))).collect()
}

/// A server that serves what it is told.
pub(super) struct MadeUpLive {
    node: NodeId,
    pub(super) machine: MadeUp,
    pub(super) serving: Mutex<BTreeSet<ServiceId>>,
    /// The bound of each stop.
    pub(super) bounds: Mutex<Vec<Option<Duration>>>,
    events: watch::Sender<i64>,
}

/// Operations in a server that serves `services`.
pub(super) async fn in_server(
    machine: &MadeUp,
    database: &Database,
    services: &[&Service],
) -> (Ops, Arc<MadeUpLive>) {
    let own_ports = services.iter().map(|service| service.port).chain([port(3000)]);
    machine.world().processes.get_mut(&OWN_PID).unwrap().ports = own_ports.collect();
    let node = database.server("default", identity(OWN_PID, 1)).await;
    let live = Arc::new(MadeUpLive {
        node,
        machine: machine.clone(),
        serving: Mutex::new(services.iter().map(|service| service.id).collect()),
        bounds: Mutex::default(),
        events: watch::Sender::new(0),
    });
    let ops = Ops::in_server(database.store.clone(), NodeName::default(), ports(), live.clone());
    (ops.on_machine(Arc::new(machine.clone())), live)
}

impl Live for MadeUpLive {
    fn node_id(&self) -> NodeId {
        self.node
    }

    fn server(&self) -> ServerView {
        view(ServerState::Ready, Some("http://127.0.0.1:3000"))
    }

    fn phase(&self) -> Phase {
        Phase::Ready
    }

    fn attention(&self) -> Vec<Message> {
        Vec::new()
    }

    fn counters(&self, id: ServiceId) -> Option<Counters> {
        self.serving.lock().unwrap().contains(&id).then(Counters::default)
    }

    fn instances(&self, _id: ServiceId) -> Option<Vec<InstanceView>> {
        None
    }

    fn port(&self, _id: ServiceId) -> Option<crate::model::Port> {
        None
    }

    fn check_target(&self, _service: &Service) -> Result<(), Fault> {
        Ok(())
    }

    fn start<'a>(&'a self, services: &'a [Service]) -> BoxFuture<'a, Vec<Result<(), Fault>>> {
        async { services.iter().map(|_| Ok(())).collect() }.boxed()
    }

    fn stop<'a>(
        &'a self,
        services: &'a [Service],
        at_most: Option<Duration>,
    ) -> BoxFuture<'a, Vec<StopResult>> {
        async move {
            self.bounds.lock().unwrap().push(at_most);
            let mut results = Vec::new();
            for service in services {
                let was_running = self.serving.lock().unwrap().remove(&service.id);
                let mut world = self.machine.world();
                world.processes.get_mut(&OWN_PID).unwrap().ports.remove(&service.port);
                results.push(StopResult { was_running, cut: Vec::new() });
            }
            results
        }
        .boxed()
    }

    fn rebind<'a>(&'a self, _service: &'a Service) -> BoxFuture<'a, Result<Vec<Cut>, Fault>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn switch(&self, _service: &Service) -> Result<(), Fault> {
        Ok(())
    }

    fn health(&self, _id: ServiceId) -> Option<HealthView> {
        None
    }

    fn health_signal(&self) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }

    fn watch_health(&self, _service: &Service) {}

    fn has_registry(&self) -> bool {
        false
    }

    fn has_lease(&self, _id: ServiceId) -> bool {
        false
    }

    fn announced(&self, _of: &Registration) -> Announced {
        Announced::Never
    }

    fn is_draining(&self, _id: ServiceId) -> bool {
        false
    }

    fn lease(&self, _service: &Service) -> HeartbeatView {
        unreachable!("no lease is asked for")
    }

    fn set_registered<'a>(&'a self, _service: &'a Service) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn set_draining(
        &self,
        _id: ServiceId,
        _is_draining: bool,
    ) -> BoxFuture<'_, Result<bool, Message>> {
        async { Ok(false) }.boxed()
    }

    #[expect(clippy::disallowed_methods, reason = "this room has no tasks of a server")]
    fn carry_out(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    fn request_shutdown(&self, _by: &Actor) -> mpsc::UnboundedReceiver<ShutdownProgress> {
        mpsc::unbounded_channel().1
    }

    #[cfg(feature = "debug-hooks")]
    fn misbehave(&self, _: &str) {}

    fn guardian(&self) -> GuardianView {
        GuardianView::OFF
    }

    fn metrics(&self) -> Metrics {
        unreachable!("no page is asked for")
    }

    fn event_signal(&self) -> watch::Receiver<i64> {
        self.events.subscribe()
    }

    fn events_reach(&self, newest: i64) {
        self.events.send_replace(newest);
    }
}
