//! HTTP/2 by prior knowledge, in and out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::kit::{Bench, Origin, PATIENCE, frame, ok};
use crate::proxy::upstream_h2::Local;
use crate::proxy::{ConnectionState, Limits, ProxyPhase};

type Body = BoxBody<Bytes, Infallible>;

fn full(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed()
}

/// Runs a test on a runtime that takes futures which are not `Send`.
fn run<F: Future>(test: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

/// A target of HTTP/2; counts its connections.
async fn h2c_origin<F, A>(answer: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(Request<Incoming>) -> A + Clone + 'static,
    A: Future<Output = Response<Body>> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            spawn_local(
                hyper::server::conn::http2::Builder::new(Local)
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (addr, connections)
}

async fn connect(addr: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(Local, TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    sender
}

fn post(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://shop.example{path}")).body(body).unwrap()
}

#[test]
fn a_client_of_http2_reaches_a_target_of_http1() {
    let origin =
        Origin::serving(|request| ok(format!("{} {}", request.start(), request.text()).as_bytes()));
    let bench = Bench::new(&origin.url());
    run(async {
        let mut client = connect(bench.addr).await;
        for n in 0..20 {
            let answer = client.send_request(post("/a", full(&format!("n{n}")))).await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("POST /a HTTP/1.1 n{n}"));
        }
    });
    assert_eq!(bench.handle.counters().accepted, 1);
}

#[test]
fn http2_on_both_sides_keeps_trailers_and_shares_one_connection_to_the_target() {
    run(async {
        let (addr, connections) = h2c_origin(|request| async move {
            assert_eq!(request.version(), Version::HTTP_2);
            assert_eq!(request.uri().path(), "/base/x");
            let collected = request.into_body().collect().await.unwrap();
            let came = collected.trailers().and_then(|t| t.get("x-in")).cloned();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-out", came.unwrap_or(HeaderValue::from_static("none")));
            let frames = [
                Ok(Frame::data(collected.to_bytes())),
                Ok::<_, Infallible>(Frame::trailers(trailers)),
            ];
            Response::new(StreamBody::new(tokio_stream::iter(frames)).boxed())
        })
        .await;
        let bench = Bench::with(&format!("h2c://{addr}/base"), super::kit::quick(), 1);
        let client = connect(bench.addr).await;
        let requests = (0..20).map(|n| {
            let mut client = client.clone();
            async move {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-in", HeaderValue::from(n));
                let frames = [
                    Ok(Frame::data(Bytes::from(format!("body {n}")))),
                    Ok::<_, Infallible>(Frame::trailers(trailers)),
                ];
                let body = StreamBody::new(tokio_stream::iter(frames)).boxed();
                let answer = client.send_request(post("/x", body)).await.unwrap();
                let answer = answer.into_body().collect().await.unwrap();
                assert_eq!(answer.trailers().unwrap()["x-out"], HeaderValue::from(n));
                assert_eq!(answer.to_bytes(), format!("body {n}"));
            }
        });
        futures_util::future::join_all(requests).await;
        // The first requests may meet before the first connection says what it speaks.
        assert!(connections.load(Ordering::SeqCst) <= 20);
        let before = connections.load(Ordering::SeqCst);
        let mut client = client;
        for _ in 0..5 {
            let answer = client.send_request(post("/x", full("y"))).await.unwrap();
            answer.into_body().collect().await.unwrap();
        }
        assert_eq!(connections.load(Ordering::SeqCst), before, "used again");
        let report = bench.handle.drain(PATIENCE).await;
        assert_eq!(report.cut, []);
    });
}

#[test]
fn a_client_of_http1_reaches_a_target_of_http2() {
    run(async {
        let (addr, _) = h2c_origin(|request| async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(full(&format!("{path} {}", String::from_utf8_lossy(&body))))
        })
        .await;
        let bench = Bench::new(&format!("h2c://{addr}"));
        let at = bench.addr;
        let asked = tokio::task::spawn_blocking(move || {
            let mut client = super::kit::Wire::connect(at);
            let first = client.get("/one").text();
            let second = client.ask(
                "POST /two HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nab\r\n0\r\n\r\n",
            );
            (first, second.text())
        });
        assert_eq!(asked.await.unwrap(), ("/one ".to_owned(), "/two ab".to_owned()));
    });
}

#[test]
fn a_drain_lets_streams_finish_and_closes_an_idle_connection_of_http2_at_once() {
    run(async {
        let go = Arc::new(Notify::new());
        let wait = Arc::clone(&go);
        let (addr, _) = h2c_origin(move |_| {
            let wait = Arc::clone(&wait);
            async move {
                wait.notified().await;
                Response::new(full("whole"))
            }
        })
        .await;
        let bench = Bench::new(&format!("h2c://{addr}"));
        let mut idle = connect(bench.addr).await;
        let mut busy = connect(bench.addr).await;
        let answer = spawn_local(busy.send_request(post("/", full("x"))));
        while bench.handle.counters().in_flight == 0 || bench.handle.counters().connections < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let handle = bench.handle.clone();
        let drain = spawn_local(async move { handle.drain(PATIENCE).await });
        while bench.handle.counters().connections != 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(idle.send_request(post("/", full("late"))).await.is_err());
        assert_eq!(bench.handle.phase(), ProxyPhase::Draining);
        assert_eq!(bench.handle.connections()[0].state, ConnectionState::InFlight);
        go.notify_one();
        let body = answer.await.unwrap().unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "whole");
        let report = drain.await.unwrap();
        assert_eq!((report.finished, report.cut), (1, vec![]));
    });
}

