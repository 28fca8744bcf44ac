use std::time::Duration;

use super::*;
use crate::eureka::wire::{Action, Applications, DataCenter, Instance, InstanceStatus, LeaseInfo};
use crate::model::Timestamp;

const SECOND: i64 = 1_000;
const START: i64 = 1_700_000_000_000;

/// So many seconds after the start.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * SECOND)
}

fn instance(app: &str, id: &str) -> Instance {
    Instance {
        instance_id: id.into(),
        app: app.into(),
        host_name: "10.0.0.1".into(),
        ip_addr: "10.0.0.1".into(),
        data_center: Some(DataCenter::my_own()),
        vip_address: Some(format!("{},all", app.to_lowercase())),
        last_dirty: Some(START),
        ..Instance::default()
    }
}

fn registry() -> Registry {
    Registry::new(&RegistrySettings::default(), at(0))
}

fn unpreserved() -> Registry {
    let settings = RegistrySettings { self_preservation: false, ..RegistrySettings::default() };
    Registry::new(&settings, at(0))
}

fn status(registry: &Registry, app: &str, id: &str) -> Option<InstanceStatus> {
    registry.application(app)?.instances.iter().find(|i| i.id() == id).map(|i| i.status)
}

fn ids(all: &Applications) -> Vec<&str> {
    all.instances().map(Instance::id).collect()
}

#[test]
fn lists_are_sorted_and_have_the_lease_in_them() {
    let mut registry = registry();
    for (app, id) in [("B", "b2"), ("A", "a1"), ("B", "b1")] {
        registry.register(instance(app, id), at(1));
    }
    let all = registry.applications();
    assert_eq!(ids(&all), ["a1", "b1", "b2"]);
    assert_eq!((all.version, all.hash_code.as_str()), (1, "UP_3_"));
    let lease = all.applications[0].instances[0].lease.unwrap();
    let now = at(1).as_millis();
    let expected = LeaseInfo {
        registration_timestamp: now,
        last_renewal_timestamp: now,
        service_up_timestamp: now,
        ..LeaseInfo::default()
    };
    assert_eq!(lease, expected);
}

#[test]
fn an_older_registration_loses_and_its_sender_is_not_told() {
    let mut registry = registry();
    let newer =
        Instance { last_dirty: Some(START + 5), host_name: "new".into(), ..instance("A", "a") };
    registry.register(newer, at(0));
    let older =
        Instance { last_dirty: Some(START + 4), host_name: "old".into(), ..instance("A", "a") };
    registry.register(older, at(1));
    let listed = registry.instance("A", "a", at(1)).unwrap();
    assert_eq!((listed.host_name.as_str(), listed.last_dirty), ("new", Some(START + 5)));
    let equal =
        Instance { last_dirty: Some(START + 5), host_name: "equal".into(), ..instance("A", "a") };
    registry.register(equal, at(2));
    assert_eq!(registry.instance("A", "a", at(2)).unwrap().host_name, "equal");
}

#[test]
fn a_renewal_of_what_is_not_listed_asks_for_a_registration() {
    let mut registry = registry();
    assert!(!registry.renew("A", "a", None, at(0)));
    registry.register(instance("A", "a"), at(0));
    assert!(registry.renew("A", "a", None, at(1)));
    assert!(registry.renew("A", "a", Some(START), at(1)));
    assert!(registry.renew("A", "a", Some(START - 1), at(1)), "an older one is no news");
    assert!(!registry.renew("A", "a", Some(START + 1), at(1)), "the instance has changed since");
}

#[test]
fn a_cancelled_instance_is_gone_at_once_and_in_the_delta() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    assert!(registry.cancel("A", "a", at(1)));
    assert!(!registry.cancel("A", "a", at(1)));
    assert_eq!(registry.application("A"), None);
    assert_eq!(registry.instance_by_id("a", at(1)), None);
    let delta = registry.delta(at(1));
    assert_eq!(delta.hash_code, "");
    assert_eq!(ids(&delta), ["a"]);
    assert_eq!(delta.applications[0].instances[0].action, Some(Action::Deleted));
}

