//! Which server a command asks, and what it does without one.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Pmctl, Script, Server, Upstream, Wire, free_port, free_ports, is_listening,
    own_outside_address, wait_until,
};

#[test]
fn ports_status_is_the_same_document_from_the_server_and_from_the_database() {
    let (pmctl, upstream, ports) = (Pmctl::new(), Upstream::saying("hello"), free_ports(3));
    pmctl.add("web", ports[0], &upstream.url());
    pmctl.add("idle", ports[1], &upstream.url());
    pmctl.add("elsewhere", ports[2], &upstream.url());
    pmctl.ok(&["service", "stop", "idle"]);
    let _foreign = TcpListener::bind(("127.0.0.1", ports[2])).expect("the third port");
    let server = pmctl.serve();
    let _client = Wire::to(ports[0]);
    let asked = pmctl.json(&["ports", "status"]);
    let looked = pmctl.json(&["--direct", "ports", "status"]);
    assert_eq!((&asked["source"], &looked["source"]), (&"server".into(), &"database".into()));
    let port = |document: &Value, at: usize| document["ports"][ports[at].to_string()].clone();
    let web = port(&asked, 0);
    assert_eq!(web["service"], "web", "{asked:#}");
    assert_eq!((&web["state"], &web["inUse"]), (&"serving".into(), &true.into()), "{asked:#}");
    assert_eq!(web["pid"], server.pid(), "{asked:#}");
    assert_eq!(web["holders"][0]["pid"], server.pid(), "{asked:#}");
    for key in ["user", "command", "startTime"] {
        assert!(web["holders"][0][key].is_string(), "{key}: {asked:#}");
    }
    assert_eq!(port(&looked, 0)["connections"], Value::Null, "{looked:#}");
    assert_eq!(port(&asked, 1)["state"], "free", "{asked:#}");
    assert_eq!(port(&asked, 2)["state"], "foreign", "{asked:#}");
    assert_eq!(port(&asked, 2)["pid"], std::process::id(), "{asked:#}");
    assert_eq!(without_source(asked), without_source(looked));
    server.stop();
    let gone = pmctl.json(&["ports", "status"]);
    assert_eq!(gone["source"], "database");
    assert_eq!(port(&gone, 0)["state"], "free", "{gone:#}");
    assert_eq!(port(&gone, 0)["pid"], Value::Null, "{gone:#}");
    assert_eq!(port(&gone, 2)["state"], "foreign", "{gone:#}");
    let named = pmctl.json(&["ports", "status", &ports[2].to_string()]);
    assert_eq!(named["ports"].as_object().map(|p| p.len()), Some(1), "{named:#}");
}

/// Only the server can know its connections.
fn without_source(mut document: Value) -> Value {
    document["source"] = Value::Null;
    for port in document["ports"].as_object_mut().expect("ports").values_mut() {
        port["connections"] = Value::Null;
    }
    document
}

#[test]
fn a_connected_client_is_never_a_holder_of_a_port() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let server = pmctl.serve();
    let client = Wire::to(port);
    let status = pmctl.json(&["--direct", "ports", "status"]);
    let holders = status["ports"][port.to_string()]["holders"].as_array().expect("holders");
    assert_eq!(holders.len(), 1, "{status:#}");
    assert_eq!(holders[0]["pid"], server.pid(), "{status:#}");
    drop(client);
    server.stop();
}

#[test]
fn a_server_that_stands_still_is_unresponsive_to_reads_and_an_error_to_writes() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let server = pmctl.serve();
    server.signal(Signal::STOP);
    let soon = ["--timeout", "500ms"];
    let ports = pmctl.run(&[&soon, &["-o", "json", "ports", "status"][..]].concat()).expect(0);
    assert_eq!(ports.json()["source"], "database", "{ports}");
    assert_eq!(ports.json()["ports"][port.to_string()]["pid"], server.pid(), "{ports}");
    assert!(
        ports.stderr.contains("unresponsive") || ports.stderr.contains("not answer"),
        "{ports}"
    );
    let status = pmctl.json(&[&soon, &["status"][..]].concat());
    assert_eq!(status["server"]["state"], "unresponsive", "{status:#}");
    assert_eq!(status["server"]["pid"], server.pid(), "{status:#}");
    pmctl.json(&[&soon, &["service", "list"][..]].concat());
    pmctl.json(&[&soon, &["events"][..]].concat());
    for write in [
        &["service", "stop", "web"][..],
        &["service", "add", "new", "--port", "auto", "--target", "t=http://127.0.0.1:9"],
        &["service", "remove", "web"],
        &["shutdown"],
    ] {
        pmctl.fails_json(4, &[&soon, write].concat());
    }
    pmctl.fails_json(4, &[&soon, &["--no-fallback", "service", "list"][..]].concat());
    assert_eq!(pmctl.rows()["web"], ("running".to_owned(), "running".to_owned()));
    server.signal(Signal::CONT);
    let back = pmctl.json(&["service", "list"]);
    assert_eq!(back["source"], "server", "{back:#}");
    server.stop();
}

