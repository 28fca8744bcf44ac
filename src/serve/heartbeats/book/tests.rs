//! The rules of the book.

use super::*;
use crate::model::{LeaseState, Port};
use crate::text;

const SECOND: Duration = Duration::from_secs(1);

fn wanted(id: i64) -> Wanted {
    let (name, port) = (format!("s{id}").parse().unwrap(), Port::new(8_080).unwrap());
    Wanted { id: ServiceId(id), name, port, bind: None, health_path: None }
}

fn written(id: i64) -> Written {
    let wanted = wanted(id);
    let registration = Registration {
        service_id: wanted.id,
        service: wanted.name.clone(),
        port: wanted.port,
        registries: vec!["http://a/eureka".into()],
        app: "A".into(),
        instance_id: format!("i{id}"),
        host: "h".into(),
        address: "192.0.2.1".into(),
        interval: 30 * SECOND,
        duration: 90 * SECOND,
        since: Timestamp::from_millis(0),
    };
    Written { row: id, registration: Arc::new(registration) }
}

struct Kit {
    book: Book,
    now: Instant,
}

impl Kit {
    fn new() -> Self {
        Self { book: Book::default(), now: Instant::now() }
    }

    fn put(&mut self, id: i64) -> bool {
        let schedule = Schedule::new(self.now, 30 * SECOND, id.cast_unsigned());
        self.book.put(wanted(id), schedule, 90 * SECOND, false, self.now)
    }

    fn begin(&mut self) -> Due {
        self.book.begin(self.now, Timestamp::from_millis(1_000), 10)
    }

    fn answer(&mut self, call: &Call, answer: Answer) -> Option<Verdict> {
        let failure = (answer != Answer::Done).then(|| text::lease::lease_registry_silent("u"));
        let registry = Some("u".to_owned());
        let told = if answer == Answer::Done { Told::Yes } else { Told::Perhaps };
        let ended = Ended { answer, failure, registry, latency: SECOND, told };
        self.book.ended(call, &ended, self.now, Timestamp::from_millis(1_000))
    }

    /// Puts, prepares and announces one.
    fn leased(&mut self, id: i64) {
        assert!(self.put(id));
        let due = self.begin();
        assert!(self.book.prepared(&due.prepare[0], Ok(written(id)), self.now).is_none());
        let due = self.begin();
        assert_eq!(self.answer(&due.calls[0], Answer::Done), Some(Verdict::Fine));
    }

    fn state(&self, id: i64) -> Option<LeaseState> {
        match &self.book.get(ServiceId(id))?.stage {
            Stage::Leased { lease, .. } => Some(lease.state(self.now)),
            _ => None,
        }
    }
}

#[test]
fn a_service_is_written_down_before_the_registry_is_told() {
    let mut kit = Kit::new();
    assert!(kit.put(1));
    assert!(!kit.put(1), "it is in the book already");
    let due = kit.begin();
    assert_eq!((due.prepare.len(), due.calls.len()), (1, 0));
    assert!(kit.begin().calls.is_empty(), "nothing is sent while it is being written");
    assert_eq!(kit.book.next_due(), None);
    kit.book.prepared(&due.prepare[0], Ok(written(1)), kit.now);
    let due = kit.begin();
    assert!(matches!(due.calls[0].step, Step::Announce { status: InstanceStatus::Up, .. }));
    kit.answer(&due.calls[0], Answer::Done);
    assert_eq!(kit.state(1), Some(LeaseState::Up));
    assert_eq!(kit.book.history.len(), 1);
    assert!(kit.book.next_due() > Some(kit.now));
}

#[test]
fn nothing_is_begun_for_a_service_that_leaves_and_a_late_answer_changes_nothing() {
    let mut kit = Kit::new();
    kit.leased(1);
    kit.now += 30 * SECOND;
    let due = kit.begin();
    kit.book.change(ServiceId(1), |entry| entry.is_leaving = true);
    assert!(!kit.put(1), "what leaves is taken back first");
    kit.book.forget(ServiceId(1));
    // Put again while the old renewal is still under way.
    assert!(kit.put(1));
    assert_eq!(kit.answer(&due.calls[0], Answer::Unknown), None);
    assert_eq!(kit.state(1), None, "the new entry waits to be written down");
    kit.book.is_closed = true;
    assert_eq!(kit.book.next_due(), None);
    let due = kit.begin();
    assert!(due.prepare.is_empty() && due.calls.is_empty());
}

