//! Connections that succeed and fail, in the clear and in TLS.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::model::{Target, TargetUrl, UpstreamTls};
use crate::proxy::via::ViaId;

const BOUND: Duration = Duration::from_secs(20);

fn upstream(url: &str, tls: UpstreamTls) -> Upstream {
    let (url, credentials) = TargetUrl::parse_with_credentials(url).unwrap();
    let target = Target { url, credentials, tls };
    Upstream::new(&"blue".parse().unwrap(), &target, &ViaId::random()).unwrap()
}

fn plain(url: &str) -> Upstream {
    upstream(url, UpstreamTls::default())
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port where nobody listens.
async fn free_port() -> u16 {
    listener().await.1
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Accepts one TLS connection for `localhost` and echoes four bytes.
async fn tls_echo(
    listener: TcpListener,
    authority: &CertifiedIssuer<'static, KeyPair>,
    alpn: &[&[u8]],
) -> io::Result<()> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let (tcp, _) = listener.accept().await?;
    let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await?;
    let mut bytes = [0; 4];
    tls.read_exact(&mut bytes).await?;
    tls.write_all(&bytes).await?;
    tls.flush().await
}

async fn echo(mut connected: Connected) -> Protocol {
    connected.io.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    connected.io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    connected.protocol
}

#[tokio::test]
async fn a_private_authority_is_trusted_and_alpn_chooses_the_protocol() {
    let authority = authority();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let table: [(&[&[u8]], Want, Protocol); 5] = [
        (&[b"h2", b"http/1.1"], Want::Any, Protocol::H2),
        (&[b"h2", b"http/1.1"], Want::Http1, Protocol::H1),
        (&[b"http/1.1"], Want::Any, Protocol::H1),
        (&[], Want::Any, Protocol::H1),
        (&[b"h2"], Want::Any, Protocol::H2),
    ];
    for (alpn, want, expected) in table {
        let (listener, port) = listener().await;
        let tls = UpstreamTls { ca_file: Some(ca.clone()), insecure: false };
        let upstream = upstream(&format!("https://localhost:{port}"), tls);
        let client = async { echo(connect(&upstream, BOUND, want).await.unwrap()).await };
        let (protocol, served) = tokio::join!(client, tls_echo(listener, &authority, alpn));
        served.unwrap();
        assert_eq!(protocol, expected, "{alpn:?}, {want:?}");
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused_unless_the_target_is_insecure() {
    let (theirs, other) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, other.pem()).unwrap();

    let (listener_1, port) = listener().await;
    let wrong = UpstreamTls { ca_file: Some(ca.clone()), insecure: false };
    let wrong = upstream(&format!("https://localhost:{port}"), wrong);
    let (refused, _) =
        tokio::join!(connect(&wrong, BOUND, Want::Any), tls_echo(listener_1, &theirs, &[]));
    assert!(matches!(refused, Err(ConnectError::Tls { .. })), "{refused:?}");

    let (listener_2, port) = listener().await;
    // The name does not fit either: the certificate is for localhost.
    let insecure = UpstreamTls { ca_file: Some(ca), insecure: true };
    let insecure = upstream(&format!("https://127.0.0.1:{port}"), insecure);
    let client = async { echo(connect(&insecure, BOUND, Want::Any).await.unwrap()).await };
    let (protocol, served) = tokio::join!(client, tls_echo(listener_2, &theirs, &[b"h2"]));
    served.unwrap();
    assert_eq!(protocol, Protocol::H2);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = authority();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let (listener, port) = listener().await;
    let tls = UpstreamTls { ca_file: Some(ca), insecure: false };
    let upstream = upstream(&format!("https://127.0.0.1:{port}"), tls);
    let (refused, _) =
        tokio::join!(connect(&upstream, BOUND, Want::Any), tls_echo(listener, &authority, &[]));
    assert!(matches!(refused, Err(ConnectError::Tls { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_plain_target_is_connected_without_delay_of_small_writes() {
    let (listener, port) = listener().await;
    for (scheme, protocol) in [("http", Protocol::H1), ("h2c", Protocol::H2)] {
        let upstream = plain(&format!("{scheme}://127.0.0.1:{port}"));
        let connected = connect(&upstream, BOUND, Want::Any).await.unwrap();
        assert_eq!(connected.protocol, protocol);
        assert_eq!(connected.peer, listener.local_addr().unwrap());
        assert!(connected.io.get_ref().nodelay().unwrap());
    }
    let h2c = plain(&format!("h2c://127.0.0.1:{port}"));
    let refused = connect(&h2c, BOUND, Want::Http1).await;
    assert!(matches!(refused, Err(ConnectError::NoHttp1)));
}

#[tokio::test]
async fn the_step_that_failed_is_named() {
    let port = free_port().await;
    let refused = connect(&plain(&format!("http://127.0.0.1:{port}")), BOUND, Want::Any).await;
    let Err(ConnectError::Connect { address, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(address.port(), port);

    let (_silent, port) = listener().await;
    let insecure = UpstreamTls { ca_file: None, insecure: true };
    let silent = upstream(&format!("https://127.0.0.1:{port}"), insecure);
    let late = connect(&silent, Duration::from_millis(100), Want::Any).await;
    assert!(matches!(late, Err(ConnectError::Timeout { step: Step::Tls, .. })), "{late:?}");
    let said = late.map(|_| ()).unwrap_err().to_string();
    assert_eq!(said, "do the TLS handshake with 127.0.0.1 within 100ms");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let (listener, port) = listener().await;
    let good = listener.local_addr().unwrap();
    let bad = SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let worse = SocketAddr::from(([127, 0, 0, 2], port));
    let (_, connected) = dial(&[bad, worse, good]).await.unwrap();
    assert_eq!(connected, good);
    let (failed, _) = dial(&[worse, bad]).await.unwrap_err().unwrap();
    assert!(failed == bad || failed == worse);
    assert!(dial(&[]).await.unwrap_err().is_none());
}
