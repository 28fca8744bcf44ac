//! The wrapper over a live connection: the gate behind an upgrade, what is told of its state, and
//! hyper on top of it.

use std::convert::Infallible;
use std::task::Waker;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::tests::{CHUNKED, GET, LIMITS, POST};
use super::*;
use crate::proxy::answer::Refusal;
use crate::proxy::wire::{Begun, WirePhase};

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
