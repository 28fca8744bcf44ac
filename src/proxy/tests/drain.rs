//! How a proxy ends: nothing that arrived is lost, nothing that waits holds it up.

use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::kit::{Bench, Origin, PATIENCE, Wire, ok};
use crate::proxy::{ConnectionState, Limits, ProxyPhase};

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
        bench.until("one is left", |handle| handle.connections().len() == 1);
        assert_eq!(bench.handle.connections()[0].state, ConnectionState::InFlight);
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
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    let connect = |count: usize| -> Vec<Wire> { (0..count).map(|_| bench.client()).collect() };
    let mut known = connect(20);
    for wire in &mut known {
        assert_eq!(wire.get("/").text(), "answered");
    }
    let mut fresh = connect(5);
    let mut half = connect(5);
    half.iter_mut().for_each(|wire| wire.send("GET /half HTTP/1.1\r\n").unwrap());
    bench.until("all are known", |handle| handle.counters().connections == 30);
    // The one worker stands still while requests arrive and the drain begins: it cannot have heard
    // of any of these bytes and connections.
    let standstill = super::STANDSTILL.lock().unwrap();
    let mut blocking = bench.client();
    blocking.send("GET /block-for-test HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    bench.until("it stands still", |handle| handle.counters().in_flight == 1);
    let get = "GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n";
    known.iter_mut().chain(&mut fresh).for_each(|wire| wire.send(get).unwrap());
    half.iter_mut().for_each(|wire| wire.send("Host: x\r\n\r\n").unwrap());
    let mut queued = connect(20);
    queued.iter_mut().for_each(|wire| wire.send(get).unwrap());
    bench.handle.begin_drain(PATIENCE);
    drop(standstill);
    let all = known.iter_mut().chain(&mut fresh).chain(&mut half).chain(&mut queued);
    for wire in all.chain([&mut blocking]) {
        assert_eq!(wire.message().expect("whole").text(), "answered");
        assert_eq!(wire.rest(), b"");
    }
    let report = bench.drain(PATIENCE);
    assert_eq!((report.finished, report.cut), (51, vec![]));
}

#[test]
fn an_answer_that_had_begun_is_finished_and_its_connection_closed_right_after() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::new(move |mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").unwrap();
        let _ = wait.lock().unwrap().recv();
        wire.send("more").unwrap();
        wire.rest();
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    client.send(GET).unwrap();
    let head = client.head().unwrap();
    assert!(!head.contains("close"), "{head}");
    assert_eq!(client.exactly(4).unwrap(), b"half");
    bench.handle.begin_drain(PATIENCE);
    bench.until("draining", |handle| handle.connections().len() == 1);
    go.send(()).unwrap();
    assert_eq!(client.rest(), b"more");
    let report = bench.drain(PATIENCE);
    assert_eq!((report.finished, report.cut), (1, vec![]));
    assert!(report.took < PATIENCE / 2, "{:?}", report.took);
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

#[test]
fn a_request_that_comes_after_the_drain_began_is_answered_503_behind_the_one_in_flight() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::new(move |mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").unwrap();
        let _ = wait.lock().unwrap().recv();
        wire.send("more").unwrap();
        wire.rest();
    });
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    let mut before = bench.client();
    bench.until("one is here", |handle| handle.connections().len() == 1);
    let mut client = bench.client();
    client.send(GET).unwrap();
    client.head().unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"half");
    let mut after = bench.client();
    bench.until("all are here", |handle| handle.connections().len() == 3);
    bench.handle.begin_drain(PATIENCE);
    assert_eq!((before.rest(), after.rest()), (vec![], vec![]));
    // The one worker takes them in their order: it has looked at this one, too.
    bench.until("one is left", |handle| handle.connections().len() == 1);
    client.send(GET).unwrap();
    go.send(()).unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"more");
    let answer = client.message().unwrap();
    assert_eq!((answer.status(), answer.field("connection")), (503, Some("close")));
    assert_eq!(client.rest(), b"");
    assert_eq!(bench.drain(PATIENCE).cut, []);
}
