//! Requests of HTTP/1 clients on their way to targets that speak HTTP/2, by hyper.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request as HttpRequest, Response, Version, request,
};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::Buf;
use super::framing::Rest;
use super::request::write_field;
use super::response::write_connection;
use super::shape::{Fields, Shape};
use super::take::{After, Request};
use super::upload::Sending;
use super::watch::{Stopped, Waits};
use crate::proxy::answer::{Failure, Refusal};
use crate::proxy::body::{BodyError, Feed, RequestBody};
use crate::proxy::connect::{Protocol, Want};
use crate::proxy::exchange::ExchangeGuard;
use crate::proxy::headers::{RequestShape, clean_trailers, set_protocol, to_client, to_upstream};
use crate::proxy::limits::MAX_UNSENT;
use crate::proxy::pool::Direct;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream_h1::SendError;
use crate::proxy::upstream_h2::H2Lease;
use crate::proxy::wire::Body;

/// Forwards `this` over a stream of `lease`.
///
/// # Errors
/// What pmctl is to answer.
pub(super) async fn forward(
    this: &mut Request<'_>,
    upstream: &Arc<Upstream>,
    mut lease: H2Lease,
) -> Result<After, Failure> {
    let client = Rc::clone(&this.conn.client);
    let mut parts = parts(this.conn.held(), &this.shape)?;
    let shape = to_upstream(&mut parts, upstream, &client.facts)?;
    set_protocol(&mut parts, upstream, &shape, Protocol::H2);
    let may_repeat = this.shape.is_bare() && parts.method.is_idempotent();
    let length = match this.shape.body {
        Body::Length(length) => Some(length),
        Body::Chunked => None,
    };
    let feed = Rc::new(Feed::new(length));
    let mut body = match this.shape.is_bare() {
        true => RequestBody::empty(&this.guard),
        false => RequestBody::fed(&feed, &this.guard),
    };
    let mut pump = Pump::new(this, feed);
    if shape.expect_continue && !this.upload.has_begun && !this.shape.is_bare() {
        // hyper does not tell of a 100 over HTTP/2, so nobody could be waited for.
        this.is_continued = true;
        if !this.conn.write(b"HTTP/1.1 100 Continue\r\n\r\n").await {
            return Ok(After::Close { is_unread: false });
        }
        // Its deadline took the place of this one's.
        this.waits = Waits::Unknown;
    }
    let (mut unsent, mut repeated) = (0, false);
    let response = loop {
        let repeat = (may_repeat && !repeated && lease.is_reused()).then(|| parts.clone());
        let mut answer = pin!(lease.send(HttpRequest::from_parts(parts, body)));
        let answered = poll_fn(|cx| {
            let _ = pump.poll(this, cx);
            match answer.as_mut().poll(cx) {
                Poll::Ready(answered) => Poll::Ready(Ok(answered)),
                Poll::Pending if this.upload.is_broken => Poll::Ready(Err(Stopped::BadBody)),
                Poll::Pending => this.poll_stopped(cx).map(Err),
            }
        });
        let error = match answered.await {
            Ok(Ok(response)) => break response,
            Ok(Err(error)) => lease.send_error(error),
            Err(stopped) => return stop(stopped, upstream),
        };
        match (error, repeat) {
            (SendError::Unsent(request), _) if unsent < MAX_UNSENT => {
                unsent += 1;
                (parts, body) = request.into_parts();
            }
            (SendError::Closed(_), Some(saved)) => {
                repeated = true;
                parts = saved;
                body = RequestBody::empty(&this.guard);
            }
            _ if this.guard.exchange.body_broken.load(Ordering::Relaxed) => {
                return Err(Failure::Refused(Refusal::Body));
            }
            _ => return Err(Failure::Broken(upstream.name().clone())),
        }
        let pool = &client.worker.pool;
        let again = match pool.take_raw(&client.proxy, upstream, Want::Any, true) {
            Some(Direct::H2(lease)) if !repeated => Ok(Direct::H2(lease)),
            _ => pool.make_raw(&client.proxy, upstream, Want::Any).await,
        };
        lease = match again {
            Ok(Direct::H2(lease)) => lease,
            // A target that has changed its mind between two connections is asked again by the
            // client.
            Ok(Direct::Raw(_)) => return Err(Failure::Broken(upstream.name().clone())),
            Err(error) => return Err(this.guard.no_connection(upstream, &error)),
        };
    };
    this.guard.judge(Ok(()));
    answer(this, upstream, &shape, response, pump).await
}

