//! Leases, their history and drains, there and back.

use super::*;
use crate::model::{
    DrainProgress, Heartbeat, HeartbeatCall, HeartbeatHistory, HeartbeatView, HeartbeatsReport,
    LeaseState,
};
use crate::rpc::convert::{drain_max, history_limit};

fn lease(state: LeaseState, known: bool) -> HeartbeatView {
    HeartbeatView {
        service_name: parsed("订单"),
        port: port(8080),
        is_active: known,
        interval: 30,
        instance_id: known.then(|| "h:订单:8080".to_owned()),
        state,
        reason: known.then(|| text::model::service_not_found("x")),
        status: known.then(|| "UP".to_owned()),
        override_status: known.then(|| "OUT_OF_SERVICE".to_owned()),
        registry: known.then(|| "http://a/eureka".to_owned()),
        last_success: known.then(|| Timestamp::from_millis(5)),
        consecutive_failures: 7,
        latency_ms: known.then_some(0),
        next_in_ms: known.then_some(0),
        lease_expires_in_ms: known.then_some(0),
    }
}

#[test]
fn every_lease_comes_back_as_it_was_known_or_unknown() {
    let each = LeaseState::ALL.iter().flat_map(|state| [true, false].map(|k| lease(*state, k)));
    let heartbeats = each.collect();
    let report = HeartbeatsReport { success: Success, source: Source::Server, heartbeats };
    assert_eq!(there_and_back::<_, pb::HeartbeatsReport>(&report), Ok(report));
}

#[test]
fn a_history_comes_back_with_each_call_and_its_failure() {
    let call = |call: &HeartbeatCall| Heartbeat {
        at: Timestamp::from_millis(9),
        call: *call,
        failure: (*call == HeartbeatCall::Renew).then(|| text::model::service_not_found("x")),
        latency_ms: 3,
    };
    let report = HeartbeatHistory {
        success: Success,
        source: Source::Database,
        service_name: parsed("a"),
        heartbeats: HeartbeatCall::ALL.iter().map(call).collect(),
    };
    assert_eq!(there_and_back::<_, pb::HeartbeatHistory>(&report), Ok(report));
}

#[test]
fn a_drain_tells_how_far_it_is() {
    for counters in [None, full_service().counters] {
        let sign = DrainProgress {
            service: parsed("a"),
            message: text::model::service_not_found("x"),
            counters,
            left_ms: 9,
        };
        assert_eq!(there_and_back::<_, pb::DrainProgress>(&sign), Ok(sign));
    }
}

#[test]
fn a_history_and_a_drain_have_their_bounds() {
    assert_eq!([0, 1, 1_000].map(|n| history_limit(n).ok()), [Some(20), Some(1), Some(1_000)]);
    assert!(history_limit(1_001).is_err_and(|fault| fault.kind == FaultKind::Usage));
    let secs = |ms| drain_max(ms).map(|max| max.as_secs()).map_err(|fault| fault.message.code());
    assert_eq!(secs(None), Ok(120));
    assert_eq!(secs(Some(0)), Ok(0));
    assert_eq!(secs(Some(86_400_001)), Err("drain-max-out-of-range"));
}
