//! Clients and upstreams of the tests understand each other with no proxy between them, so that a
//! failure elsewhere is the proxy's.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Version};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Broken, HyperUpstream, Load, Script, Upstream, Wire, WsEcho, free_ports, h2_request, noise,
    wait_until, ws_connect,
};

fn port(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn the_echo_gives_back_what_it_got_in_either_framing() {
    let upstream = Upstream::echo();
    let mut client = Wire::connect(upstream.address());
    for size in [0, 1, 100_000, 1 << 20] {
        let body = noise(size);
        for path in ["/plain", "/chunked"] {
            let answer = client.ask("POST", path, "X-A: b\r\n", &body);
            assert!(answer.body == body, "{size} bytes to {path}");
            assert_eq!(answer.seen()["target"], path);
        }
    }
    assert_eq!((upstream.requests(), upstream.connections()), (8, 1));
}

#[test]
fn a_torn_answer_and_no_answer_are_told_apart() {
    let script = Script::start();
    let ask = |answer: &str| {
        let mut client = Wire::to(port(&script.url()));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut origin = script.accept();
        origin.request();
        origin.send(answer);
        drop(origin);
        client.try_response().map(|response| response.text())
    };
    assert_eq!(ask(""), Err(Broken::Closed));
    assert_eq!(ask("HTTP/1.1 200 OK\r\n\r\nall"), Ok("all".to_owned()));
    for torn in ["HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nall"] {
        assert!(matches!(ask(torn), Err(Broken::Truncated(_))), "{torn:?}");
    }
}

#[test]
fn websocket_and_http_2_speak_to_their_echoes() {
    let ws = WsEcho::start();
    let mut socket = ws_connect(port(&ws.url()), "/");
    socket.send(Message::text("hello")).expect("a message");
    assert_eq!(socket.read().expect("its echo"), Message::text("hello"));

    let h2c = HyperUpstream::h2c();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().expect("a value"));
    let sent = trailers.clone();
    let body = Full::new(Bytes::from("body")).with_trailers(async move { Some(Ok(sent)) });
    let request = Request::builder().version(Version::HTTP_2).uri(h2c.url().replace("h2c", "http"));
    let answer = h2_request(port(&h2c.url()), request.body(Box::pin(body)).expect("a request"));
    assert_eq!(answer.into_body(), (Bytes::from("body"), Some(trailers)));
}

#[test]
fn a_load_knows_every_request_and_every_connection() {
    let upstream = Upstream::saying("hello");
    let to: SocketAddr = upstream.address();
    let load = Load::start(&[to], 8, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", |answer| {
        if answer.text() == "hello" { Ok(()) } else { Err(answer.text()) }
    });
    wait_until("some load", || match load.whole() {
        whole if whole > 500 => Ok(()),
        whole => Err(whole.to_string()),
    });
    let report = load.finish();
    report.assert_all_answered(None, "");
    assert_eq!((report.connections, upstream.connections()), (8, 8));
}

#[test]
fn no_port_is_given_out_twice() {
    let mut ports = free_ports(600);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 600);
}
