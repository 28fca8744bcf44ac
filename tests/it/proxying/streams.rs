//! What flows rather than arrives: server-sent events, upgraded connections.

use tokio_tungstenite::tungstenite::Message;

use super::proxy_to;
use crate::support::{Script, Wire, WsEcho, noise, ws_connect};

#[test]
fn server_sent_events_pass_one_by_one_as_they_are_sent() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let head = client.head().expect("the head before the first event");
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    for n in 0..5 {
        // The next event is not sent before this one has arrived.
        let chunk = format!("9\r\ndata: {n}\n\n\r\n");
        origin.send(&chunk);
        assert_eq!(client.exactly(chunk.len()), chunk.as_bytes());
    }
    server.stop();
}

#[test]
fn a_websocket_passes_messages_of_every_kind_and_size() {
    let upstream = WsEcho::start();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let mut socket = ws_connect(port, "/socket?room=1");
    for message in [
        Message::text("text"),
        Message::text("中文"),
        Message::binary(noise(1)),
        Message::binary(noise(1 << 20)),
    ] {
        socket.send(message.clone()).expect("a message");
        let echo = loop {
            match socket.read().expect("the echo") {
                Message::Ping(_) | Message::Pong(_) => {}
                other => break other,
            }
        };
        assert!(echo == message, "another message came back");
    }
    socket.close(None).expect("a close");
    while socket.read().is_ok() {}
    server.stop();
}

#[test]
fn any_upgrade_the_target_agrees_to_becomes_a_tunnel_of_bytes() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: own/1\r\n\r\n");
    let mut origin = script.accept();
    let head = origin.head().expect("the head");
    assert!(head.has_token("connection", "upgrade"), "{head:?}");
    assert_eq!(head.field("upgrade"), Some("own/1"));
    // The first bytes of the new protocol come together with the head.
    origin.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own/1\r\n\r\n\0\x01up",
    );
    let response = client.response();
    assert_eq!((response.status, response.field("upgrade")), (101, Some("own/1")));
    assert_eq!(client.exactly(4), b"\0\x01up");
    client.send([0xff, 0, b'\r', b'\n']);
    assert_eq!(origin.exactly(4), [0xff, 0, b'\r', b'\n']);
    // One side's end reaches the other, which may still speak.
    client.close_write();
    assert_eq!(origin.until_closed(), b"");
    origin.send("last words");
    drop(origin);
    assert_eq!(client.until_closed(), b"last words");
    server.stop();
}

#[test]
fn an_upgrade_the_target_declines_is_an_ordinary_answer() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (426, "no"));
    server.stop();
}
