//! What the registry was told, or may have been, and what it is told when that is announced anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::{Kit, service};
use crate::eureka::{Instance, InstanceStatus};
use crate::model::{LeaseState, Registration, ServiceId};
use crate::ops::Announced;
use crate::serve::heartbeats::Stage;

#[tokio::test]
async fn a_service_that_is_announced_anew_is_never_up_for_a_moment() {
    let kit = Kit::new().await;
    kit.heartbeats.set_draining(ServiceId(1), true);
    kit.heartbeats.announce(&service(1), false);
    kit.heartbeats.announce(&service(2), true);
    kit.sick.store(true, Ordering::SeqCst);
    kit.driven(async {
        let down = Some(InstanceStatus::Down);
        kit.until("announced", || kit.made.ids().len() == 2).await;
        assert_eq!((kit.made.status("s1"), kit.made.status("s2")), (down, down));
        // The registry was restarted.
        kit.made.listed.lock().unwrap().clear();
        kit.until("announced again", || kit.made.ids().len() == 2).await;
        assert_eq!((kit.made.status("s1"), kit.made.status("s2")), (down, down));
        kit.heartbeats.withdraw(&[ServiceId(1), ServiceId(2)]).await;
        kit.heartbeats.announce(&service(1), false);
        kit.until("announced anew", || !kit.made.ids().is_empty()).await;
        assert_eq!(kit.made.status("s1"), down);
        kit.end().await;
    })
    .await;
}

/// Announces a service and does `then` once the registry lists it.
async fn announced(kit: &Kit, then: impl AsyncFnOnce()) {
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        then().await;
    })
    .await;
}

/// Puts in the place of `s1` what somebody else announced at the very same address, as the other one
/// of a pair that stands in for us; with a `mark` of pmctl, or with none.
fn replace(kit: &Kit, mark: Option<&str>) -> Instance {
    let mut listed = kit.made.listed.lock().unwrap();
    let mut theirs = listed["s1"].clone();
    theirs.metadata =
        mark.map(|mark| ("pmctl.node".to_owned(), mark.to_owned())).into_iter().collect();
    listed.insert("s1".into(), theirs.clone());
    theirs
}

/// Waits until it is said that the id is somebody else's.
async fn until_taken(kit: &Kit) {
    kit.until("refused", || {
        let reason = kit.heartbeats.view(&service(1)).reason;
        reason.is_some_and(|reason| reason.code() == "lease-instance-taken")
    })
    .await;
}

/// Announces a service whose announcement arrives and is not answered, then does `then`.
async fn announced_without_an_answer(kit: &Kit, then: impl AsyncFnOnce()) {
    kit.made.is_mute.store(true, Ordering::SeqCst);
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        kit.until("no answer", || !kit.heartbeats.attention().is_empty()).await;
        then().await;
    })
    .await;
}

#[tokio::test]
async fn what_may_have_been_announced_is_taken_out_at_the_stop() {
    let kit = Kit::new().await;
    announced_without_an_answer(&kit, async || assert_eq!(kit.end().await, [])).await;
    assert!(kit.made.ids().is_empty() && kit.rows().await.is_empty());
}

#[tokio::test]
async fn what_may_have_been_announced_stays_written_down_under_a_dead_registry() {
    let kit = Kit::new().await;
    announced_without_an_answer(&kit, async || {
        kit.made.is_down.store(true, Ordering::SeqCst);
        assert_eq!(kit.end().await.len(), 1);
    })
    .await;
    assert_eq!(kit.rows().await, BTreeSet::from(["s1".to_owned()]));
}

#[tokio::test]
async fn what_has_become_somebody_elses_is_left_alone_at_the_stop() {
    let kit = Kit::new().await;
    let theirs = Instance { app: "S1".into(), instance_id: "s1".into(), ..Instance::default() };
    announced_without_an_answer(&kit, async || {
        kit.made.listed.lock().unwrap().insert("s1".into(), theirs.clone());
        assert_eq!(kit.end().await, []);
    })
    .await;
    assert_eq!(kit.made.listed.lock().unwrap().get("s1"), Some(&theirs));
    assert!(kit.rows().await.is_empty());
}

