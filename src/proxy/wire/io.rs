//! The wrapper around the client's socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::WireState;

/// Bounds of a request head, in bytes and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// Whole head, the empty line included; trailers are bounded by it too.
    pub max_head_bytes: u32,
    /// Header fields.
    pub max_headers: u32,
    /// The request target.
    pub max_target_bytes: u32,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self { max_head_bytes: 64 * 1024, max_headers: 100, max_target_bytes: 16 * 1024 }
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireProtocol {
    /// HTTP/1.0 or 1.1, or something that will be refused as such.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// The client closed without a byte.
    Closed,
}

/// The client's socket as hyper reads it. See the module's documentation.
#[derive(Debug)]
pub struct GuardedIo<S> {
    io: S,
    state: Arc<WireState>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> GuardedIo<S> {
    /// Watches `io`, of which nothing was read.
    pub fn new(io: S, limits: WireLimits) -> Self {
        let _ = limits;
        Self { io, state: Arc::default() }
    }

    /// The shared state.
    pub fn state(&self) -> &Arc<WireState> {
        &self.state
    }

    /// The socket, for its address and for a look at waiting bytes; reading from it would break
    /// the framing.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// The socket, and bytes that were read from it and not handed on.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        todo!()
    }

    /// Waits until the first bytes say which protocol the client speaks; nothing is lost, they are
    /// read again. Cancel-safe.
    pub async fn sniff(&mut self) -> io::Result<WireProtocol> {
        std::future::poll_fn(|cx| self.poll_sniff(cx)).await
    }

    /// See [`GuardedIo::sniff`].
    pub fn poll_sniff(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<WireProtocol>> {
        let _ = cx;
        todo!()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let _ = (cx, buf);
        todo!()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
