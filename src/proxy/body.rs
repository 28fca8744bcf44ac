//! Bodies on their way through: frame by frame, nothing kept.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::exchange::{Client, ExchangeGuard};
use super::headers::clean_trailers;
use super::pool::Lease;
use super::table::Exchange;

/// Why a body broke off.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// As hyper says it.
    #[error("read the body")]
    Hyper(#[source] hyper::Error),
    /// The connection is gone, or what came over it is no body.
    #[error("read the body: the connection is gone")]
    Gone,
}

/// A body that somebody hands over piece by piece, one at a time.
#[derive(Default)]
pub(super) struct Feed {
    length: Option<u64>,
    state: RefCell<Feeding>,
}

#[derive(Default)]
struct Feeding {
    next: Option<Result<Frame<Bytes>, BodyError>>,
    is_ended: bool,
    /// Who waits for the next piece.
    reader: Option<Waker>,
    /// Who waits until it may hand over another one.
    writer: Option<Waker>,
}

impl Feed {
    /// A body of that length, or of an unknown one.
    pub(super) fn new(length: Option<u64>) -> Self {
        Self { length, state: RefCell::default() }
    }

    /// Ready when the next piece may be put.
    pub(super) fn poll_free(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        match state.next.is_some() {
            true => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            false => Poll::Ready(()),
        }
    }

    pub(super) fn put(&self, piece: Result<Frame<Bytes>, BodyError>) {
        let mut state = self.state.borrow_mut();
        state.next = Some(piece);
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Nothing comes behind what was put.
    pub(super) fn end(&self) {
        let mut state = self.state.borrow_mut();
        state.is_ended = true;
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Nobody hands anything over any more. Unless it had ended, the body is broken off: whoever sends it
    /// would wait for the rest for ever.
    pub(super) fn give_up(&self) {
        if !self.state.borrow().is_ended {
            self.put(Err(BodyError::Gone));
        }
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.state.borrow_mut();
        match (state.next.take(), state.is_ended) {
            (Some(piece), _) => {
                state.writer.take().into_iter().for_each(Waker::wake);
                Poll::Ready(Some(piece))
            }
            (None, true) => Poll::Ready(None),
            (None, false) => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end(&self) -> bool {
        let state = self.state.borrow();
        state.next.is_none() && state.is_ended
    }
}

/// A client's body on its way to the target.
pub(super) struct RequestBody {
    inner: From,
    client: Rc<Client>,
    exchange: Arc<Exchange>,
    done: bool,
}

/// Where it comes from.
enum From {
    Nowhere,
    /// An HTTP/2 client.
    Hyper(Incoming),
    /// An HTTP/1 client of the own engine.
    Fed(Rc<Feed>),
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, guard: &ExchangeGuard) -> Self {
        let done = inner.is_end_stream();
        Self::of(From::Hyper(inner), guard, done)
    }

    /// What is put into `feed`.
    pub(super) fn fed(feed: &Rc<Feed>, guard: &ExchangeGuard) -> Self {
        Self::of(From::Fed(Rc::clone(feed)), guard, false)
    }

    /// For a request that has none, or its repetition.
    pub(super) fn empty(guard: &ExchangeGuard) -> Self {
        Self::of(From::Nowhere, guard, true)
    }

    fn of(inner: From, guard: &ExchangeGuard, done: bool) -> Self {
        let (client, exchange) = (Rc::clone(&guard.client), Arc::clone(&guard.exchange));
        Self { inner, client, exchange, done }
    }

    fn is_end(&self) -> bool {
        match &self.inner {
            From::Nowhere => true,
            From::Hyper(inner) => inner.is_end_stream(),
            From::Fed(feed) => feed.is_end(),
        }
    }

    fn ended(&mut self) {
        self.done = true;
        self.exchange.awaits_client.store(false, Ordering::Relaxed);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let polled = match &mut this.inner {
            From::Nowhere => Poll::Ready(None),
            From::Hyper(inner) => Pin::new(inner)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Hyper))),
            From::Fed(feed) => feed.poll_next(cx),
        };
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
        if let Some(data) = frame.data_ref()
            && !matches!(this.inner, From::Fed(_))
        {
            // What is fed was counted when it came.
            ExchangeGuard::came_in(&this.client, &this.exchange, data.len() as u64);
        }
        if let Some(trailers) = frame.trailers_mut() {
            clean_trailers(trailers);
            this.ended();
        } else if this.is_end() {
            this.ended();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            From::Nowhere => SizeHint::with_exact(0),
            From::Hyper(inner) => inner.size_hint(),
            From::Fed(feed) => feed.length.map_or_else(SizeHint::default, SizeHint::with_exact),
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
    /// The target broke off. The error is kept back until what came before it is on its way to the
    /// client: hyper gives up with what it has not written.
    Breaking(BodyError),
    /// It broke off, and was told.
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
        // Whatever wakes the connection to write on wakes this, too.
        let client_is_behind = this.guard.as_ref().is_some_and(|g| g.client.io.dirty.get());
        let polled = match &mut this.source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Target { body, lease: Some(lease) } => lease.poll_frame(body, cx),
            Source::Target { body, lease: None } => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Hyper))),
            Source::Breaking(_) if client_is_behind => return Poll::Pending,
            Source::Breaking(_) => match std::mem::replace(&mut this.source, Source::Broken) {
                Source::Breaking(error) => return Poll::Ready(Some(Err(error))),
                _ => return Poll::Ready(None),
            },
            Source::Broken => return Poll::Ready(None),
        };
        let mut frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
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
