//! One request on its way: rewritten, sent, answered.

use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body as _;
use hyper::body::Incoming;

use super::answer::{Failure, Refusal, answer};
use super::body::{Gate, RequestBody, ResponseBody};
use super::connect::{Protocol, Want};
use super::exchange::{Client, ExchangeGuard};
use super::handle::ProxyPhase;
use super::headers::{RequestShape, set_protocol, to_client, to_upstream};
use super::pool::{CheckoutError, Lease};
use super::route::Turn;
use super::timer::Deadline;
use super::tunnel::PendingTunnel;
use super::upstream::Upstream;
use super::upstream_h1::SendError;
use super::wire::Begun;

/// How often a client that expects a 100 is looked at for sending its body regardless.
const EXPECT_PATIENCE: Duration = Duration::from_secs(1);
/// Instances of an application that are tried before the request is given up.
const MAX_INSTANCES: usize = 3;
/// Attempts to have a connection that takes the request at all.
const MAX_UNSENT: u32 = 3;

type Answer = Result<Response<ResponseBody>, Infallible>;

/// Takes a request of an HTTP/1 client.
pub(super) fn http1(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Answer> + use<> {
    let begun = client.wire.begin_request();
    client.io.body_open.set(!request.body().is_end_stream());
    client.io.client_late.set(false);
    let gated = matches!(begun, Begun::Request { gated: true });
    let failure = match begun {
        Begun::Refused(refusal) => Some(Failure::Refused(refusal)),
        Begun::Request { .. } if is_too_late(client) => Some(Failure::Draining),
        Begun::Request { .. } => None,
    };
    take(client, request, failure, gated)
}

/// Whether the request just begun came after the drain had looked for the last ones: a client that
/// goes on sending on a busy connection must not hold the drain up.
fn is_too_late(client: &Client) -> bool {
    client.proxy.phase() != ProxyPhase::Running
        && client.io.last_in_time.get().is_some_and(|last| client.wire.begun() > last)
}

/// Takes a request of an HTTP/2 client.
pub(super) fn http2(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Answer> + use<> {
    take(client, request, None, false)
}

/// Begins the request before anything is awaited: whoever looks at the connection after this call
/// sees it in flight.
fn take(
    client: &Rc<Client>,
    request: Request<Incoming>,
    failure: Option<Failure>,
    gated: bool,
) -> impl Future<Output = Answer> + use<> {
    let guard = ExchangeGuard::begin(client, request.method(), request.uri(), gated);
    async move {
        let forward = Forward {
            accept: request.headers().get(ACCEPT).cloned(),
            method: request.method().clone(),
            guard,
        };
        Ok(match failure {
            Some(failure) => forward.fail(failure),
            None => forward.run(request).await,
        })
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
        // hyper's own notes to itself (the pending upgrade); nothing of them goes to the target.
        parts.extensions = Extensions::new();
        let has_body = !body.is_end_stream();
        let is_chunked = has_body && body.size_hint().exact().is_none();
        let may_expect = has_body && !client.http2.get();
        let mut body = Some(body);
        let (mut waiting, mut gate, mut tried) = (None, None, Vec::new());
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
            if let Some(body) = body.take() {
                gate = (shape.expect_continue && may_expect).then(Arc::<Gate>::default);
                waiting = Some(RequestBody::new(body, &self.guard, gate.clone()));
            }
            let Some(ready) = waiting.take() else { return self.fail(Failure::Internal) };
            let sent = self.send(&upstream, &shape, parts, ready, has_body, gate.as_ref()).await;
            self.judge(&sent);
            match (sent, came) {
                (Ok(sent), _) => return self.answer(&upstream, &shape, sent, gate).await,
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

    /// What the instance did is held for or against it.
    fn judge(&self, sent: &Result<Sent, NotSent>) {
        let Some(seat) = &self.guard.seat else { return };
        match sent {
            Ok(_) => seat.answered(),
            Err(NotSent { failure: Failure::NoUpgrade, .. }) => seat.unjudged(),
            Err(NotSent { was_sent: false, .. }) => seat.unreachable(),
            Err(NotSent { failure: Failure::Broken(_) | Failure::Late(_), .. }) => seat.broken(),
            // The client's own doing.
            Err(_) => seat.unjudged(),
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
        gate: Option<&Arc<Gate>>,
    ) -> Result<Sent, NotSent> {
        let client = &self.guard.client;
        let want = match shape.upgrade.is_some() {
            true => Want::Http1,
            false => Want::Any,
        };
        // A proxy repeats by itself only what may be repeated (RFC 9110 section 9.2.2), and only
        // where no body is lost by it.
        let may_repeat = !has_body && parts.method.is_idempotent();
        let (mut fresh, mut unsent) = (false, 0);
        loop {
            let leased = client.worker.pool.checkout(&client.proxy, upstream, want, fresh).await;
            let mut lease = match leased {
                Ok(lease) => lease,
                Err(error) => {
                    let failure = self.no_connection(upstream, &error);
                    return Err(NotSent { failure, body: Some(body), was_sent: false });
                }
            };
            set_protocol(&mut parts, upstream, shape, lease.protocol());
            if let Some(gate) = gate {
                listen_for_continue(&mut parts, lease.protocol(), gate);
            }
            let repeat = (may_repeat && !fresh && lease.is_reused()).then(|| parts.clone());
            let request = Request::from_parts(parts, body);
            let mut patience = Patience::new(self, gate);
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
                    answered.await.map(|answered| {
                        answered.map_err(|mut error| match error.take_message() {
                            Some(request) => SendError::Unsent(Box::new(request)),
                            None => {
                                let error = error.into_error();
                                match lease.was_let_go(&error) {
                                    true => SendError::Closed(error),
                                    false => SendError::Broken(error),
                                }
                            }
                        })
                    })
                }
            };
            let error = match sent {
                Ok(Ok(response)) => return Ok(Sent { response, lease }),
                Ok(Err(error)) => error,
                Err(GaveUp::Target) => return Err(Failure::Late(upstream.name().clone()).into()),
                Err(GaveUp::Client) => return Err(Failure::RequestLate.into()),
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

    async fn answer(
        mut self,
        upstream: &Upstream,
        shape: &RequestShape,
        sent: Sent,
        gate: Option<Arc<Gate>>,
    ) -> Response<ResponseBody> {
        let Sent { response, lease } = sent;
        let (mut parts, body) = response.into_parts();
        parts.extensions = Extensions::new();
        if let Err(failure) = to_client(&mut parts, upstream, shape) {
            return self.fail(failure);
        }
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return match self.upgrade(lease).await {
                Ok(()) => Response::from_parts(parts, ResponseBody::own(Bytes::new(), None)),
                Err(this) => {
                    let target = upstream.name().clone();
                    this.fail(Failure::Broken(target))
                }
            };
        }
        self.guard.not_upgraded();
        // A client that was told the outcome without being asked for its body has to close or to
        // send it all the same; the first is meant.
        let unasked = gate.is_some_and(|gate| !gate.is_open());
        self.close_if_leaving(&mut parts.headers, unasked);
        self.guard.answered(parts.status);
        Response::from_parts(parts, ResponseBody::of_target(body, lease, self.guard))
    }

    /// Leaves the tunnel to the connection's task, with the guard of this request.
    async fn upgrade(mut self, lease: Lease) -> Result<(), Self> {
        let Lease::H1 { connection, .. } = lease else {
            return Err(self);
        };
        let Some(upgraded) = Box::pin(connection.into_upgraded()).await else {
            return Err(self);
        };
        self.guard.answered(StatusCode::SWITCHING_PROTOCOLS);
        self.guard.upgraded();
        let client = Rc::clone(&self.guard.client);
        *client.tunnel.borrow_mut() = Some(PendingTunnel { upstream: upgraded, guard: self.guard });
        Ok(())
    }

    /// pmctl's own answer.
    fn fail(mut self, failure: Failure) -> Response<ResponseBody> {
        let client = Rc::clone(&self.guard.client);
        let mut headers = HeaderMap::new();
        if let Some(accept) = self.accept.take() {
            headers.insert(ACCEPT, accept);
        }
        let own = answer(&failure, &client.proxy.name, &self.method, &headers);
        let (mut parts, body) = own.into_parts();
        if matches!(failure, Failure::Unreachable(_) | Failure::Broken(_) | Failure::Late(_)) {
            client.counters().upstream_failed();
        }
        self.guard.not_upgraded();
        let unread = client.io.body_open.get();
        let is_refused = matches!(failure, Failure::Refused(_) | Failure::Draining);
        self.close_if_leaving(&mut parts.headers, is_refused || unread);
        self.guard.answered(parts.status);
        Response::from_parts(parts, ResponseBody::own(body, Some(self.guard)))
    }

    /// Says that the connection ends with this answer, where it does: always with `close`, and in
    /// a drain unless another request is already here.
    fn close_if_leaving(&self, headers: &mut HeaderMap, close: bool) {
        let client = &self.guard.client;
        if client.http2.get() {
            return;
        }
        if close || (client.io.closing.get() && !client.has_more()) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    fn no_connection(&self, upstream: &Upstream, error: &CheckoutError) -> Failure {
        tracing::debug!(
            service = %self.guard.client.proxy.name,
            target = upstream.name().as_str(),
            error = error as &dyn std::error::Error,
        );
        match error {
            CheckoutError::Connect(error) => Failure::of_connect(error, upstream.name()),
            CheckoutError::Control => Failure::Control(upstream.name().clone()),
            CheckoutError::Handshake(_) => Failure::Broken(upstream.name().clone()),
        }
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

/// Opens `gate` as soon as the target asks for the body.
fn listen_for_continue(parts: &mut request::Parts, protocol: Protocol, gate: &Arc<Gate>) {
    match protocol {
        Protocol::H1 => {
            let gate = Arc::clone(gate);
            let mut carrier = Request::new(());
            hyper::ext::on_informational(&mut carrier, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    gate.open();
                }
            });
            parts.extensions = carrier.into_parts().0.extensions;
        }
        // hyper does not tell of a 100 over HTTP/2, so nobody could be waited for.
        Protocol::H2 => gate.open(),
    }
}

/// Who let the other one wait for too long.
enum GaveUp {
    Target,
    Client,
}

/// How long an answer is waited for. An upload that makes progress or waits for its client does
/// not count against the target.
struct Patience<'a> {
    forward: &'a Forward,
    deadline: Deadline,
    sent: u64,
    expect: Option<(Deadline, &'a Arc<Gate>)>,
}

impl<'a> Patience<'a> {
    fn new(forward: &'a Forward, gate: Option<&'a Arc<Gate>>) -> Self {
        let limits = &forward.guard.client.worker.limits;
        Self {
            forward,
            deadline: Deadline::after(limits.first_byte_timeout),
            sent: 0,
            expect: gate.map(|gate| (Deadline::after(EXPECT_PATIENCE), gate)),
        }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<GaveUp> {
        self.look_for_body(cx);
        if self.forward.guard.client.io.client_late.get() {
            return Poll::Ready(GaveUp::Client);
        }
        ready!(self.deadline.poll_passed(cx));
        let guard = &self.forward.guard;
        let sent = guard.exchange.bytes_in.load(Ordering::Relaxed);
        let progress = std::mem::replace(&mut self.sent, sent) != sent;
        if !progress && !guard.exchange.awaits_client.load(Ordering::Relaxed) {
            return Poll::Ready(GaveUp::Target);
        }
        self.deadline.set(guard.client.worker.limits.first_byte_timeout);
        let _ = self.deadline.poll_passed(cx);
        Poll::Pending
    }

    /// A client need not wait for the 100 for ever (RFC 9110 section 10.1.1): once bytes of its
    /// body are here, holding them back helps nobody, and the target may be one that never sends
    /// a 100.
    fn look_for_body(&mut self, cx: &mut Context<'_>) {
        let Some((deadline, gate)) = &self.expect else { return };
        let client = &self.forward.guard.client;
        let io = &client.io;
        if gate.is_open() {
            io.peek.set(false);
            self.expect = None;
        } else if io.body_waits.get() || client.wire.body_begun() {
            io.peek.set(false);
            gate.open();
            self.expect = None;
        } else if deadline.poll_passed(cx).is_ready() {
            // The socket is looked at when hyper flushes, behind this in the same poll.
            io.peek.set(true);
            deadline.set(EXPECT_PATIENCE);
            let _ = deadline.poll_passed(cx);
            cx.waker().wake_by_ref();
        }
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        let io = &self.forward.guard.client.io;
        io.peek.set(false);
        io.body_waits.set(false);
    }
}
