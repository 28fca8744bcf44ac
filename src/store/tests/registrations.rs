//! Registrations and heartbeats.

use super::*;
use crate::model::{Heartbeat, HeartbeatCall, ProcessIdentity, Registration};

fn registration(service: i64, instance: &str) -> Registration {
    Registration {
        service_id: ServiceId(service),
        service: "订单".parse().unwrap(),
        port: Port::new(8080).unwrap(),
        registries: vec!["http://a:8761/eureka".into(), "http://b:8761/eureka".into()],
        app: "ORDERS".into(),
        instance_id: instance.into(),
        host: "host".into(),
        address: "192.0.2.1".into(),
        interval: Duration::from_secs(30),
        duration: Duration::from_secs(90),
        since: at(3),
    }
}

async fn node_row(store: &Store, name: &NodeName) -> NodeId {
    let identity = ProcessIdentity { boot_id: "b".into(), pid_namespace: 1, pid: 2, start_time: 3 };
    let row = NodeRow {
        name: name.clone(),
        host: "h".into(),
        identity,
        exe: "/pmctl".into(),
        version: "1".into(),
        started_at: at(1),
    };
    store.start_node(row).await.unwrap()
}

#[tokio::test]
async fn what_may_stand_in_a_registry_outlives_its_service_and_is_forgotten_once_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let service = add(&store, "a", 1).await.unwrap().id;
    let id = node_row(&store, &node()).await;
    let first = registration(service.0, "one");
    let keys =
        store.put_registrations(id, &[first.clone(), registration(77, "other")]).await.unwrap();
    // The same instance again: one row, with the newest values.
    let second = Registration { host: "elsewhere".into(), ..first };
    let again = store.put_registrations(id, std::slice::from_ref(&second)).await.unwrap();
    assert_eq!(again, keys[..1]);
    store.remove_services(&[service], vec![event("a")]).await.unwrap();
    let rows = store.registrations(&node()).await.unwrap();
    let of: Vec<_> = rows.iter().map(|row| row.registration.clone()).collect();
    assert_eq!(of, [second, registration(77, "other")]);
    assert!(rows.iter().all(|row| row.node == id));
    assert!(store.registrations(&"else".parse().unwrap()).await.unwrap().is_empty());
    // What was written down anew is another: whoever took out the older one says nothing of it.
    let versions: Vec<_> = rows.iter().map(RegistrationRow::version).collect();
    let later = Registration { since: at(99), ..rows[0].registration.clone() };
    store.put_registrations(id, std::slice::from_ref(&later)).await.unwrap();
    store.forget_registrations(&versions).await.unwrap();
    let left = store.registrations(&node()).await.unwrap();
    assert_eq!(left.iter().map(|row| &row.registration).collect::<Vec<_>>(), [&later]);
    store.forget_registrations(&[left[0].version()]).await.unwrap();
    assert!(store.registrations(&node()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_newest_heartbeats_of_each_service_are_kept_as_long_as_it_is_registered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = own(&location(&dir)).await;
    let (one, two) = (add(&store, "a", 1).await.unwrap().id, add(&store, "b", 2).await.unwrap().id);
    assert_eq!((one, two), (ServiceId(1), ServiceId(2)));
    let call = |service, millis| {
        let failure = (millis % 2 == 0).then(|| text::model::service_not_found("x"));
        let at = at(millis);
        (ServiceId(service), Heartbeat { at, call: HeartbeatCall::Renew, failure, latency_ms: 4 })
    };
    let calls: Vec<_> = (1..=5).map(|n| call(1, n)).chain([call(2, 9)]).collect();
    store.append_heartbeats(&calls, 3).await.unwrap();
    store.append_heartbeats(&[call(1, 6)], 3).await.unwrap();
    let of = async |service, limit| store.heartbeats(ServiceId(service), limit).await.unwrap();
    assert_eq!(of(1, 9).await, [call(1, 4).1, call(1, 5).1, call(1, 6).1]);
    assert_eq!(of(1, 1).await, [call(1, 6).1]);
    assert_eq!(of(2, 9).await.len(), 1);
    assert!(of(3, 9).await.is_empty());
    // The last call about a service may come after its end.
    store.remove_services(&[one], vec![event("a")]).await.unwrap();
    store.append_heartbeats(&[call(1, 7), call(2, 10)], 3).await.unwrap();
    assert!(of(1, 9).await.is_empty());
    assert_eq!(of(2, 9).await.len(), 2);
}
