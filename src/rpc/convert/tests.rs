use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::model::{
    ActionItem, ActionReport, Counters, Credentials, Cut, Event, EventsReport, GuardianView,
    HealthChange, HealthCheck, HealthPatch, HealthState, HealthView, HolderView, InstanceView,
    LeaseCounts, NewService, NewTarget, Port, PortChoice, PortView, PortsReport, Selection,
    ServerView, ServiceName, ServicePatch, ServiceView, ServicesReport, ShutdownProgress,
    StatusCounts, StatusReport, Success, TargetName, TargetUrl, TargetView, UpstreamTls,
};

mod freeing;
mod heartbeat;
mod verify;

fn parsed<T: std::str::FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap_or_else(|| panic!("{number} is no port"))
}

/// What comes back from the bytes of the message that `value` makes.
fn there_and_back<M, P>(value: &M) -> Result<M, Fault>
where
    P: for<'a> From<&'a M> + prost::Message + Default,
    M: TryFrom<P, Error = Fault>,
{
    let bytes = P::from(value).encode_to_vec();
    P::decode(bytes.as_slice()).unwrap_or_else(|e| panic!("{e}")).try_into()
}

fn full_service() -> ServiceView {
    let target = TargetView {
        url: "https://b/x".to_owned(),
        has_credentials: true,
        ca_file: Some("/etc/订单.pem".into()),
        insecure: true,
    };
    let plain = TargetView {
        url: "http://a".to_owned(),
        has_credentials: false,
        ca_file: None,
        insecure: false,
    };
    ServiceView {
        name: parsed("订单 🦀"),
        port: port(65_535),
        bind: Some(parsed("::1")),
        desired: Desired::Running,
        actual: Actual::Failed,
        reason: Some(text::model::service_not_found("理由")),
        since: Timestamp::from_millis(7),
        active_target: parsed("blue"),
        targets: BTreeMap::from([(parsed("blue"), plain), (parsed("绿"), target)]),
        tags: vec!["a".to_owned(), String::new()],
        register: true,
        created_at: Timestamp::from_millis(i64::MAX),
        updated_at: Timestamp::from_millis(0),
        revision: 3,
        counters: Some(Counters {
            connections: 1,
            in_flight: 2,
            tunnels: 3,
            accepted: u64::MAX,
            responses: [5, 6, 7, 8, 9],
            upstream_failures: 10,
            bytes_in: 11,
            bytes_out: 12,
        }),
        health: Some(HealthView {
            state: HealthState::Unhealthy,
            since: Some(Timestamp::from_millis(8)),
            reason: Some(text::heartbeat::health_status("/up", 500)),
            check: health_check(),
        }),
        instances: Some(vec![InstanceView {
            url: "http://a:1/v1".to_owned(),
            in_flight: 1,
            aside_ms: u64::MAX,
        }]),
    }
}

fn health_check() -> HealthCheck {
    HealthCheck {
        path: "/up".to_owned(),
        interval_ms: 500,
        timeout_ms: 400,
        unhealthy_after: 9,
        healthy_after: 1,
    }
}

/// Everything that may be unknown is.
fn bare_service() -> ServiceView {
    ServiceView {
        name: parsed("a"),
        bind: None,
        desired: Desired::Stopped,
        actual: Actual::Stopped,
        reason: None,
        tags: Vec::new(),
        register: false,
        counters: None,
        instances: None,
        ..full_service()
    }
}

fn cut() -> Cut {
    Cut {
        service: parsed("a"),
        peer: "[::1]:9".to_owned(),
        kind: "tunnel".to_owned(),
        request: "GET /x".to_owned(),
        age_ms: 5,
        bytes: 6,
    }
}

fn server(known: bool) -> ServerView {
    ServerView {
        state: ServerState::Draining,
        pid: known.then_some(42),
        url: known.then(|| "http://127.0.0.1:3000".to_owned()),
        node: "default".to_owned(),
        version: known.then(|| "0.1.0".to_owned()),
        started_at: known.then(|| Timestamp::from_millis(8)),
        database: "sqlite:///数据".to_owned(),
        database_uuid: known.then(|| "u".to_owned()),
    }
}

