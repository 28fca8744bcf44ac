//! The table of what a registry can do wrong: the proxies serve throughout, the status says what is
//! wrong, and the lease is back once the registry is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;

use super::{Kit, wait_calls, wait_lease};
#[cfg(target_os = "linux")]
use crate::support::SetClock;
use crate::support::{
    Database, FakeEureka, Fault, Pmctl, Registry, Upstream, free_port, get, wait_until,
};

/// The registry fails in one way: the proxy serves, the status says what is wrong, and the lease is
/// back once the registry is.
fn survives(fault: Fault, code: &str) {
    let kit = Kit::new();
    let server = kit.serve_announced();
    kit.eureka.set(fault);
    let failing = wait_lease(&kit.pmctl, "failing", |lease| {
        lease["consecutiveFailures"].as_u64().is_some_and(|count| count > 0)
    });
    assert!(failing["reason"].as_str().is_some_and(|reason| reason.contains(code)), "{failing:#}");
    kit.assert_serves();
    let status = kit.pmctl.json(&["status"]);
    let attention = status["attention"].to_string();
    assert!(attention.contains("cannot be announced or renewed"), "{status:#}");
    kit.eureka.set(Fault::None);
    kit.wait_state("up");
    kit.assert_serves();
    server.stop();
    kit.assert_gone();
}

#[test]
fn a_registry_that_answers_500_is_waited_for() {
    survives(Fault::Status(500), "status 500");
}

#[test]
fn a_registry_that_redirects_is_not_followed() {
    survives(Fault::Redirect, "status 307");
}

#[test]
fn a_registry_that_turns_pmctl_away_is_named() {
    survives(Fault::Status(403), "turns pmctl away");
}

#[test]
fn a_registry_that_accepts_and_is_silent_is_waited_for() {
    survives(Fault::Silence, "did not answer in time");
}

#[test]
fn a_registry_that_says_404_gets_the_instance_again() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    kit.eureka.forget();
    wait_calls(&kit, "POST", 2);
    kit.wait_state("up");
    let events = wait_until("the event of it", || {
        let events = kit.pmctl.json(&["events", "-n", "50"]);
        let text = events.to_string();
        if text.contains("lease-healed") { Ok(text) } else { Err(text) }
    });
    assert!(events.contains("had lost the instance"), "{events}");
    server.stop();
    kit.assert_gone();
}

/// Announcing looks at what stands there first: an answer that cannot be read is no answer.
fn not_announced_until_readable(fault: Fault, code: &str) {
    let kit = Kit::new();
    kit.eureka.set(fault);
    let server = kit.serve();
    let lease = wait_lease(&kit.pmctl, "failing", |lease| {
        lease["reason"].as_str().is_some_and(|reason| reason.contains(code))
    });
    assert_eq!(lease["state"], "unregistered");
    kit.assert_serves();
    kit.eureka.set(Fault::None);
    kit.wait_listed("UP");
    server.stop();
    kit.assert_gone();
}

#[test]
fn garbage_instead_of_json_is_said_and_waited_out() {
    not_announced_until_readable(Fault::Garbage, "cannot be read");
}

#[test]
fn a_body_that_never_ends_is_given_up_and_waited_out() {
    not_announced_until_readable(Fault::SlowBody, "did not answer in time");
}

#[test]
fn a_registry_that_is_down_at_start_and_stop_costs_no_service() {
    let kit = Kit::new();
    // Nobody listens there.
    let nowhere = free_port();
    kit.pmctl.announce_in(&format!("http://127.0.0.1:{nowhere}/eureka"));
    let server = kit.serve();
    wait_lease(&kit.pmctl, "failing", |lease| {
        lease["reason"].as_str().is_some_and(|reason| reason.contains("cannot be reached"))
    });
    kit.assert_serves();
    let log = server.stop();
    // Nothing was ever announced, so nothing is left.
    assert!(!log.contains("could not be taken out of the registry"), "{log}");
    assert!(log.contains("all heartbeat timers cleared"), "{log}");
}

#[test]
fn a_registry_that_says_404_to_everything_is_named_as_none() {
    survives(Fault::Status(404), "status 404");
}

#[test]
fn a_registry_that_is_gone_and_comes_back_empty_has_everything_again() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    let registry = Registry::start(&pmctl, &[]);
    pmctl.announce_in(&registry.url());
    pmctl.add("shop", port, &upstream.url());
    let server = pmctl.serve();
    wait_lease(&pmctl, "up", |lease| lease["state"] == "up");
    let address = registry.address().to_string();
    drop(registry);
    let failing = wait_lease(&pmctl, "failing", |lease| {
        lease["reason"].as_str().is_some_and(|reason| reason.contains("cannot be reached"))
    });
    assert!(failing["consecutiveFailures"].as_u64() > Some(0), "{failing:#}");
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(get(at, "/").map(|answer| answer.status).ok(), Some(200));
    let back = Registry::start_on(&pmctl, &address, &[]);
    let own = format!("/apps/SHOP/127.0.0.1:shop:{port}");
    wait_until("the instance in the new registry", || match back.ask("GET", &own, "").status {
        200 => Ok(()),
        status => Err(format!("{status}")),
    });
    wait_lease(&pmctl, "up", |lease| lease["state"] == "up");
    assert_eq!(get(at, "/").map(|answer| answer.status).ok(), Some(200));
    server.stop();
    assert_eq!(back.ask("GET", &own, "").status, 404);
}