#[tokio::test]
async fn what_an_earlier_entry_left_is_not_forgotten_with_one_that_was_never_told() {
    let kit = Kit::new().await;
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        kit.until("announced", || kit.made.ids().len() == 1).await;
        kit.made.is_down.store(true, Ordering::SeqCst);
        kit.heartbeats.withdraw(&[ServiceId(1)]).await;
        kit.heartbeats.announce(&service(1), false);
        kit.until("written down anew", || {
            let book = kit.heartbeats.book();
            let entry = book.get(ServiceId(1));
            entry.is_some_and(|entry| matches!(entry.stage, Stage::Leased { .. }))
        })
        .await;
        kit.heartbeats.withdraw(&[ServiceId(1)]).await;
        assert_eq!(kit.rows().await.len(), 1);
        kit.made.is_down.store(false, Ordering::SeqCst);
        kit.until("taken back", || kit.made.ids().is_empty()).await;
        kit.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_instance_of_somebody_else_is_not_taken_over() {
    let kit = Kit::new().await;
    let theirs = Instance {
        app: "S1".into(),
        instance_id: "s1".into(),
        ip_addr: "192.0.2.1".into(),
        metadata: BTreeMap::from([("pmctl.node".to_owned(), "other/default".to_owned())]),
        ..Instance::default()
    };
    kit.made.listed.lock().unwrap().insert("s1".into(), theirs.clone());
    kit.heartbeats.announce(&service(1), false);
    kit.driven(async {
        until_taken(&kit).await;
        kit.end().await;
    })
    .await;
    assert_eq!(kit.made.listed.lock().unwrap().get("s1"), Some(&theirs));
}

#[tokio::test]
async fn what_became_somebody_elses_while_the_lease_expired_is_neither_renewed_nor_taken_back() {
    let kit = Kit::new().await;
    announced(&kit, async || {
        kit.made.is_down.store(true, Ordering::SeqCst);
        let state = || kit.heartbeats.view(&service(1)).state;
        kit.until("expired", || state() == LeaseState::Expired).await;
        let theirs = replace(&kit, Some("other/default"));
        let renewals = kit.made.count("renew");
        kit.made.is_down.store(false, Ordering::SeqCst);
        until_taken(&kit).await;
        assert_eq!(kit.made.count("renew"), renewals);
        assert_eq!(kit.end().await, []);
        assert_eq!(kit.made.listed.lock().unwrap().get("s1"), Some(&theirs));
    })
    .await;
    assert!(kit.rows().await.is_empty());
}

#[tokio::test]
async fn what_came_without_a_mark_while_the_lease_expired_is_taken_over_not_renewed() {
    let kit = Kit::new().await;
    announced(&kit, async || {
        kit.made.is_down.store(true, Ordering::SeqCst);
        let state = || kit.heartbeats.view(&service(1)).state;
        kit.until("expired", || state() == LeaseState::Expired).await;
        replace(&kit, None);
        let renewals = kit.made.count("renew");
        kit.made.is_down.store(false, Ordering::SeqCst);
        kit.until("announced again", || kit.made.count("register") == 2).await;
        assert_eq!(kit.made.count("renew"), renewals);
        kit.until("up", || state() == LeaseState::Up).await;
        assert_eq!(kit.end().await, []);
    })
    .await;
    assert!(kit.made.ids().is_empty() && kit.rows().await.is_empty());
}

#[tokio::test]
async fn what_came_right_after_the_registry_lost_ours_is_left_alone() {
    let kit = Kit::new().await;
    announced(&kit, async || {
        let held = kit.made.gate.write().await;
        let before = kit.made.count("renew");
        kit.until("a renewal under way", || kit.made.count("renew") > before).await;
        let ours = kit.made.listed.lock().unwrap().remove("s1").expect("ours");
        drop(held);
        // Answered that the registry does not have it, it is to be announced again.
        let held = kit.made.gate.write().await;
        kit.until("a look", || kit.made.count("get") == 2).await;
        kit.made.listed.lock().unwrap().insert("s1".into(), ours);
        let theirs = replace(&kit, Some("other/default"));
        drop(held);
        until_taken(&kit).await;
        assert_eq!(kit.made.count("register"), 1);
        assert_eq!(kit.end().await, []);
        assert_eq!(kit.made.listed.lock().unwrap().get("s1"), Some(&theirs));
    })
    .await;
    assert!(kit.rows().await.is_empty());
}

#[tokio::test]
async fn what_became_somebody_elses_unnoticed_is_not_taken_back_with_our_stop() {
    let kit = Kit::new().await;
    announced(&kit, async || {
        // Restarted empty, the registry heard of theirs first; our renewals keep that.
        let theirs = replace(&kit, Some("other/default"));
        let before = kit.made.count("renew");
        kit.until("a renewal", || kit.made.count("renew") > before).await;
        assert_eq!(kit.end().await, []);
        assert_eq!(kit.made.listed.lock().unwrap().get("s1"), Some(&theirs));
    })
    .await;
    assert!(kit.rows().await.is_empty());
}

#[tokio::test]
async fn what_stands_in_another_registry_waits_for_ours_only_while_that_answers() {
    let kit = Kit::new().await;
    announced(&kit, async || {
        let rows = kit.store.registrations(&kit.node).await.unwrap();
        let here = rows[0].registration.clone();
        let there = Registration { registries: vec!["http://b/eureka".into()], ..here.clone() };
        kit.until("confirmed", || kit.heartbeats.announced(&here) == Announced::Confirmed).await;
        assert_eq!(kit.heartbeats.announced(&there), Announced::Never);
        kit.made.listed.lock().unwrap().clear();
        kit.heartbeats.withdraw(&[ServiceId(1)]).await;
        let held = kit.made.gate.write().await;
        kit.heartbeats.announce(&service(1), false);
        kit.until("under way", || kit.heartbeats.book().entries().any(|(_, e)| e.is_busy())).await;
        for of in [&here, &there] {
            assert_eq!(kit.heartbeats.announced(of), Announced::Pending);
        }
        kit.made.is_down.store(true, Ordering::SeqCst);
        drop(held);
        kit.until("failing", || !kit.heartbeats.attention().is_empty()).await;
        assert_eq!(kit.heartbeats.announced(&here), Announced::Pending);
        assert_eq!(kit.heartbeats.announced(&there), Announced::Never);
        kit.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_just_being_withdrawn_when_the_stop_comes_is_told_where_it_is_left() {
    let kit = Kit::new().await;
    announced(&kit, async || {
        let held = kit.made.gate.write().await;
        let looks = kit.made.count("get");
        let stop = async {
            kit.until("a look", || kit.made.count("get") > looks).await;
            kit.made.is_down.store(true, Ordering::SeqCst);
            let release = async {
                kit.until("another", || kit.made.count("get") > looks + 1).await;
                drop(held);
            };
            tokio::join!(kit.end(), release).0
        };
        let (left, ()) = tokio::join!(stop, kit.heartbeats.withdraw(&[ServiceId(1)]));
        assert_eq!(left.iter().map(|left| left.instance.as_str()).collect::<Vec<_>>(), ["s1"]);
    })
    .await;
    assert_eq!(kit.rows().await, BTreeSet::from(["s1".to_owned()]));
}