#[test]
fn streams_over_the_bound_are_cut_and_each_is_listed() {
    run(async {
        let (addr, _) = h2c_origin(|_| async { std::future::pending().await }).await;
        let bench = Bench::new(&format!("h2c://{addr}"));
        let client = connect(bench.addr).await;
        let streams: Vec<_> = (0..3)
            .map(|n| {
                let mut client = client.clone();
                spawn_local(client.send_request(post(&format!("/{n}?q"), full(""))))
            })
            .collect();
        while bench.handle.counters().in_flight < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let report = bench.handle.drain(Duration::from_millis(50)).await;
        let mut cut: Vec<_> = report.cut.iter().map(|cut| cut.request.as_str()).collect();
        cut.sort_unstable();
        assert_eq!(cut, ["POST /0", "POST /1", "POST /2"]);
        for stream in streams {
            assert!(stream.await.unwrap().is_err());
        }
    });
}

/// A target of HTTP/2 that sends a head and a part of a body, then resets the stream.
fn resetting(reason: u8) -> Origin {
    Origin::http2(move |stream, _| {
        // The one byte is `:status: 200` of the static table.
        let answer = [frame(1, 4, stream, &[0x88]), frame(0, 0, stream, b"part")];
        [answer.concat(), frame(3, 0, stream, &[0, 0, 0, reason])].concat()
    })
}

#[test]
fn an_answer_whose_stream_was_reset_is_no_whole_one_whatever_the_reason() {
    for reason in [0, 2, 8] {
        let origin = resetting(reason);
        let bench = Bench::new(&format!("h2c://{}", origin.addr));
        let mut client = bench.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let came = String::from_utf8(client.rest()).unwrap();
        assert!(!came.contains("\r\n0\r\n\r\n"), "{reason}: {came:?}");
    }
}

/// A target of HTTP/2 that answers the first stream of each connection and, on its first connection,
/// lets the second stream go with `parting` frames.
fn leaving(parting: impl Fn([u8; 4]) -> Vec<u8> + Send + Sync + 'static) -> Origin {
    let connections = AtomicUsize::new(0);
    Origin::new(move |mut wire| {
        let is_first = connections.fetch_add(1, Ordering::Relaxed) == 0;
        wire.exactly(24).expect("the preface");
        wire.send(frame(4, 0, [0; 4], &[])).unwrap();
        let mut requests = 0;
        while let Some(head) = wire.exactly(9) {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            wire.exactly(length).unwrap();
            let stream = [head[5], head[6], head[7], head[8]];
            match (head[3], head[4] & 1) {
                (4, 0) => wire.send(frame(4, 1, [0; 4], &[])).unwrap(),
                (1, _) => {
                    requests += 1;
                    let answer = match is_first && requests == 2 {
                        true => parting(stream),
                        // END_STREAM and END_HEADERS; the byte is `:status: 200`.
                        false => frame(1, 5, stream, &[0x88]),
                    };
                    wire.send(answer).unwrap();
                }
                _ => {}
            }
        }
    })
}

