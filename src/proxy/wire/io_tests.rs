//! Streams through the wrapper, cut in every way.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::Waker;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::*;
use crate::proxy::answer::Refusal;
use crate::proxy::wire::{Begun, WirePhase};

/// A socket from which the given pieces come one by one, then the end of file.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn cut(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> Self {
        let (mut pieces, mut from) = (VecDeque::new(), 0);
        for cut in cuts.into_iter().chain([stream.len()]) {
            let to = cut.clamp(from, stream.len());
            if to > from {
                pieces.push_back(stream[from..to].to_vec());
            }
            from = to;
        }
        Self(pieces)
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Out {
    bytes: Vec<u8>,
    heads: u64,
    refusal: Option<Refusal>,
    /// Reading ended with an error.
    broken: bool,
}

const LIMITS: WireLimits =
    WireLimits { max_head_bytes: 2000, max_headers: 10, max_target_bytes: 1000 };

fn read(pieces: Pieces, room: usize) -> Out {
    let mut guarded = GuardedIo::new(pieces, LIMITS);
    let mut cx = Context::from_waker(Waker::noop());
    let (mut bytes, mut broken) = (Vec::new(), false);
    loop {
        let mut space = vec![0; room];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut guarded).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
            Poll::Ready(Ok(())) => bytes.extend_from_slice(buf.filled()),
            Poll::Ready(Err(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                broken = true;
                break;
            }
            Poll::Pending => {
                assert!(guarded.state.refusal().is_some(), "only a refused stream goes silent");
                break;
            }
        }
    }
    let state = guarded.state();
    Out { bytes, heads: state.heads(), refusal: state.refusal(), broken }
}

/// What comes out of `stream`, the same however it is cut and read.
fn out(stream: &[u8]) -> Out {
    let whole = read(Pieces::cut(stream, []), 8192);
    for room in [1, 7, 8192] {
        let bytewise = read(Pieces::cut(stream, 0..stream.len()), room);
        assert_eq!(bytewise, whole, "{} byte by byte", stream.escape_ascii());
        assert_eq!(read(Pieces::cut(stream, []), room), whole, "{room} bytes of room");
    }
    for cut in 0..stream.len() {
        let cut_once = read(Pieces::cut(stream, [cut]), 8192);
        assert_eq!(cut_once, whole, "{} cut at {cut}", stream.escape_ascii());
    }
    whole
}

const GET: &[u8] = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 23\r\n\r\nGET / HTTP/1.1\nA: b\r\n\r\n";
const CHUNKED: &[u8] = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;x=y\r\n\r\nG\0T\r\n0A\r\n0\r\n\r\nGET /\r\n000\r\nTrailer: 1\r\n\r\n";

#[test]
fn valid_streams_pass_byte_for_byte() {
    let streams = [
        GET.to_vec(),
        [GET, GET, GET].concat(),
        [POST, GET, CHUNKED, POST, CHUNKED, CHUNKED, b"\r\n", GET].concat(),
        [CHUNKED, b"GET / HTTP/1.0\r\n\r\n"].concat(),
    ];
    for stream in streams {
        let out = out(&stream);
        assert_eq!(out.bytes.escape_ascii().to_string(), stream.escape_ascii().to_string());
        assert_eq!((out.refusal, out.broken), (None, false));
    }
    assert_eq!(out(&[POST, CHUNKED, GET].concat()).heads, 3);
}

#[test]
fn half_a_head_is_never_passed() {
    for end in 1..GET.len() {
        let stream = [CHUNKED, &GET[..end]].concat();
        let out = out(&stream);
        assert_eq!((out.bytes, out.heads), (CHUNKED.to_vec(), 1), "{end}");
    }
}

