//! What a client is told when its target does not answer, and what is tried before.

use std::io;

use super::{proxy_to, proxy_with};
use crate::support::{Pmctl, Response, Script, Upstream, Wire, free_port, wait_until};

#[test]
fn an_unreachable_target_is_502_as_json_or_text_as_the_client_likes() {
    let (_pmctl, server, port) = proxy_to(&format!("http://127.0.0.1:{}", free_port()));
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n");
    let json = client.response();
    assert_eq!(json.status, 502);
    assert!(kind(&json).starts_with("application/json"), "{json:?}");
    let document = json.json();
    assert_eq!(document["success"], false, "{document}");
    assert!(document["code"].is_string() && document["error"].is_string(), "{document}");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*\r\n\r\n");
    let text = client.response();
    assert_eq!(text.status, 502);
    assert!(kind(&text).starts_with("text/plain"), "{text:?}");
    assert!(!text.body.is_empty() && text.body.len() < 1_000, "{text:?}");
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").expect("an answer to HEAD").status, 502);
    server.stop();
}

fn kind(response: &Response) -> &str {
    response.field("content-type").unwrap_or_default()
}

#[test]
fn a_target_that_says_nothing_in_time_is_504() {
    let script = Script::start();
    let config = "[limits]\nfirst_byte_timeout = \"300ms\"\n";
    let (_pmctl, server, port) = proxy_with(&script.url(), config);
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    assert_eq!(client.response().status, 504);
    // Nobody waits for the late answer any more.
    assert_eq!(origin.until_closed(), b"");
    server.stop();
}

