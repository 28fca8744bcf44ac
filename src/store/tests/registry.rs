//! Services, runs of servers and events.

use super::*;

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
    let check: crate::model::HealthCheck =
        crate::model::HealthPatch { path: Some("/up".into()), ..<_>::default() }
            .over(None)
            .unwrap();
    let change = ServiceChange {
        name: Some("订单".parse().unwrap()),
        port: Port::new(9000),
        bind: Some(None),
        tags: Some(vec!["t".into()]),
        register: Some(false),
        health: Some(Some(check.clone())),
    };
    let new = store.update_service(old.id, change.clone(), at(10), event("a")).await.unwrap();
    assert_eq!((new.name.as_str(), new.port.get(), new.bind), ("订单", 9000, None));
    assert_eq!((&*new.tags, new.register), (&["t".to_owned()][..], false));
    assert_eq!(new.health, Some(check));
    let change_health = ServiceChange { health: Some(None), ..<_>::default() };
    let off = store.update_service(old.id, change_health, at(10), event("a")).await.unwrap();
    assert_eq!(off.health, None);
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

#[tokio::test]
async fn events_of_ended_processes_outlive_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let of = |action, subject: &str| NewEvent { action, ..event(subject) };
    let old = vec![
        of(EventAction::PortKilled, "8080"),
        of(EventAction::ServiceStopped, "a"),
        of(EventAction::ServerEnded, "default"),
    ];
    store.append_events(old).await.unwrap();
    store.append_events(vec![event("b"), event("c")]).await.unwrap();
    assert_eq!(store.prune_events(1).await.unwrap(), 2);
    let left = store.events(9, None).await.unwrap();
    let left: Vec<_> = left.iter().map(|event| event.subject.as_str()).collect();
    assert_eq!(left, ["8080", "default", "c"]);
}
