//! Messages of HTTP/1 in all their forms, byte by byte.

use std::io::{ErrorKind, Read as _};
use std::net::Shutdown;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::kit::{Bench, Origin, PATIENCE, Wire, ok};
use crate::proxy::Limits;

/// Sends `answer` to every request, byte for byte.
fn reciting(answer: &'static str) -> Origin {
    Origin::new(move |mut wire| {
        while wire.message().is_some() {
            if wire.send(answer).is_err() {
                return;
            }
        }
    })
}

/// The same once, and closes.
fn reciting_once(answer: &'static str) -> Origin {
    Origin::new(move |mut wire| {
        wire.message();
        let _ = wire.send(answer);
    })
}

fn without_via(head: &str) -> String {
    let lines: Vec<&str> =
        head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("via:")).collect();
    lines.join("\r\n")
}

#[test]
fn interim_answers_reach_a_client_of_1_1_in_their_order_and_one_of_1_0_not_at_all() {
    let origin = reciting(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n\
         HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nhi",
    );
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap(), "HTTP/1.1 102 Processing\r\n\r\n");
    assert_eq!(client.head().unwrap(), "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n");
    let last = client.message().unwrap();
    assert_eq!((last.start(), last.text().as_str()), ("HTTP/1.1 200 Fine", "hi"));
    let mut old = bench.client();
    old.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    let said = String::from_utf8(old.rest()).unwrap();
    assert!(said.starts_with("HTTP/1.0 200") && said.ends_with("\r\n\r\nhi"), "{said}");
    let counters = bench.handle.counters();
    assert_eq!(
        (counters.requests(), counters.responses[0]),
        (2, 0),
        "counted by their last answer"
    );
}