#[test]
fn a_row_written_for_a_service_that_left_meanwhile_is_given_back() {
    let mut kit = Kit::new();
    kit.put(1);
    let due = kit.begin();
    kit.book.forget(ServiceId(1));
    let left = kit.book.prepared(&due.prepare[0], Ok(written(1)), kit.now);
    assert_eq!(left.map(|written| written.row), Some(1));
}

#[test]
fn a_row_written_anew_for_a_service_that_left_goes_with_what_its_last_life_left() {
    let mut kit = Kit::new();
    kit.put(1);
    let due = kit.begin();
    let (reason, next) = (text::lease::lease_registry_silent("u"), None);
    kit.book.orphans.push(Orphan { written: written(1), reason, failures: 1, next });
    kit.book.forget(ServiceId(1));
    let mut anew = written(1);
    Arc::make_mut(&mut anew.registration).since = Timestamp::from_millis(7);
    let left = kit.book.prepared(&due.prepare[0], Ok(anew.clone()), kit.now);
    assert!(left.is_none(), "whoever takes the instance out forgets it");
    assert_eq!(kit.book.released(written(1).version()), Some(anew.version()));
    assert_eq!(kit.book.released(anew.version()), None);
    assert!(kit.book.orphans.is_empty());
}

#[test]
fn an_unhealthy_or_draining_service_is_announced_as_down_until_it_is_neither() {
    let mut kit = Kit::new();
    kit.leased(1);
    let id = ServiceId(1);
    kit.book.change(id, |entry| (entry.is_unhealthy, entry.is_draining) = (true, true));
    assert!(kit.book.restate(id, kit.now));
    let due = kit.begin();
    assert!(matches!(due.calls[0].step, Step::Again { status: InstanceStatus::Down, .. }));
    kit.answer(&due.calls[0], Answer::Done);
    kit.book.change(id, |entry| entry.is_unhealthy = false);
    assert!(!kit.book.restate(id, kit.now), "it still drains");
    kit.book.change(id, |entry| entry.is_draining = false);
    assert!(kit.book.restate(id, kit.now));
}

#[test]
fn no_more_calls_are_begun_than_there_is_room_for() {
    let mut kit = Kit::new();
    for id in 1..=5 {
        kit.put(id);
    }
    let due = kit.begin();
    assert_eq!(due.prepare.len(), 5);
    for asked in &due.prepare {
        let id = asked.wanted.id.0;
        kit.book.prepared(asked, Ok(written(id)), kit.now);
    }
    let clock = Timestamp::from_millis(1);
    assert_eq!(kit.book.begin(kit.now, clock, 3).calls.len(), 3);
    assert_eq!(kit.book.begin(kit.now, clock, 0).calls.len(), 0);
    assert_eq!(kit.book.begin(kit.now, clock, 9).calls.len(), 2);
}

#[test]
fn what_cannot_be_written_down_is_tried_again_and_what_is_refused_is_not() {
    let mut kit = Kit::new();
    kit.put(1);
    let due = kit.begin();
    let why = text::lease::lease_unwritten("x");
    kit.book.prepared(&due.prepare[0], Err(Unprepared::Failed(why.clone())), kit.now);
    assert_eq!(kit.book.failing(), (1, Some(why.clone())));
    kit.now = kit.book.next_due().unwrap();
    let due = kit.begin();
    kit.book.prepared(&due.prepare[0], Err(Unprepared::Refused(why)), kit.now);
    assert_eq!((kit.book.failing().0, kit.book.next_due()), (0, None));
}

#[test]
fn a_service_is_announced_only_after_the_call_that_takes_its_last_life_out() {
    let mut kit = Kit::new();
    let reason = text::lease::lease_registry_silent("u");
    kit.book.orphans.push(Orphan { written: written(1), reason, failures: 1, next: None });
    assert!(kit.put(1) && kit.put(2));
    let due = kit.begin();
    let ids: Vec<_> = due.prepare.iter().map(|asked| asked.wanted.id).collect();
    assert_eq!(ids, [ServiceId(2)]);
    kit.book.orphans.clear();
    kit.now = kit.book.next_due().expect("another look");
    assert_eq!(kit.begin().prepare[0].wanted.id, ServiceId(1));
}

