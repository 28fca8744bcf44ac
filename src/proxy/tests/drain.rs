//! How a proxy ends: nothing that arrived is lost, nothing that waits holds it up.

use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::kit::{Bench, Origin, PATIENCE, Wire, ok};
use crate::proxy::{Limits, ProxyPhase};

const GET: &str = "GET /slow?key=secret HTTP/1.1\r\nHost: x\r\n\r\n";

/// Answers each request when told to.
fn gated() -> (Origin, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let origin = Origin::new(move |mut wire| {
        while wire.message().is_some() {
            if wait.lock().unwrap().recv().is_err() || wire.send(ok(b"done")).is_err() {
                return;
            }
        }
    });
    (origin, go)
}

#[test]
fn idle_fresh_and_half_heads_are_closed_at_once_and_what_is_in_flight_is_answered_whole() {
    let (origin, go) = gated();
    let bench = Bench::new(&origin.url());
    let mut idle = bench.client();
    go.send(()).unwrap();
    assert_eq!(idle.get("/").text(), "done");
    let mut fresh = bench.client();
    let mut half = bench.client();
    half.send("GET / HTTP/1.1\r\nHos").unwrap();
    let mut busy = bench.client();
    busy.send(GET).unwrap();
    let states = |handle: &crate::proxy::ProxyHandle| {
        let mut states: Vec<_> =
            handle.connections().iter().map(|view| format!("{:?}", view.state)).collect();
        states.sort();
        states
    };
    bench.until("all four are known for what they are", |handle| {
        states(handle) == ["Fresh", "HalfHead", "Idle", "InFlight"]
    });
    let report = std::thread::scope(|scope| {
        let drain = scope.spawn(|| bench.drain(PATIENCE));
        for quiet in [&mut idle, &mut fresh, &mut half] {
            assert_eq!(quiet.rest(), b"");
        }
        assert!(TcpStream::connect(bench.addr).is_err(), "the listener is closed");
        assert_eq!(bench.handle.phase(), ProxyPhase::Draining);
        bench.until("only the busy one is left", |handle| states(handle) == ["InFlight"]);
        go.send(()).unwrap();
        let answer = busy.message().unwrap();
        assert_eq!(answer.text(), "done");
        assert_eq!(answer.field("connection"), Some("close"));
        drain.join().unwrap()
    });
    assert_eq!((report.finished, report.cut), (1, vec![]));
    assert!(report.took < PATIENCE / 2);
    assert_eq!(bench.handle.phase(), ProxyPhase::Stopped);
}

#[test]
fn what_outlasts_the_bound_is_cut_and_listed_without_its_query() {
    let (origin, _go) = gated();
    let bench = Bench::new(&origin.url());
    let mut busy = bench.client();
    busy.send(GET).unwrap();
    bench.until("in flight", |handle| handle.counters().in_flight == 1);
    let begun = Instant::now();
    let report = bench.drain(Duration::from_millis(200));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(report.finished, 0);
    assert_eq!(report.cut.len(), 1);
    let cut = &report.cut[0];
    assert_eq!((cut.kind.as_str(), cut.request.as_str()), ("request", "GET /slow"));
    assert!(cut.age_ms >= 200);
    assert_eq!(busy.rest(), b"");
    assert_eq!(bench.handle.counters().connections, 0);
}

#[test]
fn bytes_that_wait_in_a_socket_or_in_the_accept_queue_are_answered() {
    let origin = Origin::saying("answered");
    // One worker that is kept from its sockets while the requests and the drain come in.
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    let mut known: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = bench.client();
            assert_eq!(wire.get("/").text(), "answered");
            wire
        })
        .collect();
    for wire in &mut known {
        wire.send("GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    let mut queued: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = bench.client();
            wire.send("GET /queued HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            wire
        })
        .collect();
    let report = bench.drain(PATIENCE);
    for wire in known.iter_mut().chain(&mut queued) {
        assert_eq!(wire.message().expect("whole").text(), "answered");
        assert_eq!(wire.rest(), b"");
    }
    assert_eq!(report.cut, []);
}

