//! New connections to a target.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::upstream::Upstream;

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

/// Why there is no connection.
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
    #[error("reach {host}: {step:?} not finished after {after:?}")]
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

/// Connects to `upstream`: name, TCP and TLS together within `timeout`.
pub async fn connect(
    upstream: &Upstream,
    timeout: Duration,
    want: Want,
) -> Result<Connected, ConnectError> {
    let _ = (upstream, timeout, want);
    todo!()
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
