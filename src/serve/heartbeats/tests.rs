//! The driver with a registry made up for it.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{RwLock, watch};

use super::*;
use crate::config::EurekaSettings;
use crate::eureka::{
    Answered, Application, Applications, CallError, Extent, Instance, Listed, NodeMark,
    RegistryCalls, Roll,
};
use crate::model::{
    Actual, Desired, InstanceIdPattern, NodeName, Port, ProcessIdentity, RegistryUrl, ServerState,
    ServerView, Target, Timestamp, UpstreamTls,
};
use crate::ops::{DirectFacts, Ops};
use crate::store::{Acquired, HolderKind, Location, LockHolder, NodeId, NodeRow, OwnerLock, Store};

const SOON: Duration = Duration::from_secs(20);

/// A registry in memory.
#[derive(Default)]
struct Made {
    listed: Mutex<BTreeMap<String, Instance>>,
    calls: Mutex<Vec<String>>,
    is_down: AtomicBool,
    /// Announcements arrive, and their answers do not.
    is_mute: AtomicBool,
    /// No call is answered while somebody has it for himself.
    gate: RwLock<()>,
}

impl Made {
    async fn call(&self, name: &str, id: &str) -> Result<Answered, CallError> {
        self.calls.lock().unwrap().push(format!("{name} {id}"));
        drop(self.gate.read().await);
        match self.is_down.load(Ordering::SeqCst) {
            true => Err(CallError::Unreachable { url: "u".into(), reason: "down".into() }),
            false => Ok(Answered { registry: "u".into() }),
        }
    }

    fn ids(&self) -> BTreeSet<String> {
        self.listed.lock().unwrap().keys().cloned().collect()
    }

    fn status(&self, id: &str) -> Option<InstanceStatus> {
        self.listed.lock().unwrap().get(id).map(|instance| instance.status)
    }

    fn count(&self, name: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.starts_with(name)).count()
    }
}

impl RegistryCalls for Made {
    fn register<'a>(
        &'a self,
        instance: &'a Instance,
    ) -> BoxFuture<'a, Result<Answered, CallError>> {
        async move {
            let answered = self.call("register", &instance.instance_id).await?;
            let mut listed = self.listed.lock().unwrap();
            // What an operator set over it outlives its announcement.
            let before = listed.get(&instance.instance_id).map(|known| known.overridden_status);
            let overridden_status = before.unwrap_or(instance.overridden_status);
            let instance = Instance { overridden_status, ..instance.clone() };
            listed.insert(instance.instance_id.clone(), instance);
            match self.is_mute.load(Ordering::SeqCst) {
                true => Err(CallError::Silent { url: "u".into() }),
                false => Ok(answered),
            }
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        _app: &'a str,
        id: &'a str,
        _status: InstanceStatus,
        _dirty: i64,
    ) -> BoxFuture<'a, Result<Answered, CallError>> {
        async move {
            let answered = self.call("renew", id).await?;
            match self.listed.lock().unwrap().contains_key(id) {
                true => Ok(answered),
                false => Err(CallError::NotFound { url: "u".into() }),
            }
        }
        .boxed()
    }

    fn cancel<'a>(
        &'a self,
        _app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Answered, CallError>> {
        async move {
            let answered = self.call("cancel", id).await?;
            self.listed.lock().unwrap().remove(id);
            Ok(answered)
        }
        .boxed()
    }

    fn instance<'a>(
        &'a self,
        _app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>> {
        async move {
            self.call("get", id).await?;
            Ok(self.listed.lock().unwrap().get(id).cloned())
        }
        .boxed()
    }

    fn servers(&self) -> Vec<&str> {
        vec!["u"]
    }

    fn instance_at<'a>(
        &'a self,
        _server: &'a str,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>> {
        self.instance(app, id)
    }

    fn cancel_at<'a>(
        &'a self,
        _server: &'a str,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, CallError>> {
        async move {
            let had = self.listed.lock().unwrap().contains_key(id);
            self.cancel(app, id).await.map(|_| had)
        }
        .boxed()
    }

    fn application<'a>(&'a self, app: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, CallError>> {
        async move {
            let (all, _) = self.applications().await?;
            Ok(all.instances().filter(|instance| instance.app == app).cloned().collect())
        }
        .boxed()
    }

    fn application_at<'a>(
        &'a self,
        _server: &'a str,
        app: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Instance>, CallError>> {
        self.application(app)
    }

    fn applications_at<'a>(
        &'a self,
        _server: &'a str,
    ) -> BoxFuture<'a, Result<Applications, CallError>> {
        async { Ok(self.applications().await?.0) }.boxed()
    }

    fn applications(&self) -> BoxFuture<'_, Result<(Applications, Answered), CallError>> {
        async {
            let instances = self.listed.lock().unwrap().values().cloned().collect();
            let applications = vec![Application { name: String::new(), instances }];
            Ok((Applications { applications, ..Applications::default() }, Answered::default()))
        }
        .boxed()
    }

    fn roll(&self, extent: Extent) -> BoxFuture<'_, Result<Roll, CallError>> {
        async move {
            let listed = match extent {
                Extent::Whole => self.listed.lock().unwrap().values().map(Listed::from).collect(),
                Extent::Changes => Vec::new(),
            };
            Ok(Roll { listed, ..Roll::default() })
        }
        .boxed()
    }
}