#[test]
fn a_status_comes_back_as_it_was_known_or_unknown() {
    for known in [true, false] {
        let report = StatusReport {
            success: Success,
            source: Source::Server,
            server: server(known),
            guardian: known.then(|| GuardianView::watching(7)),
            counts: StatusCounts {
                services: 1,
                running: 2,
                stopped: 3,
                failed: 4,
                connections: known.then_some(0),
            },
            heartbeats: known.then_some(LeaseCounts {
                up: 1,
                failing: 2,
                expired: 3,
                unregistered: 4,
                disabled: 5,
            }),
            services: vec![full_service(), bare_service()],
            attention: vec![text::model::service_not_found("x")],
        };
        assert_eq!(there_and_back::<_, pb::StatusReport>(&report), Ok(report));
    }
    let services = vec![bare_service(), full_service()];
    let report = ServicesReport { success: Success, source: Source::Database, services };
    assert_eq!(there_and_back::<_, pb::ServicesReport>(&report), Ok(report));
}

#[test]
fn an_action_comes_back_with_its_cuts_and_faults() {
    for kind in FaultKind::ALL {
        let fault = Fault {
            kind: *kind,
            message: text::model::service_not_found("x"),
            causes: vec!["因".to_owned()],
        };
        let item = ActionItem {
            service: full_service(),
            message: text::model::name_empty("service"),
            cut: vec![cut()],
            fault: Some(fault),
        };
        let fine = ActionItem { cut: Vec::new(), fault: None, ..item.clone() };
        let report = ActionReport {
            success: Success,
            source: Source::Server,
            applied: Applied::Live,
            services: vec![item, fine],
        };
        assert_eq!(there_and_back::<_, pb::ActionReport>(&report), Ok(report));
    }
}

#[test]
fn ports_come_back_with_all_that_is_unknown_about_them() {
    let unknown = HolderView { pid: 1, user: None, command: None, start_time: None, details: None };
    let known = HolderView {
        pid: 2,
        user: Some("用户".to_owned()),
        command: Some("x --y".to_owned()),
        start_time: Some(Timestamp::from_millis(9)),
        details: None,
    };
    let ports = PortState::ALL.iter().zip(1..).map(|(state, number)| {
        let view = PortView {
            in_use: number % 2 == 0,
            pid: (number % 2 == 0).then_some(2),
            service: (number % 2 == 0).then(|| parsed("订单")),
            state: *state,
            holders: vec![known.clone(), unknown.clone()],
            connections: (number % 2 == 0).then_some(0),
        };
        (port(number), view)
    });
    let report = PortsReport { success: Success, source: Source::Server, ports: ports.collect() };
    assert_eq!(there_and_back::<_, pb::PortsReport>(&report), Ok(report));
}

#[test]
fn events_and_steps_of_a_shutdown_come_back() {
    let event = Event {
        id: i64::MAX,
        at: Timestamp::from_millis(1),
        action: "from-the-future".to_owned(),
        subject: "订单".to_owned(),
        actor: "cli:x".to_owned(),
        outcome: "ok".to_owned(),
        detail: Some(text::model::service_not_found("x")),
    };
    let bare = Event { id: 1, detail: None, ..event.clone() };
    let report =
        EventsReport { success: Success, source: Source::Server, events: vec![bare, event] };
    assert_eq!(there_and_back::<_, pb::EventsReport>(&report), Ok(report));
    for step in ShutdownStep::ALL {
        for state in StepState::ALL {
            let progress = ShutdownProgress {
                step: *step,
                state: *state,
                message: text::model::service_not_found("x"),
                duration_ms: (*state == StepState::Done).then_some(0),
                proxies: (*step == ShutdownStep::DrainProxies).then_some((0, 5)),
                cut: vec![cut()],
                forced: *state == StepState::Failed,
            };
            assert_eq!(there_and_back::<_, pb::ShutdownProgress>(&progress), Ok(progress));
        }
    }
}

#[test]
fn a_sentence_of_a_newer_server_keeps_its_english_words() {
    let sent = pb::Text {
        code: "from-the-future".to_owned(),
        args: [("x".to_owned(), "1".to_owned())].into(),
        english: "the flux is {high}".to_owned(),
    };
    assert_eq!(crate::text::Message::from(sent).to_string(), "the flux is {high}");
}

