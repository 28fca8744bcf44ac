//! The connection below the calls: HTTP/2 over one socket.
//!
//! tonic's own channel reconnects, balances and buffers, and hides why it failed; a command line
//! makes a call or two and needs to know. So the socket is ours: what the listener says first is
//! kept, and tells a server that leaves from a listener that never was one.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::MapFrame;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::{ClientError, Origin, ServerTrust};
use crate::model::{Fault, FaultKind};
use crate::text::{self, Message};

/// As much of the listener's first words as is kept.
const HEARD: usize = 64;
/// Header fields taken from a server, in bytes.
const MAX_HEADERS: u32 = 64 * 1024;
const DETAILS: &str = "grpc-status-details-bin";

type First = Arc<Mutex<Vec<u8>>>;

/// One HTTP/2 connection. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub(super) struct Wire {
    send: SendRequest<tonic::body::Body>,
    first: First,
    /// Both ends of the connection, the own one first.
    pub(super) ends: (SocketAddr, SocketAddr),
    /// What every call is sent with, once it is known to whom.
    authorization: Arc<OnceLock<HeaderValue>>,
}

/// Connects to `origin`. The caller bounds the time.
pub(super) async fn connect(origin: &Origin, trust: &ServerTrust) -> Result<Wire, ClientError> {
    let unresolved = |error: io::Error| {
        let message = text::control::control_host_unresolved(&origin.host);
        Fault::caused(FaultKind::Unavailable, message, &error)
    };
    let host = (origin.host.as_str(), origin.port);
    let addresses: Vec<_> = tokio::net::lookup_host(host).await.map_err(unresolved)?.collect();
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|e| refused(origin, &e))?;
    // Best effort: without it a small request may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let ends = stream.local_addr().and_then(|own| Ok((own, stream.peer_addr()?)));
    // A connection without a far end is one that was broken off.
    let ends = ends.map_err(|_| ClientError::GoingAway)?;
    if !origin.is_tls {
        return begin(stream, ends).await;
    }
    let connector = trust.connector()?;
    let name = ServerName::try_from(origin.host.clone())
        .map_err(|error| super::bad_url(&origin.host, error))?;
    let stream = connector.connect(name, stream).await.map_err(|e| unsecured(origin, &e))?;
    begin(stream, ends).await
}

/// HTTP/2 on a connection.
async fn begin<S>(stream: S, ends: (SocketAddr, SocketAddr)) -> Result<Wire, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = First::default();
    let io = TokioIo::new(Listening { stream, first: Arc::clone(&first) });
    let handshake = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(MAX_HEADERS)
        .handshake(io)
        .await;
    let (send, connection) = handshake.map_err(|_| ClientError::GoingAway)?;
    // Ends with the last `SendRequest`; what it fails of is told to the calls that wait on it.
    let drive = async {
        let _ = connection.await;
    };
    hyper::rt::Executor::execute(&TokioExecutor::new(), drive);
    Ok(Wire { send, first, ends, authorization: Arc::default() })
}

/// Why there is no TLS: whom to believe is not decided by falling back.
fn unsecured(origin: &Origin, error: &io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe => ClientError::GoingAway,
        _ => {
            let at = format!("{}:{}", origin.host, origin.port);
            let message = text::access::server_tls_failed(at, error);
            ClientError::Fault(Fault::new(FaultKind::Unavailable, message))
        }
    }
}

fn refused(origin: &Origin, error: &io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => ClientError::Absent,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ClientError::GoingAway,
        _ => {
            let at = format!("{}:{}", origin.host, origin.port);
            let message = text::control::control_unreachable(at);
            ClientError::Fault(Fault::caused(FaultKind::Unavailable, message, error))
        }
    }
}

