//! Who is waited for while a request is under way, and for how long.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::take::Request;
use super::upload::Sending;

/// Who has to do something next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Not decided yet.
    Unknown,
    /// Nobody for longer than a beat: the client has only just come, and is not expected to go. From
    /// then on its socket is watched.
    Unwatched,
    /// The client: to send an awaited part of its body, or to take a part of the answer.
    Client,
    /// The target: to begin its answer.
    Target,
    /// The target, in the middle of an answer: an event stream may be silent for hours.
    Nobody,
    /// The same, for a client that has sent more than is read: its end is behind that, and is asked
    /// for now and then.
    Ahead,
    /// A client that has sent its last byte, and may be gone.
    HalfClosed,
}

/// Why a request ends before its answer is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The client is gone.
    Gone,
    /// The client broke its body off, or framed it wrongly.
    BadBody,
    /// The client has not moved for too long.
    ClientLate,
    /// The target has not answered in time.
    TargetLate,
    /// The target broke off, or what it sent is no HTTP.
    Broken,
}

impl Request<'_> {
    fn waits_for(&self) -> Waits {
        // A client that waits for a 100 owes nothing yet.
        let owes = self.upload.awaits_client
            && (self.upload.has_begun || !self.shape.expects_continue || self.is_continued);
        match (self.is_blocked || owes, self.conn.is_at_end, self.is_answered) {
            _ if self.conn.socket.is_bare() => Waits::Unwatched,
            (true, ..) => Waits::Client,
            (false, true, _) => Waits::HalfClosed,
            (false, false, false) => Waits::Target,
            (false, false, true) if self.hides_its_end() => Waits::Ahead,
            (false, false, true) => Waits::Nobody,
        }
    }

    /// Whether bytes of the client are here that are not read before something else has happened.
    fn hides_its_end(&self) -> bool {
        let is_stuck = self.upload.state == Sending::Open && !self.upload.awaits_client;
        is_stuck || self.conn.is_ahead
    }

    /// Whether nothing has moved for so long that a client whose end could not be heard of is taken to
    /// have left: Windows may not tell of an end behind bytes that are not read.
    fn stands_still(&self) -> bool {
        cfg!(windows) && self.stood >= self.guard.client.worker.limits.body_idle_timeout
    }

    fn bound(&self, waits: Waits) -> Option<Duration> {
        let limits = &self.guard.client.worker.limits;
        match waits {
            Waits::Client => Some(limits.body_idle_timeout),
            Waits::Target => Some(limits.first_byte_timeout),
            Waits::HalfClosed | Waits::Ahead => Some(limits.half_close_timeout),
            Waits::Unwatched => Some(Duration::ZERO),
            Waits::Nobody | Waits::Unknown => None,
        }
    }

    /// At the end of a turn in which nothing more could be done.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        if self.upload.state != Sending::Open {
            if !self.conn.socket.is_bare() && self.conn.poll_gone(cx).is_ready() {
                return Poll::Ready(Stopped::Gone);
            }
            self.conn.look_ahead(cx);
        }
        let waits = self.waits_for();
        if waits != self.waits {
            self.waits = waits;
            self.moved_at = self.moved;
            self.stood = Duration::ZERO;
            match self.bound(waits) {
                Some(bound) => self.conn.deadline.set(bound),
                None => self.conn.deadline.clear(),
            }
        }
        loop {
            ready!(self.conn.deadline.poll_passed(cx));
            if waits == Waits::Unwatched {
                // Watched from here on, also where nothing is to be learnt from it any more.
                if self.conn.socket.watched().is_err() || self.conn.poll_gone(cx).is_ready() {
                    return Poll::Ready(Stopped::Gone);
                }
                return self.poll_stopped(cx);
            }
            let Some(bound) = self.bound(waits) else { return Poll::Pending };
            let has_moved = self.moved_at != self.moved;
            self.stood = if has_moved { Duration::ZERO } else { self.stood + bound };
            let is_over = waits != Waits::Ahead || self.conn.has_left() || self.stands_still();
            if !has_moved && is_over {
                break;
            }
            // Bytes have moved since, or nobody has left: the same time again.
            self.moved_at = self.moved;
            self.conn.deadline.set(bound);
        }
        Poll::Ready(match waits {
            Waits::Client => Stopped::ClientLate,
            Waits::HalfClosed | Waits::Ahead => Stopped::Gone,
            Waits::Target | Waits::Nobody | Waits::Unknown | Waits::Unwatched => {
                Stopped::TargetLate
            }
        })
    }
}
