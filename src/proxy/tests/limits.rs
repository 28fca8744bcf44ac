//! Bounds of a connection.

use std::time::Duration;

use super::kit::{Bench, Origin};
use crate::proxy::Limits;

#[test]
fn over_its_limit_of_connections_a_service_answers_503_and_goes_on_with_the_others() {
    let origin = Origin::saying("hi");
    let limits = Limits { max_connections_per_service: 2, ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 2);
    let mut first = bench.client();
    assert_eq!(first.get("/").text(), "hi");
    let mut second = bench.client();
    assert_eq!(second.get("/").text(), "hi");
    let mut third = bench.client();
    let answer = third.get("/");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(answer.field("retry-after").is_some());
    assert_eq!(first.get("/").text(), "hi");
    drop(second);
    bench.until("there is room again", |handle| handle.counters().connections == 1);
    assert_eq!(bench.client().get("/").text(), "hi");
}

#[test]
fn a_head_that_does_not_become_whole_and_an_idle_connection_are_closed_in_time() {
    let origin = Origin::saying("hi");
    let limits = Limits {
        // Longer than a busy machine takes to send a whole request.
        header_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let bench = Bench::with(&origin.url(), limits, 1);
    let mut fresh = bench.client();
    assert_eq!(fresh.rest(), b"");
    let mut half = bench.client();
    half.send("GET / HTT").unwrap();
    assert_eq!(half.rest(), b"");
    let mut idle = bench.client();
    assert_eq!(idle.get("/").text(), "hi");
    assert_eq!(idle.rest(), b"");
    bench.until("nothing is left", |handle| handle.counters().connections == 0);
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_given_up() {
    let origin = Origin::serving(|_| Vec::new());
    let limits = Limits { body_idle_timeout: Duration::from_millis(50), ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 1);
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    let answer = client.message().unwrap();
    assert_eq!((answer.status(), answer.field("connection")), (408, Some("close")));
    assert_eq!(client.rest(), b"");
    drop(client);
    bench.until("nothing is left", |handle| handle.counters().connections == 0);
    assert_eq!(bench.handle.counters().upstream_failures, 0, "that was not the target's fault");
}

#[test]
fn a_silent_event_stream_is_not_given_up() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::new(move |mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
        let _ = wait.lock().unwrap().recv();
        let _ = wire.send("data: 2\n\n");
    });
    let limits = Limits {
        body_idle_timeout: Duration::from_millis(20),
        first_byte_timeout: Duration::from_millis(20),
        idle_timeout: Duration::from_millis(20),
        header_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    let bench = Bench::with(&origin.url(), limits, 1);
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.head().unwrap();
    // Longer than all of these bounds and three sweeps.
    let age = |handle: &crate::proxy::ProxyHandle| handle.connections()[0].age;
    bench.until("a while", |handle| age(handle) > Duration::from_millis(900));
    go.send(()).unwrap();
    assert!(String::from_utf8_lossy(&client.rest()).contains("data: 2"));
}

#[test]
fn a_worker_with_many_connections_more_than_another_hands_new_ones_over() {
    let origin = Origin::saying("hi");
    let bench = Bench::with(&origin.url(), Limits::default(), 2);
    let mut clients: Vec<_> = (0..40).map(|_| bench.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "hi");
    }
    let loads: Vec<usize> = bench
        .handle
        .0
        .workers
        .iter()
        .map(|worker| worker.load.load(std::sync::atomic::Ordering::SeqCst))
        .collect();
    assert_eq!(loads.iter().sum::<usize>(), 40);
    assert!(loads.iter().all(|load| *load >= 15), "{loads:?}");
}
