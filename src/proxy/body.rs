//! Bodies on their way through: frame by frame, nothing kept.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::exchange::{Client, ExchangeGuard};
use super::headers::clean_trailers;
use super::pool::Lease;
use super::table::Exchange;

/// Holds a request's body back until its target asked for it (RFC 9110 section 10.1.1). As soon as
/// hyper is asked for the body it tells the client to send it.
#[derive(Default)]
pub(super) struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        match self.is_open() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// Why a body from a target broke off.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// As hyper says it.
    #[error("read the target's answer")]
    Hyper(#[source] hyper::Error),
    /// The connection is gone.
    #[error("read the target's answer: the connection is gone")]
    Gone,
}

/// A client's body on its way to the target.
pub(super) struct RequestBody {
    /// `None`: no body.
    inner: Option<Incoming>,
    client: Rc<Client>,
    exchange: Arc<Exchange>,
    gate: Option<Arc<Gate>>,
    done: bool,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, guard: &ExchangeGuard, gate: Option<Arc<Gate>>) -> Self {
        let client = Rc::clone(&guard.client);
        let done = inner.is_end_stream();
        Self { inner: Some(inner), client, exchange: Arc::clone(&guard.exchange), gate, done }
    }

    /// For the repetition of a request that has none.
    pub(super) fn empty(guard: &ExchangeGuard) -> Self {
        let (client, exchange) = (Rc::clone(&guard.client), Arc::clone(&guard.exchange));
        Self { inner: None, client, exchange, gate: None, done: true }
    }

    fn ended(&mut self) {
        self.done = true;
        self.exchange.awaits_client.store(false, Ordering::Relaxed);
        self.client.io.body_open.set(false);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(inner) = this.inner.as_mut().filter(|_| !this.done) else {
            return Poll::Ready(None);
        };
        if let Some(gate) = &this.gate {
            ready!(gate.poll_open(cx));
            this.gate = None;
        }
        let polled = Pin::new(inner).poll_frame(cx);
        this.exchange.awaits_client.store(polled.is_pending(), Ordering::Relaxed);
        let mut frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                this.done = true;
                this.exchange.body_broken.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                this.ended();
                return Poll::Ready(None);
            }
        };
        if let Some(data) = frame.data_ref() {
            ExchangeGuard::came_in(&this.client, &this.exchange, data.len() as u64);
        }
        if let Some(trailers) = frame.trailers_mut() {
            clean_trailers(trailers);
            this.ended();
        } else if this.inner.as_ref().is_none_or(|inner| inner.is_end_stream()) {
            this.ended();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// An answer on its way to the client. Holds the request's guard, and the connection to the target
/// for as long as bytes come from it.
pub(super) struct ResponseBody {
    source: Source,
    guard: Option<ExchangeGuard>,
}

enum Source {
    /// pmctl's own, or nothing.
    Own(Option<Bytes>),
    Target {
        body: Incoming,
        lease: Option<Lease>,
    },
    /// The target broke off, and the client's connection is to hear of it. It closes then and drops
    /// what it has not written, so what came before is let out first.
    Breaking(BodyError),
    /// The target broke off.
    Broken,
}

impl ResponseBody {
    pub(super) fn own(bytes: Bytes, guard: Option<ExchangeGuard>) -> Self {
        Self { source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())), guard }
    }

    pub(super) fn of_target(body: Incoming, lease: Lease, guard: ExchangeGuard) -> Self {
        let mut this =
            Self { source: Source::Target { body, lease: Some(lease) }, guard: Some(guard) };
        this.release_at_end();
        this
    }

    /// Gives the connection back as soon as the last byte came over it: before the client has
    /// taken that byte, so that his next request finds it.
    fn release_at_end(&mut self) {
        if let Source::Target { body, lease } = &mut self.source
            && body.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.release();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Target { body, lease: Some(lease) } => lease.poll_frame(body, cx),
            Source::Target { body, lease: None } => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Hyper))),
            Source::Breaking(_) if is_held_up(this.guard.as_ref()) => return Poll::Pending,
            Source::Breaking(_) => match std::mem::replace(&mut this.source, Source::Broken) {
                Source::Breaking(error) => return Poll::Ready(Some(Err(error))),
                _ => return Poll::Ready(None),
            },
            Source::Broken => return Poll::Ready(None),
        };
        let mut frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // What is left of the connection is of no use; the guard tells the loss. hyper
                // flushes behind this poll.
                this.source = Source::Breaking(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // hyper takes a stream that its target reset without an error for one that ended.
            None if matches!(&this.source, Source::Target { body, lease: Some(Lease::H2(_)) }
                if !body.is_end_stream()) =>
            {
                this.source = Source::Breaking(BodyError::Gone);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => {
                this.release_at_end();
                if let Some(guard) = &mut this.guard {
                    guard.complete();
                }
                return Poll::Ready(None);
            }
        };
        if let Some(data) = frame.data_ref()
            && let Some(guard) = &this.guard
        {
            ExchangeGuard::went_out(&guard.client, &guard.exchange, data.len() as u64);
        }
        if let Some(trailers) = frame.trailers_mut() {
            clean_trailers(trailers);
        }
        this.release_at_end();
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Target { body, .. } => body.is_end_stream(),
            Source::Breaking(_) | Source::Broken => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Source::Own(None) => SizeHint::with_exact(0),
            Source::Target { body, .. } => body.size_hint(),
            Source::Breaking(_) | Source::Broken => SizeHint::default(),
        }
    }
}

/// Whether a client of HTTP/1 takes no bytes for now; its socket wakes whoever writes to it.
fn is_held_up(guard: Option<&ExchangeGuard>) -> bool {
    guard.is_some_and(|guard| !guard.client.http2.get() && guard.client.io.blocked.get())
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let through = match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Target { body, .. } => body.is_end_stream(),
            Source::Breaking(_) | Source::Broken => false,
        };
        if through && let Some(guard) = &mut self.guard {
            guard.complete();
        }
    }
}
