//! One request of an HTTP/2 client on its way: rewritten, sent, answered.

use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use http::header::ACCEPT;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, request};
use http_body::Body as _;
use hyper::body::Incoming;

use super::answer::{Failure, Refusal, answer};
use super::body::{RequestBody, ResponseBody};
use super::connect::Want;
use super::exchange::{Client, ExchangeGuard};
use super::headers::{RequestShape, set_protocol, to_client, to_upstream};
use super::limits::{MAX_INSTANCES, MAX_UNSENT};
use super::pool::Lease;
use super::route::Turn;
use super::timer::Deadline;
use super::upstream::Upstream;
use super::upstream_h1::SendError;

type Answer = Result<Response<ResponseBody>, Infallible>;

/// Takes a request. It is begun before anything is awaited: whoever looks at the connection after
/// this call sees it in flight.
pub(super) fn http2(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Answer> + use<> {
    let guard = ExchangeGuard::begin(client, request.method().clone(), request.uri().path());
    async move {
        let forward = Forward {
            accept: request.headers().get(ACCEPT).cloned(),
            method: request.method().clone(),
            guard,
        };
        Ok(forward.run(request).await)
    }
}

/// A request and what its own answers would be made from.
struct Forward {
    guard: ExchangeGuard,
    method: Method,
    accept: Option<HeaderValue>,
}

/// What the way to the target gave where it gave no answer.
struct NotSent {
    failure: Failure,
    /// Here again where another instance may be tried: there was no connection, or the request may be
    /// repeated.
    body: Option<RequestBody>,
    /// There was a connection.
    was_sent: bool,
}

impl From<Failure> for NotSent {
    fn from(failure: Failure) -> Self {
        Self { failure, body: None, was_sent: true }
    }
}

/// What the way to the target gave.
struct Sent {
    response: Response<Incoming>,
    lease: Lease,
}

impl Forward {
    async fn run(mut self, request: Request<Incoming>) -> Response<ResponseBody> {
        #[cfg(test)]
        super::tests::meddle(request.uri().path());
        let client = Rc::clone(&self.guard.client);
        #[cfg(feature = "debug-hooks")]
        super::debug_hooks::on_request(&client, &request);
        let route = client.proxy.route.load_full();
        let (mut parts, body) = request.into_parts();
        // hyper's own notes to itself; nothing of them goes to the target.
        parts.extensions = Extensions::new();
        let has_body = !body.is_end_stream();
        let is_chunked = has_body && body.size_hint().exact().is_none();
        let mut waiting = Some(RequestBody::new(body, &self.guard));
        let mut tried = Vec::new();
        let mut failure = None;
        loop {
            let bound = client.worker.limits.connect_timeout;
            let Some(Turn { upstream, seat }) = route.turn(&tried, bound).await else {
                let none = || Failure::NoInstance(route.name().clone());
                return self.fail(failure.unwrap_or_else(none));
            };
            // The head as it came, for another instance.
            let came = seat.is_some().then(|| Box::new(parts.clone()));
            self.guard.upstream = Some(Arc::clone(&upstream));
            self.guard.seat = seat;
            let mut shape = match to_upstream(&mut parts, &upstream, &client.facts) {
                Ok(shape) => shape,
                Err(refusal) => return self.fail(Failure::Refused(refusal)),
            };
            shape.chunked = is_chunked;
            let Some(ready) = waiting.take() else { return self.fail(Failure::Internal) };
            let sent = self.send(&upstream, &shape, parts, ready, has_body).await;
            self.guard.judge(match &sent {
                Ok(_) => Ok(()),
                Err(not_sent) => Err((&not_sent.failure, !not_sent.was_sent)),
            });
            match (sent, came) {
                (Ok(sent), _) => return self.answer(&upstream, &shape, sent),
                (Err(NotSent { failure: met, body: Some(unsent), .. }), Some(came))
                    if tried.len() + 1 < MAX_INSTANCES =>
                {
                    tried.push(upstream.generation());
                    (parts, waiting, failure) = (*came, Some(unsent), Some(met));
                }
                (Err(not_sent), _) => return self.fail(not_sent.failure),
            }
        }
    }

    /// Sends the request, over another connection where the rules allow it.
    async fn send(
        &self,
        upstream: &Arc<Upstream>,
        shape: &RequestShape,
        mut parts: request::Parts,
        mut body: RequestBody,
        has_body: bool,
    ) -> Result<Sent, NotSent> {
        let client = &self.guard.client;
        // A proxy repeats by itself only what may be repeated (RFC 9110 section 9.2.2), and only
        // where no body is lost by it.
        let may_repeat = !has_body && parts.method.is_idempotent();
        let (mut fresh, mut unsent) = (false, 0);
        loop {
            let leased =
                client.worker.pool.checkout(&client.proxy, upstream, Want::Any, fresh).await;
            let mut lease = match leased {
                Ok(lease) => lease,
                Err(error) => {
                    let failure = self.guard.no_connection(upstream, &error);
                    return Err(NotSent { failure, body: Some(body), was_sent: false });
                }
            };
            set_protocol(&mut parts, upstream, shape, lease.protocol());
            let repeat = (may_repeat && !fresh && lease.is_reused()).then(|| parts.clone());
            let request = Request::from_parts(parts, body);
            let mut patience = Patience::new(&self.guard);
            let sent = match &mut lease {
                Lease::H1 { connection, .. } => {
                    connection.send(request, |cx| patience.poll_over(cx)).await
                }
                Lease::H2(lease) => {
                    let mut answer = std::pin::pin!(lease.send(request));
                    let answered = poll_fn(|cx| match answer.as_mut().poll(cx) {
                        Poll::Ready(answered) => Poll::Ready(Ok(answered)),
                        Poll::Pending => patience.poll_over(cx).map(Err),
                    });
                    answered.await.map(|answered| answered.map_err(|e| lease.send_error(e)))
                }
            };
            let error = match sent {
                Ok(Ok(response)) => return Ok(Sent { response, lease }),
                Ok(Err(error)) => error,
                Err(GaveUp) => return Err(Failure::Late(upstream.name().clone()).into()),
            };
            drop(lease);
            match (error, repeat) {
                (SendError::Unsent(request), _) if unsent < MAX_UNSENT => {
                    unsent += 1;
                    (parts, body) = request.into_parts();
                }
                (SendError::Closed(_), Some(saved)) => {
                    fresh = true;
                    parts = saved;
                    body = RequestBody::empty(&self.guard);
                }
                (SendError::Gone, _) => return Err(Failure::Internal.into()),
                _ if self.guard.exchange.body_broken.load(Ordering::Relaxed) => {
                    return Err(Failure::Refused(Refusal::Body).into());
                }
                (error, _) => {
                    self.log_failure(upstream, &error);
                    let failure = Failure::Broken(upstream.name().clone());
                    let body = may_repeat.then(|| RequestBody::empty(&self.guard));
                    return Err(NotSent { failure, body, was_sent: true });
                }
            }
        }
    }

    fn answer(
        mut self,
        upstream: &Upstream,
        shape: &RequestShape,
        sent: Sent,
    ) -> Response<ResponseBody> {
        let Sent { response, lease } = sent;
        let (mut parts, body) = response.into_parts();
        parts.extensions = Extensions::new();
        // Nobody asks for an upgrade by HTTP/2.
        if let Err(failure) = to_client(&mut parts, upstream, shape) {
            return self.fail(failure);
        }
        self.guard.answered(parts.status);
        Response::from_parts(parts, ResponseBody::of_target(body, lease, self.guard))
    }

    /// pmctl's own answer.
    fn fail(mut self, failure: Failure) -> Response<ResponseBody> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = self.accept.take() {
            headers.insert(ACCEPT, accept);
        }
        let service = &self.guard.client.proxy.name;
        let (parts, body) = answer(&failure, service, &self.method, &headers).into_parts();
        self.guard.failed(&failure);
        Response::from_parts(parts, ResponseBody::own(body, Some(self.guard)))
    }

    fn log_failure(&self, upstream: &Upstream, error: &SendError) {
        let error = match error {
            SendError::Closed(error) | SendError::Broken(error) => {
                Some(error as &dyn std::error::Error)
            }
            SendError::Unsent(_) | SendError::Gone => None,
        };
        tracing::debug!(
            service = %self.guard.client.proxy.name,
            target = upstream.name().as_str(),
            error,
        );
    }
}

/// The target let the client wait for too long.
struct GaveUp;

/// How long an answer is waited for. An upload that makes progress or waits for its client does
/// not count against the target.
struct Patience<'a> {
    guard: &'a ExchangeGuard,
    deadline: Deadline,
    sent: u64,
}

impl<'a> Patience<'a> {
    fn new(guard: &'a ExchangeGuard) -> Self {
        let deadline = Deadline::after(guard.client.worker.limits.first_byte_timeout);
        Self { guard, deadline, sent: 0 }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<GaveUp> {
        ready!(self.deadline.poll_passed(cx));
        let exchange = &self.guard.exchange;
        let sent = exchange.bytes_in.load(Ordering::Relaxed);
        let progress = std::mem::replace(&mut self.sent, sent) != sent;
        if !progress && !exchange.awaits_client.load(Ordering::Relaxed) {
            return Poll::Ready(GaveUp);
        }
        self.deadline.set(self.guard.client.worker.limits.first_byte_timeout);
        let _ = self.deadline.poll_passed(cx);
        Poll::Pending
    }
}
