//! TLS of the control address: off loopback always, on it if wanted.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::{read, refusal, token_path};
use crate::support::{Pmctl, Server, TlsIdentity, Wire, free_port, get, own_outside_address};

/// A server with TLS on every address, ready.
fn tls_server(pmctl: &Pmctl, identity: &TlsIdentity) -> Server {
    let [chain, key, _] = identity.write(pmctl.dir());
    let control = SocketAddr::from(([0, 0, 0, 0], free_port()));
    let args = ["--tls-cert", &chain, "--tls-key", &key];
    let server = Server::spawn_on(pmctl, control, &[], &args);
    pmctl.ok(&["status", "--wait", "ready", "--timeout", "60s"]);
    server
}

/// GET over TLS from `to`, addressed to `localhost`; the answer's first line and all of it.
#[track_caller]
fn tls_get(identity: &TlsIdentity, to: SocketAddr, path: &str, fields: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(identity.ca_pem.as_bytes()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    let stream = TcpStream::connect(to).expect("a connection");
    let mut tls = rustls::StreamOwned::new(session, stream);
    let port = to.port();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{fields}Connection: close\r\n\r\n"
    );
    tls.write_all(head.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    // A peer that closes without the last alert has still said everything.
    let _ = tls.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_self_signed_certificate_is_its_own_authority_as_openssl_makes_it() {
    let (pmctl, other) = (Pmctl::new(), Pmctl::with_default_database());
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned()];
    let mut parameters = rcgen::CertificateParams::new(names).expect("parameters");
    // What `openssl req -x509` makes says that it is an authority.
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let file = |name: &str| pmctl.dir().join(name).to_string_lossy().into_owned();
    let (chain, secret) = (file("self.pem"), file("self.key"));
    fs::write(&chain, certificate.pem()).expect("its file");
    fs::write(&secret, key.serialize_pem()).expect("its key's file");
    let control = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let server =
        Server::spawn_on(&pmctl, control, &[], &["--tls-cert", &chain, "--tls-key", &secret]);
    pmctl.ok(&["status", "--wait", "ready", "--timeout", "60s"]);
    let port = control.port();
    let by = |host: &str| format!("https://{host}:{port}");
    other.json(&["--server", &by("localhost"), "--ca", &chain, "status"]);
    // Another name than it has, and without being told of it.
    let args = ["--server", &by("127.0.0.1"), "--ca", &chain, "status"];
    assert_eq!(other.fails_json(4, &args)["code"], "server-tls-failed");
    let args = ["--server", &by("localhost"), "status"];
    assert_eq!(other.fails_json(4, &args)["code"], "server-tls-failed");
    server.stop();
}

#[test]
fn off_loopback_there_is_tls_and_a_remote_caller_needs_the_token() {
    let (pmctl, identity) = (Pmctl::new(), TlsIdentity::new());
    let server = tls_server(&pmctl, &identity);
    let port = server.control().port();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // By itself, and as the authority's certificate allows.
    let status = pmctl.json(&["status"]);
    assert_eq!(status["source"], "server", "{status:#}");
    assert_eq!(status["server"]["url"], format!("https://127.0.0.1:{port}"), "{status:#}");
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    let ca = pmctl.dir().join("ca.pem").to_string_lossy().into_owned();
    let other = Pmctl::with_default_database();
    let url = format!("https://localhost:{port}");
    let failed = other.fails_json(4, &["--server", &url, "status"]);
    assert_eq!(failed["code"], "server-tls-failed", "{failed:#}");
    let listed = other.json(&["--server", &url, "--ca", &ca, "service", "list"]);
    assert_eq!(listed["services"][0]["name"], "web", "{listed:#}");
    // In the clear nothing is said.
    assert!(get(local, "/healthz").is_err(), "an answer without TLS");
    let plain = format!("http://127.0.0.1:{port}");
    other.fails(4, &["--no-fallback", "--server", &plain, "status"]);
    assert!(tls_get(&identity, local, "/api/services", "").starts_with("HTTP/1.1 200 "));
    // From this machine's outside address nobody is known, whoever it is.
    if let IpAddr::V4(outside) = own_outside_address()
        && TcpStream::connect((outside, port)).is_ok()
    {
        let remote = SocketAddr::from((outside, port));
        let refused = tls_get(&identity, remote, "/api/services", "");
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(tls_get(&identity, remote, "/healthz", "").starts_with("HTTP/1.1 200 "));
        let bearer = format!("Authorization: Bearer {}\r\n", read(&token_path(&pmctl)));
        let served = tls_get(&identity, remote, "/api/services", &bearer);
        assert!(served.starts_with("HTTP/1.1 200 "), "{served}");
        refusal(&pmctl, &[&outside.to_string()]);
        // The user's own command line has the token, and knows the certificate as it is.
        let url = format!("https://{outside}:{port}");
        assert_eq!(pmctl.json(&["--server", &url, "status"])["source"], "server");
    }
    pmctl.ok(&["shutdown", "--wait"]);
    let left = fs::read_dir(pmctl.dir().join("state")).expect("a folder").flatten();
    let left: Vec<_> = left.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    assert!(!left.iter().any(|name| name.contains(".control.")), "{left:?}");
}

#[test]
fn a_loopback_listener_may_have_tls_and_the_command_line_finds_it_by_itself() {
    let (pmctl, identity) = (Pmctl::new(), TlsIdentity::new());
    let [chain, key, _] = identity.write(pmctl.dir());
    let server = Server::spawn(&pmctl, &[], &["--tls-cert", &chain, "--tls-key", &key]);
    pmctl.ok(&["status", "--wait", "ready", "--timeout", "60s"]);
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    assert_eq!(pmctl.json(&["service", "list"])["source"], "server");
    let by_name = format!("https://localhost:{}", server.control().port());
    assert_eq!(pmctl.json(&["--server", &by_name, "status"])["source"], "server");
    server.stop();
}

#[test]
fn nothing_reaches_a_control_port_on_every_address_through_a_proxy() {
    let (pmctl, identity) = (Pmctl::new(), TlsIdentity::new());
    let server = tls_server(&pmctl, &identity);
    let control = server.control().port();
    let port = free_port();
    let by_name = format!("main=https://127.0.0.1:{control}");
    let add = |target: &str| {
        let port = port.to_string();
        pmctl.run(&["service", "add", "loop", "--port", &port, "--target", target])
    };
    add(&by_name).expect(2);
    // Only the connection shows whose this address is.
    if let IpAddr::V4(outside) = own_outside_address()
        && TcpStream::connect((outside, control)).is_ok()
    {
        let (port, target) = (port.to_string(), format!("main=https://{outside}:{control}"));
        let add = ["service", "add", "loop", "--port", &port, "--target", &target];
        pmctl.ok(&[&add[..], &["--insecure", "main", "--bind", "127.0.0.1"]].concat());
        let mut client = Wire::to(port.parse().expect("a port"));
        client.send("GET /api/services HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 508);
        let event = refusal(&pmctl, &["leads to the control plane"]);
        assert_eq!((&event["actor"], &event["subject"]), (&"server".into(), &"loop".into()));
    }
    pmctl.ok(&["shutdown"]);
}
