//! What a stop does to traffic: nothing that was asked is lost, and what does not end is cut at its
//! bound and listed.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Broken, Load, Pmctl, Script, Upstream, Wire, WsEcho, free_port, free_ports, get, is_listening,
    noise, wait_until, ws_connect,
};

const SERVICES: usize = 5;
const CLIENTS: usize = 32;

#[test]
fn under_full_load_every_request_written_before_the_signal_is_answered_whole() {
    let body = noise(20_000);
    let expected = body.clone();
    let upstream = Upstream::start(move |exchange| {
        let length = body.len();
        // Two writes, so that an answer is often half on its way when the signal comes.
        exchange.wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))?;
        exchange.wire.try_send(&body[..9_000])?;
        exchange.wire.try_send(&body[9_000..])
    });
    let (pmctl, ports) = (Pmctl::new(), free_ports(SERVICES));
    for (n, port) in ports.iter().enumerate() {
        pmctl.add(&format!("service {n}"), *port, &upstream.url());
    }
    let mut server = pmctl.serve();
    let targets: Vec<SocketAddr> =
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    let load = Load::start(&targets, CLIENTS, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", move |answer| {
        match answer.status == 200 && answer.body == expected {
            true => Ok(()),
            false => Err(format!("{} with {} bytes", answer.status, answer.body.len())),
        }
    });
    wait_until("load on all services", || match load.whole() {
        whole if whole >= 3_000 => Ok(()),
        whole => Err(format!("{whole} requests answered")),
    });
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(), 0, "{server}");
    let report = load.finish();
    report.assert_all_answered(Some(signalled), &server.to_string());
    assert!(ports.iter().all(|port| !is_listening(*port)), "a listener is left");
    for (name, row) in pmctl.rows() {
        assert_eq!(row, ("running".to_owned(), "stopped".to_owned()), "{name}");
    }
    let server = pmctl.serve();
    for port in &ports {
        assert_eq!(Wire::to(*port).get("/").status, 200);
    }
    server.stop();
}

/// When a connection was seen to end, and with what.
fn watch_end(mut wire: Wire) -> thread::JoinHandle<(Instant, Vec<u8>)> {
    thread::spawn(move || {
        let bytes = wire.until_closed();
        (Instant::now(), bytes)
    })
}

#[test]
fn at_a_stop_idle_connections_close_at_once_and_the_rest_is_cut_at_the_bound_and_listed() {
    let (pmctl, script, ws) = (Pmctl::new(), Script::start(), WsEcho::start());
    let (web, chat) = (free_port(), free_port());
    pmctl.add("web", web, &script.url());
    pmctl.add("chat", chat, &ws.url());
    let mut server = pmctl.serve_with(&["--service-timeout", "2s"]);

    let mut download = Wire::to(web);
    download.send("GET /long-download?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nfirst bytes");
    let head = download.head().expect("the head of the download");
    assert_eq!(head.start, "HTTP/1.1 200 OK");
    assert_eq!(download.exactly(11), b"first bytes");

    let mut socket = ws_connect(chat, "/chat-room");
    socket.send(Message::text("ping")).expect("a message");
    assert_eq!(socket.read().expect("its echo"), Message::text("ping"));

    let mut half = Wire::to(web);
    half.send("GET /half HTTP/1.1\r\nHost: a\r\nX-Unfin");
    let fresh = Wire::to(chat);
    let mut idle = Wire::to(web);
    idle.send("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut quick = script.accept();
    quick.request();
    quick.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(idle.response().text(), "ok");

    let peers = [download.local_port(), socket.get_ref().local_addr().expect("an address").port()];
    wait_until("all five connections in the server's table", || {
        let list = pmctl.json(&["service", "list"]);
        let open: u64 = list["services"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s["counters"]["connections"].as_u64())
            .sum();
        if open == 5 { Ok(()) } else { Err(format!("{list:#}")) }
    });
    let ends: Vec<_> = [half, fresh, idle].into_iter().map(watch_end).collect();
    let download = watch_end(download);
    let tunnel = thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = socket.get_mut().read_to_end(&mut rest);
        Instant::now()
    });
    server.signal(Signal::TERM);
    let early: Vec<Instant> =
        ends.into_iter().map(|end| end.join().expect("a client thread").0).collect();
    let (cut, bytes) = download.join().expect("the download's thread");
    let tunnel = tunnel.join().expect("the tunnel's thread");
    assert!(bytes.is_empty(), "bytes the upstream never sent: {bytes:?}");
    for end in early {
        assert!(end < cut && end < tunnel, "an idle connection was kept until the others were cut");
    }
    assert_eq!(server.wait_exit(), 0, "a cut at the service's bound is no failure\n{server}");
    let log = server.stderr();
    for listed in ["/long-download", "/chat-room"] {
        assert!(log.contains(listed), "{listed} is not listed:\n{log}");
    }
    for peer in peers {
        assert!(log.contains(&peer.to_string()), "the client at {peer} is not listed:\n{log}");
    }
    assert!(!log.contains("secret"), "a query stands in the log:\n{log}");
    assert!(!log.contains("/half"), "half a head was listed as a request:\n{log}");
}

