//! The instances of an application, among which requests are spread.
//!
//! Each request goes to the instance with the fewest under way; among equals they take turns. One
//! that cannot be connected to, or broke off several requests in a row, is set aside for a while. After
//! that one request tries it, and the others follow once it was answered. Where all are set aside, the
//! one that comes back first is asked all the same.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::timer::{millis, now_ms};
use super::upstream::{Upstream, UpstreamError};
use super::via::ViaId;
use crate::model::{InstanceView, Target, TargetName, TargetUrl};

/// How long an instance is first set aside; twice as long each time it fails again right after.
const FIRST_ASIDE: Duration = Duration::from_secs(5);

/// The longest time it is.
const LONGEST_ASIDE: Duration = Duration::from_secs(60);

/// For how long nobody else tries an instance that one request tries after it was set aside.
const TRIAL: Duration = Duration::from_secs(10);

/// A request that nobody waited for any longer after this time counts as unanswered.
const UNANSWERED: Duration = Duration::from_secs(5);

/// Requests in a row that an instance may break off or leave unanswered.
const BROKEN_IN_A_ROW: u32 = 3;

/// See the module's documentation. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Balancer(Arc<Inner>);

struct Inner {
    name: TargetName,
    /// As registered: credentials and trust are those of each instance.
    target: Target,
    via: ViaId,
    members: ArcSwap<Vec<Arc<Member>>>,
    turn: AtomicUsize,
    /// URLs that were said to be left out. Held while members are replaced, so that two lists do not
    /// mix.
    left_out: Mutex<BTreeSet<String>>,
    /// Whether the registry was asked, whatever it said.
    asked: watch::Sender<bool>,
}

struct Member {
    upstream: Arc<Upstream>,
    /// Living seats.
    outstanding: AtomicUsize,
    /// Failures without a success since.
    failures: AtomicU32,
    /// How often it was set aside without a success since.
    times_aside: AtomicU32,
    /// [`now_ms`] before which others are preferred.
    aside_until: AtomicU64,
}

/// One request's place at an instance. Its drop ends it.
pub(super) struct Seat {
    member: Arc<Member>,
    since: u64,
    /// It is the first one after the instance was set aside.
    is_trial: bool,
    /// What became of the request is known.
    is_judged: Cell<bool>,
}

impl Balancer {
    /// The instances of `target`, none as long as [`Balancer::replace`] was not called.
    ///
    /// # Errors
    /// Those of an upstream with this target's trust and credentials: better said now than when the
    /// first instance appears. Blocks as [`Upstream::new`] does.
    pub(super) fn new(
        name: &TargetName,
        target: &Target,
        via: &ViaId,
    ) -> Result<Self, UpstreamError> {
        let balancer = Self(Arc::new(Inner {
            name: name.clone(),
            target: target.clone(),
            via: via.clone(),
            members: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            left_out: Mutex::default(),
            asked: watch::Sender::new(false),
        }));
        let has_trust = target.tls.ca_file.is_some() || target.tls.insecure;
        balancer.upstream(TargetUrl::of_instance(has_trust, "localhost", 1, "").as_ref())?;
        Ok(balancer)
    }

    /// The application's name.
    pub fn application(&self) -> &str {
        self.0.target.url.host()
    }

    /// The target's name.
    pub fn name(&self) -> &TargetName {
        &self.0.name
    }

    /// Where an instance is, as a URL with the target's base path; `None` for what is no host.
    pub fn url_of(&self, is_secure: bool, host: &str, port: u16) -> Option<TargetUrl> {
        TargetUrl::of_instance(is_secure, host, port, self.0.target.url.base_path())
    }

