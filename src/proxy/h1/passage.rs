//! The answer on its way to the client, while the request may still be on its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::{Buf, CHUNK_BACK, CHUNK_FRONT};
use super::framing::Rest;
use super::response::{self, Answer, Form, NoAnswer, To};
#[cfg(target_os = "linux")]
use super::splice::Spliced;
use super::take::Request;
use super::upload::{LONG, Sending};
use super::watch::Stopped;
use crate::proxy::exchange::ExchangeGuard;

/// Room made for more of a head that did not come whole.
const GROWTH: usize = 2 * 1024;
/// Bytes of an answer's head, at least.
const MOST_HEAD: usize = 64 * 1024;
/// Turns of one connection before others get theirs.
const MAX_TURNS: usize = 32;

/// What came of a request that was given to a connection.
pub(super) enum Met {
    Answer(Answer),
    /// Nothing of it was written.
    Unsent,
    /// The connection ended before the first byte of an answer.
    Closed,
    Stopped(Stopped),
}

/// What comes from the target.
pub(super) struct Download {
    pub(super) buf: Option<Buf>,
    pub(super) rest: Rest,
    pub(super) form: Form,
    tail: Vec<u8>,
    /// The connection may be used again behind this answer.
    pub(super) keeps_alive: bool,
    /// The last read was as long as it could be.
    is_long: bool,
    /// What came behind the last good byte is wrong.
    is_broken: bool,
}

impl Default for Download {
    fn default() -> Self {
        Self {
            buf: None,
            rest: Rest::Done,
            form: Form::AsItIs,
            tail: Vec::new(),
            keeps_alive: false,
            is_long: false,
            is_broken: false,
        }
    }
}

/// Whether a further answer follows one with `status`.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