#[test]
fn an_answer_that_lacks_a_part_or_has_an_unknown_word_is_not_guessed_at() {
    let code = |report: pb::ActionReport| {
        ActionReport::try_from(report).map(|_| ()).map_err(|fault| fault.to_string())
    };
    let whole = pb::ActionReport { source: 1, applied: 1, services: Vec::new() };
    assert_eq!(code(whole.clone()), Ok(()));
    let unknown = code(pb::ActionReport { applied: 9, ..whole.clone() });
    assert!(unknown.is_err_and(|words| words.contains("`applied`")));
    let unset = code(pb::ActionReport { source: 0, ..whole.clone() });
    assert!(unset.is_err_and(|words| words.contains("`source`")));
    let lacking = code(pb::ActionReport { services: vec![pb::ActionItem::default()], ..whole });
    assert!(lacking.is_err_and(|words| words.contains("`item.service`")));
}

fn new_target(url: &str) -> NewTarget {
    let parsed = TargetUrl::parse_with_credentials(url).unwrap_or_else(|m| panic!("{m}"));
    let (url, credentials) = parsed;
    NewTarget { url, credentials, tls: UpstreamTls::default() }
}

#[test]
fn a_request_for_a_new_service_arrives_as_it_was_meant() {
    let mut blue = new_target("https://ann:p%40ss@b:8443/x");
    blue.tls = UpstreamTls {
        ca_file: Some(if cfg!(windows) { "C:/ca.pem" } else { "/ca.pem" }.into()),
        insecure: true,
    };
    let targets = BTreeMap::from([
        (parsed::<TargetName>("blue"), blue),
        (parsed("green"), new_target("h2c://[::1]:9000")),
    ]);
    let full = NewService {
        name: parsed("订单"),
        port: PortChoice::Fixed(port(8080)),
        bind: Some(parsed("127.0.0.1")),
        targets,
        active: Some(parsed("green")),
        tags: vec!["x".to_owned()],
        register: false,
        health: Some(health_check()),
        stopped: true,
    };
    let bare = NewService {
        port: PortChoice::Auto,
        bind: None,
        tags: Vec::new(),
        register: true,
        health: None,
        stopped: false,
        ..full.clone()
    };
    for new in [full, bare] {
        assert_eq!(there_and_back::<_, pb::AddServiceRequest>(&new), Ok(new));
    }
}

fn asked() -> pb::AddServiceRequest {
    let target = |name: &str| pb::NewTarget {
        name: name.to_owned(),
        url: "http://u:in-url@a:1".to_owned(),
        ..pb::NewTarget::default()
    };
    pb::AddServiceRequest {
        name: "a".to_owned(),
        targets: vec![target("z"), target("b")],
        ..pb::AddServiceRequest::default()
    }
}

#[test]
fn what_a_request_leaves_out_has_its_usual_meaning() {
    let new = NewService::try_from(asked()).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(new.port, PortChoice::Auto);
    assert_eq!(new.active.as_ref().map(TargetName::as_str), Some("z"), "the first one written");
    assert!(new.register && !new.stopped && new.bind.is_none());
    let kept = |target: &NewTarget| target.credentials.clone().map(|kept| kept.password);
    assert!(new.targets.values().all(|t| kept(t).as_deref() == Some("in-url")));

    let mut apart = asked();
    apart.targets[0].credentials =
        Some(pb::Credentials { username: "u".to_owned(), password: "apart".to_owned() });
    let new = NewService::try_from(apart).unwrap_or_else(|fault| panic!("{fault}"));
    let z = new.targets.get(&parsed::<TargetName>("z")).and_then(|t| t.credentials.clone());
    let expected = Credentials { username: "u".to_owned(), password: "apart".to_owned() };
    assert_eq!(z, Some(expected));
}