    /// These are the instances from now on. What is known of those that stay is kept. Returns the
    /// generations of those that went, whose connections nobody needs any more; blocks as
    /// [`Upstream::new`] does.
    pub(super) fn replace(&self, urls: &[TargetUrl]) -> Vec<u64> {
        let mut left_out = self.0.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.0.members.load_full();
        let mut known: HashMap<&TargetUrl, &Arc<Member>> =
            old.iter().map(|member| (member.upstream.url(), member)).collect();
        let mut members: Vec<Arc<Member>> = Vec::with_capacity(urls.len());
        let (mut seen, mut unusable) = (HashSet::new(), BTreeSet::new());
        for url in urls.iter().filter(|url| seen.insert(*url)) {
            match known.remove(url) {
                Some(member) => members.push(Arc::clone(member)),
                None => match self.upstream(Some(url)) {
                    Ok(upstream) => members.extend(upstream.map(|u| Arc::new(Member::new(u)))),
                    Err(error) => {
                        let target = self.0.name.as_str();
                        // Said on its edge, not with each list.
                        if !left_out.contains(&url.to_string()) {
                            tracing::warn!(target, %url, %error, "an instance is left out");
                        }
                        unusable.insert(url.to_string());
                    }
                },
            }
        }
        *left_out = unusable;
        let gone = known.values().map(|member| member.upstream.generation()).collect();
        self.0.members.store(Arc::new(members));
        self.0.asked.send_replace(true);
        gone
    }

    fn upstream(&self, url: Option<&TargetUrl>) -> Result<Option<Upstream>, UpstreamError> {
        let Some(url) = url else { return Ok(None) };
        let target = Target { url: url.clone(), ..self.0.target.clone() };
        Upstream::new(&self.0.name, &target, &self.0.via).map(Some)
    }

    /// The registry was asked and did not answer: who waits for instances waits no longer.
    pub fn give_up(&self) {
        self.0.asked.send_replace(true);
    }

    /// Waits until the registry was asked once, at most for `bound`.
    pub(super) async fn asked(&self, bound: Duration) {
        let mut asked = self.0.asked.subscribe();
        // The sender lives as long as `self`.
        let _ = tokio::time::timeout(bound, asked.wait_for(|asked| *asked)).await;
    }

    /// Whether the registry was asked.
    pub fn was_asked(&self) -> bool {
        *self.0.asked.borrow()
    }

    /// A place at the instance that takes the next request, none of those at `tried`.
    pub(super) fn seat(&self, tried: &[u64]) -> Option<Seat> {
        // Whoever comes second where one is to be tried again looks once more, and sees it set aside.
        loop {
            let seat = self.best(tried)?;
            if !seat.member.is_to_be_tried(seat.since) {
                return Some(seat);
            }
            if let Some(trial) = seat.claim_trial() {
                return Some(trial);
            }
        }
    }

    fn best(&self, tried: &[u64]) -> Option<Seat> {
        let members = self.0.members.load();
        let first = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let now = now_ms();
        let in_turn = (0..members.len()).map(|n| &members[first.wrapping_add(n) % members.len()]);
        let best = in_turn
            .filter(|member| !tried.contains(&member.upstream.generation()))
            .min_by_key(|member| {
                // Those that are set aside come last, the one that is back first before the others.
                let until = member.aside_until.load(Ordering::Relaxed);
                let aside = if until > now { until } else { 0 };
                (aside, member.outstanding.load(Ordering::Relaxed))
            })?;
        Some(Seat::take(best, now))
    }

    /// Whether connections of this generation are of use still.
    pub(super) fn has(&self, generation: u64) -> bool {
        self.0.members.load().iter().any(|member| member.upstream.generation() == generation)
    }

    /// The generations of its instances.
    pub(super) fn generations(&self) -> Vec<u64> {
        self.0.members.load().iter().map(|member| member.upstream.generation()).collect()
    }

    /// Its instances, those first that would be asked first.
    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let members = self.0.members.load();
        let mut sorted: Vec<&Arc<Member>> = members.iter().collect();
        if !sorted.is_empty() {
            // Equals take turns here, too.
            let first = self.0.turn.fetch_add(1, Ordering::Relaxed) % sorted.len();
            sorted.rotate_left(first);
        }
        sorted.sort_by_key(|member| member.aside_until.load(Ordering::Relaxed));
        sorted.into_iter().map(|member| Arc::clone(&member.upstream)).collect()
    }

    /// How its instances are, in the order of the registry.
    pub fn views(&self) -> Vec<InstanceView> {
        let now = now_ms();
        let view = |member: &Arc<Member>| InstanceView {
            url: member.upstream.url().to_string(),
            in_flight: member.outstanding.load(Ordering::Relaxed) as u64,
            aside_ms: member.aside_until.load(Ordering::Relaxed).saturating_sub(now),
        };
        self.0.members.load().iter().map(view).collect()
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Balancer({}={}, {:?})", self.0.name, self.0.target.url, self.generations())
    }
}