#[test]
fn smuggling_is_refused_behind_what_was_good_and_nothing_after_it_is_read() {
    let head = |lines: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let corpus: Vec<(Vec<u8>, Refusal)> = vec![
        (head(&format!("Content-Length: 6\r\n{chunked}")), Refusal::Ambiguous),
        (head(&format!("{chunked}Content-Length: 6\r\n")), Refusal::Ambiguous),
        (head("Content-Length: 6\r\nContent-Length: 7\r\n"), Refusal::Length),
        (head("Content-Length: 6, 7\r\n"), Refusal::Length),
        (head("Content-Length: +6\r\n"), Refusal::Length),
        (head("Content-Length: 99999999999999999999\r\n"), Refusal::Length),
        (head("Transfer-Encoding: gzip\r\n"), Refusal::CodingUnknown),
        (head("Transfer-Encoding: chunked, x\r\n"), Refusal::CodingUnknown),
        (head("Transfer-Encoding:\u{b}chunked\r\n"), Refusal::Control),
        (head("Transfer-Encoding : chunked\r\n"), Refusal::FieldName),
        (head("X: y\r\n Content-Length: 6\r\n"), Refusal::Folding),
        (head("X: y\nContent-Length: 6\r\n"), Refusal::LineEnd),
        (head("X: y\rContent-Length: 6\r\n"), Refusal::Control),
        (head("X: \0\r\n"), Refusal::Control),
        (head("Host: b\r\n"), Refusal::Host),
        (head(&"X: y\r\n".repeat(11)), Refusal::TooManyFields),
        (head(&format!("X: {}\r\n", "y".repeat(2000))), Refusal::HeadTooLarge),
        (format!("GET /{} HTTP/1.1\r\n", "y".repeat(1100)).into(), Refusal::TargetTooLong),
        (b"GET /x HTTP/1.1\r\n\r\n".to_vec(), Refusal::Host),
        (b"GET /x\r\n".to_vec(), Refusal::RequestLine),
        (b"GET /x HTTP/1.1\nHost: a\n\n".to_vec(), Refusal::LineEnd),
        (b"GET /x HTTP/3.0\r\nHost: a\r\n\r\n".to_vec(), Refusal::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Refusal::Version),
    ];
    let hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bad, refusal) in corpus {
        let out = out(&[GET, CHUNKED, &bad, hidden].concat());
        let expected = [GET, CHUNKED, STAND_IN].concat();
        let shown = bad.escape_ascii();
        assert_eq!(out.bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!((out.refusal, out.broken, out.heads), (Some(refusal), false, 3), "{shown}");
    }
}

#[test]
fn the_stand_in_of_a_refused_head_request_is_one_too() {
    let out = out(b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(out.bytes, STAND_IN_HEAD);
}

#[test]
fn broken_chunks_end_the_connection_where_they_break() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table: &[(&[u8], usize)] = &[
        (b"5\nhello\r\n0\r\n\r\n", 1),
        (b"-5\r\nhello\r\n0\r\n\r\n", 0),
        (b"5\r\nhelloX\r\n0\r\n\r\n", 8),
        (b"5\r\nhello\r\n0\r\n\nGET", 13),
        (b"11111111111111111\r\n", 16),
    ];
    for (body, good) in table {
        let out = out(&[&head[..], body].concat());
        assert_eq!(out.bytes, [&head[..], &body[..*good]].concat(), "{}", body.escape_ascii());
        assert!(out.broken && out.refusal.is_none());
    }
}

#[test]
fn the_http_2_preface_opens_the_way_for_ever() {
    let stream = [PREFACE, b"\0\0\0\x04\0\0\0\0\0 GET / HTTP/1.1\n\n\0"].concat();
    let out = out(&stream);
    assert_eq!((out.bytes, out.heads, out.refusal), (stream.clone(), 0, None));
    let mut guarded = GuardedIo::new(Pieces::cut(&stream, 0..stream.len()), LIMITS);
    let sniffed = guarded.poll_sniff(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(sniffed, Poll::Ready(Ok(WireProtocol::Http2))));
    assert_eq!(guarded.state().phase(), WirePhase::Http2);
}

