//! One request after another of a client, each from its head to the end of its answer.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, StatusCode};

use super::buffer::{Buf, Text};
use super::conn::{Conn, Next};
use super::own::{self, Asked};
use super::passage::{Download, Met};
use super::response::{Answer, Form};
use super::shape::Shape;
#[cfg(target_os = "linux")]
use super::splice::Pipe;
use super::upload::{Sending, Upload};
use super::watch::{Stopped, Waits};
use super::{over_h2, request};
use crate::proxy::answer::{Failure, Refusal};
use crate::proxy::connect::Want;
use crate::proxy::exchange::ExchangeGuard;
use crate::proxy::limits::{MAX_INSTANCES, MAX_UNSENT};
use crate::proxy::pool::Direct;
use crate::proxy::route::Turn;
use crate::proxy::table::ConnectionState;
use crate::proxy::tunnel::{PendingTunnel, Upgraded};
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream_raw::RawLease;
use crate::proxy::wire::Head;

/// What follows a request.
pub(super) enum After {
    /// The next one.
    Next,
    /// The end of the connection; `is_unread`: the client may still be sending.
    Close { is_unread: bool },
    /// The end at once: the client is to see that the answer is not whole.
    Abort,
    /// A tunnel.
    Tunnel(Box<PendingTunnel>),
}

/// A request under way, and everything that is open for it.
pub(super) struct Request<'c> {
    pub(super) conn: &'c mut Conn,
    pub(super) guard: ExchangeGuard,
    pub(super) shape: Shape,
    pub(super) lease: Option<RawLease>,
    pub(super) upload: Upload,
    pub(super) download: Download,
    /// Moves a long body.
    #[cfg(target_os = "linux")]
    pub(super) pipe: Option<Pipe>,
    /// A head on its way: the request's, then those of its answers.
    pub(super) text: Text,
    /// How much of it is written.
    pub(super) written: usize,
    pub(super) is_head_sent: bool,
    /// Anything of the request was written to this connection.
    pub(super) has_sent: bool,
    /// Anything came over this connection.
    pub(super) has_received: bool,
    /// Bytes of a head came that were not looked at.
    pub(super) is_unjudged: bool,
    /// `text` is an interim answer.
    pub(super) is_interim: bool,
    /// The target asked for the body.
    pub(super) is_continued: bool,
    /// The head of the answer is there.
    pub(super) is_answered: bool,
    /// The client does not take what it is sent.
    pub(super) is_blocked: bool,
    pub(super) waits: Waits,
    /// Bytes moved on either socket, and how many when the deadline was set.
    pub(super) moved: u64,
    pub(super) moved_at: u64,
    /// How long none has moved, by the deadlines that have passed.
    pub(super) stood: Duration,
}

/// Serves a client of HTTP/1 until its connection is over, or is to be a tunnel.
pub(in crate::proxy) async fn serve(conn: &mut Conn) -> Option<Box<PendingTunnel>> {
    loop {
        let after = match conn.next().await {
            Next::Close => After::Close { is_unread: false },
            // What a request needs is not held for one that may never come.
            Next::Refused { refusal, is_head } => Box::pin(refuse(conn, refusal, is_head)).await,
            Next::Head(head) => Box::pin(take(conn, head)).await,
        };
        match after {
            After::Next => {}
            After::Close { is_unread } => {
                conn.close(is_unread).await;
                return None;
            }
            After::Abort => return None,
            After::Tunnel(pending) => return Some(pending),
        }
    }
}

/// Answers a head that cannot be read. Nothing behind it is.
async fn refuse(conn: &mut Conn, refusal: Refusal, is_head: bool) -> After {
    let method = if is_head { Method::HEAD } else { Method::GET };
    let mut guard = ExchangeGuard::begin(&conn.client, method.clone(), "/");
    conn.client.entry.set_state(ConnectionState::InFlight);
    let asked = Asked::unknown(method);
    say(conn, &mut guard, &Failure::Refused(refusal), &asked, false).await;
    After::Close { is_unread: true }
}

/// Sends pmctl's own answer. Whether the client took it.
async fn say(
    conn: &mut Conn,
    guard: &mut ExchangeGuard,
    failure: &Failure,
    asked: &Asked,
    goes_on: bool,
) -> bool {
    let mut text = Text::take();
    own::write(failure, &conn.client.proxy.name, asked, goes_on, &mut text);
    guard.failed(failure);
    let is_taken = conn.write(&text).await;
    if is_taken {
        guard.complete();
    }
    is_taken
}

