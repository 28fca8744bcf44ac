//! The store as its callers use it, on real files.

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
    }
}

async fn add(store: &Store, name: &str, port: u16) -> Result<crate::model::Service, StoreError> {
    store.insert_service(&node(), row(name, port), at(5), event(name)).await
}

fn files(dir: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn an_owner_makes_a_private_database_that_stays_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    let uuid = store.uuid().to_owned();
    assert_eq!(uuid::Uuid::parse_str(&uuid).unwrap().get_version_num(), 4, "{uuid}");
    #[cfg(unix)]
    for (path, mode) in [(at.path(), 0o600), (at.path().parent().unwrap(), 0o700)] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }
    store.close().await.unwrap();
    drop(lock);
    assert_eq!(own(&at).await.0.uuid(), uuid);
}

#[tokio::test]
async fn the_lock_of_one_database_opens_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, lock) = own(&location(&dir)).await;
    let other = Location::from_path(&dir.path().join("other.db")).unwrap();
    let error = Store::open_as_owner(&other, &lock).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongLock { .. }), "{error}");
    assert!(!other.exists());
}

#[tokio::test]
async fn reading_where_there_is_no_database_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    assert!(Store::open_for_reading(&at).await.unwrap().is_none());
    assert_eq!(Store::identify(&at).await.unwrap(), None);
    let error = Store::open_for_writing(&at).await.unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    assert!(files(dir.path()).is_empty());
    std::fs::create_dir(at.path().parent().unwrap()).unwrap();
    std::fs::write(at.path(), "").unwrap();
    assert!(Store::open_for_reading(&at).await.unwrap().is_none());
    let error = Store::open_for_writing(&at).await.unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    assert_eq!(files(at.path().parent().unwrap()).len(), 1);
}

#[tokio::test]
async fn reading_a_closed_database_leaves_no_file_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    store.close().await.unwrap();
    drop(lock);
    let before = files(at.path().parent().unwrap());
    let reader = Store::open_for_reading(&at).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 1);
    let error = add(&reader, "b", 8081).await.unwrap_err();
    assert!(matches!(error, StoreError::OpenedForReading { .. }), "{error}");
    reader.close().await.unwrap();
    Store::identify(&at).await.unwrap().unwrap();
    assert_eq!(files(at.path().parent().unwrap()), before);
}