#[test]
fn a_foreign_program_on_the_default_control_port_is_never_taken_for_a_server() {
    // If somebody holds it already, that is the foreign program.
    let foreign = TcpListener::bind(("127.0.0.1", 3000));
    if let Ok(listener) = foreign {
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut wire = Wire::of(stream);
                let _ = wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforeign");
            }
        });
    }
    for pmctl in [Pmctl::new(), Pmctl::with_default_database()] {
        let port = free_port();
        pmctl.add("web", port, "http://127.0.0.1:9");
        let list = pmctl.json(&["service", "list"]);
        assert_eq!(list["source"], "database", "{list:#}");
        let status = pmctl.json(&["status"]);
        assert_eq!(status["server"]["state"], "down", "{status:#}");
        let server = pmctl.serve();
        let list = pmctl.json(&["service", "list"]);
        assert_eq!(list["source"], "server", "{list:#}");
        assert_eq!(pmctl.json(&["status"])["server"]["url"], server.url());
        server.stop();
    }
}

#[test]
fn a_program_that_is_not_pmctl_counts_as_absent_and_is_named() {
    let (pmctl, foreign) = (Pmctl::new(), Upstream::saying("I am somebody else"));
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    let before = pmctl.services();
    let read = pmctl.run(&["--server", &foreign.url(), "service", "list"]);
    // Named as the server it is required; otherwise the database answers, and says whose port it is.
    assert!(matches!(read.code(), 0 | 4), "{read}");
    assert!(read.stderr.contains(&foreign.address().port().to_string()), "not named\n{read}");
    let write = pmctl.run(&["--no-fallback", "--server", &foreign.url(), "service", "stop", "web"]);
    assert_eq!(write.code(), 4, "{write}");
    assert_eq!(pmctl.services(), before);
}

#[test]
fn two_servers_on_two_databases_are_never_mixed_up() {
    let upstream = Upstream::saying("hello");
    let (ours, theirs) = (Pmctl::new(), Pmctl::new());
    let (our_server, their_server) = (ours.serve(), theirs.serve());
    ours.add("ours", free_port(), &upstream.url());
    theirs.add("theirs", free_port(), &upstream.url());
    for (pmctl, server, name) in [(&ours, &our_server, "ours"), (&theirs, &their_server, "theirs")]
    {
        let status = pmctl.json(&["status"]);
        assert_eq!(status["server"]["pid"], server.pid(), "{status:#}");
        assert_eq!(status["server"]["url"], server.url(), "{status:#}");
        let names: Vec<_> = pmctl.rows().into_keys().collect();
        assert_eq!(names, [name]);
    }
    // A server of another database, asked for by URL with our database named, is not changed.
    let before = theirs.services();
    let write = ["--server", &their_server.url(), "service", "remove", "theirs"];
    ours.fails_json(4, &write);
    ours.fails_json(4, &["--server", &their_server.url(), "shutdown"]);
    assert_eq!(theirs.services(), before);
    their_server.stop();
    // With theirs gone, our commands still know ours only.
    assert_eq!(ours.json(&["status"])["server"]["pid"], our_server.pid());
    assert_eq!(theirs.json(&["status"])["server"]["state"], "down");
    our_server.stop();
}

#[test]
fn a_remote_server_that_is_down_never_touches_this_machine() {
    let pmctl = Pmctl::new();
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    let server = pmctl.serve();
    let before = pmctl.services();
    let remote = format!("http://{}", SocketAddr::new(own_outside_address(), free_port()));
    for command in [
        &["service", "list"][..],
        &["ports", "status"],
        &["status"],
        &["events"],
        &["service", "stop", "web"],
        &["service", "add", "new", "--port", "auto", "--target", "t=http://127.0.0.1:9"],
        &["shutdown"],
    ] {
        let args = [&["--timeout", "2s", "--server", &remote], command].concat();
        pmctl.fails_json(4, &args);
    }
    assert_eq!(pmctl.services(), before);
    server.stop();
    let nothing = Pmctl::new();
    nothing.fails_json(4, &["--timeout", "2s", "--server", &remote, "service", "list"]);
    assert!(!nothing.database().exists(), "a database was made");
}