struct Kit {
    made: Arc<Made>,
    heartbeats: Heartbeats,
    store: Store,
    node: NodeName,
    ops: Ops,
    health: watch::Sender<u64>,
    sick: AtomicBool,
    _lock: OwnerLock,
    _dir: tempfile::TempDir,
}

impl Kit {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("p.db").display());
        let location = Location::from_url(&url).unwrap();
        let node: NodeName = "default".parse().unwrap();
        let identity =
            ProcessIdentity { boot_id: "b".into(), pid_namespace: 1, pid: 2, start_time: 3 };
        let holder = LockHolder {
            kind: HolderKind::Serve,
            identity: identity.clone(),
            node: node.clone(),
            url: None,
            phase: None,
            shutdown_timeout: None,
        };
        let Acquired::Lock(lock) = OwnerLock::try_acquire(&location, holder, |_| true).unwrap()
        else {
            panic!("somebody has the lock")
        };
        let store = Store::open_as_owner(&location, &lock).await.unwrap();
        let row = NodeRow {
            name: node.clone(),
            host: "h".into(),
            identity,
            exe: "/pmctl".into(),
            version: "1".into(),
            started_at: Timestamp::from_millis(1),
        };
        let id: NodeId = store.start_node(row).await.unwrap();
        let made = Arc::new(Made::default());
        let plan = Plan {
            registry: made.clone(),
            store: store.clone(),
            node: id,
            mark: NodeMark::new(store.uuid(), &node, id.0),
            settings: EurekaSettings {
                urls: vec![RegistryUrl::parse("http://127.0.0.1:1").unwrap()],
                interval: Duration::from_secs(1),
                fetch_interval: Duration::from_secs(1),
                lease_duration: Duration::from_secs(3),
                advertise: Some("127.0.0.1".into()),
                instance_id: InstanceIdPattern::parse("{service}").unwrap(),
                metadata: BTreeMap::new(),
                secure_port: None,
                ca_file: None,
            },
            timeout: Duration::from_secs(5),
            start: Instant::now(),
        };
        let view = ServerView {
            state: ServerState::Down,
            pid: None,
            url: None,
            node: node.to_string(),
            version: None,
            started_at: None,
            database: url,
            database_uuid: None,
        };
        let facts = DirectFacts { server: view, owner: None };
        let ops = Ops::direct(None, node.clone(), "1-2".parse().unwrap(), facts);
        let heartbeats = Heartbeats::new(Some(plan));
        let (health, sick) = (watch::Sender::new(0), AtomicBool::new(false));
        Self { made, heartbeats, store, node, ops, health, sick, _lock: lock, _dir: dir }
    }

    /// Runs `work` beside the driver.
    async fn driven(&self, work: impl Future<Output = ()>) {
        let drive = self
            .heartbeats
            .drive(&self.ops, self.health.subscribe(), |_| self.sick.load(Ordering::SeqCst));
        let all = async { tokio::join!(drive, work) };
        tokio::time::timeout(2 * SOON, all).await.expect("it takes too long");
    }

    /// Waits for a condition; what is driven goes on meanwhile.
    async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn rows(&self) -> BTreeSet<String> {
        let rows = self.store.registrations(&self.node).await.unwrap();
        rows.into_iter().map(|row| row.registration.instance_id).collect()
    }

    /// Which events of these were written down.
    async fn events(&self, which: &str) -> Vec<String> {
        let events = self.store.events(1_000, None).await.unwrap();
        events.into_iter().map(|event| event.action).filter(|a| a.starts_with(which)).collect()
    }

    async fn end(&self) -> Vec<Left> {
        self.heartbeats.end(Instant::now() + Duration::from_secs(5)).await
    }
}

