//! A server that stands still is ended all the same, one that panics goes on where it can. The
//! program misbehaves on demand in a build with the feature `debug-hooks` alone.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Pmctl, Server, Upstream, Wire, announced, assert_all_stopped, events_by, free_port, guardian,
    wait_gone, wait_status, wait_until,
};

/// Makes the control plane misbehave.
#[track_caller]
fn misbehave(server: &Server, how: &str) {
    let mut wire = server.connect();
    let host = server.control();
    wire.send(format!(
        "POST /api/debug/{how} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
    ));
    assert_eq!(wire.response().status, 202, "{server}");
}

/// A request that makes the data plane misbehave, not waited for.
fn ask_to(port: u16, what: &str) -> Wire {
    let mut wire = Wire::to(port);
    wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Pmctl-Debug: {what}\r\n\r\n"));
    wire
}

#[track_caller]
fn wait_log(server: &Server, words: &str) {
    wait_until(&format!("`{words}` in the log"), || match server.stderr().contains(words) {
        true => Ok(()),
        false => Err(format!("{server}")),
    });
}

/// What needs a person, in one text.
fn attention(pmctl: &Pmctl) -> String {
    pmctl.json(&["status"])["attention"].to_string()
}

#[test]
fn a_server_whose_runtime_stands_still_ends_by_sigterm_and_its_guardian_does_the_rest() {
    for how in ["block-runtime", "deadlock"] {
        let (pmctl, registry, _upstream, port, own) = announced();
        let mut server = pmctl.serve_with(&["--shutdown-timeout", "2s"]);
        wait_status(&registry, &own, 200);
        let guardian = guardian(&server);
        misbehave(&server, how);
        server.signal(Signal::TERM);
        assert_eq!(server.wait_exit(), 1, "{how}: {server}");
        wait_gone(guardian);
        assert_all_stopped(&pmctl);
        assert_eq!(registry.ask("GET", &own, "").status, 404, "{how}");
        assert!(!crate::support::is_listening(port));
    }
}

#[test]
fn a_runtime_that_stands_still_is_said_in_the_log() {
    let pmctl = Pmctl::new().with("PMCTL_DEBUG_BEAT_MS", "20");
    let mut server = pmctl.serve();
    misbehave(&server, "block-runtime");
    wait_log(&server, "the threads `control` have not moved for 10 s");
    assert!(server.try_exit().is_none(), "{server}");
}

#[test]
fn with_on_hang_exit_a_server_that_stands_still_ends_by_itself_and_leaves_nothing() {
    let (pmctl, registry, _upstream, _, own) = announced();
    let pmctl = pmctl.with("PMCTL_DEBUG_BEAT_MS", "20");
    let mut server = pmctl.serve_with(&["--on-hang", "exit"]);
    wait_status(&registry, &own, 200);
    let guardian = guardian(&server);
    misbehave(&server, "block-runtime");
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert!(server.stderr().contains("--on-hang exit"), "{server}");
    wait_gone(guardian);
    assert_all_stopped(&pmctl);
    assert_eq!(registry.ask("GET", &own, "").status, 404);
}

#[test]
fn a_worker_that_stands_still_needs_attention_and_does_not_keep_the_server_from_its_end() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    let pmctl = pmctl.with("PMCTL_DEBUG_BEAT_MS", "20").with("PMCTL_WORKERS", "1");
    pmctl.add("web", port, &upstream.url());
    let mut server = pmctl.serve_with(&["--shutdown-timeout", "4s", "--service-timeout", "500ms"]);
    let _stuck = ask_to(port, "block-worker");
    wait_until("attention", || match attention(&pmctl) {
        text if text.contains("`pmctl-data-0`") => Ok(()),
        text => Err(text),
    });
    server.signal(Signal::TERM);
    server.wait_exit();
    assert_all_stopped(&pmctl);
}

#[test]
fn a_panic_in_one_connection_ends_that_one_alone() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    let pmctl = pmctl.with("PMCTL_WORKERS", "1");
    pmctl.add("web", port, &upstream.url());
    let mut server = pmctl.serve();
    let mut other = Wire::to(port);
    assert_eq!(other.get("/").text(), "hello");
    let mut ends = ask_to(port, "panic-connection");
    assert!(ends.try_response().is_err(), "no answer comes of it");
    assert_eq!(other.get("/").text(), "hello", "the other connection goes on");
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    wait_log(&server, "panicked at");
    wait_until("one connection less", || {
        let list = pmctl.json(&["service", "list"]);
        match &list["services"][0]["counters"]["connections"] {
            open if *open == 1 => Ok(()),
            open => Err(open.to_string()),
        }
    });
    assert!(!events_by(&pmctl, "server").contains(&"service-failed".into()));
    server.signal(Signal::TERM);
    assert_eq!(server.wait_end(), 0, "{server}");
}

#[test]
fn a_proxy_whose_accepting_panics_accepts_again_and_says_so() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let mut server = pmctl.serve();
    let mut open = Wire::to(port);
    for times in 1..=3 {
        assert_eq!(open.get("/").text(), "hello");
        assert_eq!(ask_to(port, "panic-accepting").response().status, 200);
        wait_until("attention", || match attention(&pmctl) {
            text if text.contains(&format!("panicked {times} times")) => Ok(()),
            text => Err(text),
        });
        assert_eq!(Wire::to(port).get("/").text(), "hello", "it accepts again");
    }
    assert_eq!(open.get("/").text(), "hello", "an open connection never noticed");
    let failed = events_by(&pmctl, "server").iter().filter(|a| *a == "service-failed").count();
    assert_eq!(failed, 3);
    assert_eq!(pmctl.rows()["web"].1, "running");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_end(), 0, "{server}");
}

#[test]
fn proxies_of_a_worker_that_panics_are_started_again() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let pmctl = pmctl.with("PMCTL_WORKERS", "1");
    let ports = crate::support::free_ports(2);
    for (name, port) in ["a", "b"].into_iter().zip(&ports) {
        pmctl.add(name, *port, &upstream.url());
    }
    let mut server = pmctl.serve();
    for times in 1..=2 {
        drop(ask_to(ports[0], "panic-worker"));
        wait_until("both again", || {
            let document = pmctl.json(&["status"]);
            let said = document["attention"].to_string();
            let both = said.matches(&format!("panicked {times} times")).count() == 2;
            let runs = |service: &Value| service["actual"] == "running";
            match both && document["services"].as_array().expect("services").iter().all(runs) {
                true => Ok(()),
                false => Err(format!("{document:#}")),
            }
        });
        for port in &ports {
            assert_eq!(Wire::to(*port).get("/").text(), "hello");
        }
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait_end(), 0, "{server}");
    assert_all_stopped(&pmctl);
}

#[test]
fn a_panic_in_a_vital_task_ends_the_server_in_order_with_exit_1() {
    let (pmctl, registry, _upstream, _, own) = announced();
    let mut server = pmctl.serve();
    wait_status(&registry, &own, 200);
    let guardian = guardian(&server);
    misbehave(&server, "panic-vital");
    assert_eq!(server.wait_end(), 1, "{server}");
    let log = server.stderr();
    assert!(log.contains("the vital task debug ended, shutting down"), "{log}");
    assert!(
        log.contains("all heartbeat timers cleared") && log.contains("database closed"),
        "{log}"
    );
    wait_gone(guardian);
    assert_all_stopped(&pmctl);
    assert_eq!(registry.ask("GET", &own, "").status, 404);
}
