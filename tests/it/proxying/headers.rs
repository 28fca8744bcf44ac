//! Fields that are added, removed, rewritten and mapped back.

use serde_json::Value;

use super::proxy_to;
use crate::support::{Script, Upstream, Wire};

/// All values of a field that the echo saw.
fn seen(echo: &Value, name: &str) -> Vec<String> {
    let fields = echo["fields"].as_array().expect("fields");
    let same = |field: &&Value| field[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name));
    let value = |field: &Value| field[1].as_str().unwrap_or_default().to_owned();
    fields.iter().filter(same).map(value).collect()
}

/// All elements of a list field that the echo saw.
fn list(echo: &Value, name: &str) -> Vec<String> {
    let values = seen(echo, name);
    values.iter().flat_map(|v| v.split(',')).map(|v| v.trim().to_owned()).collect()
}

#[test]
fn a_target_learns_who_asked_for_what_and_by_which_way() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let mut client = Wire::to(port);
    client.send("GET /a%20b?q=%E4%B8%AD&r= HTTP/1.1\r\nHost: shop.example:81\r\nX-Own: v\r\n\r\n");
    let echo = client.response().seen();
    assert_eq!(echo["method"], "GET");
    assert_eq!(echo["target"], "/a%20b?q=%E4%B8%AD&r=", "the target is passed as written");
    assert_eq!(seen(&echo, "host"), [upstream.address().to_string()]);
    assert_eq!(seen(&echo, "x-own"), ["v"]);
    assert_eq!(list(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(list(&echo, "x-forwarded-proto"), ["http"]);
    assert_eq!(list(&echo, "x-forwarded-host"), ["shop.example:81"]);
    let via = list(&echo, "via");
    assert_eq!(via.len(), 1, "{via:?}");
    assert!(via[0].starts_with("1.1 "), "{via:?}");
    server.stop();
}

#[test]
fn what_earlier_proxies_said_is_kept_and_added_to() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let mut client = Wire::to(port);
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\
         X-Forwarded-For: 198.51.100.2\r\nVia: 1.0 older\r\n\r\n",
    );
    let echo = client.response().seen();
    assert_eq!(list(&echo, "x-forwarded-for"), ["203.0.113.7", "198.51.100.2", "127.0.0.1"]);
    let via = list(&echo, "via");
    assert_eq!(via.len(), 2, "{via:?}");
    assert_eq!(via[0], "1.0 older");
    server.stop();
}

#[test]
fn fields_meant_for_one_hop_go_no_further_in_either_direction() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-End: 1\r\n\r\n",
    );
    let mut origin = script.accept();
    let (head, _) = origin.request();
    for gone in ["x-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(head.field(gone), None, "{gone} reached the target: {head:?}");
    }
    assert!(!head.has_token("connection", "x-hop"), "{head:?}");
    assert_eq!(head.field("x-end"), Some("1"));
    origin.send(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Inner\r\nX-Inner: 1\r\n\
         Keep-Alive: timeout=5\r\nX-Outer: 1\r\nServer: theirs\r\n\r\n",
    );
    let response = client.response();
    for gone in ["x-inner", "keep-alive"] {
        assert_eq!(response.field(gone), None, "{gone} reached the client: {response:?}");
    }
    assert_eq!(response.field("x-outer"), Some("1"));
    assert_eq!(response.field("server"), Some("theirs"));
    assert_eq!(client_still_usable(&mut client, &mut origin), 200);
    server.stop();
}

/// A second request over the same two connections: a field about the target's connection has not
/// ended the client's.
fn client_still_usable(client: &mut Wire, origin: &mut Wire) -> u16 {
    client.send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.request();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.response().status
}

#[test]
fn repeated_fields_and_their_order_are_kept() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&script.url());
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Many: 1\r\nX-Many: 2\r\nCookie: a=1; b=2\r\n\r\n");
    let mut origin = script.accept();
    let (head, _) = origin.request();
    assert_eq!(head.all("x-many"), ["1", "2"]);
    assert_eq!(head.all("cookie"), ["a=1; b=2"]);
    origin
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n");
    assert_eq!(client.response().head.all("set-cookie"), ["a=1", "b=2"]);
    server.stop();
}

#[test]
fn a_base_path_is_put_before_every_path_and_taken_off_what_comes_back() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&format!("{}/base/v1/", script.url()));
    let mut client = Wire::to(port);
    let mut origin = None;
    let own = script.url();
    for (path, arrives, location, comes_back) in [
        ("/", "/base/v1/", "/base/v1/login", vec!["/login".to_owned()]),
        (
            "/x?q=1",
            "/base/v1/x?q=1",
            &*format!("{own}/base/v1/y?z=2"),
            vec!["/y?z=2".to_owned(), "http://front.example/y?z=2".to_owned()],
        ),
        ("/x//y", "/base/v1/x//y", "relative", vec!["relative".to_owned()]),
        ("/z", "/base/v1/z", "/base/v10/q", vec!["/base/v10/q".to_owned()]),
        (
            "/w",
            "/base/v1/w",
            "https://elsewhere.example/base/v1/q",
            vec!["https://elsewhere.example/base/v1/q".to_owned()],
        ),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: front.example\r\n\r\n"));
        let origin = origin.get_or_insert_with(|| script.accept());
        let (head, _) = origin.request();
        assert_eq!(head.method_and_target().1, arrives);
        origin.send(format!(
            "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n"
        ));
        let response = client.response();
        let got = response.field("location").unwrap_or_default().to_owned();
        assert!(comes_back.contains(&got), "{location} came back as {got}, not {comes_back:?}");
    }
    server.stop();
}

#[test]
fn the_paths_of_cookies_are_those_the_client_sees() {
    let script = Script::start();
    let (_pmctl, server, port) = proxy_to(&format!("{}/base", script.url()));
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut origin = script.accept();
    origin.request();
    origin.send(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1; Path=/base; HttpOnly\r\n\
         Set-Cookie: b=/base; path=/base/app\r\nSet-Cookie: c=3; Path=/other\r\n\
         Set-Cookie: d=4\r\n\r\n",
    );
    let response = client.response();
    let without_space: Vec<String> =
        response.head.all("set-cookie").iter().map(|c| c.replace("; ", ";")).collect();
    let lower: Vec<String> = without_space.iter().map(|c| c.replace("path=", "Path=")).collect();
    assert_eq!(lower, ["a=1;Path=/;HttpOnly", "b=/base;Path=/app", "c=3;Path=/other", "d=4"]);
    server.stop();
}

#[test]
fn the_credentials_of_a_target_are_sent_to_it() {
    let upstream = Upstream::echo();
    let url = upstream.url().replace("http://", "http://ann:p%40ss@");
    let (_pmctl, server, port) = proxy_to(&url);
    let echo = Wire::to(port).get("/").seen();
    // ann:p@ss
    assert_eq!(seen(&echo, "authorization"), ["Basic YW5uOnBAc3M="]);
    server.stop();
}
