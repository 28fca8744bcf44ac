//! The request on its way to the target: its head, then its body as it comes.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::{Buf, SMALL};
use super::framing::{Rest, Taken};
use super::shape::Shape;
use super::take::Request;
use crate::proxy::exchange::ExchangeGuard;

/// More than this that is left of a body is worth a large buffer.
pub(super) const LONG: usize = 4 * SMALL;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Some of it is not sent yet.
    Open,
    /// All of it is sent.
    Through,
    /// The target takes no more of it.
    GivenUp,
}

/// The body of a request, and what is left to do for it.
pub(super) struct Upload {
    pub(super) state: Sending,
    pub(super) rest: Rest,
    /// What of the bytes that the connection holds is still to be sent.
    from: usize,
    until: usize,
    /// Bytes that the connection holds and that belong to this request.
    pub(super) used: usize,
    /// What came later and is not sent yet.
    buf: Option<Buf>,
    tail: Vec<u8>,
    /// The client is waited for.
    pub(super) awaits_client: bool,
    /// A byte of the body came.
    pub(super) has_begun: bool,
    /// The client broke the body off, or framed it wrongly.
    pub(super) is_broken: bool,
}

impl Upload {
    /// Takes what of `held`, which begins with the head, is here of the body; says how much content
    /// that is.
    pub(super) fn new(shape: &Shape, held: &[u8]) -> (Self, u64) {
        let mut rest = Rest::from(shape.body);
        let Taken { pass, used, content, tail, is_broken } =
            rest.take(held.get(shape.len..).unwrap_or_default());
        let upload = Self {
            state: Sending::Open,
            rest,
            from: shape.len,
            until: shape.len + pass,
            used: shape.len + used,
            buf: None,
            tail,
            awaits_client: false,
            has_begun: used > 0,
            is_broken,
        };
        (upload, content)
    }

    /// Begins anew, where nothing of the body was sent.
    pub(super) fn restart(&mut self) {
        self.state = Sending::Open;
    }

    /// What of the body is to be sent next.
    fn in_hand<'a>(&'a self, held: &'a [u8]) -> &'a [u8] {
        match &self.buf {
            Some(buf) => buf.filled(),
            None => held.get(self.from..self.until).unwrap_or_default(),
        }
    }

    /// `count` bytes of the body were written.
    fn sent(&mut self, count: usize) {
        let own = match &mut self.buf {
            Some(buf) => {
                let own = count.min(buf.len());
                buf.consume(own);
                if buf.is_empty() {
                    self.buf = None;
                    (self.from, self.until) = (0, 0);
                }
                own
            }
            None => {
                let own = count.min(self.until - self.from);
                self.from += own;
                own
            }
        };
        self.tail.drain(..(count - own).min(self.tail.len()));
    }

    /// Whether nothing of the bytes that the connection holds is needed any more.
    pub(super) fn is_settled(&self) -> bool {
        self.state != Sending::Open || self.from == self.until
    }
}

impl Request<'_> {
    /// Sends what can be sent; ready when the request is through or given up.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let upload = &mut self.upload;
            upload.awaits_client = false;
            if upload.state != Sending::Open || upload.is_broken {
                return Poll::Ready(());
            }
            let Some(lease) = &mut self.lease else {
                upload.state = Sending::GivenUp;
                return Poll::Ready(());
            };
            let io = &mut lease.connection.io;
            let head = if self.is_head_sent { &[] } else { &self.text[self.written..] };
            let body = upload.in_hand(self.conn.held());
            if !head.is_empty() || !body.is_empty() || !upload.tail.is_empty() {
                let written = match body.is_empty() && upload.tail.is_empty() {
                    true => Pin::new(io).poll_write(cx, head),
                    false => {
                        let tail = IoSlice::new(&upload.tail);
                        let pieces = [IoSlice::new(head), IoSlice::new(body), tail];
                        let first = usize::from(head.is_empty());
                        Pin::new(io).poll_write_vectored(cx, &pieces[first..])
                    }
                };
                let Ok(count @ 1..) = ready!(written) else {
                    upload.state = Sending::GivenUp;
                    return Poll::Ready(());
                };
                let of_head = count.min(head.len());
                self.written += of_head;
                self.is_head_sent |= self.written == self.text.len();
                self.has_sent = true;
                self.moved += count as u64;
                upload.sent(count - of_head);
                continue;
            }
            // TLS may hold back what was written until it is asked.
            let flushed = Pin::new(io).poll_flush(cx);
            if upload.rest.is_done() {
                if ready!(flushed).is_err() {
                    upload.state = Sending::GivenUp;
                } else {
                    self.through();
                }
                return Poll::Ready(());
            }
            ready!(self.poll_body_of_client(cx));
        }
    }

    /// All of the request is sent.
    pub(super) fn through(&mut self) {
        self.upload.state = Sending::Through;
        // What was there to be read until now was its body.
        self.conn.is_ahead = false;
    }

    /// Reads more of the body.
    fn poll_body_of_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let upload = &mut self.upload;
        let most = upload.rest.most();
        let buf = upload.buf.get_or_insert_with(|| match most > LONG && most < usize::MAX {
            true => Buf::large(),
            false => Buf::small(),
        });
        let room = buf.room(0);
        let most = most.min(room.len());
        let mut room = ReadBuf::new(&mut room[..most]);
        let polled = Pin::new(&mut self.conn.socket).poll_read(cx, &mut room);
        let read = room.filled().len();
        buf.add(read);
        if polled.is_pending() {
            upload.buf = None;
            upload.awaits_client = true;
            return Poll::Pending;
        }
        self.moved += read as u64;
        upload.has_begun = true;
        if read == 0 {
            self.conn.is_at_end = true;
            upload.is_broken = true;
            upload.buf = None;
            return Poll::Ready(());
        }
        let taken = upload.rest.take(buf.filled());
        self.conn.passed_by(taken.used);
        if !taken.is_broken {
            self.conn.put_back(&buf.filled()[taken.used..]);
        }
        buf.truncate(taken.pass);
        if buf.is_empty() {
            upload.buf = None;
            (upload.from, upload.until) = (0, 0);
        }
        upload.tail = taken.tail;
        upload.is_broken = taken.is_broken;
        ExchangeGuard::came_in(&self.guard.client, &self.guard.exchange, taken.content);
        Poll::Ready(())
    }
}
