//! HTTP/2 from clients, HTTP/2 and TLS to targets.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Version};
use serde_json::Value;

use super::proxy_to;
use crate::support::{
    HyperUpstream, Pmctl, TlsIdentity, Upstream, Wire, free_port, h2_request, noise,
};

fn h2(method: &str, port: u16, path: &str) -> hyper::http::request::Builder {
    let uri = format!("http://127.0.0.1:{port}{path}");
    Request::builder().version(Version::HTTP_2).method(method).uri(uri)
}

fn seen<B>(response: &hyper::Response<B>) -> Value {
    let value = response.headers()["x-seen"].to_str().expect("ASCII");
    serde_json::from_str(value).expect("the echo's JSON")
}

#[test]
fn a_client_may_speak_http_2_by_prior_knowledge_on_the_same_port() {
    let upstream = Upstream::echo();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let body = noise(300_000);
    let request = h2("POST", port, "/two?x=1").body(Full::new(Bytes::from(body.clone())));
    let response = h2_request(port, request.expect("a request"));
    assert_eq!(response.status(), 200);
    let echo = seen(&response);
    assert_eq!((&echo["method"], &echo["target"]), (&"POST".into(), &"/two?x=1".into()));
    assert!(response.body().0 == body, "the body changed on its way");
    assert_eq!(Wire::to(port).get("/one").seen()["target"], "/one");
    server.stop();
}

#[test]
fn an_h2c_target_is_spoken_to_in_http_2_and_trailers_pass_both_ways() {
    let upstream = HyperUpstream::h2c();
    let (_pmctl, server, port) = proxy_to(&upstream.url());
    let mut client = Wire::to(port);
    let plain = client.ask("POST", "/from-one", "", b"body");
    assert_eq!((plain.status, plain.text().as_str()), (200, "body"));
    assert_eq!(plain.seen()["version"], "HTTP/2.0");

    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().expect("a value"));
    let sent = trailers.clone();
    let body = Full::new(Bytes::from("with trailers")).with_trailers(async move { Some(Ok(sent)) });
    let request = h2("POST", port, "/from-two").header("te", "trailers").body(Box::pin(body));
    let response = h2_request(port, request.expect("a request"));
    assert_eq!(seen(&response)["version"], "HTTP/2.0");
    let (bytes, came_back) = response.into_body();
    assert_eq!(bytes, "with trailers");
    assert_eq!(came_back, Some(trailers));
    server.stop();
}

#[test]
fn a_tls_target_is_trusted_by_its_own_authority_or_not_at_all_unless_told_so() {
    let identity = TlsIdentity::new();
    for (alpn, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1")] {
        let upstream = HyperUpstream::tls(&identity, alpn);
        let (pmctl, port) = (Pmctl::new(), free_port());
        let ca = pmctl.dir().join("ca.pem");
        std::fs::write(&ca, &identity.ca_pem).expect("a CA file");
        let ca = ca.to_string_lossy().into_owned();
        pmctl.add("web", port, &upstream.url());
        let server = pmctl.serve();
        let strange = Wire::to(port).get("/");
        assert_eq!(strange.status, 502, "a certificate nobody vouches for: {strange:?}");

        let target = format!("trusted={}", upstream.url());
        pmctl.ok(&["service", "target", "add", "web", &target, "--ca", &ca]);
        pmctl.ok(&["service", "switch", "web", "trusted"]);
        let mut client = Wire::to(port);
        let answer = client.ask("POST", "/", "", b"over tls");
        assert_eq!((answer.status, answer.text().as_str()), (200, "over tls"));
        assert_eq!(answer.seen()["version"], version);

        let target = format!("lax={}", upstream.url());
        pmctl.ok(&["service", "target", "add", "web", &target, "--insecure"]);
        pmctl.ok(&["service", "switch", "web", "lax"]);
        assert_eq!(client.ask("POST", "/", "", b"unchecked").text(), "unchecked");
        server.stop();
    }
}

#[test]
fn a_restart_keeps_a_targets_authority() {
    let identity = TlsIdentity::new();
    let upstream = HyperUpstream::tls(&identity, &["h2"]);
    let (pmctl, port) = (Pmctl::new(), free_port());
    let ca = pmctl.work().join("ca.pem");
    std::fs::write(&ca, &identity.ca_pem).expect("a CA file");
    pmctl.add("web", port, "http://127.0.0.1:9");
    // Relative to where the command is given, not to where the server runs.
    let target = format!("tls={}", upstream.url());
    pmctl.ok(&["service", "target", "add", "web", &target, "--ca", "ca.pem"]);
    pmctl.ok(&["service", "switch", "web", "tls"]);
    for _ in 0..2 {
        let server = pmctl.serve();
        assert_eq!(Wire::to(port).get("/").status, 200, "{server}");
        server.stop();
    }
}
