//! `Expect: 100-continue`, end to end.

use std::time::Duration;

use super::kit::{Bench, Origin, ok};
use crate::proxy::Limits;

const ASKING: &str =
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

/// Whether anything comes within a moment; nothing should.
fn is_silent(wire: &super::kit::Wire) -> bool {
    wire.stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let silent = wire.stream.peek(&mut [0]).is_err();
    wire.stream.set_read_timeout(Some(super::kit::PATIENCE)).unwrap();
    silent
}

#[test]
fn the_client_hears_100_only_when_the_target_said_it() {
    let (told, hear) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let ends = std::sync::Mutex::new((told, wait));
    let origin = Origin::new(move |mut wire| {
        let ends = ends.lock().unwrap();
        let head = wire.head().unwrap();
        ends.0.send(head).unwrap();
        ends.1.recv().unwrap();
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let body = wire.exactly(4).unwrap();
        wire.send(ok(&body)).unwrap();
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    client.send(ASKING).unwrap();
    let head = hear.recv_timeout(super::kit::PATIENCE).unwrap();
    assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
    assert!(is_silent(&client), "no 100 before the target's");
    go.send(()).unwrap();
    assert!(client.head().unwrap().starts_with("HTTP/1.1 100"));
    client.send("body").unwrap();
    assert_eq!(client.message().unwrap().text(), "body");
}

#[test]
fn a_final_answer_comes_without_a_100_and_ends_the_connection() {
    let origin = Origin::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno").unwrap();
        assert_eq!(wire.rest(), b"", "no byte of the body was sent");
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    let answer = client.ask(ASKING);
    assert_eq!((answer.status(), answer.text().as_str()), (417, "no"));
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_that_sends_its_body_regardless_is_not_held_up_by_a_target_that_knows_no_100() {
    let origin = Origin::serving(|request| ok(&request.body));
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    // In one piece the body is read with the head; in two it may wait in the socket.
    for pieces in [&[ASKING, "body"][..], &[&format!("{ASKING}body")]] {
        pieces.iter().for_each(|piece| client.send(piece).unwrap());
        let mut answer = client.message().unwrap();
        if answer.status() == 100 {
            answer = client.message().unwrap();
        }
        assert_eq!(answer.text(), "body");
    }
}

#[test]
fn a_body_behind_a_final_answer_is_no_request_of_its_own() {
    let (told, hear) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let ends = std::sync::Mutex::new((told, wait));
    let origin = Origin::new(move |mut wire| {
        let ends = ends.lock().unwrap();
        wire.head();
        wire.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nha").unwrap();
        ends.1.recv().unwrap();
        wire.send("lf").unwrap();
        ends.0.send(wire.rest()).unwrap();
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = format!("Length: {}", inner.len());
    client.send(ASKING.replace("Length: 4", &length)).unwrap();
    let head = client.head().unwrap();
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(client.exactly(2).unwrap(), b"ha");
    client.send(inner).unwrap();
    go.send(()).unwrap();
    assert_eq!(client.rest(), b"lf");
    assert_eq!(hear.recv_timeout(super::kit::PATIENCE).unwrap(), b"", "what the target was sent");
}

#[test]
fn a_target_that_agrees_at_once_may_answer_while_it_reads() {
    let origin = Origin::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let body = wire.exactly(4).unwrap();
        wire.send([b"4\r\n", &body[..], b"\r\n0\r\n\r\n"].concat()).unwrap();
        wire.rest();
    });
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    for round in 1..=2 {
        let mut client = bench.client();
        client.send(ASKING).unwrap();
        let head = client.head().unwrap();
        assert!(head.contains("connection: close"), "{head}");
        client.send("body").unwrap();
        assert_eq!(client.rest(), b"4\r\nbody\r\n0\r\n\r\n");
        assert_eq!(origin.connections(), round, "none is used again");
    }
}