impl Request<'_> {
    /// Sends the request and waits for the head of its answer, which is written into `text`; interim
    /// answers are passed on.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Met> {
        loop {
            let _ = self.poll_upload(cx);
            if self.upload.is_broken {
                return Poll::Ready(Met::Stopped(Stopped::BadBody));
            }
            if self.upload.state == Sending::GivenUp && !self.has_sent {
                return Poll::Ready(Met::Unsent);
            }
            let is_writing = self.upload.state == Sending::Open && !self.is_head_sent;
            if is_writing || !self.poll_interim(cx) {
                return self.poll_stopped(cx).map(Met::Stopped);
            }
            if std::mem::take(&mut self.is_unjudged) {
                if self.upload.state != Sending::Open {
                    self.conn.look_ahead(cx);
                }
                match self.read_head() {
                    Ok(Some(answer)) if !is_interim(answer.status) => {
                        return Poll::Ready(Met::Answer(answer));
                    }
                    Ok(Some(answer)) => {
                        self.moved += 1;
                        self.is_continued |= answer.status == StatusCode::CONTINUE;
                        self.is_interim = !self.shape.is_http10;
                        self.is_unjudged = self.download.buf.is_some();
                        continue;
                    }
                    Ok(None) => {}
                    Err(NoAnswer) => return Poll::Ready(Met::Stopped(Stopped::Broken)),
                }
            }
            match self.poll_target(cx) {
                Poll::Ready(Ok(1..)) => {
                    self.has_received = true;
                    self.is_unjudged = true;
                }
                Poll::Ready(_) if !self.has_received => return Poll::Ready(Met::Closed),
                Poll::Ready(_) => return Poll::Ready(Met::Stopped(Stopped::Broken)),
                Poll::Pending => return self.poll_stopped(cx).map(Met::Stopped),
            }
        }
    }

    /// Writes an interim answer that is in hand; whether none is left.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_blocked = false;
        while self.is_interim && self.written < self.text.len() {
            match Pin::new(&mut self.conn.socket).poll_write(cx, &self.text[self.written..]) {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.written += count;
                    self.moved += count as u64;
                }
                // That it is gone is seen by whoever reads.
                Poll::Ready(_) => self.written = self.text.len(),
                Poll::Pending => {
                    self.is_blocked = true;
                    return false;
                }
            }
        }
        self.is_interim = false;
        true
    }

    /// Whether the client has a part of an interim answer and not the rest.
    pub(super) fn is_within_interim(&self) -> bool {
        self.is_interim && self.written > 0 && self.written < self.text.len()
    }

    /// Reads a head that is in hand and writes it for the client. `None`: it is not complete.
    fn read_head(&mut self) -> Result<Option<Answer>, NoAnswer> {
        let bytes = self.download.buf.as_ref().map(Buf::filled).unwrap_or_default();
        let is_half_sent = self.upload.state != Sending::Through;
        let closes = self.conn.is_closing() && !self.has_more();
        let unasked = is_half_sent
            && self.shape.expects_continue
            && !self.is_continued
            && !self.upload.has_begun;
        let Some(upstream) = self.guard.upstream.as_deref() else { return Err(NoAnswer) };
        let to = To {
            head: self.conn.held(),
            shape: &self.shape,
            upstream,
            scheme: self.guard.client.facts.scheme(),
            // A client that was told the outcome without being asked for its body has to close or
            // to send it all the same; the first is meant.
            close: closes || unasked || self.upload.state == Sending::GivenUp,
            is_half_sent,
        };
        let Some(mut answer) = response::rewrite(bytes, &to, &mut self.text)? else {
            let limits = &self.guard.client.worker.limits.wire;
            let most = usize::try_from(limits.max_head_bytes).unwrap_or(usize::MAX);
            return if bytes.len() > most.max(MOST_HEAD) { Err(NoAnswer) } else { Ok(None) };
        };
        let is_whole = answer.rest.is_within(bytes.len() - answer.len);
        if unasked && !is_interim(answer.status) {
            // What is sent now is a body to a target that goes by the rule, and a request of its own to one
            // that takes it for refused. One that agrees may answer while it reads.
            answer.keeps_alive = false;
            if is_whole || !answer.status.is_success() {
                self.upload.state = Sending::GivenUp;
            }
        }
        // What of the request's head is not written stays so: the target answered without it.
        self.written = 0;
        self.is_head_sent = true;
        if let Some(buf) = &mut self.download.buf {
            buf.consume(answer.len);
            if buf.is_empty() {
                self.download.buf = None;
            }
        }
        Ok(Some(answer))
    }

    /// Whether something of a further request is here, as far as is known.
    pub(super) fn has_more(&self) -> bool {
        self.conn.held().len() > self.upload.used
    }

    /// Reads once from the target; 0 is the end of the stream.
    fn poll_target(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(0)) };
        let download = &mut self.download;
        let most = download.rest.most();
        let wants_large = (most > LONG && most < usize::MAX) || download.is_long;
        let buf = download.buf.get_or_insert_with(|| match wants_large {
            true => Buf::large(),
            false => Buf::small(),
        });
        match buf.is_empty() {
            true => buf.indent(CHUNK_FRONT),
            false => buf.make_room(GROWTH),
        }
        let mut room = ReadBuf::new(buf.room(CHUNK_BACK));
        let polled = Pin::new(&mut lease.connection.io).poll_read(cx, &mut room);
        let (read, is_full) = (room.filled().len(), room.remaining() == 0);
        buf.add(read);
        if buf.is_empty() {
            download.buf = None;
        }
        download.is_long = is_full;
        // A head that comes byte by byte is late all the same.
        if self.is_answered {
            self.moved += read as u64;
        }
        polled.map_ok(|()| read)
    }

    /// Takes what of the body is in the buffer, which holds nothing else.
    pub(super) fn take_body(&mut self) {
        let download = &mut self.download;
        let Some(buf) = &mut download.buf else { return };
        let here = buf.len();
        let taken = match (download.form, &download.rest) {
            (Form::End, Rest::Chunked(_)) => download.rest.take_content(buf),
            _ => download.rest.take(buf.filled()),
        };
        // What nobody asked for: the connection says something else than it should.
        download.keeps_alive &= taken.used == here;
        download.is_broken = taken.is_broken;
        match download.form {
            Form::AsItIs => {
                buf.truncate(taken.pass);
                download.tail = taken.tail;
            }
            Form::Chunks if !buf.is_empty() => buf.make_chunk(),
            Form::Chunks | Form::End => {}
        }
        if buf.is_empty() {
            download.buf = None;
        }
        ExchangeGuard::went_out(&self.guard.client, &self.guard.exchange, taken.content);
        self.give_back();
    }

    /// Gives the connection to the target back as soon as the last byte came over it: before the
    /// client has taken that byte, so that its next request finds it.
    pub(super) fn give_back(&mut self) {
        if !self.download.rest.is_done() || self.upload.state == Sending::Open {
            return;
        }
        self.guard.seat = None;
        if let Some(lease) = self.lease.take()
            && self.download.keeps_alive
            && self.upload.state == Sending::Through
        {
            lease.release();
        }
    }

    /// Passes the body on; ready when the client has all of the answer.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        for _ in 0..MAX_TURNS {
            if self.upload.state == Sending::Open && self.poll_upload(cx).is_ready() {
                if self.upload.is_broken {
                    return Poll::Ready(Err(Stopped::BadBody));
                }
                self.settle();
                self.give_back();
            }
            match self.poll_write_answer(cx) {
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(Ok(false)) => self.is_blocked = false,
                Poll::Ready(Err(stopped)) => return Poll::Ready(Err(stopped)),
                Poll::Pending => {
                    self.is_blocked = true;
                    return self.poll_stopped(cx).map(Err);
                }
            }
            if self.download.is_broken {
                return Poll::Ready(Err(Stopped::Broken));
            }
            #[cfg(target_os = "linux")]
            match self.poll_splice(cx) {
                None => {}
                Some(Spliced::Moved) => continue,
                Some(Spliced::Blocked) => {
                    self.is_blocked = true;
                    return self.poll_stopped(cx).map(Err);
                }
                Some(Spliced::Dry) => return self.poll_stopped(cx).map(Err),
                Some(Spliced::Stopped(stopped)) => return Poll::Ready(Err(stopped)),
            }
            if self.download.rest.is_done() {
                return Poll::Ready(Ok(()));
            }
            match self.poll_target(cx) {
                Poll::Ready(Ok(1..)) => self.take_body(),
                Poll::Ready(Ok(0)) if matches!(self.download.rest, Rest::UntilEnd) => {
                    self.download.rest = Rest::Done;
                    if self.download.form == Form::Chunks {
                        self.download.tail = b"0\r\n\r\n".to_vec();
                    }
                    self.give_back();
                }
                Poll::Ready(_) => return Poll::Ready(Err(Stopped::Broken)),
                Poll::Pending => return self.poll_stopped(cx).map(Err),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes once of what is in hand for the client; false: nothing is.
    fn poll_write_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Stopped>> {
        let download = &mut self.download;
        let head = &self.text[self.written..];
        let body = download.buf.as_ref().map(Buf::filled).unwrap_or_default();
        let all = head.len() + body.len() + download.tail.len();
        if all == 0 {
            return Poll::Ready(Ok(false));
        }
        let socket = Pin::new(&mut self.conn.socket);
        let polled = match body.len() == all {
            true => socket.poll_write(cx, body),
            false => {
                let tail = IoSlice::new(&download.tail);
                socket.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body), tail])
            }
        };
        let count = match polled {
            Poll::Ready(Ok(count @ 1..)) => count,
            Poll::Ready(_) => return Poll::Ready(Err(Stopped::Gone)),
            Poll::Pending => return Poll::Pending,
        };
        self.moved += count as u64;
        let of_head = count.min(head.len());
        let of_body = (count - of_head).min(body.len());
        self.written += of_head;
        if let Some(buf) = &mut download.buf {
            buf.consume(of_body);
            if buf.is_empty() {
                download.buf = None;
            }
        }
        let of_tail = (count - of_head - of_body).min(download.tail.len());
        download.tail.drain(..of_tail);
        Poll::Ready(Ok(count < all))
    }
}