#[tokio::test]
async fn a_reader_sees_what_a_live_owner_commits() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (owner, _lock) = own(&at).await;
    let reader = Store::open_for_reading(&at).await.unwrap().unwrap();
    assert_eq!(reader.uuid(), owner.uuid());
    assert_eq!(Store::identify(&at).await.unwrap().unwrap().uuid, owner.uuid());
    let added = add(&owner, "订单服务", 8080).await.unwrap();
    assert_eq!(reader.services(&node()).await.unwrap(), std::slice::from_ref(&added));
    assert_eq!(reader.service(&node(), &added.name).await.unwrap(), Some(added));
    assert_eq!(reader.service(&node(), &"other".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused_by_both_numbers_but_identified() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    let known = Store::identify(&at).await.unwrap().unwrap().schema;
    let mut tx = store.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    store.close().await.unwrap();
    let is_newer = |error: &StoreError| matches!(error, StoreError::SchemaNewer { found: 9999, known: k } if *k == known);
    for error in [
        Store::open_as_owner(&at, &lock).await.unwrap_err(),
        Store::open_for_writing(&at).await.unwrap_err(),
        Store::open_for_reading(&at).await.unwrap_err(),
    ] {
        assert!(is_newer(&error), "{error}");
    }
    assert_eq!(Store::identify(&at).await.unwrap().unwrap().schema, 9999);
    assert!(matches!(schema::check(known - 1), Err(StoreError::SchemaOld { .. })));
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let at = Location::from_path(&path).unwrap();
    let Acquired::Lock(lock) = OwnerLock::try_acquire(&at, holder("default"), |_| false).unwrap()
    else {
        panic!("held")
    };
    std::fs::write(
        &path,
        "not a database at all, but long enough to have a header of one\n".repeat(20),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    for error in [
        Store::open_for_reading(&at).await.unwrap_err(),
        Store::open_for_writing(&at).await.unwrap_err(),
        Store::open_as_owner(&at, &lock).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::remove_file(&path).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut theirs = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE songs (id INTEGER)").execute(&mut theirs).await.unwrap();
    theirs.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    for error in [
        Store::open_for_reading(&at).await.unwrap_err(),
        Store::open_as_owner(&at, &lock).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NotOurs { .. }), "{error:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_database_that_became_a_directory_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    std::fs::create_dir_all(at.path()).unwrap();
    let error = Store::open_for_reading(&at).await.unwrap_err();
    assert!(matches!(error, StoreError::IsDirectory { .. }), "{error}");
}

#[tokio::test]
async fn a_name_and_a_port_are_taken_once_for_each_node_name() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    add(&store, "a", 8080).await.unwrap();
    let error = add(&store, "a", 8081).await.unwrap_err();
    assert!(matches!(&error, StoreError::NameTaken { name } if name.as_str() == "a"), "{error}");
    let error = add(&store, "b", 8080).await.unwrap_err();
    let names = |p: &Port, by: &str| p.get() == 8080 && by == "a";
    assert!(
        matches!(&error, StoreError::PortTaken { port, by } if names(port, by.as_str())),
        "{error}"
    );
    // Names are told apart byte by byte.
    add(&store, "A", 8081).await.unwrap();
    let other: NodeName = "other".parse().unwrap();
    store.insert_service(&other, row("a", 8080), at(5), event("a")).await.unwrap();
    assert_eq!(store.services(&node()).await.unwrap().len(), 2);
    assert_eq!(store.events(100, None).await.unwrap().len(), 3, "a refused one leaves no event");
}

#[tokio::test]
async fn everything_of_a_service_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let mut wanted = row("a b", 65535);
    wanted.bind = Some("::1".parse().unwrap());
    wanted.desired = Desired::Stopped;
    wanted.tags = vec!["z".into(), "名".into(), "\"".into()];
    wanted.register = false;
    let tls = UpstreamTls { ca_file: Some("/etc/ca ü.pem".into()), insecure: true };
    let secret = NewTarget { tls, ..target("https://ann:p%40ss@h/x") };
    wanted.targets.insert("b".parse().unwrap(), secret.clone());
    let added = store.insert_service(&node(), wanted.clone(), at(5), event("x")).await.unwrap();
    assert_eq!(store.services(&node()).await.unwrap(), std::slice::from_ref(&added));
    assert_eq!((&added.name, added.port, added.bind), (&wanted.name, wanted.port, wanted.bind));
    assert_eq!((added.desired, added.register), (Desired::Stopped, false));
    assert_eq!((&added.tags, &added.active_target), (&wanted.tags, &wanted.active));
    assert_eq!((added.actual, added.revision, added.since), (Actual::Stopped, 1, at(5)));
    let kept = &added.targets[&"b".parse::<TargetName>().unwrap()];
    assert_eq!((&kept.url, &kept.credentials), (&secret.url, &secret.credentials));
    assert_eq!(kept.tls, secret.tls);
}

#[tokio::test]
async fn an_active_target_always_exists() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let (a, b, c): (TargetName, TargetName, TargetName) =
        ("a".parse().unwrap(), "b".parse().unwrap(), "c".parse().unwrap());
    let wrong = ServiceRow { active: b.clone(), ..row("a", 8080) };
    let error = store.insert_service(&node(), wrong, at(1), event("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::TargetMissing { .. }), "{error}");
    let id = add(&store, "a", 8080).await.unwrap().id;
    let error = store.set_active(id, &b, at(2), event("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::TargetMissing { .. }), "{error}");
    let put = store.put_target(id, &b, target("http://u:p@b"), at(2), event("a")).await.unwrap();
    assert_eq!((put.targets.len(), put.revision, put.updated_at), (2, 2, at(2)));
    let switched = store.set_active(id, &b, at(3), event("a")).await.unwrap();
    assert_eq!((&switched.active_target, switched.revision), (&b, 3));
    let error = store.remove_target(id, &b, at(4), event("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::TargetActive { .. }), "{error}");
    let error = store.remove_target(id, &c, at(4), event("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::TargetMissing { .. }), "{error}");
    let left = store.remove_target(id, &a, at(4), event("a")).await.unwrap();
    assert_eq!(left.targets.keys().collect::<Vec<_>>(), [&b]);
    // Replacing the active one is no removal, and the old credentials do not stay.
    let replaced = store.put_target(id, &b, target("http://c"), at(5), event("a")).await.unwrap();
    assert_eq!(replaced.targets[&b].credentials, None);
    // Even a writer that forgets all this cannot commit it.
    let mut tx = store.begin().await.unwrap();
    sqlx::query("DELETE FROM targets").execute(&mut *tx).await.unwrap();
    assert!(store.commit(tx).await.is_err());
    assert_eq!(store.services(&node()).await.unwrap(), [replaced]);
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name_and_counts_one_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let old = add(&store, "a", 8080).await.unwrap();
    add(&store, "b", 8081).await.unwrap();
    let change = ServiceChange { bind: Some(Some("127.0.0.1".parse().unwrap())), ..<_>::default() };
    let new = store.update_service(old.id, change, at(9), event("a")).await.unwrap();
    assert_eq!((new.revision, new.updated_at, new.created_at), (2, at(9), at(5)));
    assert_eq!((&new.name, new.port, &new.tags), (&old.name, old.port, &old.tags));
    let change = ServiceChange {
        name: Some("订单".parse().unwrap()),
        port: Port::new(9000),
        bind: Some(None),
        tags: Some(vec!["t".into()]),
        register: Some(false),
    };
    let new = store.update_service(old.id, change.clone(), at(10), event("a")).await.unwrap();
    assert_eq!((new.name.as_str(), new.port.get(), new.bind), ("订单", 9000, None));
    assert_eq!((&*new.tags, new.register), (&["t".to_owned()][..], false));
    // The same again is no clash with itself; what another one has is.
    store.update_service(old.id, change, at(11), event("a")).await.unwrap();
    let clash = ServiceChange { port: Port::new(8081), ..<_>::default() };
    let error = store.update_service(old.id, clash, at(12), event("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::PortTaken { .. }), "{error}");
    let gone = ServiceId(4711);
    let error = store.update_service(gone, <_>::default(), at(12), event("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::ServiceGone { .. }), "{error}");
    let error = store.put_target(gone, &old.active_target, target("http://x"), at(1), event("a"));
    assert!(matches!(error.await.unwrap_err(), StoreError::ServiceGone { .. }));
}

#[tokio::test]
async fn removed_services_are_gone_whole_and_their_ids_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    add(&store, "a", 8080).await.unwrap();
    let b = add(&store, "b", 8081).await.unwrap();
    let removed = store.remove_services(&[b.id, ServiceId(99)], vec![event("b")]).await.unwrap();
    assert_eq!(removed, 1);
    let c = add(&store, "c", 8081).await.unwrap();
    assert!(c.id > b.id);
    for count in ["SELECT count(*) FROM targets", "SELECT count(*) FROM runtime"] {
        let mut tx = store.read().await.unwrap();
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(count, 2);
    }
}

#[tokio::test]
async fn states_reasons_and_their_moment_are_kept_until_all_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let (a, b) = (add(&store, "a", 1).await.unwrap().id, add(&store, "b", 2).await.unwrap().id);
    let reason = text::model::port_out_of_range("8080");
    let states = [(a, Actual::Running, None), (b, Actual::Failed, Some(reason.clone()))];
    let run = store.start_node(node_row("default")).await.unwrap();
    store.set_actual(Some(run), &states, at(10), vec![]).await.unwrap();
    store.set_actual(Some(run), &states, at(20), vec![event("b")]).await.unwrap();
    let seen = store.services(&node()).await.unwrap();
    assert_eq!((seen[0].actual, seen[0].since, &seen[0].reason), (Actual::Running, at(10), &None));
    assert_eq!((seen[1].actual, &seen[1].reason), (Actual::Failed, &Some(reason)));
    assert_eq!(store.set_desired(&[a, b], Desired::Stopped, vec![]).await.unwrap(), 2);
    assert_eq!(store.set_desired(&[b], Desired::Running, vec![event("b")]).await.unwrap(), 1);
    assert_eq!(store.stop_all(&node(), at(30), vec![]).await.unwrap(), 2);
    assert_eq!(store.stop_all(&node(), at(40), vec![]).await.unwrap(), 0);
    for service in store.services(&node()).await.unwrap() {
        assert_eq!((service.actual, service.since), (Actual::Stopped, at(30)));
        assert_eq!((service.reason, service.revision), (None, 1));
        let wanted = if service.id == a { Desired::Stopped } else { Desired::Running };
        assert_eq!(service.desired, wanted);
    }
}

fn node_row(name: &str) -> NodeRow {
    NodeRow {
        name: name.parse().unwrap(),
        host: "h".into(),
        identity: holder("x").identity,
        exe: "/usr/bin/pmctl".into(),
        version: "0.1.0".into(),
        started_at: at(1),
    }
}

#[tokio::test]
async fn a_run_of_a_server_is_unfinished_until_it_ends_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let died = store.start_node(node_row("default")).await.unwrap();
    let lives = store.start_node(node_row("default")).await.unwrap();
    store.start_node(node_row("other")).await.unwrap();
    store.set_control_url(lives, "http://127.0.0.1:3000").await.unwrap();
    let found = store.unfinished_nodes(&node()).await.unwrap();
    assert_eq!(found.iter().map(|n| n.id).collect::<Vec<_>>(), [lives, died]);
    assert_eq!(found[0].row, node_row("default"));
    assert_eq!(found[0].control_url.as_deref(), Some("http://127.0.0.1:3000"));
    store.finish_node(lives, at(5), "SIGTERM").await.unwrap();
    store.finish_node(lives, at(6), "again").await.unwrap();
    let left = store.unfinished_nodes(&node()).await.unwrap();
    assert_eq!(left.iter().map(|n| n.id).collect::<Vec<_>>(), [died]);
}

#[tokio::test]
async fn events_are_told_in_order_from_where_a_follower_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    assert_eq!(store.last_event_id().await.unwrap(), 0);
    let many: Vec<_> = (1..=10).map(|n| event(&n.to_string())).collect();
    store.append_events(many).await.unwrap();
    store.append_events(vec![]).await.unwrap();
    assert_eq!(store.last_event_id().await.unwrap(), 10);
    let subjects = |events: Vec<crate::model::Event>| {
        events.into_iter().map(|e| e.subject).collect::<Vec<_>>()
    };
    assert_eq!(subjects(store.events(3, None).await.unwrap()), ["8", "9", "10"]);
    assert_eq!(subjects(store.events(3, Some(4)).await.unwrap()), ["5", "6", "7"]);
    assert_eq!(store.events(3, Some(10)).await.unwrap(), []);
    let last = store.events(1, None).await.unwrap().remove(0);
    assert_eq!((last.id, last.at, last.actor.as_str()), (10, at(7), "cli:ann"));
    assert_eq!((last.action.as_str(), last.outcome.as_str()), ("service-added", "ok"));
    assert_eq!(last.detail, Some(text::model::service_not_found("10")));
    assert_eq!(store.prune_events(4).await.unwrap(), 6);
    assert_eq!(store.prune_events(4).await.unwrap(), 0);
    assert_eq!(store.events(100, None).await.unwrap().first().unwrap().id, 7);
    store.prune_events(0).await.unwrap();
    store.append_events(vec![event("x")]).await.unwrap();
    assert_eq!(store.last_event_id().await.unwrap(), 11, "an id never comes back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_direct_writers_and_twenty_through_the_owner_all_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (owner, _lock) = own(&at).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20_u16 {
        let at = at.clone();
        tasks.spawn(async move {
            let lock = WriterLock::acquire(&at, Duration::from_secs(30)).await.unwrap();
            let store = Store::open_for_writing(&at).await.unwrap();
            add(&store, &format!("direct {n}"), 2000 + n).await.unwrap();
            store.close().await.unwrap();
            drop(lock);
        });
        let owner = owner.clone();
        tasks.spawn(async move {
            add(&owner, &format!("owner {n}"), 3000 + n).await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(owner.services(&node()).await.unwrap().len(), 40);
    assert_eq!(owner.events(100, None).await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_thousand_services_are_listed_and_set_in_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let mut tx = store.begin().await.unwrap();
    for n in 1..=1000_i64 {
        let insert = "INSERT INTO services (id, node_name, name, port, desired, active_target, \
             register, tags, created_at, updated_at, revision) \
             VALUES ($1, 'default', 's' || $1, $1, 'running', 'a', 1, '[]', 0, 0, 1)";
        sqlx::query(insert).bind(n).execute(&mut *tx).await.unwrap();
        for target in ["a", "b"] {
            let insert = "INSERT INTO targets VALUES ($1, $2, 'http://localhost:9001', NULL, 0)";
            sqlx::query(insert).bind(n).bind(target).execute(&mut *tx).await.unwrap();
        }
        let insert = "INSERT INTO runtime VALUES ($1, NULL, 'stopped', NULL, 0)";
        sqlx::query(insert).bind(n).execute(&mut *tx).await.unwrap();
    }
    store.commit(tx).await.unwrap();
    let begun = Instant::now();
    let services = store.services(&node()).await.unwrap();
    let listed = begun.elapsed();
    assert_eq!((services.len(), services[0].targets.len()), (1000, 2));
    let states: Vec<_> = services.iter().map(|s| (s.id, Actual::Running, None)).collect();
    let begun = Instant::now();
    store.set_actual(None, &states, at(1), vec![]).await.unwrap();
    let set = begun.elapsed();
    // Far above what an unoptimised build takes, far below what a statement a service would.
    assert!(listed < Duration::from_millis(500), "listed in {listed:?}, set in {set:?}");
    assert!(set < Duration::from_secs(2), "listed in {listed:?}, set in {set:?}");
}

#[tokio::test]
async fn what_a_killed_owner_committed_is_read_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (owner, _lock) = own(&at).await;
    add(&owner, "a", 8080).await.unwrap();
    // What a kill leaves: the database with its log, without the index that the log is read by.
    let copy = Location::from_path(&dir.path().join("copy.db")).unwrap();
    std::fs::copy(at.path(), copy.path()).unwrap();
    std::fs::copy(at.beside("-wal"), copy.beside("-wal")).unwrap();
    let reader = Store::open_for_reading(&copy).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 1);
    assert_eq!(reader.uuid(), owner.uuid());
}

/// Runs this very test again as a user who may write nothing here: `nobody` where we are root, else
/// ourselves with the rights taken away.
#[cfg(unix)]
#[tokio::test]
async fn a_reader_without_any_right_to_write_reads_what_was_closed_in_order() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const PATH: &str = "PMCTL_TEST_UNWRITABLE";
    if let Some(path) = std::env::var_os(PATH) {
        read_unwritable(&Location::from_path(Path::new(&path)).unwrap()).await;
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    store.close().await.unwrap();
    drop(lock);
    let unclosed = at.path().with_file_name("unclosed.db");
    std::fs::copy(at.path(), &unclosed).unwrap();
    std::fs::write(at.path().with_file_name("unclosed.db-wal"), "not empty").unwrap();
    // The program itself may lie where `nobody` cannot go.
    let program = dir.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, mode) in [(dir.path(), 0o755), (&program, 0o755), (at.path(), 0o444)] {
        chmod(path, mode);
    }
    chmod(&unclosed, 0o444);
    chmod(at.path().parent().unwrap(), 0o555);
    let mut again = std::process::Command::new(&program);
    again.env(PATH, at.path()).current_dir("/").args(["--exact", "--nocapture"]);
    again.arg("store::tests::a_reader_without_any_right_to_write_reads_what_was_closed_in_order");
    if rustix::process::geteuid().is_root() {
        again.uid(65534).gid(65534);
    }
    let output = again.output().unwrap();
    chmod(at.path().parent().unwrap(), 0o755);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[cfg(unix)]
async fn read_unwritable(at: &Location) {
    let directory = at.path().parent().unwrap();
    let before = files(directory);
    let reader = Store::open_for_reading(at).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 1);
    reader.close().await.unwrap();
    assert_eq!(files(directory), before);
    let error = Store::open_for_writing(at).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    let error = OwnerLock::try_acquire(at, holder("default"), |_| false).unwrap_err();
    assert!(matches!(error, StoreError::Permission { .. }), "{error:?}");
    let unclosed = Location::from_path(&directory.join("unclosed.db")).unwrap();
    let error = Store::open_for_reading(&unclosed).await.unwrap_err();
    assert!(matches!(error, StoreError::Unclosed { .. }), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_root_makes_in_the_directory_of_a_user_is_the_users() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    }
    let user = dir.path().metadata().unwrap();
    let at = location(&dir);
    let (store, _lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    let _writer = WriterLock::acquire(&at, Duration::ZERO).await.unwrap();
    let state = at.path().parent().unwrap();
    let made = files(state);
    assert!(made.len() >= 5, "{made:?}");
    for path in made.iter().map(|name| state.join(name)).chain([state.to_owned()]) {
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (user.uid(), user.gid()), "{path:?}");
    }
}

#[tokio::test]
async fn a_full_disk_and_a_busy_database_are_said_to_be_so_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let (store, _lock) = own(&at).await;
    add(&store, "a", 8080).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    // The limit that a full disk would be: no page more than there are.
    sqlx::query("PRAGMA max_page_count = 1").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let many = (0..5000).map(|n| event(&format!("{n:0100}"))).collect();
    let error = store.append_events(many).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert_eq!(store.last_event_id().await.unwrap(), 1);
    // SQLite has ended that transaction by itself; the next one is none the worse for it.
    store.append_events(vec![event("b")]).await.unwrap();
    assert_eq!(store.last_event_id().await.unwrap(), 2);

    let _writing = store.begin().await.unwrap();
    let hasty = sqlx::sqlite::SqliteConnectOptions::new().filename(at.path());
    let mut hasty = hasty.busy_timeout(Duration::ZERO).connect().await.unwrap();
    let error = hasty.begin_with("BEGIN IMMEDIATE").await.unwrap_err();
    let error = StoreError::sql("write", at.path(), error);
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_first_writers_make_one_database() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(&dir);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..10_u16 {
        let at = at.clone();
        tasks.spawn(async move {
            let _turn = WriterLock::acquire(&at, Duration::from_secs(30)).await.unwrap();
            let store = match Store::open_for_writing(&at).await {
                Err(StoreError::NoDatabase { .. }) => {
                    let (made, lock) = own(&at).await;
                    made.close().await.unwrap();
                    drop(lock);
                    Store::open_for_writing(&at).await.unwrap()
                }
                other => other.unwrap(),
            };
            add(&store, &format!("s{n}"), 2000 + n).await.unwrap();
            store.close().await.unwrap();
        });
    }
    tasks.join_all().await;
    let reader = Store::open_for_reading(&at).await.unwrap().unwrap();
    assert_eq!(reader.services(&node()).await.unwrap().len(), 10);
}
