//! Leaving under a registry that does not do what it should, and what is left of it.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Kit, wait_lease};
use crate::support::{FakeEureka, Fault, Pmctl, Upstream, free_port, free_ports, wait_until};

#[test]
fn a_terminated_server_under_a_silent_registry_stops_within_its_bound_and_says_what_is_left() {
    let kit = Kit::new();
    let mut server = kit.pmctl.serve_with(&["--heartbeat-timeout", "500ms"]);
    kit.wait_state("up");
    kit.eureka.set(Fault::Silence);
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(), 0, "{server}");
    let log = server.stderr();
    assert!(log.contains("could not be taken out of the registry"), "{log}");
    assert!(log.contains(&kit.id), "{log}");
    kit.eureka.set(Fault::None);
    kit.pmctl.ok(&["service", "stop", "shop"]);
    let next = kit.serve();
    wait_until("the residue's end", || match kit.eureka.statuses().is_empty() {
        true => Ok(()),
        false => Err(format!("{:?}", kit.eureka.statuses())),
    });
    next.stop();
}

#[test]
fn what_a_stop_could_not_take_out_is_taken_out_by_a_cleanup() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    kit.eureka.set(Fault::Status(500));
    let log = server.stop();
    assert!(log.contains("could not be taken out of the registry"), "{log}");
    kit.pmctl.run(&["cleanup"]).expect(4);
    let lease = kit.pmctl.json(&["heartbeat", "status", "shop"])["heartbeats"][0].clone();
    assert!(lease["reason"].as_str().is_some_and(|r| r.contains("status 500")), "{lease:#}");
    kit.eureka.set(Fault::None);
    kit.pmctl.ok(&["cleanup"]);
    kit.assert_gone();
    kit.pmctl.ok(&["cleanup"]);
}

#[test]
fn without_a_server_the_registrys_own_view_is_shown_and_whose_it_is() {
    let kit = Kit::new();
    kit.announced(kit.pmctl.serve_alone()).kill_hard();
    let lease = || kit.pmctl.json(&["heartbeat", "status", "shop"])["heartbeats"][0].clone();
    let left = lease();
    assert_eq!((&left["status"], &left["isActive"]), (&json!("UP"), &json!(false)), "{left:#}");
    let mut theirs = kit.eureka.instance("SHOP").expect("the instance");
    theirs["metadata"]["pmctl.node"] = json!("another/default");
    theirs["hostName"] = json!("elsewhere");
    kit.eureka.put("SHOP", &kit.id, theirs);
    let left = lease();
    assert_eq!((&left["status"], &left["state"]), (&json!(null), &json!("unregistered")));
    assert!(left["reason"].as_str().is_some_and(|r| r.contains("elsewhere")), "{left:#}");
    kit.eureka.forget();
    assert_eq!(lease()["state"], "unregistered");
}

#[test]
fn many_leases_are_looked_up_at_once_under_a_silent_registry() {
    let kit = Kit::new();
    for port in free_ports(40) {
        kit.pmctl.add(&format!("s{port}"), port, &kit.upstream.url());
    }
    let server = kit.announced(kit.pmctl.serve_alone());
    wait_until("all of them", || match kit.eureka.statuses().len() {
        41 => Ok(()),
        count => Err(count.to_string()),
    });
    server.kill_hard();
    kit.eureka.set(Fault::Silence);
    let gets = || kit.eureka.calls().iter().filter(|call| call.starts_with("GET")).count();
    let before = gets();
    let mut command = kit.pmctl.command(&["-o", "json", "heartbeat", "status"]);
    let asking = command.stdout(Stdio::piped()).spawn().expect("the command");
    wait_until("a question about each", || match gets() - before {
        41 => Ok(()),
        count => Err(count.to_string()),
    });
    let ran = asking.wait_with_output().expect("its end");
    let report: Value = serde_json::from_slice(&ran.stdout).expect("a document");
    let leases = report["heartbeats"].as_array().expect("leases");
    let silent = |lease: &&Value| {
        lease["reason"].as_str().is_some_and(|reason| reason.contains("did not answer in time"))
    };
    assert_eq!(leases.iter().filter(silent).count(), 41, "{report:#}");
}

#[test]
fn at_a_stop_a_server_that_never_heard_of_an_instance_does_not_speak_for_the_others() {
    let (pmctl, eureka, fresh) = (Pmctl::new(), FakeEureka::start(), FakeEureka::start());
    pmctl.announce_in_all(&[&eureka.url(), &fresh.url()]);
    let (upstream, port) = (Upstream::saying("hello"), free_port());
    pmctl.add("shop", port, &upstream.url());
    let server = pmctl.serve();
    wait_lease(&pmctl, "up", |lease| lease["state"] == "up");
    eureka.set(Fault::Status(500));
    // Renewals go to the other one, which lacks it; it is left in peace.
    fresh.set(Fault::Status(503));
    wait_lease(&pmctl, "failing", |lease| lease["state"] == "failing");
    fresh.set(Fault::Status(404));
    let log = server.stop();
    assert!(log.contains("could not be taken out of the registry"), "{log}");
    eureka.set(Fault::None);
    fresh.set(Fault::None);
    pmctl.ok(&["cleanup"]);
    assert!(eureka.statuses().is_empty(), "{:?}", eureka.statuses());
}