#[test]
fn pipelined_requests_that_are_here_are_all_answered_and_the_last_one_says_close() {
    let (origin, go) = gated();
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    client.send(GET.repeat(3)).unwrap();
    bench.until("in flight", |handle| handle.counters().in_flight == 1);
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| bench.drain(PATIENCE));
        bench.until("draining", |handle| handle.phase() == ProxyPhase::Draining);
        for last in [false, false, true] {
            go.send(()).unwrap();
            let answer = client.message().unwrap();
            assert_eq!(answer.field("connection").is_some(), last, "{}", answer.head);
        }
        assert_eq!(client.rest(), b"");
        let report = drain.join().unwrap();
        assert_eq!((report.finished, report.cut), (3, vec![]));
    });
}

#[test]
fn all_callers_get_the_same_report_and_the_earliest_bound_holds() {
    let (origin, _go) = gated();
    let bench = Bench::new(&origin.url());
    let mut busy = bench.client();
    busy.send(GET).unwrap();
    bench.until("in flight", |handle| handle.counters().in_flight == 1);
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| bench.drain(PATIENCE * 10));
        bench.until("draining", |handle| handle.phase() == ProxyPhase::Draining);
        let hasty = bench.drain(Duration::from_millis(50));
        assert_eq!(hasty.cut.len(), 1);
        assert_eq!(patient.join().unwrap(), hasty);
        assert_eq!(bench.drain(PATIENCE), hasty, "and later ones, too");
    });
}

#[test]
fn a_cut_needs_no_runtime_and_lists_what_it_ends() {
    let (origin, _go) = gated();
    let bench = Bench::new(&origin.url());
    let mut busy = bench.client();
    busy.send(GET).unwrap();
    let mut idle = bench.client();
    bench.until("both are here", |handle| {
        handle.counters().in_flight == 1 && handle.counters().connections == 2
    });
    let cut = bench.handle.cut_now();
    assert_eq!(cut.len(), 1);
    assert!(bench.handle.wait_closed(PATIENCE));
    assert_eq!(busy.rest(), b"");
    assert_eq!(idle.rest(), b"");
    assert!(TcpStream::connect(bench.addr).is_err());
    assert_eq!(bench.handle.cut_now(), [], "nothing is listed twice");
    assert_eq!(bench.drain(PATIENCE).cut, cut);
}

#[test]
fn a_stop_under_load_answers_every_request_that_was_sent_before_it() {
    let origin = Origin::saying("hi");
    let bench = Bench::new(&origin.url());
    // Each client notes when it has written a request and whether it was answered.
    let begun = Arc::new(Mutex::new(None::<Instant>));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let begun = Arc::clone(&begun);
                let mut client = bench.client();
                scope.spawn(move || {
                    loop {
                        if client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_err() {
                            return;
                        }
                        let written = Instant::now();
                        let Some(answer) = client.message() else {
                            let begun = begun.lock().unwrap().expect("closed before the drain");
                            assert!(written > begun, "a request sent before was lost");
                            return;
                        };
                        assert_eq!(answer.text(), "hi");
                        if answer.field("connection") == Some("close") {
                            return;
                        }
                    }
                })
            })
            .collect();
        bench.until("they are at it", |handle| handle.counters().requests() > 500);
        // Held while the drain begins: no client can judge by an older moment.
        let mut moment = begun.lock().unwrap();
        *moment = Some(Instant::now());
        bench.handle.begin_drain(PATIENCE);
        drop(moment);
        for client in clients {
            client.join().unwrap();
        }
    });
    let report = bench.drain(PATIENCE);
    assert_eq!(report.cut, []);
}

#[test]
fn connections_kept_to_the_target_are_closed_with_the_drain() {
    let (told, hear) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::new(move |mut wire| {
        while wire.message().is_some() {
            wire.send(ok(b"hi")).unwrap();
        }
        let _ = told.lock().unwrap().send(());
    });
    let bench = Bench::new(&origin.url());
    assert_eq!(bench.client().get("/").text(), "hi");
    bench.drain(PATIENCE);
    hear.recv_timeout(PATIENCE).expect("the kept connection is closed");
}