async fn take(conn: &mut Conn, head: Head) -> After {
    let shape = Shape::of(conn.held(), &head);
    conn.client.entry.set_state(ConnectionState::InFlight);
    let path = shape.path(conn.held());
    let guard = ExchangeGuard::begin(&conn.client, shape.method.clone(), &path);
    #[cfg(test)]
    crate::proxy::tests::meddle(&path);
    #[cfg(feature = "debug-hooks")]
    crate::proxy::debug_hooks::on_request(&conn.client, &over_h2::listed(conn.held(), &shape));
    drop(path);
    let (upload, content) = Upload::new(&shape, conn.held());
    if content > 0 {
        ExchangeGuard::came_in(&conn.client, &guard.exchange, content);
    }
    let mut request = Request {
        conn,
        guard,
        shape,
        lease: None,
        upload,
        download: Download::default(),
        #[cfg(target_os = "linux")]
        pipe: None,
        text: Text::take(),
        written: 0,
        is_head_sent: false,
        has_sent: false,
        has_received: false,
        is_unjudged: false,
        is_interim: false,
        is_continued: false,
        is_answered: false,
        is_blocked: false,
        waits: Waits::Unknown,
        moved: 0,
        moved_at: 0,
        stood: Duration::ZERO,
    };
    match request.run().await {
        Ok(after) => after,
        Err(failure) => request.fail(&failure).await,
    }
}

/// What the way to the target gave where it gave no answer.
struct NotSent {
    failure: Failure,
    /// Another instance may be tried: there was no connection, or the request may be repeated.
    may_go_elsewhere: bool,
    /// There was a connection.
    was_sent: bool,
}

impl From<Failure> for NotSent {
    fn from(failure: Failure) -> Self {
        Self { failure, may_go_elsewhere: false, was_sent: true }
    }
}

