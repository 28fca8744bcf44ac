//! Requests spread over the instances of an application.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::kit::{Bench, Origin, ok, route};
use crate::model::TargetUrl;
use crate::proxy::{Limits, ProxyHandle};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

fn spread_over(handle: &ProxyHandle, addresses: &[SocketAddr]) {
    let balancer = handle.balancer().unwrap();
    let url = |address: &SocketAddr| balancer.url_of(false, "127.0.0.1", address.port()).unwrap();
    let urls: Vec<TargetUrl> = addresses.iter().map(url).collect();
    handle.spread_over(&balancer, &urls);
}

fn bench(instances: &[&Origin]) -> Bench {
    let bench = Bench::with("lb://orders/v1", Limits::default(), 1);
    let addresses: Vec<SocketAddr> = instances.iter().map(|origin| origin.addr).collect();
    spread_over(&bench.handle, &addresses);
    bench
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn requests_are_spread_evenly_and_each_is_made_for_its_instance() {
    let instance = || {
        Origin::serving(|request| {
            assert_eq!(request.start(), "GET /v1/a HTTP/1.1");
            ok(request.field("host").unwrap().as_bytes())
        })
    };
    let (one, two) = (instance(), instance());
    let bench = bench(&[&one, &two]);
    let mut client = bench.client();
    let mut counts = BTreeMap::<String, u32>::new();
    for _ in 0..20 {
        *counts.entry(client.ask(GET).text()).or_default() += 1;
    }
    let expected = [(one.addr.to_string(), 10), (two.addr.to_string(), 10)];
    assert_eq!(counts, BTreeMap::from(expected));
    assert!(bench.handle.balancer().unwrap().views().iter().all(|view| view.in_flight == 0));
}

#[test]
fn a_request_of_an_instance_that_is_not_there_goes_whole_to_another() {
    let there = Origin::serving(|request| ok(&request.body));
    let bench = Bench::with("lb://orders", Limits::default(), 1);
    let gone = nobody();
    spread_over(&bench.handle, &[gone, there.addr]);
    let mut client = bench.client();
    for turn in 0..6 {
        let body = format!("body {turn}");
        let answer = client.ask(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!((answer.status(), answer.text()), (200, body));
    }
    let views = bench.handle.balancer().unwrap().views();
    let aside: Vec<bool> = views.iter().map(|view| view.aside_ms > 0).collect();
    assert_eq!(aside, [true, false], "{views:?}");
    assert_eq!(bench.handle.counters().upstream_failures, 0, "no client met a failure");
}

#[test]
fn a_request_that_an_instance_took_is_not_given_to_another_unless_it_may_be_repeated() {
    let rude = Origin::new(|mut wire| drop(wire.message()));
    let there = Origin::saying("there");
    let bench = bench(&[&rude, &there]);
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    let mut statuses: Vec<u16> = (0..2).map(|_| bench.client().ask(post).status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    for _ in 0..4 {
        assert_eq!(bench.client().ask(GET).text(), "there");
    }
}

#[test]
fn without_an_instance_the_answer_is_503_and_says_so() {
    let bench = bench(&[]);
    let answer =
        bench.client().ask("GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("retry-after"), Some("5"));
    assert!(answer.text().contains("target-has-no-instance"), "{}", answer.text());
    let there = Origin::saying("there");
    spread_over(&bench.handle, &[there.addr]);
    assert_eq!(bench.client().ask(GET).text(), "there");
}

#[test]
fn the_first_list_is_waited_for_and_no_longer_than_for_a_connection() {
    let there = Origin::saying("there");
    let bench = Bench::with("lb://orders", Limits::default(), 1);
    let mut client = bench.client();
    client.send(GET).unwrap();
    while bench.handle.counters().in_flight == 0 {
        std::thread::yield_now();
    }
    spread_over(&bench.handle, &[there.addr]);
    assert_eq!(client.message().unwrap().text(), "there");
    let limits = Limits { connect_timeout: Duration::from_millis(50), ..Limits::default() };
    let never = Bench::with("lb://orders", limits, 1);
    assert_eq!(never.client().ask(GET).status(), 503);
}

#[test]
fn a_request_under_way_ends_at_an_instance_that_left_the_list() {
    let (begun, hear) = std::sync::mpsc::channel();
    let (go, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let old = Origin::serving(move |_| {
        begun.send(()).unwrap();
        held.lock().unwrap().recv().unwrap();
        ok(b"old")
    });
    let new = Origin::saying("new");
    let bench = bench(&[&old]);
    let mut client = bench.client();
    client.send(GET).unwrap();
    hear.recv().unwrap();
    spread_over(&bench.handle, &[new.addr]);
    assert_eq!(bench.client().ask(GET).text(), "new");
    go.send(()).unwrap();
    assert_eq!(client.message().unwrap().text(), "old");
    assert_eq!(client.ask(GET).text(), "new");
}

#[test]
fn a_switch_between_a_place_and_an_application_holds_for_the_next_request() {
    let (one, many) = (Origin::saying("one"), Origin::saying("many"));
    let bench = Bench::with(&one.url(), Limits::default(), 1);
    let mut client = bench.client();
    assert_eq!(client.ask(GET).text(), "one");
    bench.handle.switch(route("all", "lb://orders"));
    spread_over(&bench.handle, &[many.addr]);
    assert_eq!(client.ask(GET).text(), "many");
    bench.handle.switch(route("blue", &one.url()));
    assert_eq!(client.ask(GET).text(), "one");
}