#[test]
fn trailers_that_nobody_announced_pass_both_ways_without_what_may_not_stand_there() {
    let origin = Origin::new(|mut wire| {
        wire.head().unwrap();
        // What came, as it came, to be looked at by the test.
        let body = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
        assert_eq!(wire.exactly(body.len()).unwrap(), body);
        wire.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nX-Back: 2\r\nSet-Cookie: evil\r\n\r\n",
        )
        .unwrap();
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
        .unwrap();
    client.send("X-Sum: 1\r\nHost: evil\r\n\r\n").unwrap();
    let answer = client.message().unwrap();
    assert_eq!((answer.text().as_str(), answer.trailers.as_str()), ("ok", "X-Back: 2\r\n"));
    let counters = bench.handle.counters();
    assert_eq!((counters.bytes_in, counters.bytes_out), (3, 2), "content alone is counted");
}

#[test]
fn a_client_of_1_0_gets_chunks_undone_and_the_end_of_the_connection_or_a_length_and_goes_on() {
    let chunks = reciting(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    );
    let bench = Bench::new(&chunks.url());
    let mut client = bench.client();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    let said = String::from_utf8(client.rest()).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert_eq!(without_via(head), "HTTP/1.0 200 OK\r\nconnection: close");
    assert_eq!(body, "abc");

    let bench = Bench::new(&Origin::saying("hi").url());
    let mut client = bench.client();
    for _ in 0..2 {
        let answer = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(
            (answer.text().as_str(), answer.field("connection")),
            ("hi", Some("keep-alive"))
        );
    }
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(client.rest().ends_with(b"hi"));
}

/// How the connection ends behind everything that comes before that.
fn end_of(client: &mut Wire) -> Result<usize, ErrorKind> {
    let mut waste = [0; 4096];
    loop {
        match client.stream.read(&mut waste) {
            Ok(1..) => {}
            end => return end.map_err(|error| error.kind()),
        }
    }
}

#[test]
fn what_is_torn_off_before_a_client_that_hears_the_end_by_the_close_alone_is_a_reset() {
    let torn = reciting_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
    let bench = Bench::new(&torn.url());
    let mut client = bench.client();
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(end_of(&mut client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn what_is_cut_before_such_a_client_is_a_reset_too() {
    let endless = reciting("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    let bench = Bench::new(&endless.url());
    let mut client = bench.client();
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(client.head().unwrap().starts_with("HTTP/1.0 200"));
    assert_eq!(client.exactly(2).unwrap(), b"ab");
    bench.handle.cut_now();
    assert_eq!(end_of(&mut client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn what_such_a_client_does_not_take_in_time_is_a_reset_too() {
    let origin = Origin::new(|mut wire| {
        wire.message();
        wire.send("HTTP/1.0 200 OK\r\n\r\n").unwrap();
        while wire.send([b'x'; 64 * 1024]).is_ok() {}
    });
    let limits = Limits { body_idle_timeout: Duration::from_millis(50), ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 1);
    let mut client = bench.client();
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(client.head().unwrap().starts_with("HTTP/1.0 200"));
    bench.until("it is given up", |handle| handle.counters().connections == 0);
    assert_eq!(end_of(&mut client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn what_ends_by_the_close_and_is_whole_is_no_reset() {
    let whole =
        reciting_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
    let bench = Bench::new(&whole.url());
    let mut client = bench.client();
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(end_of(&mut client), Ok(0));
}

#[test]
fn an_answer_up_to_the_close_comes_in_chunks_and_the_connection_goes_on() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it",
        "HTTP/1.0 200 OK\r\n\r\nall of it",
        "HTTP/1.1 200\r\n\r\nall of it",
    ] {
        let origin = reciting_once(answer);
        let bench = Bench::new(&origin.url());
        let mut client = bench.client();
        for _ in 0..2 {
            let got = client.get("/");
            assert_eq!(got.field("transfer-encoding"), Some("chunked"), "{answer}");
            assert_eq!((got.text().as_str(), got.field("connection")), ("all of it", None));
        }
    }
}

#[test]
fn a_second_answer_that_nobody_asked_for_reaches_nobody() {
    let origin = reciting(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none\
         HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    );
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    let mut client = bench.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "one");
    }
    assert_eq!(origin.connections(), 3, "none of them is used again");
}

#[test]
fn bytes_on_a_kept_connection_that_nobody_asked_for_are_no_answer() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::new(move |mut wire| {
        wire.message();
        wire.send(ok(b"good")).unwrap();
        if wait.lock().unwrap().recv().is_ok() {
            let _ = wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            let _ = wire.send("");
            wire.rest();
        }
    });
    let bench = Bench::with(&origin.url(), Limits::default(), 1);
    let mut client = bench.client();
    assert_eq!(client.get("/").text(), "good");
    go.send(()).unwrap();
    bench.until("the sweep has seen it", |handle| {
        handle.0.upstreams.load(std::sync::atomic::Ordering::SeqCst) == 0
    });
    drop(go);
    assert_eq!(client.get("/").text(), "good");
}

#[test]
fn an_early_answer_and_the_rest_of_the_body_pass_each_other_and_the_connection_goes_on() {
    let (told, hear) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::new(move |mut wire| {
        while wire.head().is_some() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nea").unwrap();
            told.lock().unwrap().send(wire.exactly(6).unwrap()).unwrap();
            wire.send("rl").unwrap();
        }
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n").unwrap();
        assert!(client.head().unwrap().starts_with("HTTP/1.1 200"));
        assert_eq!(client.exactly(2).unwrap(), b"ea");
        client.send("before").unwrap();
        assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"before");
        assert_eq!(client.exactly(2).unwrap(), b"rl");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn what_follows_a_chunked_body_is_the_next_request_however_it_is_cut() {
    let origin =
        Origin::serving(|request| ok(format!("{} {}", request.start(), request.text()).as_bytes()));
    let bench = Bench::new(&origin.url());
    let stream = "POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\nT: v\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
    for cut in (1..stream.len()).step_by(7) {
        let mut client = bench.client();
        client.send(&stream[..cut]).unwrap();
        // The first piece is likely, not surely, read alone; both ways must come to the same.
        std::thread::yield_now();
        client.send(&stream[cut..]).unwrap();
        assert_eq!(client.message().unwrap().text(), "POST /1 HTTP/1.1 abc", "{cut}");
        assert_eq!(client.message().unwrap().text(), "GET /2 HTTP/1.1 ", "{cut}");
    }
}

#[test]
fn a_head_that_no_answer_can_have_is_502() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        let origin = reciting_once(head);
        let bench = Bench::new(&origin.url());
        assert_eq!(bench.client().get("/").status(), 502, "{head:?}");
        assert_eq!(bench.handle.counters().upstream_failures, 1, "{head:?}");
    }
    let origin = Origin::new(|mut wire| {
        wire.message();
        let _ = wire.send("HTTP/1.1 200 OK\r\n");
        while wire.send("X-Filler: and so on, for ever and ever\r\n").is_ok() {}
    });
    let bench = Bench::new(&origin.url());
    assert_eq!(bench.client().get("/").status(), 502, "a head that never ends");
}

#[test]
fn no_body_is_made_up_where_there_is_none_and_its_length_stays() {
    let origin = Origin::serving(|request| {
        let status = request.start().split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\nX-A: b\r\n\r\n").into_bytes()
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    client.send("HEAD /200 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    assert_eq!(without_via(&head), "HTTP/1.1 200 X\r\nX-A: b\r\ncontent-length: 7\r\n\r\n");
    client.send("GET /304 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    assert_eq!(without_via(&head), "HTTP/1.1 304 X\r\nX-A: b\r\ncontent-length: 7\r\n\r\n");
    client.send("GET /204 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    assert_eq!(without_via(&head), "HTTP/1.1 204 X\r\nX-A: b\r\n\r\n");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_client_that_leaves_a_silent_event_stream_takes_it_along() {
    let (told, hear) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::new(move |mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let _ = told.lock().unwrap().send(wire.rest());
    });
    let limits =
        Limits { half_close_timeout: std::time::Duration::from_millis(50), ..Limits::default() };
    let bench = Bench::with(&origin.url(), limits, 1);
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.head().unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"");
    bench.until("nothing is left", |handle| handle.counters().connections == 0);
}

#[test]
fn a_target_that_stops_reading_and_answers_is_heard() {
    let origin = Origin::new(|mut wire| {
        wire.head().unwrap();
        wire.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
            .unwrap();
        wire.stream.shutdown(Shutdown::Write).unwrap();
        wire.rest();
    });
    let bench = Bench::new(&origin.url());
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let answer = client.message().unwrap();
    assert_eq!((answer.status(), answer.field("connection")), (413, Some("close")));
    let mut writer = Wire::new(client.stream.try_clone().unwrap());
    assert_eq!(client.rest(), b"");
    let chunk = [b"1000\r\n".to_vec(), vec![b'x'; 4096], b"\r\n".to_vec()].concat();
    while writer.send(&chunk).is_ok() {}
}

#[test]
fn a_request_arrives_with_the_fields_of_its_client_as_they_were_written() {
    let origin = Origin::serving(|request| ok(request.head.as_bytes()));
    let bench = Bench::new(&format!("{}/base", origin.url()));
    let seen = bench
        .client()
        .ask(
            "OPTIONS http://shop.example?q HTTP/1.1\r\nHost: other\r\nX-MiXed:  a\tb \r\n\
             Connection: X-Gone, close\r\nx-gone: 1\r\nKeep-Alive: 5\r\nTE: trailers, gzip\r\n\
             X-Forwarded-Host: front\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n",
        )
        .text();
    let host = format!("host: {}\r\n", origin.addr);
    let (start, rest) = seen.split_once("\r\n").unwrap();
    assert_eq!(start, "OPTIONS /base/?q HTTP/1.1");
    assert_eq!(
        without_via(rest),
        format!(
            "{host}X-MiXed: a\tb\r\nx-forwarded-host: front, shop.example\r\n\
             x-forwarded-for: 9.9.9.9, 127.0.0.1\r\nx-forwarded-proto: http\r\nte: trailers\r\n\
             connection: te\r\n\r\n"
        )
    );
}

#[test]
fn options_of_an_authority_alone_asks_for_the_server_as_a_whole() {
    let origin = Origin::serving(|request| ok(request.start().as_bytes()));
    let bench = Bench::new(&format!("{}/base", origin.url()));
    for (target, sent) in
        [("http://shop.example", "*"), ("*", "*"), ("http://shop.example/", "/base/")]
    {
        let seen = bench.client().ask(format!(
            "OPTIONS {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(seen.text(), format!("OPTIONS {sent} HTTP/1.1"), "{target}");
    }
}
