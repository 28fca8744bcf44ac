//! What a client or a target may do to the others who use the same proxy, and must not come through.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::kit::{Bench, Origin, PATIENCE, Wire, frame};
use crate::proxy::Limits;

/// What would pass for a whole answer behind another.
const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";

/// A target of HTTP/2 that answers every request with `status`, a byte of the static table, and with a
/// body whatever the status.
fn bodied(status: u8) -> Origin {
    Origin::http2(move |stream, _| {
        [frame(1, 4, stream, &[status]), frame(0, 1, stream, EVIL.as_bytes())].concat()
    })
}

#[test]
fn a_body_where_none_may_be_passes_for_no_next_answer() {
    // `:status: 204`, `:status: 304`.
    for status in [0x89, 0x8b] {
        let origin = bodied(status);
        let bench = Bench::new(&format!("h2c://{}", origin.addr));
        let mut client = bench.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let came = String::from_utf8(client.rest()).unwrap();
        assert!(!came.contains("evil"), "{status}: {came}");
    }
    for status in ["204 No Content", "304 Not Modified"] {
        let origin = Origin::new(move |mut wire| {
            while wire.message().is_some() {
                let _ = wire.send(format!("HTTP/1.1 {status}\r\n\r\n"));
                let _ = wire.send(EVIL);
            }
        });
        let bench = Bench::with(&origin.url(), Limits::default(), 1);
        let mut client = bench.client();
        client.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let came = String::from_utf8(client.rest()).unwrap();
        assert!(!came.contains("evil"), "{status}: {came}");
    }
}

#[test]
fn an_answer_that_says_two_things_about_its_end_leaves_a_connection_that_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let origin = Origin::new(
            move |mut wire| {
                while wire.message().is_some() && wire.send(answer).is_ok() {}
            },
        );
        let bench = Bench::with(&origin.url(), Limits::default(), 1);
        let mut client = bench.client();
        for _ in 0..2 {
            assert!(matches!(client.get("/").status(), 200 | 204), "{answer}");
        }
        assert_eq!(origin.connections(), 2, "{answer}");
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_late_all_the_same() {
    let origin = Origin::new(|mut wire| {
        wire.message();
        let _ = wire.send("HTTP/1.1 200 OK\r\nX-Slow: ");
        while wire.send("a").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let limits = Limits { first_byte_timeout: Duration::from_millis(50), ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 1);
    assert_eq!(bench.client().get("/").status(), 504);
}

#[test]
fn nothing_is_said_in_the_middle_of_an_interim_answer() {
    // Long, so that what fits ends within one.
    let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: </{}>\r\n\r\n", "x".repeat(30_000));
    let said = hint.clone();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::new(move |mut wire| {
        wire.head();
        while wire.send(&said).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let mut before = 0;
    // Until nobody takes any more of it.
    bench.until("it is stuck", |_| {
        thread::sleep(Duration::from_millis(100));
        let now = sent.load(Ordering::Relaxed);
        now > 0 && std::mem::replace(&mut before, now) == now
    });
    client.send("no size\r\n").unwrap();
    let came = String::from_utf8(client.rest()).unwrap();
    let mut rest = came.as_str();
    while let Some(next) = rest.strip_prefix(hint.as_str()) {
        rest = next;
    }
    let is_next = rest.starts_with("HTTP/1.1 400 ");
    let told = rest.rfind("HTTP/1.1 ").map(|at| &rest[at..]);
    assert!(is_next || hint.starts_with(rest), "{} bytes, {told:?}", rest.len());
}

#[test]
fn a_client_that_sends_without_a_pause_leaves_its_worker_to_others() {
    let bench = Bench::with("h2c://127.0.0.1:9", Limits::default(), 1);
    let at = bench.addr;
    // Refused without anybody being asked, and the connection goes on: nothing to wait for.
    let ask = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: w\r\nX-Long: {}\r\n\r\n",
        "x".repeat(4_000)
    );
    let ask = ask.repeat(20);
    let flood = thread::spawn(move || {
        let client = Wire::connect(at);
        let mut reader = Wire::new(client.stream.try_clone().unwrap());
        let drain = thread::spawn(move || reader.rest().len());
        let mut client = client;
        while client.send(&ask).is_ok() {}
        drain.join().unwrap()
    });
    bench.until("it floods", |handle| handle.counters().requests() > 1_000);
    for _ in 0..3 {
        let other = bench
            .client()
            .ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: w\r\n\r\n");
        assert_eq!(other.status(), 501);
    }
    let report = bench.drain(PATIENCE);
    assert_eq!(report.cut, []);
    assert!(flood.join().unwrap() > 0);
}

/// What a target answers that says nothing more.
const BEGUN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Bounds within which it is noticed that a client has left.
fn noticing() -> Limits {
    let half_close_timeout = Duration::from_millis(50);
    // Where the system may not tell, nothing may move for so long.
    let body_idle_timeout = match cfg!(windows) {
        true => Duration::from_secs(1),
        false => Limits::default().body_idle_timeout,
    };
    Limits { half_close_timeout, body_idle_timeout, ..Limits::default() }
}

#[test]
fn a_client_that_leaves_bytes_behind_takes_its_silent_answer_along() {
    let (told, hear) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::new(move |mut wire| {
        wire.head();
        wire.send(BEGUN).unwrap();
        let _ = told.lock().unwrap().send(wire.rest());
    });
    let bench = Bench::with(&origin.url(), noticing(), 1);
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.head().unwrap();
    client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    drop(client);
    bench.until("nothing is left", |handle| handle.counters().connections == 0);
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_body_that_nobody_takes_is_noticed() {
    let (_held, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::new(move |mut wire| {
        wire.head();
        wire.send(BEGUN).unwrap();
        let _ = wait.lock().unwrap().recv();
    });
    let bench = Bench::with(&origin.url(), noticing(), 1);
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    client.head().unwrap();
    let mut sent = 0;
    // Until a piece is not taken: it waits at the proxy, and the client's end behind it.
    while bench.handle.counters().bytes_in == sent {
        client.send([b'x'; 64 * 1024]).unwrap();
        sent += 64 * 1024;
        let end = Instant::now() + Duration::from_millis(500);
        while bench.handle.counters().bytes_in < sent && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
    drop(client);
    bench.until("nothing is left", |handle| handle.counters().connections == 0);
}

#[test]
fn a_client_that_sends_more_and_stays_keeps_its_silent_answer() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::new(move |mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").unwrap();
        let _ = wait.lock().unwrap().recv();
        let _ = wire.send("lf");
    });
    let limits = Limits { half_close_timeout: Duration::from_millis(20), ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 1);
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\n").unwrap();
    client.head().unwrap();
    // Longer than that bound and three sweeps.
    bench.until("a while", |handle| handle.connections()[0].age > Duration::from_millis(900));
    go.send(()).unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"half");
}