#[test]
fn a_request_that_its_target_let_go_unprocessed_is_asked_once_more() {
    let go_away = |_| frame(7, 0, [0; 4], &[0, 0, 0, 1, 0, 0, 0, 0]);
    let refused = |stream| frame(3, 0, stream, &[0, 0, 0, 7]);
    for origin in [leaving(go_away), leaving(refused)] {
        let bench = Bench::with(&format!("h2c://{}", origin.addr), Limits::default(), 1);
        let mut client = bench.client();
        assert_eq!(client.get("/1").status(), 200);
        assert_eq!(client.get("/2").status(), 200, "asked again");
        assert_eq!(bench.handle.counters().upstream_failures, 0);
    }
}

#[test]
fn a_connection_of_http1_goes_from_one_protocol_to_the_other_between_two_requests() {
    run(async {
        let (addr, _) = h2c_origin(|request| async move {
            let collected = request.into_body().collect().await.unwrap();
            let came = collected.trailers().and_then(|t| t.get("x-in")).cloned();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-out", came.unwrap_or(HeaderValue::from_static("none")));
            let frames = [
                Ok(Frame::data(collected.to_bytes())),
                Ok::<_, Infallible>(Frame::trailers(trailers)),
            ];
            Response::new(StreamBody::new(tokio_stream::iter(frames)).boxed())
        })
        .await;
        let origin = Origin::serving(|request| ok(&request.body));
        let bench = Bench::with(&origin.url(), Limits::default(), 1);
        let (at, handle, old) = (bench.addr, bench.handle.clone(), origin.url());
        let asked = tokio::task::spawn_blocking(move || {
            let mut client = super::kit::Wire::connect(at);
            for turn in 0..4 {
                let url = if turn % 2 == 0 { &format!("h2c://{addr}") } else { &old };
                handle.switch(super::kit::route("next", url));
                let chunked = client.ask(
                    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                     3\r\nabc\r\n2\r\nde\r\n0\r\nX-In: 7\r\n\r\n",
                );
                assert_eq!(chunked.text(), "abcde");
                let trailers = if turn % 2 == 0 { "x-out: 7\r\n" } else { "" };
                assert_eq!(chunked.trailers, trailers);
                client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nin ").unwrap();
                client.send("pieces").unwrap();
                assert_eq!(client.message().unwrap().text(), "in pieces");
                client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                assert!(client.head().unwrap().starts_with("HTTP/1.1 200 OK"));
            }
            assert_eq!(handle.counters().bytes_in, 4 * (5 + 9));
        });
        asked.await.unwrap();
    });
}

#[test]
fn what_has_no_body_says_no_length_of_one() {
    // `:status: 204`, then `content-length: 5` as a literal.
    let origin = Origin::http2(|stream, _| frame(1, 5, stream, &[0x89, 0x0f, 0x0d, 0x01, b'5']));
    let bench = Bench::new(&format!("h2c://{}", origin.addr));
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 204") && !head.contains("content-length"), "{head}");
}

#[test]
fn a_length_that_was_said_twice_is_sent_once() {
    let (told, hear) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let origin = Origin::http2(move |stream, block| {
        told.lock().unwrap().send(block.to_vec()).unwrap();
        frame(1, 5, stream, &[0x88])
    });
    let bench = Bench::new(&format!("h2c://{}", origin.addr));
    let mut client = bench.client();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0005\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("{head}hello")).unwrap();
    assert!(client.head().unwrap().starts_with("HTTP/1.1 200"));
    let block = hear.recv_timeout(super::kit::PATIENCE).unwrap();
    // `content-length` of the static table, without indexing.
    let lengths = block.windows(2).filter(|window| window == b"\x0f\x0d").count();
    assert_eq!(lengths, 1, "{block:02x?}");
}

#[test]
fn an_answer_that_is_through_before_its_request_ends_connection_and_stream() {
    let (told, hear) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let origin = Origin::new(move |mut wire| {
        wire.exactly(24).expect("the preface");
        wire.send(frame(4, 0, [0; 4], &[])).unwrap();
        while let Some(head) = wire.exactly(9) {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            wire.exactly(length);
            match (head[3], head[4] & 1) {
                (4, 0) => wire.send(frame(4, 1, [0; 4], &[])).unwrap(),
                (1, _) => {
                    wire.send(frame(1, 5, [head[5], head[6], head[7], head[8]], &[0x88])).unwrap()
                }
                (3, _) => told.lock().unwrap().send(()).unwrap(),
                _ => {}
            }
        }
    });
    let bench = Bench::new(&format!("h2c://{}", origin.addr));
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    assert!(head.contains("connection: close"), "{head}");
    hear.recv_timeout(super::kit::PATIENCE).expect("the stream is reset");
    assert_eq!(client.rest(), b"");
}