impl Request<'_> {
    /// Forwards the request to the target that it is the turn of.
    ///
    /// # Errors
    /// What pmctl is to answer, because nobody else has.
    async fn run(&mut self) -> Result<After, Failure> {
        if self.conn.is_too_late() {
            return Err(Failure::Draining);
        }
        let route = self.conn.client.proxy.route.load_full();
        let bound = self.conn.client.worker.limits.connect_timeout;
        let (mut tried, mut failure) = (Vec::new(), None);
        loop {
            let Some(Turn { upstream, seat }) = route.turn(&tried, bound).await else {
                let none = || Failure::NoInstance(route.name().clone());
                return Err(failure.unwrap_or_else(none));
            };
            let is_spread = seat.is_some();
            self.guard.upstream = Some(Arc::clone(&upstream));
            self.guard.seat = seat;
            match self.go(&upstream).await {
                Ok(after) => return Ok(after),
                Err(NotSent { failure: met, may_go_elsewhere, was_sent }) => {
                    self.guard.judge(Err((&met, !was_sent)));
                    if !may_go_elsewhere || !is_spread || tried.len() + 1 >= MAX_INSTANCES {
                        return Err(met);
                    }
                    tried.push(upstream.generation());
                    failure = Some(met);
                }
            }
        }
    }

    /// Forwards the request to `upstream`, over another connection where the rules allow it.
    async fn go(&mut self, upstream: &Arc<Upstream>) -> Result<After, NotSent> {
        let client = Rc::clone(&self.conn.client);
        if upstream.is_http2_only() {
            // Refused there, if it is.
        } else {
            let head = self.conn.held();
            request::write(head, &self.shape, upstream, &client.facts, &mut self.text)
                .map_err(Failure::Refused)?;
        }
        let want = if self.shape.upgrades { Want::Http1 } else { Want::Any };
        // A proxy repeats by itself only what may be repeated (RFC 9110 section 9.2.2), and only
        // where no body is lost by it.
        let may_repeat = self.shape.is_bare() && self.shape.method.is_idempotent();
        // That the target has closed may be unheard of yet.
        let is_sure = may_repeat || (self.conn.is_awaited && !self.conn.is_closing());
        let (mut fresh, mut unsent, mut is_repeated) = (false, 0, false);
        loop {
            let taken = match fresh {
                true => None,
                false => client.worker.pool.take_raw(&client.proxy, upstream, want, is_sure),
            };
            let direct = match taken {
                Some(direct) => Ok(direct),
                None => {
                    let made = client.worker.pool.make_raw(&client.proxy, upstream, want);
                    // The way of every new connection is long and rare; it does not belong into
                    // the future that each client connection holds.
                    Box::pin(made).await
                }
            };
            let lease = match direct {
                Ok(Direct::Raw(lease)) => lease,
                Ok(Direct::H2(lease)) => {
                    self.upload.restart();
                    return Ok(Box::pin(over_h2::forward(self, upstream, lease)).await?);
                }
                Err(error) => {
                    let failure = self.guard.no_connection(upstream, &error);
                    return Err(NotSent { failure, may_go_elsewhere: true, was_sent: false });
                }
            };
            let is_reused = lease.is_reused();
            self.begin(lease);
            let met = poll_fn(|cx| self.poll_answer(cx)).await;
            let target = || upstream.name().clone();
            if self.is_within_interim() && !matches!(met, Met::Answer(_)) {
                // Whatever was said now would be a part of that answer.
                return Ok(After::Close { is_unread: true });
            }
            match met {
                Met::Answer(answer) => {
                    self.guard.judge(Ok(()));
                    return Ok(self.answer(answer).await);
                }
                Met::Unsent if unsent < MAX_UNSENT => {
                    unsent += 1;
                    fresh = true;
                }
                Met::Closed if may_repeat && is_reused && !is_repeated => {
                    is_repeated = true;
                    fresh = true;
                }
                Met::Unsent | Met::Closed | Met::Stopped(Stopped::Broken) => {
                    let failure = Failure::Broken(target());
                    let may_go_elsewhere = may_repeat;
                    return Err(NotSent { failure, may_go_elsewhere, was_sent: true });
                }
                Met::Stopped(Stopped::TargetLate) => return Err(Failure::Late(target()).into()),
                Met::Stopped(Stopped::ClientLate) => return Err(Failure::RequestLate.into()),
                Met::Stopped(Stopped::BadBody) => {
                    return Err(Failure::Refused(Refusal::Body).into());
                }
                Met::Stopped(Stopped::Gone) => return Ok(After::Close { is_unread: false }),
            }
        }
    }

    /// Begins with another connection, on which nothing was sent yet.
    fn begin(&mut self, lease: RawLease) {
        self.lease = Some(lease);
        self.upload.restart();
        self.download = Download::default();
        self.written = 0;
        self.is_head_sent = false;
        self.has_sent = false;
        self.has_received = false;
        self.is_unjudged = false;
        self.is_interim = false;
    }

    /// Passes the answer on whose head is written.
    async fn answer(&mut self, answer: Answer) -> After {
        self.is_answered = true;
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.upgrade().await;
        }
        self.guard.answered(answer.status);
        let goes_on = answer.client_goes_on;
        self.download.rest = answer.rest;
        self.download.form = answer.form;
        self.download.keeps_alive = answer.keeps_alive;
        self.settle();
        match &self.download.buf {
            Some(_) => self.take_body(),
            None => self.give_back(),
        }
        let ends_by_close = self.download.form == Form::End;
        if ends_by_close {
            self.conn.reset_at_end(true);
        }
        match poll_fn(|cx| self.poll_body(cx)).await {
            Ok(()) => {
                if ends_by_close {
                    self.conn.reset_at_end(false);
                }
                self.guard.complete();
                self.give_up_upload();
                let is_through = self.upload.state == Sending::Through;
                match goes_on && is_through {
                    true => After::Next,
                    false => {
                        After::Close { is_unread: !is_through || !self.conn.held().is_empty() }
                    }
                }
            }
            Err(_) if ends_by_close => After::Abort,
            Err(_) => After::Close { is_unread: self.upload.state != Sending::Through },
        }
    }

    /// The target took no more of the body than it needed for its answer.
    fn give_up_upload(&mut self) {
        if self.upload.state == Sending::Open {
            self.upload.state = Sending::GivenUp;
            self.lease = None;
        }
        self.settle();
    }

    /// Lets go of what is read and belongs to this request, once nobody needs it.
    pub(super) fn settle(&mut self) {
        if self.is_answered && self.upload.is_settled() {
            self.conn.use_up(std::mem::take(&mut self.upload.used));
        }
    }

    /// Makes a tunnel of both connections.
    async fn upgrade(&mut self) -> After {
        let (Sending::Through, Some(lease)) = (self.upload.state, self.lease.take()) else {
            // It left HTTP before it had heard the request to its end.
            return match self.guard.upstream.as_ref().map(|u| u.name().clone()) {
                Some(target) => self.fail(&Failure::Broken(target)).await,
                None => After::Close { is_unread: true },
            };
        };
        self.settle();
        self.guard.answered(StatusCode::SWITCHING_PROTOCOLS);
        if !self.conn.write(&self.text).await {
            return After::Close { is_unread: false };
        }
        let early = self.download.buf.as_ref().map(Buf::filled).unwrap_or_default();
        let early = bytes::Bytes::copy_from_slice(early);
        let (io, open) = lease.into_parts();
        let guard = self.guard.move_to_tunnel();
        let upstream = Upgraded { io, early, guard: open };
        After::Tunnel(Box::new(PendingTunnel { upstream, guard }))
    }

    /// Whether the connection is to end with this request, because nothing of a further one is here.
    pub(super) async fn leaves(&mut self) -> bool {
        poll_fn(|cx| {
            if self.upload.rest.is_done() {
                self.conn.look_ahead(cx);
            }
            Poll::Ready(())
        })
        .await;
        self.conn.is_closing() && !self.has_more()
    }

    /// Sends pmctl's own answer. The connection goes on if all of the request was read.
    pub(super) async fn fail(&mut self, failure: &Failure) -> After {
        self.lease = None;
        self.download = Download::default();
        let is_refused = matches!(failure, Failure::Refused(_) | Failure::Draining);
        let is_unread = !self.upload.rest.is_done() || self.upload.is_broken;
        let leaves = self.leaves().await;
        let goes_on = self.shape.keeps_alive && !is_refused && !is_unread && !leaves;
        let asked = Asked::of(self.conn.held(), &self.shape);
        let is_taken = say(self.conn, &mut self.guard, failure, &asked, goes_on).await;
        self.conn.use_up(std::mem::take(&mut self.upload.used));
        match goes_on && is_taken {
            true => After::Next,
            false => After::Close { is_unread: is_refused || is_unread },
        }
    }
}
