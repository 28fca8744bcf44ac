//! Upgraded connections.

use std::net::Shutdown;
use std::time::Duration;

use super::kit::{Bench, Origin, PATIENCE, Wire};
use crate::proxy::{ConnectionState, Limits};

const UPGRADE: &str =
    "GET /chat?token=secret HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

/// Upgrades, then sends everything back until the client's end, then says goodbye.
fn echo() -> Origin {
    Origin::new(|mut wire| {
        let head = wire.head().unwrap();
        assert!(head.to_ascii_lowercase().contains("upgrade: echo"), "{head}");
        // The first bytes of the tunnel stand right behind the head.
        wire.send("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello")
            .unwrap();
        while let Some(byte) = wire.exactly(1) {
            if wire.send(&byte).is_err() {
                return;
            }
        }
        let _ = wire.send("bye");
    })
}

fn upgraded(bench: &Bench) -> Wire {
    let mut client = bench.client();
    let head = client.ask(UPGRADE);
    assert_eq!(head.status(), 101);
    assert_eq!(head.field("upgrade"), Some("echo"));
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    client
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_passes_each_half_close_on() {
    let origin = echo();
    let bench = Bench::new(&origin.url());
    let mut client = upgraded(&bench);
    client.send("ping").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"ping");
    let view = &bench.handle.connections()[0];
    assert_eq!(view.state, ConnectionState::Tunnel);
    assert_eq!(view.under_way[0].request, "GET /chat");
    assert!(view.under_way[0].tunnel);
    let counters = bench.handle.counters();
    assert_eq!((counters.tunnels, counters.in_flight, counters.bytes_in), (1, 0, 4));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"bye");
    bench.until("the tunnel has ended", |handle| {
        let counters = handle.counters();
        counters.tunnels == 0 && counters.connections == 0
    });
}

#[test]
fn bytes_sent_behind_the_request_for_the_upgrade_belong_to_the_tunnel() {
    let origin = echo();
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    let head = client.ask(format!("{UPGRADE}early"));
    assert_eq!(head.status(), 101);
    let mut echoed = client.exactly(10).unwrap();
    echoed.sort_unstable();
    let mut expected = b"helloearly".to_vec();
    expected.sort_unstable();
    assert_eq!(echoed, expected);
}

#[test]
fn a_target_that_declines_the_upgrade_answers_and_the_next_request_follows() {
    let origin = Origin::saying("no tunnel here");
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    let next = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(client.ask(format!("{UPGRADE}{next}")).text(), "no tunnel here");
    assert_eq!(client.message().unwrap().status(), 200);
}

#[test]
fn a_tunnel_lives_through_a_drain_to_its_bound_and_is_listed_when_it_is_cut() {
    let origin = echo();
    let bench = Bench::new(&origin.url());
    let mut client = upgraded(&bench);
    let report = std::thread::scope(|scope| {
        // Longer than a busy machine takes for a few bytes there and back.
        let drain = scope.spawn(|| bench.drain(Duration::from_secs(2)));
        bench.until("draining", |handle| handle.phase() != crate::proxy::ProxyPhase::Running);
        client.send("still").unwrap();
        assert_eq!(client.exactly(5).unwrap(), b"still");
        drain.join().unwrap()
    });
    assert_eq!(report.finished, 0);
    assert_eq!(report.cut.len(), 1);
    let cut = &report.cut[0];
    assert_eq!((cut.kind.as_str(), cut.request.as_str()), ("tunnel", "GET /chat"));
    assert_eq!(cut.service.as_str(), "dspapi");
    assert_eq!(cut.bytes, 5 + 5 + 5);
    assert_eq!(cut.peer, client.stream.local_addr().unwrap().to_string());
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_tunnel_that_ends_in_time_counts_as_finished() {
    let origin = echo();
    let bench = Bench::new(&origin.url());
    let mut client = upgraded(&bench);
    let report = std::thread::scope(|scope| {
        let drain = scope.spawn(|| bench.drain(super::kit::PATIENCE));
        bench.until("draining", |handle| handle.phase() != crate::proxy::ProxyPhase::Running);
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"bye");
        drain.join().unwrap()
    });
    assert_eq!((report.finished, report.cut), (1, vec![]));
}

#[test]
fn a_tunnel_whose_target_is_gone_does_not_wait_for_a_silent_client() {
    let origin = Origin::new(|mut wire| {
        wire.head().unwrap();
        wire.send("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello")
            .unwrap();
    });
    let limits = Limits { half_close_timeout: Duration::from_millis(200), ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 1);
    let mut client = upgraded(&bench);
    let report = bench.drain(PATIENCE);
    assert_eq!((report.finished, report.cut), (1, vec![]));
    assert_eq!(client.rest(), b"");
}

#[test]
fn nothing_is_switched_to_that_the_client_did_not_offer() {
    let origin = Origin::serving(|_| {
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n".to_vec()
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    assert_eq!(client.ask(UPGRADE.replace("echo", "echo, h2c")).status(), 502);
}
