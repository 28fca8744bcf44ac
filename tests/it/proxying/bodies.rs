//! Bodies and their framing.

use super::{proxy_to, proxy_with};
use crate::support::{Broken, Script, Upstream, Wire, noise};

#[test]
fn bodies_pass_byte_for_byte_in_both_directions_however_they_are_framed() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let mut client = Wire::to(port);
    for size in [0, 1, 1_000, 65_536, 300_001, 8 << 20] {
        let body = noise(size);
        for path in ["/plain", "/answered/chunked"] {
            let by_length = client.ask("POST", path, "", &body);
            assert_eq!(by_length.status, 200);
            assert!(by_length.body == body, "{size} bytes by length to {path}");
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            for chunk in body.chunks(77_777) {
                client.send(format!("{:X};extension=1\r\n", chunk.len()));
                client.send(chunk);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
            let in_chunks = client.response();
            assert!(in_chunks.body == body, "{size} bytes in chunks to {path}");
        }
    }
    server.stop();
}

#[test]
fn a_body_goes_on_before_it_is_whole() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    let mut origin = script.accept();
    origin.head().expect("the head");
    assert_eq!(origin.exactly(5), b"first");
    client.send("other");
    assert_eq!(origin.exactly(5), b"other");
    origin.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n");
    client.head().expect("the head of the answer");
    assert_eq!(client.exactly(9), b"4\r\nfour\r\n");
    origin.send("0\r\n\r\n");
    assert_eq!(client.exactly(5), b"0\r\n\r\n");
    server.stop();
}

#[test]
fn requests_written_ahead_are_answered_in_their_order() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let mut client = Wire::to(port);
    let mut ahead = String::new();
    for n in 0..20 {
        ahead += &format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n{n:04}");
    }
    client.send(ahead);
    for n in 0..20 {
        assert_eq!(client.response().text(), format!("{n:04}"));
    }
    server.stop();
}

#[test]
fn one_client_after_another_is_served_over_one_connection_to_the_target() {
    let upstream = Upstream::echo();
    // One worker, so that there is one pool.
    let (_pmctl, server, port) = proxy_with(&upstream.url(), "[server]\nworkers = 1\n");
    for n in 0..50 {
        let mut client = Wire::to(port);
        let answer = client.ask("POST", "/", "Connection: close\r\n", b"body");
        assert_eq!(answer.text(), "body", "{n}");
        assert!(answer.head.has_token("connection", "close"), "{answer:?}");
        client.until_closed();
    }
    assert_eq!((upstream.requests(), upstream.connections()), (50, 1));
    server.stop();
}

#[test]
fn answers_without_a_body_stay_without_one() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    assert_eq!(origin.request().0.method_and_target(), ("HEAD", "/file"));
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-Kind: head\r\n\r\n");
    let head = client.response_to("HEAD").expect("an answer to HEAD");
    assert_eq!((head.status, head.field("content-length")), (200, Some("12345")));
    assert_eq!(head.field("x-kind"), Some("head"));
    for (answer, status) in [
        ("HTTP/1.1 204 No Content\r\nX-N: 1\r\n\r\n", 204),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304),
    ] {
        // The same connection goes on, so nothing of a body may stand in it.
        client.send("GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
        origin.request();
        origin.send(answer);
        let response = client.response();
        assert_eq!(response.status, status);
        assert_eq!(response.field("transfer-encoding"), None, "{response:?}");
        assert!(matches!(response.field("content-length"), None | Some("0")), "{response:?}");
        assert_eq!(response.body, b"");
    }
    server.stop();
}

#[test]
fn an_answer_that_ends_with_its_connection_arrives_whole_and_is_framed() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nup to ");
    origin.send("the end");
    drop(origin);
    assert_eq!(client.response().text(), "up to the end");
    server.stop();
}

#[test]
fn an_answer_that_its_target_tore_off_reaches_nobody_as_a_whole_one() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let script = Script::start();
        let (_pmctl, server, port) = proxy_to(&script.url());
        let mut client = Wire::to(port);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut origin = script.accept();
        origin.request();
        origin.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
        drop(origin);
        let answer = client.try_response();
        assert!(matches!(answer, Err(Broken::Truncated(_))), "{framing}: {answer:?}");
        server.stop();
    }
}

#[test]
fn a_client_that_goes_away_takes_its_upstream_request_with_it() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    client.head().expect("the head");
    drop(client);
    let piece = noise(64 * 1024);
    // Ends with an error once pmctl has closed its side; a proxy that reads on would take it all.
    let sent = (0..10_000).take_while(|_| origin.try_send(&piece).is_ok()).count();
    assert!(sent < 10_000, "the whole body was read for nobody");
    origin.until_closed();
    server.stop();
}

#[test]
fn trailers_pass_with_the_answer_they_belong_to() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("GET /sum HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.text(), "body");
    let sum = response.trailers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-sum"));
    assert_eq!(sum.map(|(_, value)| value.as_str()), Some("42"), "{response:?}");
    server.stop();
}

#[test]
fn expect_continue_is_the_targets_to_answer() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let head = "POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                Content-Length: 4\r\n\r\n";

    let mut client = Wire::to(port);
    client.send(head);
    let mut origin = script.accept();
    let seen = origin.head().expect("the head, before any of the body");
    assert!(seen.has_token("expect", "100-continue"), "{seen:?}");
    origin.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head().expect("the interim answer").start, "HTTP/1.1 100 Continue");
    client.send("body");
    assert_eq!(origin.exactly(4), b"body");
    origin.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 201);

    let mut client = Wire::to(port);
    client.send(head);
    // The first origin connection may serve again; a new one is as good.
    origin.set_patience(std::time::Duration::from_millis(200));
    let mut origin = match origin.head() {
        Ok(_) => origin,
        Err(_) => {
            let mut origin = script.accept();
            origin.head().expect("the head");
            origin
        }
    };
    origin.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    let refused = client.response();
    assert_eq!((refused.status, refused.text().as_str()), (401, "no"));
    assert!(refused.interim.is_empty(), "a 100 that the target never sent: {refused:?}");
    server.stop();
}