#[test]
fn what_may_stand_in_the_registry_is_no_less_known_for_being_announced_anew() {
    let mut kit = Kit::new();
    let reason = text::lease::lease_registry_silent("u");
    let next = Some(kit.now);
    kit.book.orphans.push(Orphan { written: written(1), reason, failures: 1, next });
    // Not wanted any more before it was written down: the row is still the orphan's.
    assert!(kit.put(1));
    let due = kit.begin();
    kit.book.forget(ServiceId(1));
    assert!(kit.book.prepared(&due.prepare[0], Ok(written(1)), kit.now).is_none());
    assert_eq!(kit.book.orphans.len(), 1);
    assert!(kit.put(1));
    let due = kit.begin();
    kit.book.prepared(&due.prepare[0], Ok(written(1)), kit.now);
    assert!(kit.book.orphans.is_empty());
    let told = kit.book.get(ServiceId(1)).map(|entry| match entry.stage {
        Stage::Leased { told, .. } => Some(told),
        _ => None,
    });
    assert_eq!(told, Some(Some(Told::Perhaps)));
}

#[test]
fn an_orphan_waits_for_the_call_of_its_last_life() {
    let mut kit = Kit::new();
    assert!(kit.put(1));
    let due = kit.begin();
    kit.book.prepared(&due.prepare[0], Ok(written(1)), kit.now);
    let due = kit.begin();
    kit.book.forget(ServiceId(1));
    let reason = text::lease::lease_registry_silent("u");
    let next = Some(kit.now);
    kit.book.orphans.push(Orphan { written: written(1), reason, failures: 1, next });
    assert!(!kit.book.is_wanted(&due.calls[0]));
    assert!(kit.book.due_orphans(kit.now).is_empty());
    assert_eq!(kit.book.next_due(), None);
    kit.answer(&due.calls[0], Answer::Done);
    assert_eq!(kit.book.due_orphans(kit.now).len(), 1);
}

#[test]
fn what_is_written_down_anew_waits_for_the_end_of_what_takes_its_last_life_out() {
    let mut kit = Kit::new();
    let reason = text::lease::lease_registry_silent("u");
    assert!(kit.put(1));
    let due = kit.begin();
    // It falls due while the service is being written down.
    let next = Some(kit.now);
    kit.book.orphans.push(Orphan { written: written(1), reason, failures: 1, next });
    assert_eq!(kit.book.due_orphans(kit.now).len(), 1);
    assert!(kit.book.prepared(&due.prepare[0], Ok(written(1)), kit.now).is_none());
    assert_eq!(kit.book.orphans.len(), 1);
    kit.now += SECOND;
    let due = kit.begin();
    assert!(due.calls.is_empty() && due.prepare.is_empty(), "{:?}", due.calls);
    kit.book.orphans.clear();
    kit.now += SECOND;
    let due = kit.begin();
    kit.book.prepared(&due.prepare[0], Ok(written(1)), kit.now);
    assert_eq!(kit.begin().calls.len(), 1);
}

#[test]
fn a_lease_that_expired_is_looked_at_before_it_is_renewed_and_is_not_known_to_be_ours() {
    let mut kit = Kit::new();
    kit.leased(1);
    let told = |kit: &Kit| match &kit.book.get(ServiceId(1)).unwrap().stage {
        Stage::Leased { told, .. } => *told,
        _ => panic!("not written down"),
    };
    kit.now += 30 * SECOND;
    let due = kit.begin();
    assert!(!due.calls[0].looks);
    kit.answer(&due.calls[0], Answer::Failed);
    assert_eq!(told(&kit), Told::Yes, "the registry has it still");
    kit.now += 90 * SECOND;
    let due = kit.begin();
    assert!(due.calls[0].looks);
    assert_eq!(told(&kit), Told::Perhaps);
    kit.answer(&due.calls[0], Answer::Done);
    assert_eq!(told(&kit), Told::Yes);
}
