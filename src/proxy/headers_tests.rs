//! Heads before and after.

use http::{Request, Response};

use super::*;
use crate::model::{Target, TargetUrl, UpstreamTls};
use crate::proxy::via::ViaId;

fn upstream(url: &str) -> Upstream {
    let (url, credentials) = TargetUrl::parse_with_credentials(url).unwrap();
    let tls = UpstreamTls { ca_file: None, insecure: true };
    let target = Target { url, credentials, tls };
    Upstream::new(&"blue".parse().unwrap(), &target, &ViaId::random()).unwrap()
}

fn client() -> ClientFacts {
    ClientFacts::new("::ffff:10.0.0.7".parse().unwrap(), false)
}

fn request(target: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut builder = Request::get(target);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

/// The fields of a map, sorted, one a line; Via's pseudonym shortened.
fn listed(headers: &HeaderMap, upstream: &Upstream) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            format!("{name}: {}", value.replace(upstream.via().as_str(), "ME"))
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_request_is_addressed_to_the_target_and_says_where_it_came_from() {
    let upstream = upstream("http://up:9000/base");
    let mut parts = request(
        "/a//b%2F?c=%20",
        &[
            ("host", "shop.example:8080"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("via", "1.0 fred"),
            ("accept", "*/*"),
        ],
    );
    let shape = to_upstream(&mut parts, &upstream, &client()).unwrap();
    set_protocol(&mut parts, &upstream, &shape, Protocol::H1);
    assert_eq!(parts.uri, "/base/a//b%2F?c=%20");
    assert_eq!(parts.version, Version::HTTP_11);
    assert_eq!(
        listed(&parts.headers, &upstream),
        [
            "accept: */*",
            "host: up:9000",
            "via: 1.0 fred, 1.1 ME",
            "x-forwarded-for: 1.2.3.4, 5.6.7.8, 10.0.0.7",
            "x-forwarded-host: shop.example:8080",
            "x-forwarded-proto: https, http",
        ]
    );
    assert_eq!(shape.original_host.unwrap(), "shop.example:8080");
}

#[test]
fn hop_by_hop_fields_go_and_what_the_target_relies_on_stays() {
    let upstream = upstream("http://up");
    let mut parts = request(
        "/",
        &[
            ("host", "a"),
            ("connection", "keep-alive, X-Hop, Content-Length, host, (bad), Authorization"),
            ("connection", "Cookie, x-forwarded-for, Via, close, TE, CONTENT-TYPE,,"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip, Trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("x-end", "2"),
            ("authorization", "Bearer t"),
            ("cookie", "a=b"),
            ("content-type", "text/plain"),
            ("x-forwarded-for", "1.2.3.4"),
            ("trailer", "x-sum"),
        ],
    );
    let shape = to_upstream(&mut parts, &upstream, &client()).unwrap();
    assert!(shape.te_trailers && shape.chunked);
    assert_eq!(shape.upgrade, None, "Connection did not name it");
    set_protocol(&mut parts, &upstream, &shape, Protocol::H1);
    assert_eq!(
        listed(&parts.headers, &upstream),
        [
            "authorization: Bearer t",
            "connection: te",
            "content-type: text/plain",
            "cookie: a=b",
            "host: up",
            "te: trailers",
            "trailer: x-sum",
            "transfer-encoding: chunked",
            "via: 1.1 ME",
            "x-end: 2",
            "x-forwarded-for: 1.2.3.4, 10.0.0.7",
            "x-forwarded-host: a",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn the_same_head_serves_both_protocols_again_and_again() {
    let upstream = upstream("https://up:9/b");
    let fields = [("host", "a"), ("te", "trailers"), ("transfer-encoding", "chunked")];
    let mut parts = request("/x?y", &fields);
    let shape = to_upstream(&mut parts, &upstream, &client()).unwrap();
    let h1 = {
        set_protocol(&mut parts, &upstream, &shape, Protocol::H1);
        (parts.uri.clone(), listed(&parts.headers, &upstream))
    };
    set_protocol(&mut parts, &upstream, &shape, Protocol::H2);
    assert_eq!(
        (parts.uri.to_string().as_str(), parts.version),
        ("https://up:9/b/x?y", Version::HTTP_2)
    );
    let lines = listed(&parts.headers, &upstream);
    let expected = [
        "te: trailers",
        "via: 1.1 ME",
        "x-forwarded-for: 10.0.0.7",
        "x-forwarded-host: a",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines, expected);
    set_protocol(&mut parts, &upstream, &shape, Protocol::H1);
    assert_eq!((parts.uri.clone(), listed(&parts.headers, &upstream)), h1);
}

#[test]
fn an_upgrade_is_asked_for_anew_but_never_to_h2c() {
    let upstream = upstream("http://up");
    let asked = |connection: &str, protocols: &str, version| {
        let fields = [
            ("host", "a"),
            ("connection", connection),
            ("upgrade", protocols),
            ("http2-settings", "AAA"),
        ];
        let mut parts = request("/", &fields);
        parts.version = version;
        let shape = to_upstream(&mut parts, &upstream, &client()).unwrap();
        set_protocol(&mut parts, &upstream, &shape, Protocol::H1);
        assert!(!parts.headers.contains_key("http2-settings"));
        let of =
            |name| parts.headers.get(name).map(|v: &HeaderValue| v.to_str().unwrap().to_owned());
        (of(CONNECTION), of(UPGRADE))
    };
    let yes = |protocols: &str| (Some("upgrade".to_owned()), Some(protocols.to_owned()));
    let h11 = Version::HTTP_11;
    assert_eq!(asked("keep-alive, Upgrade", "websocket", h11), yes("websocket"));
    assert_eq!(asked("upgrade", "h2c, foo/2 , bar", h11), yes("foo/2, bar"));
    assert_eq!(asked("Upgrade, HTTP2-Settings", "H2C", h11), (None, None));
    assert_eq!(asked("keep-alive", "websocket", h11), (None, None));
    assert_eq!(asked("upgrade", "websocket", Version::HTTP_10), (None, None));
    assert_eq!(asked("upgrade", "websocket", Version::HTTP_2), (None, None));
}

#[test]
fn a_loop_a_tunnel_and_two_hosts_are_refused() {
    let upstream = upstream("http://up");
    let refused = |mut parts: request::Parts| {
        to_upstream(&mut parts, &upstream, &client()).map(|_| ()).unwrap_err()
    };
    let via = format!("1.1 other, 1.1 {}", upstream.via().as_str());
    assert_eq!(refused(request("/", &[("host", "a"), ("via", &via)])), Refusal::Loop);
    assert_eq!(refused(request("/", &[("host", "a"), ("host", "b")])), Refusal::Host);
    let mut connect = request("a:443", &[("host", "a")]);
    connect.method = Method::CONNECT;
    assert_eq!(refused(connect), Refusal::Method);
    let mut round = request("/", &[("host", "a")]);
    let shape = to_upstream(&mut round, &upstream, &client()).unwrap();
    set_protocol(&mut round, &upstream, &shape, Protocol::H1);
    assert_eq!(refused(round), Refusal::Loop);
}

#[test]
fn the_base_path_stands_before_every_path_but_the_star() {
    let path = |method: Method, target: &str, url: &str| {
        let mut parts = request(target, &[("host", "a")]);
        parts.method = method;
        to_upstream(&mut parts, &upstream(url), &client()).unwrap();
        parts.uri.to_string()
    };
    let table = [
        ("/", "http://up", "/"),
        ("/", "http://up/b/", "/b/"),
        ("//x", "http://up", "//x"),
        ("//x", "http://up/b", "/b//x"),
        ("/../x?", "http://up/b", "/b/../x?"),
        ("http://a?x", "http://up", "/?x"),
        ("http://a?x", "http://up/b", "/b/?x"),
        ("http://a/y", "http://up/b", "/b/y"),
        ("*", "http://up/b", "*"),
    ];
    for (target, url, expected) in table {
        let method = if target == "*" { Method::OPTIONS } else { Method::GET };
        assert_eq!(path(method, target, url), expected, "{target} to {url}");
    }
    let long = format!("/{}", "x".repeat(65_500));
    let mut parts = request(&long, &[("host", "a")]);
    let base = upstream(&format!("http://up/{}", "b".repeat(100)));
    assert_eq!(to_upstream(&mut parts, &base, &client()).unwrap_err(), Refusal::TargetTooLong);
}

#[test]
fn the_asked_authority_is_that_of_the_target_before_that_of_host() {
    let host = |target: &str, fields: &[(&str, &str)]| {
        let mut parts = request(target, fields);
        let shape = to_upstream(&mut parts, &upstream("http://up"), &client()).unwrap();
        let forwarded = parts.headers.get(X_FORWARDED_HOST).cloned();
        assert_eq!(forwarded, shape.original_host);
        forwarded.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(host("http://u:p@a:1/", &[("host", "b")]), Some("a:1".to_owned()));
    assert_eq!(host("/", &[("host", "b")]), Some("b".to_owned()));
    assert_eq!(host("/", &[]), None);
}

#[test]
fn the_targets_credentials_serve_who_has_none() {
    let upstream = upstream("http://ann:x@up");
    let sent = |fields: &[(&str, &str)]| {
        let mut parts = request("/", fields);
        to_upstream(&mut parts, &upstream, &client()).unwrap();
        let all: Vec<_> = parts.headers.get_all(AUTHORIZATION).iter().cloned().collect();
        all.iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sent(&[]), ["Basic YW5uOng="]);
    assert_eq!(sent(&[("authorization", "Bearer own")]), ["Bearer own"]);
    assert_eq!(sent(&[("proxy-authorization", "Basic no")]), ["Basic YW5uOng="]);
}

#[test]
fn expectations_are_noted_and_those_of_http_1_0_dropped() {
    let expects = |version| {
        let mut parts = request("/", &[("host", "a"), ("expect", "100-Continue")]);
        parts.version = version;
        let shape = to_upstream(&mut parts, &upstream("http://up"), &client()).unwrap();
        (shape.expect_continue, parts.headers.contains_key(EXPECT))
    };
    assert_eq!(expects(Version::HTTP_11), (true, true));
    assert_eq!(expects(Version::HTTP_2), (true, true));
    assert_eq!(expects(Version::HTTP_10), (false, false));
}

#[test]
fn cookies_split_by_http_2_are_joined() {
    let mut parts =
        request("http://a/", &[("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")]);
    parts.version = Version::HTTP_2;
    let upstream = upstream("http://up");
    to_upstream(&mut parts, &upstream, &client()).unwrap();
    let cookies: Vec<_> = parts.headers.get_all(COOKIE).iter().collect();
    assert_eq!(cookies, ["a=b; c=d; e=f"]);
    assert_eq!(parts.headers[VIA], format!("2.0 {}", upstream.via().as_str()));
}

fn shape(upgrade: Option<&str>) -> RequestShape {
    let mut fields = vec![("host", "shop:8080")];
    if let Some(protocol) = upgrade {
        fields.extend([("connection", "upgrade"), ("upgrade", protocol)]);
    }
    to_upstream(&mut request("/", &fields), &upstream("http://up"), &client()).unwrap()
}

fn response(status: u16, fields: &[(&str, &str)]) -> response::Parts {
    let mut builder = Response::builder().status(status).version(Version::HTTP_2);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

#[test]
fn a_response_is_freed_of_its_connection_and_mapped_to_the_client() {
    let upstream = upstream("http://up:9/base");
    let mut parts = response(
        302,
        &[
            ("connection", "close, X-Hop, Set-Cookie, Content-Length"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authenticate", "Basic"),
            ("x-hop", "1"),
            ("content-length", "0"),
            ("location", "http://up:9/base/x"),
            ("content-location", "/base/y"),
            ("content-location", "/base/z"),
            ("set-cookie", "a=b; Path=/base"),
            ("set-cookie", "c=d; Domain=up"),
            ("set-cookie", "e=f"),
            ("via", "1.1 inner"),
            ("trailer", "x-sum"),
            ("server", "nginx"),
        ],
    );
    to_client(&mut parts, &upstream, &shape(None)).unwrap();
    assert_eq!(
        listed(&parts.headers, &upstream),
        [
            "content-location: /y",
            "content-location: /z",
            "location: http://shop:8080/x",
            "server: nginx",
            "set-cookie: a=b; Path=/",
            "set-cookie: c=d",
            "set-cookie: e=f",
            "trailer: x-sum",
            "via: 1.1 inner, 2.0 ME",
        ]
    );
    assert_eq!(parts.version, Version::HTTP_11);
}

#[test]
fn an_upgrade_reaches_only_a_client_that_asked() {
    let upstream = upstream("http://up");
    let fields =
        [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", "x")];
    let mut parts = response(101, &fields);
    to_client(&mut parts, &upstream, &shape(Some("websocket"))).unwrap();
    let expected =
        ["connection: upgrade", "sec-websocket-accept: x", "upgrade: websocket", "via: 2.0 ME"];
    assert_eq!(listed(&parts.headers, &upstream), expected);
    let refused = to_client(&mut response(101, &fields), &upstream, &shape(None));
    assert_eq!(refused, Err(Failure::Broken("blue".parse().unwrap())));
}

#[test]
fn trailers_carry_no_framing_routing_or_credentials() {
    let mut trailers = HeaderMap::new();
    for name in [
        "x-checksum",
        "content-digest",
        "grpc-status",
        "content-length",
        "transfer-encoding",
        "host",
        "authorization",
        "cookie",
        "connection",
        "te",
        "trailer",
        "x-forwarded-for",
        "set-cookie",
        "via",
    ] {
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    clean_trailers(&mut trailers);
    let mut kept: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["content-digest", "grpc-status", "x-checksum"]);
}

#[test]
fn a_response_goes_on_with_the_one_length_its_body_was_read_by() {
    let upstream = upstream("http://up:9000");
    let framed = |fields: &[(&str, &str)]| {
        let mut parts = response(200, fields);
        to_client(&mut parts, &upstream, &shape(None)).map(|()| {
            let lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
            lengths.map(|length| length.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    let both = [("content-length", "5"), ("transfer-encoding", "Chunked")];
    assert_eq!(framed(&both), Ok(vec![]));
    assert_eq!(framed(&[("content-length", "5")]), Ok(vec!["5".to_owned()]));
    let twice = [("content-length", "5"), ("content-length", "5")];
    assert_eq!(framed(&twice), Ok(vec!["5".to_owned()]));
    assert_eq!(framed(&[("content-length", "5, 5")]), Ok(vec!["5".to_owned()]));
    for coding in ["gzip", "gzip, chunked", "identity"] {
        let refused = framed(&[("transfer-encoding", coding)]);
        assert_eq!(refused, Err(Failure::Broken(upstream.name().clone())), "{coding}");
    }
}