fn service(id: i64) -> Service {
    let main = "main".parse().unwrap();
    let target = Target {
        url: "http://127.0.0.1:1".parse().unwrap(),
        credentials: None,
        tls: UpstreamTls::default(),
    };
    Service {
        id: ServiceId(id),
        name: format!("s{id}").parse().unwrap(),
        port: Port::new(8_080).unwrap(),
        bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        desired: Desired::Running,
        actual: Actual::Running,
        reason: None,
        since: Timestamp::from_millis(0),
        active_target: "main".parse().unwrap(),
        targets: BTreeMap::from([(main, target)]),
        tags: Vec::new(),
        register: true,
        health: None,
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        revision: 1,
    }
}

#[tokio::test]
async fn a_thousand_services_are_announced_and_all_gone_at_the_stop() {
    let kit = Kit::new().await;
    for id in 1..=1_000 {
        kit.heartbeats.announce(&service(id), false);
    }
    kit.driven(async {
        kit.until("all announced", || kit.made.ids().len() == 1_000).await;
        assert_eq!(kit.rows().await.len(), 1_000);
        assert_eq!(kit.end().await, []);
        assert_eq!(kit.made.ids().len(), 0);
        assert_eq!(kit.rows().await.len(), 0);
        // From now on nothing is announced.
        kit.heartbeats.announce(&service(2_000), false);
    })
    .await;
    assert_eq!(kit.made.count("register"), 1_000);
}

#[tokio::test]
async fn what_is_under_way_is_awaited_before_the_instance_is_taken_back() {
    let kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        let held = kit.made.gate.write().await;
        let before = kit.made.count("renew");
        kit.until("a renewal under way", || kit.made.count("renew") > before).await;
        // It will be answered that the registry does not have it.
        kit.made.listed.lock().unwrap().clear();
        let release = async {
            kit.until("marked", || kit.heartbeats.book().entries().all(|(_, e)| e.is_leaving))
                .await;
            assert_eq!(kit.made.count("get"), 1, "before it was announced");
            drop(held);
        };
        tokio::join!(kit.heartbeats.withdraw(&[ServiceId(1)]), release);
        assert_eq!(kit.made.count("register"), 1);
        let calls = kit.made.calls.lock().unwrap().clone();
        assert_eq!(calls.last().map(String::as_str), Some("get s1"), "{calls:?}");
        assert_eq!(kit.made.ids().len(), 0);
        assert_eq!(kit.rows().await.len(), 0);
        kit.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_taken_back_stays_written_down_until_it_can() {
    let kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        kit.made.is_down.store(true, Ordering::SeqCst);
        kit.heartbeats.withdraw(&[ServiceId(1)]).await;
        assert_eq!(kit.rows().await.len(), 1);
        let needs = kit.heartbeats.attention();
        assert!(needs.iter().any(|m| m.code() == "attention-leases-left"), "{needs:?}");
        kit.made.is_down.store(false, Ordering::SeqCst);
        kit.until("taken back", || kit.made.ids().is_empty()).await;
        kit.until("no orphan", || kit.heartbeats.attention().is_empty()).await;
        assert_eq!(kit.end().await, []);
    })
    .await;
    assert_eq!(kit.rows().await.len(), 0);
}