#[test]
fn a_wrong_request_is_refused_as_usage_with_its_own_code() {
    type Spoil = fn(&mut pb::AddServiceRequest);
    let wrong: [(Spoil, &str); 9] = [
        (|r| r.health = Some(pb::HealthCheck::default()), "health-path-missing"),
        (|r| r.name = " a".to_owned(), "name-has-outer-space"),
        (|r| r.port = Some(0), "port-out-of-range"),
        (|r| r.port = Some(u32::MAX), "port-out-of-range"),
        (|r| r.bind = Some("localhost".to_owned()), "bind-not-an-address"),
        (|r| r.active = Some("a=b".to_owned()), "target-name-has-equals"),
        (|r| r.targets[0].url = "a:1".to_owned(), "target-url-without-scheme"),
        (|r| r.targets[1].name = "z".to_owned(), "target-twice"),
        (|r| r.targets[1].ca_file = Some("ca.pem".to_owned()), "ca-file-relative"),
    ];
    for (spoil, code) in wrong {
        let mut request = asked();
        spoil(&mut request);
        let refused = NewService::try_from(request).map(|_| ());
        let refused = refused.map_err(|fault| (fault.kind, fault.message.code()));
        assert_eq!(refused, Err((FaultKind::Usage, code)));
    }
}

#[test]
fn a_change_keeps_apart_what_is_left_as_it_is_and_what_is_emptied() {
    let name: ServiceName = parsed("a");
    let all = ServicePatch {
        name: Some(parsed("b")),
        port: Some(PortChoice::Fixed(port(1))),
        bind: Some(Some(parsed("::"))),
        tags: Some(vec!["x".to_owned()]),
        register: Some(false),
        health: Some(HealthChange::Set(HealthPatch {
            interval_ms: Some(700),
            ..HealthPatch::default()
        })),
    };
    let emptied = ServicePatch {
        port: Some(PortChoice::Auto),
        bind: Some(None),
        tags: Some(Vec::new()),
        health: Some(HealthChange::Off),
        ..ServicePatch::default()
    };
    for patch in [all, emptied, ServicePatch::default()] {
        let request = pb::SetServiceRequest::from((&name, &patch));
        let read: Result<(ServiceName, ServicePatch), Fault> = request.try_into();
        assert_eq!(read, Ok((name.clone(), patch)));
    }
}

#[test]
fn a_selection_is_all_or_some_never_both_never_neither() {
    let some = Selection::Named(vec![parsed("a"), parsed("订单")]);
    for which in [Selection::All, some] {
        assert_eq!(selection(Some((&which).into())), Ok(which));
    }
    let code = |all, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        selection(Some(pb::Selection { all, names })).map(|_| ()).map_err(|f| f.message.code())
    };
    assert_eq!(code(false, &[]), Err("selection-empty"));
    assert_eq!(code(true, &["a"]), Err("selection-twofold"));
    assert_eq!(code(false, &["a", ""]), Err("name-empty"));
    assert_eq!(selection(None).map_err(|f| f.message.code()), Err("request-lacks"));
}

#[test]
fn ports_and_limits_of_a_request_stay_within_their_bounds() {
    let ports = |ports: Vec<u32>| BTreeSet::<Port>::try_from(pb::GetPortsRequest { ports });
    assert_eq!(ports(vec![]), Ok(BTreeSet::new()));
    assert_eq!(ports(vec![9, 1, 9]), Ok(BTreeSet::from([port(1), port(9)])));
    assert!(ports(vec![65_536]).is_err_and(|fault| fault.kind == FaultKind::Usage));
    assert_eq!([0, 1, 10_000].map(|n| event_limit(n).ok()), [Some(100), Some(1), Some(10_000)]);
    assert!(event_limit(10_001).is_err());
}

proptest! {
    #[test]
    fn any_sentence_survives(name in ".*", bytes in ".*") {
        let message = text::model::name_too_long("x", bytes, name);
        let sent = pb::Text::from(&message);
        prop_assert_eq!(crate::text::Message::from(sent), message);
    }

    #[test]
    fn no_request_makes_the_reader_panic(
        name in ".*", url in ".*", bind in ".*", port in any::<u32>(), active in ".*",
    ) {
        let target = pb::NewTarget { name: active.clone(), url, ..pb::NewTarget::default() };
        let request = pb::AddServiceRequest {
            name, port: Some(port), bind: Some(bind), targets: vec![target], active: Some(active),
            ..pb::AddServiceRequest::default()
        };
        if let Err(fault) = NewService::try_from(request) {
            prop_assert_eq!(fault.kind, FaultKind::Usage);
        }
    }
}