fn stop(stopped: Stopped, upstream: &Upstream) -> Result<After, Failure> {
    Err(match stopped {
        Stopped::Gone => return Ok(After::Close { is_unread: false }),
        Stopped::BadBody => Failure::Refused(Refusal::Body),
        Stopped::ClientLate => Failure::RequestLate,
        Stopped::TargetLate => Failure::Late(upstream.name().clone()),
        Stopped::Broken => Failure::Broken(upstream.name().clone()),
    })
}

/// The head as hyper takes it.
fn parts(head: &[u8], shape: &Shape) -> Result<request::Parts, Refusal> {
    let refused = |_| Refusal::RequestLine;
    let mut request = HttpRequest::new(());
    *request.method_mut() = shape.method.clone();
    *request.version_mut() = if shape.is_http10 { Version::HTTP_10 } else { Version::HTTP_11 };
    let target = match shape.path_and_query(head) {
        b"*" => b"*",
        _ => shape.target(head),
    };
    let target = String::from_utf8(target.to_vec()).map_err(|_| Refusal::RequestLine)?;
    *request.uri_mut() = http::Uri::try_from(target).map_err(refused)?;
    for (name, value) in shape.fields(head) {
        if name.eq_ignore_ascii_case(b"content-length") {
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| Refusal::FieldName)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Refusal::Control)?;
        request.headers_mut().append(name, value);
    }
    // Said twice, or with zeros in front, it is sent once and plainly.
    if let Body::Length(length) = shape.body
        && shape.has_length
    {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok(request.into_parts().0)
}

/// The request's head, for the hooks of tests.
#[cfg(feature = "debug-hooks")]
pub(super) fn listed(head: &[u8], shape: &Shape) -> HttpRequest<()> {
    let mut request = HttpRequest::new(());
    if let Ok(parts) = parts(head, shape) {
        *request.headers_mut() = parts.headers;
    }
    request
}

/// Takes the request's body off the client's connection and feeds it to hyper.
struct Pump {
    feed: Rc<Feed>,
    /// What stands in the connection's buffer behind the head.
    first: Option<Bytes>,
    trailers: Vec<u8>,
}

impl Pump {
    fn new(this: &mut Request<'_>, feed: Rc<Feed>) -> Self {
        let held = this.conn.held();
        let mut rest = Rest::from(this.shape.body);
        let mut first = Buf::small();
        first.append(held.get(this.shape.len..this.upload.used).unwrap_or_default());
        let taken = rest.take_content(&mut first);
        this.upload.rest = rest;
        let first = (!first.is_empty()).then(|| Bytes::copy_from_slice(first.filled()));
        Self { feed, first, trailers: taken.tail }
    }

    /// Ready when all of the body was fed.
    fn poll(&mut self, this: &mut Request<'_>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            this.upload.awaits_client = false;
            if this.upload.state != Sending::Open || this.upload.is_broken {
                return Poll::Ready(());
            }
            ready!(self.feed.poll_free(cx));
            if let Some(first) = self.first.take() {
                self.feed.put(Ok(Frame::data(first)));
                continue;
            }
            if this.upload.rest.is_done() {
                let trailers = trailers(&std::mem::take(&mut self.trailers));
                if trailers.is_empty() {
                    this.through();
                    self.feed.end();
                } else {
                    self.feed.put(Ok(Frame::trailers(trailers)));
                }
                continue;
            }
            let mut buf = Buf::small();
            let most = this.upload.rest.most();
            let room = buf.room(0);
            let most = most.min(room.len());
            let mut room = ReadBuf::new(&mut room[..most]);
            let polled = Pin::new(&mut this.conn.socket).poll_read(cx, &mut room);
            this.upload.awaits_client = polled.is_pending();
            let polled = ready!(polled);
            let read = room.filled().len();
            buf.add(read);
            this.moved += read as u64;
            this.upload.has_begun = true;
            if read == 0 || polled.is_err() {
                this.conn.is_at_end = true;
                return self.break_off(this);
            }
            // Of a length no more is read than belongs to it.
            let came = match this.upload.rest {
                Rest::Chunked(_) => buf.filled().to_vec(),
                _ => Vec::new(),
            };
            let taken = this.upload.rest.take_content(&mut buf);
            this.conn.passed_by(taken.used);
            if taken.is_broken {
                return self.break_off(this);
            }
            this.conn.put_back(came.get(taken.used..).unwrap_or_default());
            ExchangeGuard::came_in(&this.guard.client, &this.guard.exchange, taken.content);
            self.trailers = taken.tail;
            if !buf.is_empty() {
                self.first = Some(Bytes::copy_from_slice(buf.filled()));
            }
        }
    }

    fn break_off(&self, this: &mut Request<'_>) -> Poll<()> {
        this.upload.is_broken = true;
        self.feed.put(Err(BodyError::Gone));
        Poll::Ready(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.feed.give_up();
    }
}