#[test]
fn the_delta_has_each_change_once_for_three_minutes_and_the_hash_code_of_everything() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    registry.register(instance("B", "b"), at(100));
    registry.set_status("B", "b", InstanceStatus::OutOfService, None, at(101));
    let delta = registry.delta(at(150));
    assert_eq!(ids(&delta), ["a", "b"]);
    assert_eq!(delta.hash_code, "OUT_OF_SERVICE_1_UP_1_");
    assert_eq!(delta.applications[1].instances[0].action, Some(Action::Modified));
    let later = registry.delta(at(181));
    assert_eq!(ids(&later), ["b"]);
    assert_eq!(later.hash_code, "OUT_OF_SERVICE_1_UP_1_");
    assert!(registry.delta(at(999)).applications.is_empty());
    // Cancelled and registered again within the time: listed, not deleted.
    registry.cancel("A", "a", at(1_000));
    registry.register(instance("A", "a"), at(1_001));
    assert_eq!(registry.delta(at(1_002)).applications[0].instances[0].action, Some(Action::Added));
}

#[test]
fn a_status_from_outside_holds_against_renewals_and_registrations() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    assert!(registry.set_status("A", "a", InstanceStatus::OutOfService, None, at(1)));
    assert!(registry.renew("A", "a", None, at(2)));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::OutOfService));
    registry.register(instance("A", "a"), at(3));
    let listed = registry.instance("A", "a", at(3)).unwrap();
    assert_eq!(listed.status, InstanceStatus::OutOfService);
    assert_eq!(listed.overridden_status, InstanceStatus::OutOfService);
    assert!(!registry.set_status("A", "none", InstanceStatus::Up, None, at(3)));
}

#[test]
fn bad_news_from_the_instance_is_believed_whatever_it_was_told_to_be() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    registry.set_status("A", "a", InstanceStatus::OutOfService, None, at(1));
    let down = Instance { status: InstanceStatus::Down, ..instance("A", "a") };
    registry.register(down, at(2));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::Down));
    registry.register(instance("A", "a"), at(3));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::OutOfService), "still told so");
}

#[test]
fn a_deleted_override_leaves_nobody_knowing_until_the_instance_registers_again() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    registry.set_status("A", "a", InstanceStatus::OutOfService, None, at(1));
    assert!(registry.delete_status("A", "a", InstanceStatus::Unknown, None, at(2)));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::Unknown));
    assert!(!registry.renew("A", "a", None, at(3)));
    registry.register(instance("A", "a"), at(4));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::Up));
    // Or what the caller says it is.
    registry.set_status("A", "a", InstanceStatus::OutOfService, None, at(5));
    registry.delete_status("A", "a", InstanceStatus::Up, None, at(6));
    assert!(registry.renew("A", "a", None, at(7)));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::Up));
}

#[test]
fn a_lease_without_an_override_keeps_its_status_against_one_that_says_otherwise() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    let out = Instance { status: InstanceStatus::OutOfService, ..instance("A", "a") };
    registry.register(out, at(1));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::Up), "LeaseExistsRule");
}

#[test]
fn an_instance_brings_its_override_to_a_registry_that_has_restarted() {
    let mut registry = registry();
    let told = Instance { overridden_status: InstanceStatus::OutOfService, ..instance("A", "a") };
    registry.register(told, at(0));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::OutOfService));
}

#[test]
fn an_override_nobody_asks_about_for_an_hour_is_forgotten() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    registry.set_status("A", "a", InstanceStatus::OutOfService, None, at(0));
    for renewal in 1..=3 {
        assert!(registry.renew("A", "a", None, at(renewal * 3_000)));
    }
    let down =
        Instance { status: InstanceStatus::Down, last_dirty: Some(START), ..instance("A", "a") };
    registry.register(down, at(9_001));
    registry.register(instance("A", "a"), at(9_001 + 3_601));
    assert_eq!(status(&registry, "A", "a"), Some(InstanceStatus::Up));
}

#[test]
fn metadata_is_added_to_what_is_there() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    let entries = [("k".to_owned(), "v".to_owned())];
    assert!(registry.put_metadata("A", "a", entries.clone(), at(1)));
    assert_eq!(registry.instance("A", "a", at(1)).unwrap().metadata["k"], "v");
    assert!(!registry.put_metadata("A", "none", entries, at(1)));
}

