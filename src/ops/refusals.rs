//! Callers that were turned away, as events: enough of them to see who tried what, never so many
//! that a flood of refusals becomes a flood of rows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::Ops;
use crate::model::{Actor, EventAction, Fault, Outcome, ServiceName};
use crate::store::NewEvent;
use crate::text::Message;

/// The same refusal is written once within this time, and all bounds below count within it.
const WINDOW: Duration = Duration::from_secs(60);
/// Refusals written of one user, or of one address where the user is not known, so that nobody can
/// push the others' out.
const OF_ONE: usize = 32;
/// Refusals written in all.
const OF_ALL: usize = 256;
/// Characters of what was asked, and of what tells two refusals apart, that are kept.
const LONGEST: usize = 200;

/// Somebody who was turned away.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What was asked, such as `GET /api/services`: a caller's own words.
    pub subject: String,
    /// Who asked.
    pub actor: Actor,
    /// The asking machine; `None` for this server's own data plane.
    pub ip: Option<IpAddr>,
    /// The asking user, where it is known.
    pub uid: Option<u32>,
    /// What else sets it apart from others of that code, such as the `Host` it named.
    pub about: String,
    /// Why.
    pub message: Message,
}

/// What two refusals that count as the same have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    code: &'static str,
    party: Party,
    /// Whoever was refused a look and then tries to kill has tried two things.
    subject: String,
    about: String,
}

/// Who counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Party {
    /// A user of this machine, who has all its loopback addresses to call from.
    User(u32),
    Address(IpAddr),
    DataPlane,
}

impl Party {
    fn of(ip: Option<IpAddr>, uid: Option<u32>) -> Self {
        match (uid, ip) {
            (Some(uid), _) => Self::User(uid),
            (None, Some(ip)) => Self::Address(ip),
            (None, None) => Self::DataPlane,
        }
    }
}

/// Which refusals of late were written. Bounded by [`OF_ALL`].
#[derive(Debug, Default)]
pub(super) struct Written(HashMap<Kind, Instant>);

impl Written {
    /// Whether a refusal of `kind` at `now` is to be written; notes it if so.
    fn admit(&mut self, kind: Kind, now: Instant) -> bool {
        self.0.retain(|_, at| now.saturating_duration_since(*at) < WINDOW);
        let of_it = self.0.keys().filter(|written| written.party == kind.party).count();
        if self.0.contains_key(&kind) || of_it >= OF_ONE || self.0.len() >= OF_ALL {
            return false;
        }
        self.0.insert(kind, now);
        true
    }
}

/// `text` on one line and not too long.
fn shown(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(LONGEST).collect();
    if text.escape_debug().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

impl Ops {
    /// Writes `refusal` down as an event, in the background and not more often than makes sense.
    /// Must be called on the control plane's runtime. Nothing is written without a live server.
    pub fn record_refusal(&self, refusal: Refusal) {
        let (Some(live), Some(store)) = (self.live(), self.reading_store()) else { return };
        let Refusal { subject, actor, ip, uid, about, message } = refusal;
        let (subject, about) = (shown(&subject), shown(&about));
        let party = Party::of(ip, uid);
        let kind = Kind { code: message.code(), party, subject: subject.clone(), about };
        let is_new = {
            let mut written = self.refusals().lock().unwrap_or_else(PoisonError::into_inner);
            written.admit(kind, Instant::now())
        };
        if !is_new {
            return;
        }
        let event = NewEvent {
            at: self.now(),
            action: EventAction::Refused,
            subject,
            actor,
            outcome: Outcome::Refused,
            detail: Some(message),
        };
        let (ops, store) = (self.clone(), store.clone());
        live.carry_out(Box::pin(async move {
            match store.append_events(vec![event]).await {
                Ok(()) => ops.events_appended().await,
                Err(error) => tracing::warn!(%error, "a refusal is not among the events"),
            }
        }));
    }
}

impl Ops {
    /// Passes `fault` on, and writes it down if it says that a target is the control plane.
    pub(super) fn refusing_control(
        &self,
        service: &ServiceName,
        by: &Actor,
        fault: Fault,
    ) -> Fault {
        if fault.message.code() == CONTROL_TARGET {
            self.record_refusal(Refusal {
                subject: service.to_string(),
                actor: by.clone(),
                ip: None,
                uid: None,
                about: format!("{service}: {}", fault.message),
                message: fault.message.clone(),
            });
        }
        fault
    }
}

/// The code of the fault of a target that is the control address.
const CONTROL_TARGET: &str = "target-not-control";

/// The place for it in what all operations share.
pub(super) type Refusals = Mutex<Written>;

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(ip: u8, about: usize) -> Kind {
        let party = Party::of(Some(IpAddr::from([127, 0, 0, ip])), None);
        let subject = "GET /".to_owned();
        Kind { code: "host-not-allowed", party, subject, about: about.to_string() }
    }

    #[test]
    fn the_same_refusal_is_written_once_a_minute() {
        let (mut written, start) = (Written::default(), Instant::now());
        assert!(written.admit(kind(1, 1), start));
        assert!(!written.admit(kind(1, 1), start + WINDOW / 2));
        assert!(written.admit(kind(1, 2), start), "another host");
        assert!(written.admit(kind(2, 1), start), "another caller");
        let kill = Kind { subject: "POST /api/ports/8080/kill".to_owned(), ..kind(1, 1) };
        assert!(written.admit(kill, start), "another request");
        assert!(written.admit(kind(1, 1), start + WINDOW));
    }

    #[test]
    fn a_flood_is_bounded_and_leaves_room_for_the_others() {
        let (mut written, now) = (Written::default(), Instant::now());
        let flood = (0..10_000).filter(|about| written.admit(kind(1, *about), now)).count();
        assert_eq!(flood, OF_ONE);
        assert!(written.admit(kind(2, 0), now), "somebody else");
        let all = (3..=255).flat_map(|ip| (0..OF_ONE).map(move |about| (ip, about)));
        let all = all.filter(|(ip, about)| written.admit(kind(*ip, *about), now)).count();
        assert_eq!(all + OF_ONE + 1, OF_ALL);
        assert!(written.0.len() <= OF_ALL);
        assert!(written.admit(kind(1, 0), now + WINDOW), "a minute later");
    }

    #[test]
    fn a_user_is_one_whatever_address_it_calls_from() {
        let (mut written, now) = (Written::default(), Instant::now());
        let from = |ip: u8| {
            let party = Party::of(Some(IpAddr::from([127, 0, 0, ip])), Some(1000));
            Kind { party, ..kind(ip, ip.into()) }
        };
        let flood = (1..=255).filter(|ip| written.admit(from(*ip), now)).count();
        assert_eq!(flood, OF_ONE);
    }

    #[test]
    fn what_a_caller_wrote_stays_on_one_line_and_short() {
        assert_eq!(shown("GET /a\n\u{1b}[31m"), "GET /a\\n\\u{1b}[31m");
        assert_eq!(shown(&"长".repeat(201)).chars().count(), LONGEST + 1);
    }
}