impl Wire {
    /// Sends this token from now on. The first one stands.
    pub(super) fn authorize(&self, token: &str) {
        // A token that no field may hold opens nothing anyway.
        if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) {
            value.set_sensitive(true);
            let _ = self.authorization.set(value);
        }
    }

    /// What the listener speaks instead of HTTP/2, if it has said anything else.
    pub(super) fn other_protocol(&self) -> Option<Message> {
        other_protocol(&self.first.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn other_protocol(first: &[u8]) -> Option<Message> {
    // A server's first frame is SETTINGS, type 4 (RFC 9113 section 3.4), and it is short.
    if first.is_empty() || matches!(first, [0, _, _, 4, ..] | [0] | [0, _] | [0, _, _]) {
        return None;
    }
    // An alert or a handshake of TLS (RFC 8446 section 5.1).
    if matches!(first, [0x15 | 0x16, 3, ..]) {
        return Some(text::access::listener_tls());
    }
    // Some web servers answer what they cannot parse with a page and no head.
    if first.starts_with(b"HTTP/") || first.trim_ascii_start().starts_with(b"<") {
        return Some(text::control::listener_http1());
    }
    let line = first.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let words = String::from_utf8_lossy(line);
    Some(text::control::listener_other(words.escape_debug()))
}

/// An answer that no gRPC server gave.
#[derive(Debug)]
pub(super) struct NotGrpc {
    /// Its status.
    pub(super) status: StatusCode,
}

impl fmt::Display for NotGrpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an HTTP answer that is not gRPC, status {}", self.status)
    }
}

impl std::error::Error for NotGrpc {}

type Body = MapFrame<Incoming, fn(Frame<Bytes>) -> Frame<Bytes>>;

impl Service<http::Request<tonic::body::Body>> for Wire {
    type Response = http::Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.send.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        if let Some(value) = self.authorization.get() {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let answer = self.send.send_request(request);
        Box::pin(async move {
            let (mut head, body) = answer.await?.into_parts();
            let kind = head.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
            if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
                return Err(NotGrpc { status: head.status }.into());
            }
            drop_bad_details(&mut head.headers);
            Ok(http::Response::from_parts(head, body.map_frame(check_trailers as fn(_) -> _)))
        })
    }
}

fn check_trailers(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        drop_bad_details(trailers);
    }
    frame
}

/// Drops status details that are not base64: tonic panics over them.
fn drop_bad_details(headers: &mut HeaderMap) {
    if headers.get(DETAILS).is_some_and(|details| !is_base64(details.as_bytes())) {
        headers.remove(DETAILS);
    }
}

/// Whether this is base64 (RFC 4648 section 4), its padding whole or left out.
fn is_base64(text: &[u8]) -> bool {
    let digits = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let padding = &text[digits..];
    let whole = padding.is_empty() || text.len().is_multiple_of(4);
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits % 4 != 1
        && whole
        && padding.len() <= 2
        && padding.iter().all(|byte| *byte == b'=')
        && text[..digits].iter().all(known)
}

/// A socket that keeps the first bytes it hears.
struct Listening<S> {
    stream: S,
    first: First,
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let room = HEARD - first.len();
        if room > 0 {
            first.extend(buf.filled()[before..].iter().take(room));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes).map(|done| unheard(done, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices).map(|done| unheard(done, length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A write to a peer that has hung up counts as done: what the peer said before it did, such as an
/// HTTP/1 refusal, is still to be read, and the end of the connection is found there.
fn unheard(done: io::Result<usize>, length: usize) -> io::Result<usize> {
    match done {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
            ) =>
        {
            Ok(length)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_tell_what_a_listener_is() {
        let code = |first: &[u8]| other_protocol(first).map(|message| message.code());
        assert_eq!(code(b""), None);
        assert_eq!(code(&[0, 0, 18, 4, 0, 0, 0, 0, 0]), None);
        assert_eq!(code(b"HTTP/1.1 400 Bad Request\r\n"), Some("listener-http1"));
        assert_eq!(code(b"<!DOCTYPE HTML>\n<html"), Some("listener-http1"));
        assert_eq!(code(b"SSH-2.0-OpenSSH_9\r\n"), Some("listener-other"));
        assert_eq!(code(&[0x15, 3, 3, 0, 2, 2, 10]), Some("listener-tls"));
        let ssh = other_protocol(b"SSH-2.0-x\x1b[2J\r\n").map(|message| message.to_string());
        assert!(ssh.is_some_and(|words| words.contains("SSH-2.0-x") && !words.contains('\x1b')));
    }

    #[test]
    fn details_that_are_not_base64_are_told_apart() {
        for good in ["", "QQ==", "QUI=", "QUJD", "QUJDRA", "+/+/"] {
            assert!(is_base64(good.as_bytes()), "{good}");
        }
        for bad in ["Q", "QUJDR", "Q-==", "Q===", "QQ=", "QQ=Q", " QUJ", "é"] {
            assert!(!is_base64(bad.as_bytes()), "{bad}");
        }
    }
}
