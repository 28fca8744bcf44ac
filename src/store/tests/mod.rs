//! The store as its callers use it, on real files.

mod opening;
mod registrations;
mod registry;
mod writers;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection};

use crate::model::{
    Actor, Actual, Desired, EventAction, NewTarget, NodeName, Outcome, Port, ServiceId, TargetName,
    TargetUrl, Timestamp, UpstreamTls,
};
use crate::text;

use super::holder::tests::holder;
use super::*;

/// How long something may take: a machine on which everything is slower, such as one that is emulated, says how many
/// times slower in `PMCTL_TEST_SLOWNESS`.
pub(super) fn at_most(time: Duration) -> Duration {
    let times = std::env::var("PMCTL_TEST_SLOWNESS").ok().and_then(|times| times.parse().ok());
    time * times.unwrap_or(1)
}

fn node() -> NodeName {
    NodeName::default()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn location(dir: &tempfile::TempDir) -> Location {
    Location::from_path(&dir.path().join("state/pmctl.db")).unwrap()
}

async fn own(location: &Location) -> (Store, OwnerLock) {
    let Acquired::Lock(lock) =
        OwnerLock::try_acquire(location, holder("default"), |_| false).unwrap()
    else {
        panic!("the lock is held")
    };
    (Store::open_as_owner(location, &lock).await.unwrap(), lock)
}

fn event(subject: &str) -> NewEvent {
    NewEvent {
        at: at(7),
        action: EventAction::ServiceAdded,
        subject: subject.into(),
        actor: Actor::Direct("ann".into()),
        outcome: Outcome::Ok,
        detail: Some(text::model::service_not_found(subject)),
    }
}

fn target(url: &str) -> NewTarget {
    let (url, credentials) = TargetUrl::parse_with_credentials(url).unwrap();
    NewTarget { url, credentials, tls: UpstreamTls::default() }
}

fn row(name: &str, port: u16) -> ServiceRow {
    ServiceRow {
        name: name.parse().unwrap(),
        port: Port::new(port).unwrap(),
        bind: None,
        desired: Desired::Running,
        active: "a".parse().unwrap(),
        targets: [("a".parse().unwrap(), target("http://localhost:9001"))].into(),
        tags: vec![],
        register: true,
        health: None,
    }
}

async fn add(store: &Store, name: &str, port: u16) -> Result<crate::model::Service, StoreError> {
    store.insert_service(&node(), row(name, port), at(5), event(name)).await
}

fn files(dir: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}