#[test]
fn a_read_makes_no_database_and_finds_nothing() {
    for pmctl in [Pmctl::new(), Pmctl::with_default_database()] {
        for read in [&["service", "list"][..], &["ports", "status"], &["events"], &["status"]] {
            // Port 3000 is asked when no database is there; whoever listens is not ours.
            let ran = pmctl.run(&[&["-o", "json", "--direct"], read].concat());
            assert_eq!(ran.code(), 0, "{ran}");
            assert_eq!(ran.json()["source"], "database", "{ran}");
        }
        assert!(!pmctl.database().exists() && !pmctl.default_database().exists());
    }
}

#[test]
fn the_default_database_is_made_by_the_first_write_for_its_owner_alone() {
    use std::os::unix::fs::MetadataExt;
    let pmctl = Pmctl::with_default_database();
    pmctl.ok(&["--direct", "service", "add", "web", "--port", "auto", "--target", "t=http://a"]);
    let database = pmctl.default_database();
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("metadata").mode() & 0o777;
    assert_eq!(mode(&database), 0o600);
    assert_eq!(mode(database.parent().expect("a folder")), 0o700);
}

#[test]
fn no_fallback_means_a_server_or_exit_4_and_direct_means_no_server() {
    let pmctl = Pmctl::new();
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    pmctl.fails_json(4, &["--no-fallback", "service", "list"]);
    pmctl.fails_json(4, &["--no-fallback", "service", "stop", "web"]);
    assert_eq!(pmctl.rows()["web"].0, "running");
    let server = pmctl.serve();
    assert_eq!(pmctl.json(&["--no-fallback", "service", "list"])["source"], "server");
    assert_eq!(pmctl.json(&["--direct", "service", "list"])["source"], "database");
    pmctl.fails(2, &["--direct", "--no-fallback", "service", "list"]);
    server.stop();
}

#[test]
fn what_forbids_a_fallback_does_not_say_that_it_falls_back() {
    let pmctl = Pmctl::new();
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let asked = ["--server", &nobody, "--no-fallback", "service", "list"];
    assert_eq!(pmctl.fails_json(4, &asked)["code"], "server-absent");
    let program = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}", program.local_addr().expect("its address"));
    thread::spawn(move || {
        for stream in program.incoming().flatten() {
            let _ = Wire::of(stream).try_send("HTTP/1.1 404 Not Found\r\n\r\n");
        }
    });
    let asked = ["--server", &url, "--no-fallback", "service", "list"];
    assert_eq!(pmctl.fails_json(4, &asked)["code"], "server-not-pmctl");
}

#[test]
fn a_server_that_is_well_but_elsewhere_is_not_called_unresponsive() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let wrong = format!("http://127.0.0.1:{}", free_port());
    let ran = pmctl.run(&["--server", &wrong, "service", "list"]).expect(0);
    assert!(ran.stderr.contains(&server.url()) && ran.stderr.contains(&wrong), "{ran}");
    assert!(!ran.stderr.contains("unresponsive"), "{ran}");
    let asked = ["--server", &wrong, "--timeout", "1s", "service", "stop", "--all"];
    assert_eq!(pmctl.fails_json(4, &asked)["code"], "server-elsewhere");
    server.stop();
}

#[test]
fn with_direct_no_server_is_asked_not_even_to_stop() {
    let pmctl = Pmctl::new();
    pmctl.ok(&["--direct", "shutdown"]);
    let mut server = pmctl.serve();
    pmctl.ok(&["--direct", "status", "--wait", "ready", "--timeout", "1s"]);
    assert_eq!(pmctl.fails_json(4, &["--direct", "shutdown"])["code"], "direct-but-owned");
    assert!(server.try_exit().is_none(), "{server}");
    assert_eq!(server.get("/readyz").status, 200);
    server.stop();
}

#[test]
fn a_server_that_is_killed_while_it_drains_did_not_stop_in_order() {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("web", port, &script.url());
    let server = pmctl.serve_with(&["--service-timeout", "60s"]);
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pmctl.run(&["-o", "json", "shutdown", "--wait"]));
        wait_until("the drain", || match is_listening(port) {
            true => Err(format!("{server}")),
            false => Ok(()),
        });
        server.kill_hard();
        let ran = waiting.join().expect("the waiting command").expect(1);
        assert_eq!(ran.json()["success"], false, "{ran}");
    });
}