#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_jumps_costs_no_lease() {
    let clock = SetClock::new();
    let kit = Kit::on(clock.preloaded_by(Pmctl::new()));
    let server = kit.serve_announced();
    let dirty = || {
        let instance = kit.eureka.instance("SHOP").expect("the instance");
        let dirty = instance["lastDirtyTimestamp"].as_str().and_then(|text| text.parse().ok());
        dirty.unwrap_or_else(|| panic!("{instance:#}"))
    };
    let first: i64 = dirty();
    for seconds in [86_400, -86_400] {
        clock.shift(seconds);
        let renewals = kit.eureka.calls().iter().filter(|call| call.starts_with("PUT")).count();
        wait_calls(&kit, "PUT", renewals + 3);
        let lease = kit.wait_state("up");
        let left = lease["leaseExpiresInMs"].as_u64();
        assert!(left > Some(0) && left <= Some(3_000), "{lease:#}");
        kit.assert_serves();
    }
    let calls = kit.eureka.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("POST")).count(), 1, "{calls:?}");
    // A day ago by the clock, and yet the newer of the two: an older one would lose silently.
    kit.eureka.forget();
    kit.wait_listed("UP");
    assert!(dirty() > first, "{} is not after {first}", dirty());
    server.stop();
    kit.assert_gone();
}

#[test]
fn a_lease_whose_history_cannot_be_written_is_renewed_and_written_down_later() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let mut writer = Database::open(&kit.pmctl);
    writer.run("BEGIN IMMEDIATE");
    let before = kit.eureka.calls().len();
    kit.eureka.forget();
    // Longer than a writer waits for the lock.
    wait_calls(&kit, "PUT", before + 8);
    kit.wait_state("up");
    kit.assert_serves();
    writer.run("ROLLBACK");
    writer.close();
    wait_until("the event and every call in the history", || {
        let events = kit.pmctl.json(&["events", "-n", "50"]).to_string();
        let history = kit.pmctl.json(&["heartbeat", "history", "shop", "-n", "100"]);
        let calls = history["heartbeats"].as_array().expect("calls");
        let announced = calls.iter().filter(|call| call["call"] == "register").count();
        match announced == 2 && calls.len() > before + 8 && events.contains("lease-healed") {
            true => Ok(()),
            false => Err(format!("{history:#}\n{events}")),
        }
    });
    server.stop();
    kit.assert_gone();
}

#[test]
fn a_registry_without_deltas_is_listed_whole() {
    let kit = Kit::new();
    kit.eureka.set(Fault::NoDelta);
    let server = kit.serve_announced();
    wait_lease(&kit.pmctl, "listed", |lease| lease["status"] == "UP");
    let mut instance = kit.eureka.instance("SHOP").expect("the instance");
    instance["status"] = json!("OUT_OF_SERVICE");
    instance["overriddenStatus"] = json!("OUT_OF_SERVICE");
    kit.eureka.put("SHOP", &kit.id, instance);
    wait_lease(&kit.pmctl, "overridden", |lease| lease["overrideStatus"] == "OUT_OF_SERVICE");
    server.stop();
    kit.assert_gone();
}

#[test]
fn a_first_server_of_a_registry_that_is_dead_costs_no_lease_and_no_stop() {
    let (pmctl, eureka) = (Pmctl::new(), FakeEureka::start());
    let dead = format!("http://127.0.0.1:{}/eureka", free_port());
    pmctl.announce_in_all(&[&dead, &eureka.url()]);
    let (upstream, port) = (Upstream::saying("hello"), free_port());
    pmctl.add("shop", port, &upstream.url());
    let server = pmctl.serve();
    let lease = wait_lease(&pmctl, "up", |lease| lease["state"] == "up");
    assert_eq!(lease["registry"], eureka.url());
    server.stop();
    assert_eq!(eureka.statuses(), BTreeMap::new());
}

#[test]
fn a_registry_that_came_back_empty_and_lists_nothing_for_a_while_has_everything_again() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    kit.eureka.set(Fault::NoLists);
    kit.eureka.forget();
    kit.wait_listed("UP");
    kit.wait_state("up");
    server.stop();
    assert_eq!(kit.eureka.statuses(), BTreeMap::new());
}

#[test]
fn one_server_of_a_registry_takes_an_instance_out_and_tells_the_others() {
    let (pmctl, servers) = (Pmctl::new(), [FakeEureka::start(), FakeEureka::start()]);
    pmctl.announce_in_all(&[&servers[0].url(), &servers[1].url()]);
    let (upstream, port) = (Upstream::saying("hello"), free_port());
    pmctl.add("shop", port, &upstream.url());
    let server = pmctl.serve();
    wait_lease(&pmctl, "up", |lease| lease["state"] == "up");
    let instance = servers[0].instance("SHOP").expect("the instance");
    servers[1].put("SHOP", &format!("127.0.0.1:shop:{port}"), instance);
    server.stop();
    let deleted = |server: &FakeEureka| {
        server.calls().iter().filter(|call| call.starts_with("DELETE")).count()
    };
    // Both at once, the first would hear of a renewal's end after its instance's.
    assert_eq!((deleted(&servers[0]), deleted(&servers[1])), (1, 0));
}