#[tokio::test]
async fn a_stop_under_a_dead_registry_says_what_is_left_and_keeps_it_written_down() {
    let kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        kit.made.is_down.store(true, Ordering::SeqCst);
        let left = kit.end().await;
        assert_eq!(left.iter().map(|left| left.instance.as_str()).collect::<Vec<_>>(), ["s1"]);
    })
    .await;
    assert_eq!(kit.rows().await, BTreeSet::from(["s1".to_owned()]));
}

#[tokio::test]
async fn an_unhealthy_target_makes_the_instance_down_and_a_healthy_one_up_again() {
    let kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("up", || kit.made.status("s1") == Some(InstanceStatus::Up)).await;
        kit.sick.store(true, Ordering::SeqCst);
        kit.health.send_modify(|count| *count += 1);
        kit.until("down", || kit.made.status("s1") == Some(InstanceStatus::Down)).await;
        kit.sick.store(false, Ordering::SeqCst);
        kit.health.send_modify(|count| *count += 1);
        kit.until("up", || kit.made.status("s1") == Some(InstanceStatus::Up)).await;
        kit.heartbeats.set_draining(ServiceId(1), true);
        assert_eq!(kit.heartbeats.told(ServiceId(1)).await, Ok(true));
        assert_eq!(kit.made.status("s1"), Some(InstanceStatus::Down));
        kit.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_registry_is_back_only_once_it_answered() {
    let kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        kit.made.is_down.store(true, Ordering::SeqCst);
        kit.until("failing", || !kit.heartbeats.attention().is_empty()).await;
        // Nothing that is to be renewed fails any more, and the registry is no better for it.
        kit.heartbeats.withdraw(&[ServiceId(1)]).await;
        let before = kit.made.count("get");
        kit.until("another try", || kit.made.count("get") > before + 1).await;
        kit.end().await;
    })
    .await;
    assert_eq!(kit.events("registry-").await, ["registry-failing"]);
}

#[tokio::test]
async fn what_an_operator_set_is_an_event_once_however_often_it_is_announced() {
    let kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.status("s1") == Some(InstanceStatus::Up)).await;
        let set = |status| {
            let mut listed = kit.made.listed.lock().unwrap();
            listed.get_mut("s1").unwrap().overridden_status = status;
        };
        set(InstanceStatus::OutOfService);
        kit.heartbeats.synchronise().await;
        kit.heartbeats.set_draining(ServiceId(1), true);
        assert_eq!(kit.heartbeats.told(ServiceId(1)).await, Ok(true));
        kit.heartbeats.synchronise().await;
        let shown = kit.heartbeats.view(&service(1)).override_status;
        assert_eq!(shown.as_deref(), Some("OUT_OF_SERVICE"));
        set(InstanceStatus::Unknown);
        kit.heartbeats.synchronise().await;
        kit.heartbeats.synchronise().await;
        kit.end().await;
    })
    .await;
    assert_eq!(kit.events("lease-override").await.len(), 2, "set, and gone");
}

#[tokio::test]
async fn without_anybody_to_look_at_health_the_driver_goes_on() {
    let mut kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    let (health, heard) = (std::mem::take(&mut kit.health), watch::Sender::new(0).subscribe());
    drop(health);
    let drive = kit.heartbeats.drive(&kit.ops, heard, |_| false);
    let work = async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        kit.end().await
    };
    let both = async { tokio::join!(drive, work) };
    tokio::time::timeout(2 * SOON, both).await.expect("it takes too long");
    assert!(kit.made.ids().is_empty());
}