#[test]
fn a_fallback_is_said_in_one_line_on_standard_error_and_keeps_standard_output_pure() {
    let pmctl = Pmctl::new();
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    let ran = pmctl.run(&["-o", "json", "service", "list"]).expect(0);
    ran.json();
    assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
    let quiet = pmctl.run(&["--direct", "-o", "json", "service", "list"]).expect(0);
    assert_eq!(quiet.stderr, "", "asked for, so nothing to say\n{quiet}");
}

#[test]
fn status_wait_returns_when_the_server_is_ready_and_when_it_has_stopped() {
    let pmctl = Pmctl::new();
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    thread::scope(|scope| {
        let ready = scope.spawn(|| pmctl.run(&["status", "--wait", "ready", "--timeout", "40s"]));
        let server = pmctl.serve();
        ready.join().expect("the waiting command").expect(0);
        let stopped =
            scope.spawn(|| pmctl.run(&["status", "--wait", "stopped", "--timeout", "40s"]));
        server.stop();
        stopped.join().expect("the waiting command").expect(0);
    });
    pmctl.ok(&["status", "--wait", "stopped", "--timeout", "5s"]);
    let late = pmctl.run(&["status", "--wait", "ready", "--timeout", "300ms"]);
    assert!(matches!(late.code(), 1 | 4), "{late}");
}

#[test]
fn ports_wait_returns_when_a_port_is_listening_and_when_it_is_free() {
    let (pmctl, port) = (Pmctl::new(), free_port());
    let text = port.to_string();
    pmctl.ok(&["ports", "wait", &text, "--free", "--timeout", "5s"]);
    pmctl.fails(1, &["ports", "wait", &text, "--listening", "--timeout", "300ms"]);
    thread::scope(|scope| {
        let up =
            scope.spawn(|| pmctl.run(&["ports", "wait", &text, "--listening", "--timeout", "40s"]));
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
        up.join().expect("the waiting command").expect(0);
        pmctl.fails(1, &["ports", "wait", &text, "--free", "--timeout", "300ms"]);
        let down =
            scope.spawn(|| pmctl.run(&["ports", "wait", &text, "--free", "--timeout", "40s"]));
        drop(listener);
        down.join().expect("the waiting command").expect(0);
    });
    pmctl.fails(2, &["ports", "wait", &text]);
    assert!(!pmctl.database().exists(), "waiting made a database");
}

#[test]
fn a_draining_server_is_said_to_be_draining_and_takes_no_writes() {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("web", port, &script.url());
    let mut server: Server = pmctl.serve();
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    server.signal(Signal::TERM);
    crate::support::wait_until("the control listener closed", || {
        match is_listening(server.control().port()) {
            true => Err("listening".to_owned()),
            false => Ok(()),
        }
    });
    let list = pmctl.json(&["--timeout", "1s", "service", "list"]);
    assert_eq!(list["source"], "database", "{list:#}");
    pmctl.fails_json(4, &["--timeout", "1s", "service", "stop", "web"]);
    assert_eq!(pmctl.rows()["web"].0, "running");
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.response();
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
fn a_write_waits_for_a_server_that_is_just_stopping_and_then_works_on_the_database() {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("web", port, &script.url());
    let mut server = pmctl.serve();
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    server.signal(Signal::TERM);
    crate::support::wait_until("the control listener closed", || {
        match is_listening(server.control().port()) {
            true => Err("listening".to_owned()),
            false => Ok(()),
        }
    });
    thread::scope(|scope| {
        let stop = scope
            .spawn(|| pmctl.run(&["--timeout", "40s", "-o", "json", "service", "stop", "web"]));
        held.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        client.set_patience(Duration::from_secs(30));
        client.response();
        assert_eq!(server.wait_exit(), 0);
        let ran = stop.join().expect("the waiting command").expect(0);
        assert_eq!(ran.json()["applied"], "desired", "{ran}");
    });
    assert_eq!(pmctl.rows()["web"].0, "stopped");
}

#[test]
fn a_healthy_server_is_not_called_unresponsive_because_another_address_was_asked() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let elsewhere = format!("http://127.0.0.1:{}", free_port());
    let status = pmctl.json(&["--server", &elsewhere, "status"]);
    assert_eq!(status["server"]["state"], "ready", "{status}");
    assert_eq!(status["attention"], serde_json::json!([]), "{status}");
    server.stop();
}