impl Member {
    fn new(upstream: Upstream) -> Self {
        Self {
            upstream: Arc::new(upstream),
            outstanding: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            times_aside: AtomicU32::new(0),
            aside_until: AtomicU64::new(0),
        }
    }

    /// Whether it was set aside, is not any more at `now`, and has answered nobody since.
    fn is_to_be_tried(&self, now: u64) -> bool {
        self.times_aside.load(Ordering::Relaxed) > 0
            && self.aside_until.load(Ordering::Relaxed) <= now
    }

    fn set_aside(&self) {
        let times = self.times_aside.fetch_add(1, Ordering::Relaxed).min(8);
        let span = (FIRST_ASIDE * 2_u32.pow(times)).min(LONGEST_ASIDE);
        self.aside_until.store(now_ms() + millis(span), Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        let (target, url) = (self.upstream.name().as_str(), self.upstream.url());
        tracing::warn!(target, %url, seconds = span.as_secs(), "an instance is set aside");
    }
}

impl Seat {
    fn take(member: &Arc<Member>, now: u64) -> Self {
        member.outstanding.fetch_add(1, Ordering::Relaxed);
        let member = Arc::clone(member);
        Self { member, since: now, is_trial: false, is_judged: Cell::new(false) }
    }

    /// Makes it the one that tries its instance; `None` where another request was first.
    fn claim_trial(mut self) -> Option<Self> {
        let until = &self.member.aside_until;
        let known = until.load(Ordering::Relaxed);
        let claimed = self.since + millis(TRIAL);
        let won = known <= self.since
            && until.compare_exchange(known, claimed, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.is_trial = won;
        // Not sat on: nothing is held against the instance for it.
        self.is_judged.set(!won);
        won.then_some(self)
    }

    /// Where the request goes.
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.member.upstream
    }

    /// The instance answered: what it failed at before is forgotten.
    pub(super) fn answered(&self) {
        self.is_judged.set(true);
        self.member.failures.store(0, Ordering::Relaxed);
        self.member.times_aside.store(0, Ordering::Relaxed);
        self.member.aside_until.store(0, Ordering::Relaxed);
    }

    /// There is no connection to it.
    pub(super) fn unreachable(&self) {
        self.is_judged.set(true);
        if self.is_trial || self.member.aside_until.load(Ordering::Relaxed) <= now_ms() {
            self.member.set_aside();
        }
    }

    /// It took the request and gave no answer.
    pub(super) fn broken(&self) {
        self.is_judged.set(true);
        let failures = self.member.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_trial || failures >= BROKEN_IN_A_ROW {
            self.member.set_aside();
        }
    }