fn trailers(lines: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in Fields(lines) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            trailers.append(name, value);
        }
    }
    trailers
}

/// Passes the answer on.
async fn answer(
    this: &mut Request<'_>,
    upstream: &Upstream,
    shape: &RequestShape,
    response: Response<Incoming>,
    mut pump: Pump,
) -> Result<After, Failure> {
    let (mut parts, mut body) = response.into_parts();
    to_client(&mut parts, upstream, shape)?;
    let is_bodiless = this.shape.is_head() || matches!(parts.status.as_u16(), 204 | 304);
    let has_length = parts.headers.contains_key(CONTENT_LENGTH);
    let is_empty = body.is_end_stream() && !is_bodiless && !has_length;
    let is_chunked = !is_bodiless && !has_length && !is_empty && !this.shape.is_http10;
    let ends_by_close = !is_bodiless && !has_length && !is_empty && this.shape.is_http10;
    let leaves = this.leaves().await;
    let is_early = this.upload.state != Sending::Through && (body.is_end_stream() || has_length);
    let goes_on = this.shape.keeps_alive && !ends_by_close && !leaves && !is_early;
    this.is_answered = true;
    this.guard.answered(parts.status);
    let text = &mut *this.text;
    text.clear();
    text.extend_from_slice(if this.shape.is_http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    text.extend_from_slice(parts.status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        write_field(name.as_str().as_bytes(), value.as_bytes(), text);
    }
    if is_empty {
        write_field(b"content-length", b"0", text);
    }
    if is_chunked {
        write_field(b"transfer-encoding", b"chunked", text);
    }
    write_connection(&this.shape, goes_on, text);
    text.extend_from_slice(b"\r\n");
    this.written = 0;
    this.settle();
    if ends_by_close {
        this.conn.reset_at_end(true);
    }
    let mut is_ended = !is_chunked;
    let passed = poll_fn(|cx| {
        loop {
            let _ = pump.poll(this, cx);
            if this.upload.is_broken {
                return Poll::Ready(Err(Stopped::BadBody));
            }
            this.is_blocked = false;
            while this.written < this.text.len() {
                let rest = &this.text[this.written..];
                match Pin::new(&mut this.conn.socket).poll_write(cx, rest) {
                    Poll::Ready(Ok(count @ 1..)) => {
                        this.written += count;
                        this.moved += count as u64;
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Stopped::Gone)),
                    Poll::Pending => {
                        this.is_blocked = true;
                        return this.poll_stopped(cx).map(Err);
                    }
                }
            }
            // What is written is over; the next piece takes its place.
            this.text.clear();
            this.written = 0;
            let frame = match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Stopped::Broken)),
                // hyper takes a stream that its target reset without an error for one that ended.
                Poll::Ready(None) if !body.is_end_stream() => {
                    return Poll::Ready(Err(Stopped::Broken));
                }
                Poll::Ready(None) if !is_ended => {
                    is_ended = true;
                    this.text.extend_from_slice(b"0\r\n\r\n");
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.poll_stopped(cx).map(Err),
            };
            if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                if is_bodiless {
                    // The client takes whatever follows this head for the next one.
                    return Poll::Ready(Err(Stopped::Broken));
                }
                ExchangeGuard::went_out(
                    &this.guard.client,
                    &this.guard.exchange,
                    data.len() as u64,
                );
                this.moved += data.len() as u64;
                write_piece(data, is_chunked, &mut this.text);
            }
            if let Ok(mut trailers) = frame.into_trailers()
                && !is_ended
            {
                clean_trailers(&mut trailers);
                is_ended = true;
                this.text.extend_from_slice(b"0\r\n");
                for (name, value) in &trailers {
                    write_field(name.as_str().as_bytes(), value.as_bytes(), &mut this.text);
                }
                this.text.extend_from_slice(b"\r\n");
            }
        }
    })
    .await;
    Ok(match passed {
        Ok(()) => {
            if ends_by_close {
                this.conn.reset_at_end(false);
            }
            this.guard.complete();
            let is_through = this.upload.state == Sending::Through;
            if !is_through {
                this.upload.state = Sending::GivenUp;
            }
            this.settle();
            match goes_on && is_through {
                true => After::Next,
                false => After::Close { is_unread: !is_through },
            }
        }
        Err(_) if ends_by_close => After::Abort,
        Err(_) => After::Close { is_unread: this.upload.state != Sending::Through },
    })
}

/// Writes a piece of a body, as a chunk where the body is in chunks.
fn write_piece(data: &[u8], is_chunked: bool, out: &mut Vec<u8>) {
    if is_chunked {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    }
    out.extend_from_slice(data);
    if is_chunked {
        out.extend_from_slice(b"\r\n");
    }
}
