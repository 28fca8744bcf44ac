//! How a connection of HTTP/2 ends: the client has all of every answer first.

use std::time::Duration;

use super::kit::{self, Bench, Origin, PATIENCE, Wire, ok};
use crate::proxy::Limits;

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    kit::frame(kind, flags, [0, 0, 0, stream], payload)
}

/// Gives `bytes` of the window back, of the stream or (0) of the connection.
fn window(stream: u8, bytes: usize) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &u32::try_from(bytes).unwrap().to_be_bytes())
}

/// A client that lets `each_window` bytes of an answer come before it gives anything back.
fn client(bench: &Bench, each_window: u32) -> Wire {
    let mut wire = bench.client();
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let initial_window = [&[0, 4][..], &each_window.to_be_bytes()].concat();
    wire.send(frame(SETTINGS, 0, 0, &initial_window)).unwrap();
    wire.send(window(0, 1 << 30)).unwrap();
    wire
}

/// Asks for `/` in the first stream.
fn ask(wire: &mut Wire) {
    // `:method: GET`, `:scheme: http` and `:path: /` of the static table, and `:authority: x`.
    let fields = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    wire.send(frame(1, 5, 1, &fields)).unwrap();
}

/// The next frame: its kind, its flags and its payload.
fn next(wire: &mut Wire) -> Option<(u8, u8, Vec<u8>)> {
    let head = wire.exactly(9)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    Some((head[3], head[4], wire.exactly(length)?))
}

/// Reads the answer as clients do: acknowledges what asks for it, and gives back the window of what
/// it has read. The body, and whether it was whole.
fn read(wire: &mut Wire) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some((kind, flags, payload)) = next(wire) {
        // Whether it can be sent is what is to be found out by reading on.
        let _ = match (kind, flags & 1) {
            (SETTINGS, 0) => wire.send(frame(SETTINGS, 1, 0, &[])),
            (PING, 0) => wire.send(frame(PING, 1, 0, &payload)),
            (DATA, end) => {
                body.extend_from_slice(&payload);
                if end == 1 {
                    return (body, true);
                }
                let given = payload.len().max(1);
                wire.send([window(1, given), window(0, given)].concat())
            }
            _ => Ok(()),
        };
    }
    (body, false)
}

/// A proxy that waits as long as the test does for a client to go.
fn bench(origin: &Origin) -> Bench {
    let limits = Limits { linger_timeout: PATIENCE, ..Limits::default() };
    Bench::with(&origin.url(), limits, 1)
}

/// Waits until the `bytes` of the answer are on their way, and nothing is under way any more.
fn handed_over(bench: &Bench, bytes: u64) {
    bench.until("all of it is handed over", |handle| {
        let counters = handle.counters();
        counters.in_flight == 0 && counters.bytes_out == bytes
    });
}

/// Begins a drain; it has reached every connection when this returns, as far as can be seen.
fn begin_drain(bench: &Bench) {
    let mut beside = bench.client();
    bench.until("both are known", |handle| handle.counters().connections == 2);
    bench.handle.begin_drain(PATIENCE);
    assert_eq!(beside.rest(), b"");
}

#[test]
fn an_answer_that_the_operating_system_still_sends_is_whole_for_a_client_that_goes_on_talking() {
    let body: Vec<u8> = (0..150_000).map(|n| b'a' + u8::try_from(n % 23).unwrap()).collect();
    let whole = body.clone();
    let origin = Origin::serving(move |_| ok(&body));
    let bench = bench(&origin);
    let mut wire = client(&bench, 1 << 30);
    ask(&mut wire);
    handed_over(&bench, 150_000);
    begin_drain(&bench);
    assert!(read(&mut wire) == (whole, true), "the answer was cut off");
    drop(wire);
    assert_eq!(bench.drain(PATIENCE).cut, []);
}

#[test]
fn what_waits_for_the_window_of_its_client_when_a_drain_begins_is_sent() {
    let origin = Origin::saying("whole");
    let bench = bench(&origin);
    let mut wire = client(&bench, 1);
    ask(&mut wire);
    handed_over(&bench, 5);
    begin_drain(&bench);
    assert_eq!(read(&mut wire), (b"whole".to_vec(), true));
    drop(wire);
    assert_eq!(bench.drain(PATIENCE).cut, []);
}

#[test]
fn the_last_stream_is_told_and_nothing_is_reset_until_the_client_closes() {
    let origin = Origin::saying("whole");
    let bench = bench(&origin);
    let mut wire = client(&bench, 1 << 30);
    ask(&mut wire);
    assert_eq!(read(&mut wire), (b"whole".to_vec(), true));
    begin_drain(&bench);
    let mut last = None;
    while let Some((kind, flags, payload)) = next(&mut wire) {
        match (kind, flags & 1) {
            (SETTINGS, 0) => wire.send(frame(SETTINGS, 1, 0, &[])).unwrap(),
            (PING, 0) => wire.send(frame(PING, 1, 0, &payload)).unwrap(),
            (GO_AWAY, _) => last = Some(payload[3]),
            _ => {}
        }
    }
    assert_eq!(last, Some(1));
    // What a client says after the end of the stream finds somebody who reads it.
    for _ in 0..3 {
        wire.send(frame(PING, 0, 0, &[0; 8])).unwrap();
        assert_eq!(bench.handle.counters().connections, 1);
    }
    drop(wire);
    assert_eq!(bench.drain(PATIENCE).cut, []);
}

#[test]
fn a_client_that_says_nothing_holds_nothing_up_and_one_that_never_ends_not_for_ever() {
    let origin = Origin::saying("hi");
    let limits = Limits { linger_timeout: Duration::from_millis(1), ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 1);
    let _silent = client(&bench, 1 << 30);
    let mut talking = client(&bench, 1 << 30);
    bench.until("both are known", |handle| handle.counters().connections == 2);
    bench.handle.begin_drain(PATIENCE);
    // Until it is refused.
    while talking.send(frame(PING, 1, 0, &[0; 8])).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let report = bench.drain(PATIENCE);
    assert_eq!(report.cut, []);
    assert!(report.took < PATIENCE, "it did not end by its bound");
}

#[test]
fn a_client_that_never_lets_its_socket_run_dry_holds_no_drain_up() {
    let origin = Origin::saying("hi");
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    let mut flooding = client(&bench, 1 << 30);
    ask(&mut flooding);
    assert_eq!(read(&mut flooding), (b"hi".to_vec(), true));
    let pings = frame(PING, 1, 0, &[0; 8]).repeat(20_000);
    let flood = std::thread::spawn(move || {
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            if flooding.send(&pings).is_err() {
                return true;
            }
        }
        false
    });
    bench.drain(Duration::from_millis(500));
    assert!(flood.join().unwrap(), "it was not cut in all that time");
}