#[test]
fn stopping_one_service_lists_what_it_cut_and_leaves_the_others_alone() {
    let (pmctl, script, upstream) = (Pmctl::new(), Script::start(), Upstream::saying("alive"));
    let (web, other) = (free_port(), free_port());
    pmctl.add("web", web, &script.url());
    pmctl.add("other", other, &upstream.url());
    let server = pmctl.serve_with(&["--service-timeout", "500ms"]);
    let mut client = Wire::to(web);
    client.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    let mut neighbour = Wire::to(other);
    assert_eq!(neighbour.get("/").text(), "alive");
    let report = pmctl.json(&["service", "stop", "web"]);
    let item = &report["services"][0];
    assert_eq!(item["service"]["actual"], "stopped", "{report:#}");
    assert_eq!(item["cut"][0]["kind"], "request", "{report:#}");
    assert_eq!(item["cut"][0]["request"], "GET /stuck", "{report:#}");
    let peer = item["cut"][0]["peer"].as_str().unwrap_or_default();
    assert!(peer.ends_with(&format!(":{}", client.local_port())), "{report:#}");
    assert!(client.try_response().is_err(), "the cut request was answered");
    assert_eq!(neighbour.get("/").text(), "alive", "the neighbour's connection was harmed");
    server.stop();
}

