//! Requests that two parties could read in two ways are refused, and never forwarded.

use super::{proxy_to, proxy_with};
use crate::support::{Upstream, Wire};

/// Each is refused with 400 or 501 and the end of the connection.
const CORPUS: &[(&str, &str)] = &[
    (
        "a length beside a transfer coding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nG",
    ),
    (
        "a transfer coding beside a length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n\
         5c\r\n",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nab"),
    ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na"),
    ("a length in hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na"),
    (
        "a length past every number",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\na",
    ),
    ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\na"),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded field",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a folded field of no meaning", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\n\r\n"),
    ("a first field that is folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    (
        "a coding that is not chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked that is not last",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX-B: c\r\n\r\n"),
    ("a bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("a bare CR in a field", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rX-C: d\r\n\r\n"),
    ("a bare CR in the request line", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a NUL in a field", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
    ("a field without a colon", "GET / HTTP/1.1\r\nHost: a\r\nNonsense\r\n\r\n"),
    ("an empty field name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\nX-A: b\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("two spaces in the request line", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no version", "GET /\r\nHost: a\r\n\r\n"),
    ("a version of its own", "GET / HTTP/3.7\r\nHost: a\r\n\r\n"),
    ("no request at all", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
];

#[test]
fn every_ambiguous_head_is_refused_closed_and_kept_from_the_target() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let mut wrong = Vec::new();
    for (what, bytes) in CORPUS {
        let before = upstream.requests();
        let mut client = Wire::to(port);
        // What follows must not be read as a request of its own.
        client.send(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        match client.try_response() {
            Ok(r) if matches!(r.status, 400 | 501 | 505) => {}
            Ok(r) => wrong.push(format!("{what}: answered {}", r.status)),
            Err(broken) => wrong.push(format!("{what}: {broken:?}")),
        }
        let after = client.until_closed();
        if !after.is_empty() {
            wrong.push(format!("{what}: answered again: {}", String::from_utf8_lossy(&after)));
        }
        if upstream.requests() != before {
            wrong.push(format!("{what}: reached the target"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(Wire::to(port).get("/after").seen()["target"], "/after");
    server.stop();
}

#[test]
fn a_broken_chunk_ends_the_request_and_is_never_completed_for_the_target() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    for chunks in [
        "zz\r\nab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "-2\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nab\r\n0\r\n\r\n",
        "2\nab\n0\n\n",
    ] {
        let mut client = Wire::to(port);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunks);
        client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let said = String::from_utf8_lossy(&client.until_closed()).into_owned();
        let whole = said.contains(" 200 ") || said.contains("smuggled");
        assert!(!whole, "{chunks:?} was answered: {said}");
    }
    assert_eq!(Wire::to(port).get("/after").seen()["target"], "/after");
    server.stop();
}

#[test]
fn a_head_too_large_or_with_too_many_fields_is_refused() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Big: {}\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-N: 1\r\n".repeat(1_000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200_000));
    for head in [large, many, long] {
        let mut client = Wire::to(port);
        // The refusal may come before all of it is written.
        let _ = client.try_send(&head);
        if let Ok(response) = client.try_response() {
            assert!(matches!(response.status, 400 | 414 | 431), "{response:?}");
        }
        client.until_closed();
    }
    assert_eq!(upstream.requests(), 0);
    server.stop();
}

#[test]
fn half_a_head_does_not_hold_a_connection_past_its_timeout() {
    let upstream = Upstream::echo();
    let config = "[limits]\nheader_timeout = \"300ms\"\nidle_timeout = \"300ms\"\n";
    let (_pmctl, server, port) = proxy_with(&upstream.url(), config);
    for bytes in ["GET / HTTP/1.1\r\nHost: a\r\nX-Unfin", "G", ""] {
        let mut client = Wire::to(port);
        client.send(bytes);
        let said = String::from_utf8_lossy(&client.until_closed()).into_owned();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{bytes:?}: {said}");
    }
    let mut idle = Wire::to(port);
    assert_eq!(idle.get("/").status, 200);
    assert_eq!(idle.until_closed(), b"");
    server.stop();
}