    /// What became of the request says nothing about the instance.
    pub(super) fn unjudged(&self) {
        self.is_judged.set(true);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.member.outstanding.fetch_sub(1, Ordering::Relaxed);
        // Its client went away, and may have done so for want of an answer.
        if !self.is_judged.get() && now_ms().saturating_sub(self.since) >= millis(UNANSWERED) {
            self.broken();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::UpstreamTls;

    fn balancer(ports: &[u16]) -> Balancer {
        let (url, credentials) =
            TargetUrl::parse_with_credentials("lb://ann:s3cret@orders/v1").unwrap();
        let target = Target { url, credentials, tls: UpstreamTls::default() };
        let balancer = Balancer::new(&"all".parse().unwrap(), &target, &ViaId::random()).unwrap();
        assert!(!balancer.was_asked());
        set(&balancer, ports);
        balancer
    }

    fn set(balancer: &Balancer, ports: &[u16]) -> Vec<u64> {
        let urls: Vec<TargetUrl> =
            ports.iter().filter_map(|port| balancer.url_of(false, "127.0.0.1", *port)).collect();
        balancer.replace(&urls)
    }

    fn port(seat: &Seat) -> u16 {
        seat.upstream().url().port()
    }

    #[test]
    fn requests_go_to_the_instance_with_the_fewest_and_take_turns_among_equals() {
        let balancer = balancer(&[1, 2, 3]);
        let mut seats: Vec<Seat> = (0..6).filter_map(|_| balancer.seat(&[])).collect();
        let mut counts = BTreeMap::<u16, u32>::new();
        seats.iter().for_each(|seat| *counts.entry(port(seat)).or_default() += 1);
        assert_eq!(counts, BTreeMap::from([(1, 2), (2, 2), (3, 2)]));
        seats.retain(|seat| port(seat) != 2);
        let next: Vec<u16> =
            (0..2).filter_map(|_| balancer.seat(&[]).map(|seat| port(&seat))).collect();
        assert_eq!(next, [2, 2], "its two requests have ended");
    }

    #[test]
    fn each_instance_is_asked_as_the_target_says() {
        let seat = balancer(&[9001]).seat(&[]).unwrap();
        assert_eq!(seat.upstream().url().to_string(), "http://127.0.0.1:9001/v1");
        assert!(seat.upstream().authorization().is_some());
    }

    #[test]
    fn an_instance_that_fails_is_set_aside_until_it_answers() {
        let balancer = balancer(&[1, 2]);
        let find = |wanted: u16| {
            (0..4).filter_map(|_| balancer.seat(&[])).find(|seat| port(seat) == wanted).unwrap()
        };
        let first = find(1);
        first.unreachable();
        assert!((0..4).all(|_| port(&balancer.seat(&[]).unwrap()) == 2));
        let second = find(2);
        for _ in 1..BROKEN_IN_A_ROW {
            second.broken();
        }
        assert!((0..4).all(|_| port(&balancer.seat(&[]).unwrap()) == 2), "not often enough");
        second.broken();
        assert_eq!(port(&balancer.seat(&[]).unwrap()), 1, "it comes back first");
        second.answered();
        assert!((0..4).all(|_| port(&balancer.seat(&[]).unwrap()) == 2));
        let times = |seat: &Seat| seat.member.times_aside.load(Ordering::Relaxed);
        assert_eq!((times(&first), times(&second)), (1, 0));
    }

    #[test]
    fn an_instance_that_was_set_aside_is_tried_by_one_request_until_it_answered() {
        let balancer = balancer(&[1, 2]);
        let first = balancer.seat(&[]).unwrap();
        first.unreachable();
        let member = Arc::clone(&first.member);
        drop(first);
        let dead = member.upstream.generation();
        // Its time is over.
        member.aside_until.store(1, Ordering::Relaxed);
        let seats: Vec<Seat> = (0..6).filter_map(|_| balancer.seat(&[])).collect();
        let trials = seats.iter().filter(|seat| seat.upstream().generation() == dead);
        assert_eq!(trials.count(), 1, "the others wait for its outcome");
        let trial = seats.iter().find(|seat| seat.upstream().generation() == dead).unwrap();
        trial.unreachable();
        assert_eq!(member.times_aside.load(Ordering::Relaxed), 2);
        trial.answered();
        drop(seats);
        let places =
            |seats: &[Seat]| seats.iter().filter(|s| s.upstream().generation() == dead).count();
        let seats: Vec<Seat> = (0..6).filter_map(|_| balancer.seat(&[])).collect();
        assert_eq!(places(&seats), 3, "it is as good as the other one again");
    }

    #[test]
    fn one_that_was_tried_is_not_tried_again_and_without_any_there_is_no_seat() {
        let balancer = balancer(&[1, 2]);
        let first = balancer.seat(&[]).unwrap();
        let tried = [first.upstream().generation()];
        let second = balancer.seat(&tried).unwrap();
        assert_ne!(port(&first), port(&second));
        assert!(balancer.seat(&balancer.generations()).is_none());
        set(&balancer, &[]);
        assert!(balancer.seat(&[]).is_none() && balancer.was_asked());
    }

    #[test]
    fn what_stays_in_the_list_keeps_its_connections_and_what_goes_is_named() {
        let balancer = balancer(&[1, 2]);
        let before = balancer.generations();
        assert_eq!(set(&balancer, &[2, 3, 3]), before[..1]);
        let after = balancer.generations();
        assert_eq!((after.len(), after[0]), (2, before[1]));
        assert!(balancer.has(after[1]) && !balancer.has(before[0]));
    }
}
