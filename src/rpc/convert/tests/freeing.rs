//! Freeing ports and cleaning up, there and back.

use super::*;
use crate::model::{
    Bindable, CleanupInstance, CleanupItem, CleanupNode, CleanupProgress, CleanupReport,
    CleanupRequest, HolderDetails, Keeper, KillItem, KillProgress, KillReport, KillRequest,
    ParentView,
};

/// Holders of whom nothing, little and everything is known.
fn holders() -> Vec<HolderView> {
    let bare = HolderView { pid: 1, user: None, command: None, start_time: None, details: None };
    let with = |details| HolderView { details: Some(details), ..bare.clone() };
    let keepers = [
        Keeper::Unit { name: "x.service".to_owned(), user: true, restarts: None },
        Keeper::Unit { name: "y.service".to_owned(), user: false, restarts: Some(false) },
        Keeper::Container { runtime: "docker".to_owned(), id: "0123456789ab".to_owned() },
        Keeper::Forwarder { runtime: "podman".to_owned() },
    ];
    let full = |keeper| HolderDetails {
        executable: Some("/opt/订单".into()),
        directory: Some("/".into()),
        parents: vec![
            ParentView { pid: 9, name: Some("bash".to_owned()) },
            ParentView { pid: 1, name: None },
        ],
        other_ports: BTreeSet::from([port(1), port(65_535)]),
        keeper: Some(keeper),
    };
    let mut holders = vec![bare.clone(), with(HolderDetails::default())];
    holders.extend(keepers.map(|keeper| with(full(keeper))));
    holders
}

fn kill_item(action: PortAction, signal: Option<EndSignal>, bindable: Bindable) -> KillItem {
    KillItem {
        port: port(8080),
        service: signal.map(|_| parsed("订单")),
        action,
        holders: holders(),
        signal,
        duration_ms: 7,
        bindable,
        message: text::model::service_not_found("m"),
        notes: vec![text::model::service_not_found("n"); 2],
        fault: signal.map(|_| Fault::usage(text::control::selection_empty())),
    }
}

#[test]
fn a_request_to_free_ports_comes_back_and_one_out_of_bounds_is_refused() {
    for signal in EndSignal::ALL.iter().copied().map(Some).chain([None]) {
        let request = KillRequest {
            ports: BTreeSet::from([port(1), port(65_535)]),
            signal,
            grace: KillRequest::MAX_GRACE,
            dry_run: signal.is_none(),
            force: signal.is_some(),
        };
        assert_eq!(there_and_back::<_, pb::KillPortsRequest>(&request), Ok(request));
    }
    let code = |sent: pb::KillPortsRequest| {
        KillRequest::try_from(sent).err().map(|f| (f.kind, f.message.code()))
    };
    let asked = pb::KillPortsRequest { ports: vec![80], ..Default::default() };
    let plain = KillRequest::try_from(asked.clone()).map(|r| (r.grace, r.signal, r.force));
    assert_eq!(plain, Ok((KillRequest::DEFAULT_GRACE, None, false)));
    let usage = |code| Some((FaultKind::Usage, code));
    assert_eq!(
        code(pb::KillPortsRequest { ports: vec![], ..asked.clone() }),
        usage("request-lacks")
    );
    let ports = vec![80, 70_000];
    assert_eq!(code(pb::KillPortsRequest { ports, ..asked.clone() }), usage("port-out-of-range"));
    let signal = Some(99);
    assert_eq!(code(pb::KillPortsRequest { signal, ..asked.clone() }), usage("signal-unknown"));
    let grace_ms = Some(3_600_001);
    assert_eq!(code(pb::KillPortsRequest { grace_ms, ..asked }), usage("grace-invalid"));
}

#[test]
fn what_became_of_ports_comes_back_with_everything_that_is_known_of_their_holders() {
    let why = || text::model::service_not_found("why");
    let bindables = [Bindable::Yes, Bindable::No(why()), Bindable::Unknown(why())];
    let signals = [None, Some(EndSignal::Term), Some(EndSignal::Kill)];
    let each =
        PortAction::ALL.iter().zip(bindables.into_iter().cycle()).zip(signals.into_iter().cycle());
    let report = KillReport {
        success: Success,
        source: Source::Database,
        dry_run: true,
        message: why(),
        ports: each
            .map(|((action, bindable), signal)| kill_item(*action, signal, bindable))
            .collect(),
    };
    assert_eq!(report.ports.len(), 5);
    assert_eq!(there_and_back::<_, pb::KillReport>(&report), Ok(report));
    let sign = KillProgress { done: 1, total: 2, message: why() };
    assert_eq!(there_and_back::<_, pb::KillProgress>(&sign), Ok(sign));
}

#[test]
fn a_cleanup_comes_back_as_it_was_asked_and_done() {
    let message = || text::model::service_not_found("m");
    let fault = || Some(Fault::usage(text::control::selection_empty()));
    let item = |action: &CleanupAction, found| CleanupItem {
        service: parsed("订单"),
        port: port(1),
        before: Actual::Running,
        found,
        holders: holders(),
        action: *action,
        after: Actual::Stopped,
        message: message(),
        fault: (*action == CleanupAction::Left).then(fault).flatten(),
    };
    let found = PortState::ALL.iter().copied();
    let report = CleanupReport {
        success: Success,
        source: Source::Server,
        dry_run: true,
        message: message(),
        nodes: vec![
            CleanupNode { pid: 7, message: message(), fault: fault() },
            CleanupNode { pid: 8, message: message(), fault: None },
        ],
        services: CleanupAction::ALL.iter().zip(found).map(|(a, found)| item(a, found)).collect(),
        instances: InstanceAction::ALL
            .iter()
            .map(|action| CleanupInstance {
                service: parsed("订单"),
                instance_id: "host:订单:1".to_owned(),
                action: *action,
                message: message(),
                fault: (*action == InstanceAction::Unreachable).then(fault).flatten(),
            })
            .collect(),
    };
    assert_eq!(report.services.len(), 5);
    assert_eq!(there_and_back::<_, pb::CleanupReport>(&report), Ok(report));
    let sign = CleanupProgress { done: 1, total: 2, message: message() };
    assert_eq!(there_and_back::<_, pb::CleanupProgress>(&sign), Ok(sign));
    let grace = std::time::Duration::from_millis(1);
    let request = CleanupRequest { dry_run: true, force: true, grace };
    assert_eq!(there_and_back::<_, pb::CleanupRequest>(&request), Ok(request));
}
