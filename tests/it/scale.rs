//! Many services and large bodies: sizes have bounds, whatever the machine's speed.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Pmctl, Script, Server, Upstream, Wire, anonymous_memory, free_port, free_ports, is_listening,
    noise,
};

const MIB: usize = 1 << 20;

#[test]
fn a_thousand_services_start_answer_and_stop_within_their_memory() {
    let upstream = Upstream::saying("hello");
    let (pmctl, ports) = (Pmctl::new(), free_ports(1_000));
    let server = pmctl.serve();
    let mut control = server.connect();
    let host = server.control();
    for (n, port) in ports.iter().enumerate() {
        let service = json!({
            "name": format!("service {n:04}"), "port": port, "targets": {"main": upstream.url()},
            "stopped": true,
        });
        let (body, path) = (service.to_string(), "/api/services");
        let length = body.len();
        control.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        let response = control.response();
        assert!(matches!(response.status, 200 | 201), "{}", response.text());
    }
    drop(control);
    pmctl.ok(&["--timeout", "60s", "--no-fallback", "service", "start", "--all"]);
    server.stop();
    let server = pmctl.serve();
    let count = |document: &Value, state: &str| {
        let ports = document["ports"].as_object().expect("ports");
        ports.values().filter(|port| port["state"] == state).count()
    };
    let status = pmctl.json(&["status"]);
    assert_eq!(status["counts"]["running"], 1_000, "{}", status["counts"]);
    assert_eq!(count(&pmctl.json(&["ports", "status"]), "serving"), 1_000);
    for port in ports.iter().step_by(97) {
        assert_eq!(Wire::to(*port).get("/").text(), "hello");
    }
    let memory = anonymous_memory(server.pid());
    assert!(memory < 60 * MIB as u64, "{memory} bytes for 1,000 services");
    server.stop();
    let stopped = ("running".to_owned(), "stopped".to_owned());
    let rows = pmctl.rows();
    assert_eq!(rows.values().filter(|row| **row == stopped).count(), 1_000);
    assert!(!ports.iter().any(|port| is_listening(*port)), "a listener is left");
    assert_eq!(count(&pmctl.json(&["ports", "status"]), "free"), 1_000);
}

/// The bound on what the server holds while a body passes.
#[track_caller]
fn assert_small(pid: u32) {
    let memory = anonymous_memory(pid);
    assert!(memory < 50 * MIB as u64, "{memory} bytes held while a body passes");
}

#[test]
fn a_large_body_passes_in_either_direction_without_being_kept() {
    const PIECES: usize = 256;
    let piece = noise(MIB);
    let source = piece.clone();
    let upstream = Upstream::start(move |exchange| {
        if exchange.head.method_and_target().0 == "GET" {
            let length = PIECES * MIB;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            exchange.wire.try_send(head)?;
            return (0..PIECES).try_for_each(|_| exchange.wire.try_send(&source));
        }
        let (mut at, mut wrong) = (0, 0_usize);
        let head = exchange.head.clone();
        let mut count = |bytes: &[u8]| {
            wrong += mismatches(&source, at, bytes);
            at += bytes.len();
        };
        let whole = exchange.wire.request_body(&head, &mut count);
        let report = format!("{at} bytes, {wrong} wrong, {}", whole.is_ok());
        exchange.answer("", report.as_bytes())
    });
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &upstream.url());
    let server = pmctl.serve();
    let pid = server.pid();

    let mut client = Wire::to(port);
    client.send("GET /down HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut at, mut wrong) = (0, 0);
    let answer = client.response_into("GET", &mut |bytes| {
        wrong += mismatches(&piece, at, bytes);
        if at / (8 * MIB) != (at + bytes.len()) / (8 * MIB) {
            assert_small(pid);
        }
        at += bytes.len();
    });
    assert_eq!(answer.expect("a whole answer").status, 200);
    assert_eq!((at, wrong), (PIECES * MIB, 0));

    let length = PIECES * MIB;
    client.send(format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    for n in 0..PIECES {
        client.send(&piece);
        if n % 8 == 0 {
            assert_small(pid);
        }
    }
    assert_eq!(client.response().text(), format!("{length} bytes, 0 wrong, true"));
    assert_small(pid);
    server.stop();
}

/// How many bytes differ from the endless repetition of `piece` at `at`.
fn mismatches(piece: &[u8], at: usize, mut bytes: &[u8]) -> usize {
    let (mut wrong, mut at) = (0, at % piece.len());
    while !bytes.is_empty() {
        let length = bytes.len().min(piece.len() - at);
        // A slice comparison, because byte by byte takes long in a debug build.
        if bytes[..length] != piece[at..at + length] {
            wrong += length;
        }
        bytes = &bytes[length..];
        at = 0;
    }
    wrong
}

#[test]
fn a_reader_that_stands_still_holds_its_target_and_not_memory() {
    let script = Script::start();
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &script.url());
    let server = pmctl.serve();
    let mut client = Wire::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    origin.stream().set_write_timeout(Some(Duration::from_secs(1))).expect("a write timeout");
    let piece = noise(64 * 1024);
    let taken = (0..4_096).take_while(|_| origin.try_send(&piece).is_ok()).count() * piece.len();
    assert!(taken < 64 * MIB, "{taken} bytes were taken for a client that reads none");
    assert_small(server.pid());
    drop((client, origin));
    server.stop();
}

#[test]
fn few_descriptors_fail_services_but_never_the_control_plane() {
    let (pmctl, ports) = (Pmctl::new(), free_ports(80));
    for port in &ports {
        let (name, port) = (format!("service {port}"), port.to_string());
        pmctl.ok(&["service", "add", &name, "--port", &port, "--target", "t=http://127.0.0.1:9"]);
    }
    let few = ["sh", "-c", "ulimit -n 120; exec \"$@\"", "sh"];
    let mut server = Server::spawn(&pmctl, &few, &[]);
    server.wait_ready();
    let status = pmctl.json(&["status"]);
    let counts = &status["counts"];
    let (running, failed) = (counts["running"].as_u64(), counts["failed"].as_u64());
    assert_eq!(running.zip(failed).map(|(r, f)| r + f), Some(80), "{status}");
    assert!(running > Some(0) && failed > Some(0), "{counts}");
    assert!(status["attention"].to_string().contains("file descriptors"), "{status}");
    // More clients than there are descriptors: some are refused, the control plane is not.
    let up = status["services"].as_array().expect("services");
    let up = up.iter().find(|s| s["actual"] == "running").expect("a running service");
    let port = u16::try_from(up["port"].as_u64().expect("a port")).expect("a port");
    let crowd: Vec<Wire> = (0..100).map(|_| Wire::to(port)).collect();
    for _ in 0..3 {
        pmctl.ok(&["--no-fallback", "ports", "status"]);
    }
    drop(crowd);
    server.stop();
    assert!(pmctl.rows().values().all(|(_, actual)| actual == "stopped"));
}
