//! A server that is killed is cleaned up after by its guardian, which nothing of the console reaches.

use std::path::PathBuf;

use serde_json::Value;

use super::console::{EVENTS, deliver, is_running};
use crate::support::{
    FakeEureka, Fault, Pmctl, Script, Server, Upstream, Wire, free_port, is_listening, wait_until,
};

/// The pid of the guardian of a ready server.
#[track_caller]
fn guardian(pmctl: &Pmctl) -> u32 {
    wait_until("a guardian", || {
        let status = pmctl.json(&["status"]);
        let pid = status["guardian"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.filter(|pid| is_running(*pid)).ok_or_else(|| format!("{status:#}"))
    })
}

#[track_caller]
fn wait_gone(pid: u32) {
    wait_until("the end of the guardian", || match is_running(pid) {
        true => Err(format!("{pid} runs")),
        false => Ok(()),
    });
}

/// A sandbox whose service `shop` is announced in a registry of the test.
fn announced() -> (Pmctl, FakeEureka, Upstream, u16) {
    let (pmctl, registry, port) = (Pmctl::new(), FakeEureka::start(), free_port());
    let upstream = Upstream::saying("hello");
    pmctl.announce_in(&registry.url());
    let pmctl = pmctl.with("PMCTL_ADVERTISE", "127.0.0.1");
    pmctl.add("shop", port, &upstream.url());
    (pmctl, registry, upstream, port)
}

#[track_caller]
fn wait_announced(registry: &FakeEureka, server: &Server) {
    wait_until("the announcement", || match registry.statuses().is_empty() {
        true => Err(server.to_string()),
        false => Ok(()),
    });
}

#[test]
fn a_guardian_cleans_up_after_a_server_that_was_killed() {
    let (pmctl, registry, _upstream, port) = announced();
    let log = pmctl.dir().join("serve.log");
    let server = pmctl.serve_with(&["--log-file", log.to_str().expect("a path")]);
    wait_announced(&registry, &server);
    let guardian = guardian(&pmctl);
    server.kill_hard();
    wait_gone(guardian);
    // One file a day; links are not everybody's to make there.
    let files = std::fs::read_dir(pmctl.dir()).expect("the sandbox").flatten();
    let is_log = |file: &PathBuf| file.to_string_lossy().contains("serve.log.");
    let log = files.map(|file| file.path()).find(is_log).expect("the log");
    let log = std::fs::read_to_string(log).expect("its text");
    assert_eq!(pmctl.rows()["shop"].1, "stopped", "{log}");
    assert!(log.contains("1 dead servers noted"), "{log}");
    assert!(registry.statuses().is_empty(), "{:?}", registry.statuses());
    assert!(!is_listening(port));
    let verified = pmctl.json(&["verify"]);
    assert_eq!(verified["success"], true, "{verified:#}");
}

#[test]
fn a_guardian_ends_with_the_goodbye() {
    let pmctl = Pmctl::new();
    let mut server = pmctl.serve();
    let guardian = guardian(&pmctl);
    deliver(server.pid(), EVENTS[0].1);
    assert_eq!(server.wait_exit(), 0, "{server}");
    wait_gone(guardian);
    let events = pmctl.json(&["--direct", "events", "-n", "1000"]);
    let is_its = |event: &Value| event["actor"] == "guardian";
    assert!(!events["events"].as_array().expect("events").iter().any(is_its), "{events:#}");
}

#[test]
fn what_the_registry_was_not_told_in_a_hurry_the_guardian_tells_it() {
    let (pmctl, registry, _upstream, _) = announced();
    let (script, port) = (Script::start(), free_port());
    pmctl.add("slow", port, &script.url());
    let mut server = pmctl.serve();
    wait_until("both announcements", || match registry.statuses().len() {
        2 => Ok(()),
        other => Err(format!("{other}\n{server}")),
    });
    let guardian = guardian(&pmctl);
    // What is under way keeps the server at its drain.
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    registry.set(Fault::Status(500));
    // A console that closes.
    deliver(server.pid(), EVENTS[2].1);
    wait_until("the registry's refusal", || match server.stderr() {
        log if log.contains("could not be taken out of the registry") => Ok(()),
        log => Err(log),
    });
    registry.set(Fault::None);
    assert_eq!(server.wait_exit(), 0, "{server}");
    wait_gone(guardian);
    assert!(registry.statuses().is_empty(), "{:?}\n{server}", registry.statuses());
}
