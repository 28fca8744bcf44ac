//! How a client's connection ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::kit::{Bench, Origin, PATIENCE, Wire, ok};
use crate::proxy::Limits;

/// How the connection ends behind all that comes before that.
fn end_of(client: &mut Wire) -> Result<(), ErrorKind> {
    let mut waste = [0; 4096];
    loop {
        match client.stream.read(&mut waste) {
            Ok(1..) => {}
            end => return end.map(drop).map_err(|error| error.kind()),
        }
    }
}

/// A proxy that waits as long as the test does for a client to read its answer.
fn patient() -> Limits {
    Limits { linger_timeout: PATIENCE, half_close_timeout: PATIENCE, ..Limits::default() }
}

/// A target that tells of each request, and answers it when it is told to.
fn held_back() -> (Origin, Receiver<()>, Sender<()>) {
    let (told, hear) = channel();
    let (go, wait) = channel::<()>();
    let ends = Mutex::new((told, wait));
    let origin = Origin::serving(move |_| {
        let ends = ends.lock().unwrap();
        ends.0.send(()).unwrap();
        ends.1.recv().unwrap();
        ok(b"whole")
    });
    (origin, hear, go)
}

#[test]
fn bytes_behind_a_last_request_do_not_reset_its_answer() {
    let (origin, hear, go) = held_back();
    let bench = Bench::with(&origin.url(), patient(), 1);
    for round in 0..20 {
        // At once, so that the request is mostly here when the connection is accepted.
        let mut stream = TcpStream::connect(bench.addr).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        hear.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"\r\n").unwrap();
        go.send(()).unwrap();
        assert_eq!(end_of(&mut Wire::new(stream)), Ok(()), "{round}");
    }
}

#[test]
fn a_connection_whose_task_has_had_its_share_is_not_reset_either() {
    // Refused by pmctl itself: nobody speaks HTTP/2 there.
    let bench = Bench::with("h2c://127.0.0.1:9", patient(), 1);
    let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n";
    let last = ask.replace("upgrade\r\nUp", "upgrade, close\r\nUp");
    // A task may make 128 calls before it has to give way, and each answer is one.
    for count in 100..260 {
        let mut client = bench.client();
        let behind = [b'g'; 200_000];
        client.send([ask.repeat(count).as_bytes(), last.as_bytes(), &behind].concat()).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(end_of(&mut client), Ok(()), "{count}");
    }
}

#[test]
fn an_answer_that_is_through_before_its_request_says_that_the_connection_ends() {
    for answer in [&ok(b"early")[..], b"HTTP/1.1 304 Not Modified\r\n\r\n"] {
        let answer = answer.to_vec();
        let origin = Origin::new(move |mut wire| {
            wire.head();
            wire.send(&answer).unwrap();
            wire.rest();
        });
        let bench = Bench::new(&origin.url());
        let mut client = bench.client();
        let answer = client.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_client_that_has_sent_its_last_byte_is_answered_whatever_is_told_meanwhile() {
    let (origin, hear, go) = held_back();
    let bench = Bench::with(&origin.url(), patient(), 1);
    let mut stream = TcpStream::connect(bench.addr).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    hear.recv_timeout(PATIENCE).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    bench.handle.begin_drain(PATIENCE);
    // For some beats of the worker nothing comes, and nothing should.
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    assert!(stream.peek(&mut [0]).is_err());
    go.send(()).unwrap();
    assert_eq!(Wire::new(stream).message().unwrap().text(), "whole");
    assert_eq!(bench.drain(PATIENCE).cut, []);
}
