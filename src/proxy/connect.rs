//! New connections to a target.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::upstream::Upstream;

/// After this long without an answer the next address is tried beside the silent one (RFC 8305
/// section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// What the caller can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Whatever the target prefers.
    Any,
    /// HTTP/1.1 alone: the request asks for an upgrade.
    Http1,
}

/// What a connection attempt was at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking up the name.
    Resolve,
    /// The TCP handshake.
    Connect,
    /// The TLS handshake.
    Tls,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect to",
            Self::Tls => "do the TLS handshake with",
        })
    }
}

/// Why there is no connection. Reads after "failed to".
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name was not resolved.
    #[error("resolve {host}")]
    Resolve {
        /// Name.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The name has no address.
    #[error("resolve {host}: it has no address")]
    NoAddress {
        /// Name.
        host: String,
    },
    /// No address took the connection.
    #[error("connect to {address}")]
    Connect {
        /// The last one tried.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The handshake failed.
    #[error("do the TLS handshake with {host} at {address}")]
    Tls {
        /// Name.
        host: String,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The time was over.
    #[error("{step} {host} within {after:?}")]
    Timeout {
        /// Name.
        host: String,
        /// At what it was.
        step: Step,
        /// The bound.
        after: Duration,
    },
    /// HTTP/1.1 was wanted of a target that speaks HTTP/2 only.
    #[error("speak HTTP/1.1 to a target of HTTP/2 only")]
    NoHttp1,
}

/// A new connection.
#[derive(Debug)]
pub struct Connected {
    /// The bytes.
    pub io: UpstreamIo,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where it leads.
    pub peer: SocketAddr,
}

/// The socket to a target, in the clear or in TLS.
#[derive(Debug)]
pub enum UpstreamIo {
    /// In the clear.
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to `upstream`: look-up, TCP and TLS together within `timeout`.
///
/// All addresses of the host are tried, the next one as soon as one fails or is silent for a
/// while. `TCP_NODELAY` is set. Dropping the future gives everything up.
///
/// # Errors
/// See [`ConnectError`]; of several addresses that failed the last one is named.
pub async fn connect(
    upstream: &Upstream,
    timeout: Duration,
    want: Want,
) -> Result<Connected, ConnectError> {
    if want == Want::Http1 && upstream.is_http2_only() {
        return Err(ConnectError::NoHttp1);
    }
    let mut step = Step::Resolve;
    let attempt = tokio::time::timeout(timeout, attempt(upstream, want, &mut step)).await;
    attempt.unwrap_or_else(|_| {
        let host = upstream.url().host().to_owned();
        Err(ConnectError::Timeout { host, step, after: timeout })
    })
}

async fn attempt(
    upstream: &Upstream,
    want: Want,
    step: &mut Step,
) -> Result<Connected, ConnectError> {
    let host = || upstream.url().host().to_owned();
    let addresses = match upstream.address() {
        Some(address) => vec![address],
        None => tokio::net::lookup_host((upstream.url().host(), upstream.url().port()))
            .await
            .map_err(|source| ConnectError::Resolve { host: host(), source })?
            .collect(),
    };
    *step = Step::Connect;
    let (tcp, peer) = match dial(&addresses).await {
        Ok(connected) => connected,
        Err(None) => return Err(ConnectError::NoAddress { host: host() }),
        Err(Some((address, source))) => return Err(ConnectError::Connect { address, source }),
    };
    // Without it small bodies wait for an acknowledgement; a socket that refuses is usable still.
    let _ = tcp.set_nodelay(true);
    let Some((tls, name)) = upstream.tls() else {
        let protocol = if upstream.is_http2_only() { Protocol::H2 } else { Protocol::H1 };
        return Ok(Connected { io: UpstreamIo::Plain(tcp), protocol, peer });
    };
    *step = Step::Tls;
    let stream = TlsConnector::from(tls.config(want))
        .connect(name.clone(), tcp)
        .await
        .map_err(|source| ConnectError::Tls { host: host(), address: peer, source })?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        _ => Protocol::H1,
    };
    Ok(Connected { io: UpstreamIo::Tls(Box::new(stream)), protocol, peer })
}

/// The first of `addresses` that takes a connection; the last failure otherwise.
async fn dial(
    addresses: &[SocketAddr],
) -> Result<(TcpStream, SocketAddr), Option<(SocketAddr, io::Error)>> {
    if let [address] = addresses {
        let tcp = dial_one(*address).await.map_err(|source| Some((*address, source)))?;
        return Ok((tcp, *address));
    }
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut failed = None;
    loop {
        match waiting.next() {
            Some(address) => {
                running.push(async move { (address, dial_one(address).await) });
            }
            None if running.is_empty() => return Err(failed),
            None => {}
        }
        let patience = if waiting.len() > 0 { STAGGER } else { Duration::MAX };
        match tokio::time::timeout(patience, running.next()).await {
            Ok(Some((address, Ok(tcp)))) => return Ok((tcp, address)),
            Ok(Some((address, Err(source)))) => failed = Some((address, source)),
            // Silent for too long, or nothing runs: on to the next address.
            Ok(None) | Err(_) => {}
        }
    }
}

async fn dial_one(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    // Where nobody listens on a port of the ephemeral range, a socket that got this very port as
    // its own connects to itself, and would keep the target from ever binding it.
    if tcp.local_addr()? == address {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there"));
    }
    Ok(tcp)
}

impl UpstreamIo {
    /// The socket itself.
    pub fn get_ref(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
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
}
