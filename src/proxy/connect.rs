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
#[path = "connect_tests.rs"]
mod tests;