#[test]
fn instances_are_found_by_any_of_their_addresses() {
    let mut registry = registry();
    registry.register(instance("A", "a"), at(0));
    let secure = Instance { secure_vip_address: Some("safe".into()), ..instance("B", "b") };
    registry.register(secure, at(0));
    assert_eq!(ids(&registry.at_address("all", false)), ["a", "b"]);
    let one = registry.at_address("a", false);
    assert_eq!((ids(&one), one.hash_code.as_str()), (vec!["a"], "UP_1_"));
    assert_eq!(ids(&registry.at_address("safe", true)), ["b"]);
    assert!(registry.at_address("al", false).applications.is_empty());
}

#[test]
fn a_lease_that_was_renewed_expires_two_durations_after_its_last_renewal() {
    let mut registry = unpreserved();
    registry.register(instance("A", "a"), at(0));
    assert!(registry.evict(at(90), Duration::ZERO).is_empty());
    registry.renew("A", "a", None, at(90));
    assert!(registry.evict(at(90 + 180), Duration::ZERO).is_empty());
    assert_eq!(registry.instance("A", "a", at(271)), None, "expired, though not yet evicted");
    assert!(registry.application("A").is_some());
    assert!(registry.evict(at(271), Duration::from_secs(5)).is_empty(), "the evictor was late");
    assert_eq!(registry.evict(at(271), Duration::ZERO), [("A".to_owned(), "a".to_owned())]);
    assert_eq!(registry.application("A"), None);
}

#[test]
fn a_pass_takes_at_most_fifteen_percent_and_spreads_them_over_the_applications() {
    let mut registry = unpreserved();
    for number in 0..10 {
        registry.register(instance("A", &format!("a{number}")), at(number));
        registry.register(instance("B", &format!("b{number}")), at(number));
    }
    let gone = registry.evict(at(1_000), Duration::ZERO);
    let gone: Vec<&str> = gone.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(gone, ["a0", "b0", "a1"]);
    let mut passes = 1;
    while !registry.evict(at(1_000 + passes), Duration::ZERO).is_empty() {
        passes += 1;
    }
    assert!(registry.applications().applications.is_empty(), "the last ones go one by one");
    assert!(passes > 7, "{passes}");
}

#[test]
fn nothing_expires_while_too_few_renewals_arrive() {
    let mut registry = registry();
    for id in ["a", "b", "c"] {
        registry.register(instance("A", id), at(0));
    }
    // Four are expected (one for a lone server), twice a minute: 6.8, so more than 6.
    let renew = |registry: &mut Registry, second: i64, ids: &[&str]| {
        for id in ids {
            assert!(registry.renew("A", id, None, at(second)));
        }
    };
    for second in [10, 40] {
        renew(&mut registry, second, &["a", "b", "c"]);
    }
    let counts = registry.counts(at(61));
    let expected = RegistryCounts { instances: 3, renewals: 6, threshold: 6, is_preserving: true };
    assert_eq!(counts, expected);
    assert!(registry.evict(at(999), Duration::ZERO).is_empty());
    assert!(registry.instance("A", "a", at(999)).is_some(), "preserved ones are still found");
    // One more renewal a minute, and the one that stays silent goes.
    for second in [1_020, 1_021, 1_022, 1_050] {
        renew(&mut registry, second, &["a", "b"]);
    }
    assert!(!registry.counts(at(1_080)).is_preserving, "{:?}", registry.counts(at(1_080)));
    assert_eq!(registry.evict(at(1_080), Duration::ZERO), [("A".to_owned(), "c".to_owned())]);
    assert!(registry.counts(at(1_300)).is_preserving, "a minute without renewals");
}

#[test]
fn a_clock_that_is_set_back_breaks_nothing() {
    let mut registry = unpreserved();
    registry.register(instance("A", "a"), at(1_000));
    assert!(registry.renew("A", "a", None, at(10)));
    assert!(registry.evict(at(10), Duration::ZERO).is_empty());
    assert_eq!(registry.delta(at(10)).applications.len(), 1);
    assert!(registry.counts(at(10)).renewals <= 1);
}