#[test]
fn a_request_whose_bytes_wait_on_an_idle_connection_at_the_signal_is_answered() {
    let upstream = Upstream::saying("answered");
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &upstream.url());
    let mut server = pmctl.serve();
    let mut clients: Vec<Wire> = (0..50).map(|_| Wire::to(port)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    // A stopped process reads nothing: all of this is in the kernel when the signal is seen.
    server.signal(Signal::STOP);
    for client in &mut clients {
        client.send("GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let mut queued: Vec<Wire> = (0..20).map(|_| Wire::to(port)).collect();
    for client in &mut queued {
        client.send("GET /queued HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in clients.iter_mut().chain(&mut queued) {
        assert_eq!(client.response().text(), "answered");
    }
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
fn while_it_drains_readiness_is_off_and_new_connections_are_refused() {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("web", port, &script.url());
    let mut server = pmctl.serve();
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    server.signal(Signal::TERM);
    wait_until("the listeners closed", || {
        let readiness = get(server.control(), "/readyz");
        let ready = matches!(&readiness, Ok(response) if response.status == 200);
        match !ready && !is_listening(port) && !is_listening(server.control().port()) {
            true => Ok(()),
            false => Err(format!("{readiness:?}")),
        }
    });
    assert!(server.try_exit().is_none(), "{server}");
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    assert_eq!(client.response().text(), "done");
    assert_eq!(client.try_response().err(), Some(Broken::Closed));
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
fn a_tunnel_that_ends_by_itself_within_the_bound_is_not_cut() {
    let (pmctl, ws, port) = (Pmctl::new(), WsEcho::start(), free_port());
    pmctl.add("chat", port, &ws.url());
    let mut server = pmctl.serve_with(&["--service-timeout", "60s"]);
    let mut socket = ws_connect(port, "/room");
    socket.send(Message::text("before")).expect("a message");
    assert_eq!(socket.read().expect("its echo"), Message::text("before"));
    server.signal(Signal::TERM);
    wait_until("the listener closed", || match is_listening(port) {
        true => Err("listening".to_owned()),
        false => Ok(()),
    });
    socket.send(Message::text("during")).expect("a message");
    assert_eq!(socket.read().expect("its echo"), Message::text("during"));
    socket.close(None).expect("a close");
    while socket.read().is_ok() {}
    drop(socket);
    assert_eq!(server.wait_exit(), 0, "{server}");
    assert!(!server.stderr().contains("/room"), "a finished tunnel was listed\n{server}");
}

/// A client whose answer is under way through `port`, and the upstream's end of it.
fn under_way(port: u16, script: &Script) -> (Wire, Wire) {
    let mut client = Wire::to(port);
    client.send("GET /under-way HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(client.head().expect("a head").start, "HTTP/1.1 200 OK");
    assert_eq!(client.exactly(4), b"half");
    (client, origin)
}

fn row(desired: &str) -> (String, String) {
    (desired.to_owned(), "stopped".to_owned())
}

#[test]
fn a_stop_in_the_middle_of_a_move_drains_the_port_that_is_left_too() {
    let (pmctl, script, ports) = (Pmctl::new(), Script::start(), free_ports(2));
    pmctl.add("web", ports[0], &script.url());
    let mut server = pmctl.serve_with(&["--service-timeout", "60s", "--shutdown-timeout", "90s"]);
    let (mut client, mut origin) = under_way(ports[0], &script);
    let port = ports[1].to_string();
    let mut set = pmctl.command(&["service", "set", "web", "--port", &port]);
    let mut set = set.stdout(Stdio::null()).spawn().expect("a command");
    wait_until("the move to the new port", || {
        match is_listening(ports[1]) && !is_listening(ports[0]) {
            true => Ok(()),
            false => Err(format!("{server}")),
        }
    });
    server.signal(Signal::TERM);
    wait_until("the listeners closed", || match is_listening(ports[1]) {
        true => Err(format!("{server}")),
        false => Ok(()),
    });
    origin.send("done");
    assert_eq!(client.exactly(4), b"done");
    assert_eq!(server.wait_exit(), 0, "{server}");
    assert!(set.wait().is_ok());
    assert_eq!(pmctl.rows()["web"], row("running"));
}

#[test]
fn a_change_that_the_stop_overtakes_leaves_no_row_that_is_not_stopped() {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("web", port, &script.url());
    let mut server = pmctl.serve_with(&["--service-timeout", "60s", "--shutdown-timeout", "90s"]);
    let (mut client, mut origin) = under_way(port, &script);
    let mut restart = pmctl.command(&["service", "restart", "web"]);
    let mut restart = restart.stderr(Stdio::null()).spawn().expect("a command");
    wait_until("the drain", || match is_listening(port) {
        true => Err(format!("{server}")),
        false => Ok(()),
    });
    server.signal(Signal::TERM);
    wait_until("the stop", || match is_listening(server.control().port()) {
        true => Err(format!("{server}")),
        false => Ok(()),
    });
    origin.send("done");
    assert_eq!(client.exactly(4), b"done");
    assert_eq!(server.wait_exit(), 0, "{server}");
    assert_eq!(restart.wait().ok().and_then(|status| status.code()), Some(4), "{server}");
    assert_eq!(pmctl.rows()["web"], row("running"));
}