#[test]
fn more_connections_than_allowed_are_503() {
    let upstream = Upstream::saying("hello");
    let (_pmctl, server, port) = proxy_with(&upstream.url(), "[limits]\nmax_connections = 2\n");
    let mut held = [Wire::to(port), Wire::to(port)];
    for client in &mut held {
        assert_eq!(client.get("/").status, 200);
    }
    let mut third = Wire::to(port);
    let refused = third.get("/");
    assert_eq!(refused.status, 503, "{refused:?}");
    third.until_closed();
    drop(held);
    wait_until("a place for a new connection", || {
        let mut client = Wire::to(port);
        let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_response() {
            Ok(response) if response.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    server.stop();
}

/// Sends every request back to where it came from, as a misconfigured chain of proxies would.
fn boomerang(port: u16) -> Upstream {
    Upstream::start(move |exchange| {
        let body = exchange.body()?;
        let mut back = Wire::try_connect(([127, 0, 0, 1], port).into())?;
        let mut head = format!("{}\r\n", exchange.head.start);
        for (name, value) in &exchange.head.fields {
            head += &format!("{name}: {value}\r\n");
        }
        back.try_send(format!("{head}\r\n"))?;
        back.try_send(&body)?;
        let answer = back.try_response().map_err(|e| io::Error::other(format!("{e:?}")))?;
        let (status, length) = (answer.status, answer.body.len());
        let head = format!("HTTP/1.1 {status} Passed On\r\nContent-Length: {length}\r\n\r\n");
        exchange.wire.try_send(head)?;
        exchange.wire.try_send(&answer.body)
    })
}

#[test]
fn a_request_that_comes_back_is_508_and_goes_round_no_more() {
    let (pmctl, port) = (Pmctl::new(), free_port());
    let upstream = boomerang(port);
    pmctl.add("web", port, &upstream.url());
    let server = pmctl.serve();
    let mut client = Wire::to(port);
    assert_eq!(client.get("/").status, 508);
    assert!(upstream.requests() <= 2, "it went round {} times", upstream.requests());
    server.stop();
}

#[test]
fn two_services_that_point_at_each_other_end_in_508() {
    let (pmctl, a, b) = (Pmctl::new(), free_port(), free_port());
    pmctl.add("a", a, &format!("http://127.0.0.1:{b}"));
    pmctl.add("b", b, &format!("http://127.0.0.1:{a}"));
    let server = pmctl.serve();
    let answer = Wire::to(a).get("/");
    assert_eq!(answer.status, 508, "{answer:?}");
    server.stop();
}

#[test]
fn a_service_that_points_at_itself_or_the_control_port_is_refused_or_answers_508() {
    let (pmctl, port) = (Pmctl::new(), free_port());
    let server = pmctl.serve();
    for (name, url) in [
        ("itself", format!("http://127.0.0.1:{port}")),
        ("control", format!("{}/api", server.url())),
    ] {
        let (port_text, target) = (port.to_string(), format!("main={url}"));
        let add = ["service", "add", name, "--port", &port_text, "--target", &target];
        let ran = pmctl.run(&add);
        if ran.code() == 0 {
            let answer = Wire::to(port).get("/services");
            assert!(matches!(answer.status, 502 | 508), "{name}: {answer:?}");
            pmctl.ok(&["service", "remove", name]);
        } else {
            assert!(matches!(ran.code(), 1 | 2), "{ran}");
            assert!(pmctl.rows().is_empty(), "refused and yet there: {ran}");
        }
    }
    server.stop();
}

/// The first request is answered and leaves a connection to be used again; what the target does
/// with the second one on it is the test's.
fn after_one_request(script: &Script, client: &mut Wire) -> Wire {
    client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    origin
}

#[test]
fn a_reused_connection_that_closes_without_a_byte_is_retried_once() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    let mut origin = after_one_request(&script, &mut client);
    client.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.request();
    drop(origin);
    let mut again = script.accept();
    assert_eq!(again.request().0.method_and_target(), ("GET", "/second"));
    again.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
    assert_eq!(client.response().text(), "again");

    client.send("GET /third HTTP/1.1\r\nHost: a\r\n\r\n");
    again.request();
    drop(again);
    let mut last = script.accept();
    last.request();
    drop(last);
    assert_eq!(client.response().status, 502, "one retry, not more");
    assert!(script.try_accept().is_none(), "a third attempt");
    server.stop();
}

#[test]
fn a_request_with_a_body_is_never_sent_twice() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    let mut origin = after_one_request(&script, &mut client);
    client.send("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n1000");
    origin.request();
    drop(origin);
    assert_eq!(client.response().status, 502);
    assert!(script.try_accept().is_none(), "paid twice");
    server.stop();
}

#[test]
fn a_connection_the_target_closed_while_idle_costs_no_request() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    drop(after_one_request(&script, &mut client));
    client.send("POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    let mut origin = script.accept();
    assert_eq!(origin.request().1, b"body");
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    server.stop();
}

#[test]
fn an_answer_that_is_no_http_is_502() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 abc OK\r\n\r\n", ""] {
        let script = Script::start();
        let (_pmctl, server, port) = proxy_to(&script.url());
        let mut client = Wire::to(port);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut origin = script.accept();
        origin.request();
        origin.send(answer);
        drop(origin);
        assert_eq!(client.response().status, 502, "{answer:?}");
        server.stop();
    }
}

#[test]
fn the_counters_of_a_service_tell_what_it_answered() {
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body()?;
        match exchange.head.method_and_target().1 {
            "/missing" => exchange.wire.try_send("HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n"),
            _ => exchange.answer("", &body),
        }
    });
    let (pmctl, server, port) = proxy_to(&upstream.url());
    let mut client = Wire::to(port);
    client.ask("POST", "/", "", b"0123456789");
    client.ask("POST", "/", "", b"0123456789");
    client.get("/missing");
    let counters = wait_until("all three requests counted", || {
        let list = pmctl.json(&["service", "show", "web"]);
        let counters = list["services"][0]["counters"].clone();
        let done = counters["responses"][3] == 1 && counters["inFlight"] == 0;
        if done { Ok(counters) } else { Err(counters.to_string()) }
    });
    assert_eq!(counters["responses"], serde_json::json!([0, 2, 0, 1, 0]), "{counters}");
    assert_eq!(counters["bytesIn"], 20, "{counters}");
    assert_eq!(counters["bytesOut"], 20, "{counters}");
    assert_eq!(counters["accepted"], 1, "{counters}");
    assert_eq!(counters["connections"], 1, "{counters}");
    server.stop();
}