#[test]
fn sniffing_loses_nothing_and_tells_a_closed_connection() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut guarded = GuardedIo::new(Pieces::cut(GET, [1]), LIMITS);
    assert!(matches!(guarded.poll_sniff(&mut cx), Poll::Ready(Ok(WireProtocol::Http1))));
    assert_eq!(guarded.state().bytes_read(), 1);
    let (_, held) = guarded.into_parts();
    assert_eq!(held, b"G");
    let mut closed = GuardedIo::new(Pieces::cut(b"", []), LIMITS);
    assert!(matches!(closed.poll_sniff(&mut cx), Poll::Ready(Ok(WireProtocol::Closed))));
    assert_eq!(closed.state().phase(), WirePhase::Fresh);
    assert_eq!(out(b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n").refusal, Some(Refusal::Version));
}

/// Reads once; `None` where nothing is to be had now.
fn read_once(guarded: &mut GuardedIo<DuplexStream>) -> Option<Vec<u8>> {
    let mut space = [0; 4096];
    let mut buf = ReadBuf::new(&mut space);
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(guarded).poll_read(&mut cx, &mut buf) {
        Poll::Ready(Ok(())) => Some(buf.filled().to_vec()),
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => None,
    }
}

const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn behind_an_upgrade_bytes_wait_for_the_verdict() {
    for accepted in [true, false] {
        let (mut client, server) = tokio::io::duplex(4096);
        let mut guarded = GuardedIo::new(server, LIMITS);
        let state = guarded.state().clone();
        client.write_all(&[UPGRADE, GET].concat()).await.unwrap();
        assert_eq!(read_once(&mut guarded).as_deref(), Some(UPGRADE));
        assert_eq!(state.begin_request(), Begun::Request { gated: true });
        assert_eq!(read_once(&mut guarded), None);
        assert!(state.buffered());
        match accepted {
            true => state.tunnel(),
            false => state.not_upgraded(),
        }
        assert_eq!(read_once(&mut guarded).as_deref(), Some(GET));
        state.end_request();
        assert!(!state.buffered());
        client.write_all(b"\0any bytes").await.unwrap();
        match accepted {
            true => {
                assert_eq!(state.phase(), WirePhase::Tunnel);
                assert_eq!(read_once(&mut guarded).as_deref(), Some(&b"\0any bytes"[..]));
            }
            false => {
                assert_eq!(state.phase(), WirePhase::InRequest);
                assert_eq!(read_once(&mut guarded).as_deref(), Some(STAND_IN));
                assert_eq!(state.begin_request(), Begun::Request { gated: false });
                assert_eq!(state.begin_request(), Begun::Refused(Refusal::RequestLine));
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_at_the_gate_is_noticed_and_the_verdict_wakes_the_reader() {
    let (mut client, server) = tokio::io::duplex(4096);
    let mut guarded = GuardedIo::new(server, LIMITS);
    client.write_all(UPGRADE).await.unwrap();
    assert!(read_once(&mut guarded).is_some());
    let state = guarded.state().clone();
    let reader = async {
        let mut buf = [0; 10];
        let n = guarded.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"hello");
    };
    let decider = async {
        client.write_all(b"hello").await.unwrap();
        tokio::task::yield_now().await;
        state.tunnel();
    };
    tokio::join!(reader, decider);

    let (mut client, server) = tokio::io::duplex(4096);
    let mut guarded = GuardedIo::new(server, LIMITS);
    client.write_all(UPGRADE).await.unwrap();
    assert!(read_once(&mut guarded).is_some());
    drop(client);
    assert_eq!(read_once(&mut guarded), Some(Vec::new()));
}

#[tokio::test]
async fn phases_follow_the_bytes_and_an_idle_connection_holds_no_buffer() {
    let (mut client, server) = tokio::io::duplex(4096);
    let mut guarded = GuardedIo::new(server, LIMITS);
    let state = guarded.state().clone();
    assert_eq!((read_once(&mut guarded), state.phase()), (None, WirePhase::Fresh));
    client.write_all(&POST[..20]).await.unwrap();
    assert_eq!((read_once(&mut guarded), state.phase()), (None, WirePhase::HeadPartial));
    assert!(state.buffered());
    client.write_all(&POST[20..]).await.unwrap();
    while read_once(&mut guarded).is_some() {}
    assert_eq!(state.phase(), WirePhase::InRequest);
    assert_eq!(state.begin_request(), Begun::Request { gated: false });
    assert_eq!(state.phase(), WirePhase::InRequest);
    state.end_request();
    assert_eq!(state.phase(), WirePhase::Between);
    client.write_all(b"\r\n").await.unwrap();
    assert_eq!((read_once(&mut guarded), state.phase()), (None, WirePhase::Between));
    client.write_all(&GET[..5]).await.unwrap();
    assert_eq!((read_once(&mut guarded), state.phase()), (None, WirePhase::HeadPartial));
    client.write_all(&GET[5..]).await.unwrap();
    assert!(read_once(&mut guarded).is_some());
    assert_eq!((guarded.held.capacity(), state.buffered()), (0, false));
    assert_eq!(state.bytes_read(), u64::try_from(POST.len() + 2 + GET.len()).unwrap());
    guarded.write_all(b"answer").await.unwrap();
    assert_eq!(state.bytes_written(), 6);
}

/// Serves one connection the way the engine does: a refusal is answered with its status.
async fn serve(io: DuplexStream, limits: WireLimits) {
    let guarded = GuardedIo::new(io, limits);
    let state = guarded.state().clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move {
            let begun = state.begin_request();
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.map(|b| b.to_bytes());
            state.end_request();
            let mut response = Response::new(Full::new(Bytes::new()));
            match begun {
                Begun::Refused(refusal) => *response.status_mut() = refusal.status(),
                Begun::Request { .. } => {
                    let body = body.unwrap_or_default();
                    *response.body_mut() = format!("{path} {}", body.len()).into();
                }
            }
            Ok::<_, Infallible>(response)
        }
    });
    // A client that leaves in the middle is no failure of this test.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(guarded), service)
        .await;
}

#[tokio::test]
async fn hyper_answers_pipelined_requests_in_order_and_the_refused_one_last() {
    let bad = b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n";
    for cut in [0, 1, 40, 100, 150, 200, 230] {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let stream = [GET, POST, CHUNKED, bad, GET].concat();
        let talk = async {
            client.write_all(&stream[..cut]).await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(&stream[cut..]).await.unwrap();
            let mut answers = String::new();
            client.read_to_string(&mut answers).await.unwrap();
            answers
        };
        let (answers, ()) = tokio::join!(talk, serve(server, LIMITS));
        let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").collect();
        assert_eq!(statuses.len(), 4, "{answers}");
        let order = ["/first 0", "/ 23", "/ 15", "400 Bad Request"];
        let places: Vec<_> = order.iter().map(|part| answers.find(part)).collect();
        assert!(places.is_sorted() && places.iter().all(Option::is_some), "{answers}");
        assert!(answers.contains("connection: close"), "{answers}");
    }
}

#[tokio::test]
async fn a_path_that_hyper_itself_refuses_ends_the_connection_too() {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let talk = async {
        client.write_all(b"GET /<> HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        client.write_all(GET).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        answers
    };
    let (answers, ()) = tokio::join!(talk, serve(server, LIMITS));
    let status = StatusCode::BAD_REQUEST.as_str();
    assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{answers}");
    assert!(!answers.contains("/first"), "{answers}");
}

#[tokio::test]
async fn an_upgrade_through_hyper_becomes_a_tunnel_with_nothing_lost() {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let guarded = GuardedIo::new(server, LIMITS);
    let state = guarded.state().clone();
    let (hand_over, handed) = tokio::sync::oneshot::channel();
    let hand_over = std::sync::Mutex::new(Some(hand_over));
    let seen = state.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        assert_eq!(seen.begin_request(), Begun::Request { gated: true });
        let sender = hand_over.lock().unwrap().take().unwrap();
        assert!(sender.send(hyper::upgrade::on(request)).is_ok());
        seen.tunnel();
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(Full::new(Bytes::new()));
        async move { response }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let echo = async {
        let mut io = TokioIo::new(handed.await.unwrap().await.unwrap());
        let mut bytes = [0; 9];
        io.read_exact(&mut bytes).await.unwrap();
        io.write_all(&bytes).await.unwrap();
    };
    let talk = async {
        // Not HTTP, and there before the upgrade is accepted.
        client.write_all(&[UPGRADE, b"\0\n\nab"].concat()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        client.write_all(b"cd\0\r").await.unwrap();
        let mut bytes = [0; 9];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"\0\n\nabcd\0\r");
    };
    let (served, (), ()) = tokio::join!(connection, echo, talk);
    served.unwrap();
    assert_eq!(state.phase(), WirePhase::Tunnel);
}

/// One request with its body in any framing.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        Just(b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
    ];
    let chunks = proptest::collection::vec(1_usize..60, 0..4);
    let fields = proptest::collection::vec("[A-Za-z-]{1,8}: [ -~]{0,20}", 0..4);
    (0..3, body, chunks, fields).prop_map(|(kind, body, chunks, fields)| {
        let mut out = b"POST /path?q HTTP/1.1\r\nhost: a:1\r\n".to_vec();
        for field in fields {
            // Names that mean something would make another request of it.
            out.extend_from_slice(format!("X-{field}\r\n").as_bytes());
        }
        match kind {
            0 => out.extend_from_slice(b"\r\n"),
            1 => {
                out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(&body);
            }
            _ => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                let mut rest = &body[..];
                for size in chunks {
                    let (chunk, after) = rest.split_at(size.min(rest.len()));
                    if !chunk.is_empty() {
                        out.extend_from_slice(format!("{:X};e\r\n", chunk.len()).as_bytes());
                        out.extend_from_slice(chunk);
                        out.extend_from_slice(b"\r\n");
                    }
                    rest = after;
                }
                out.extend_from_slice(b"0\r\nx-sum: 1\r\n\r\n");
            }
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_cutting_of_valid_requests_passes_the_identical_bytes(
        requests in proptest::collection::vec(request(), 1..6),
        mut cuts in proptest::collection::vec(0_usize..2000, 0..12),
        room in 1_usize..300,
    ) {
        let stream = requests.concat();
        cuts.sort_unstable();
        let out = read(Pieces::cut(&stream, cuts), room);
        prop_assert_eq!(out.bytes.escape_ascii().to_string(), stream.escape_ascii().to_string());
        prop_assert_eq!(out.heads, u64::try_from(requests.len()).unwrap());
        prop_assert!(out.refusal.is_none() && !out.broken);
    }

    #[test]
    fn the_verdict_on_any_bytes_does_not_depend_on_the_cutting(
        good in proptest::collection::vec(request(), 0..3),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        at in any::<prop::sample::Index>(),
        mut cuts in proptest::collection::vec(0_usize..1000, 0..12),
        room in 1_usize..300,
    ) {
        let mut stream = [good.concat(), GET.to_vec()].concat();
        let at = at.index(stream.len());
        stream.splice(at..at, noise);
        cuts.sort_unstable();
        let whole = read(Pieces::cut(&stream, []), 8192);
        prop_assert_eq!(read(Pieces::cut(&stream, cuts), room), whole);
    }
}
