//! The receipt of `verify` there and back.

use super::*;
use crate::model::{Finding, VerifyCount, VerifyItem, VerifyReport, VerifySubject};

#[test]
fn a_receipt_comes_back_as_it_was() {
    let holder = HolderView {
        pid: 7,
        user: None,
        command: Some("node".into()),
        start_time: Some(Timestamp::from_millis(1)),
        details: None,
    };
    for (subject, finding) in VerifySubject::ALL.iter().zip(Finding::ALL.iter().cycle()) {
        let report = VerifyReport {
            source: Source::Server,
            checked_at: Timestamp::from_millis(7),
            database: "sqlite:///订单".into(),
            database_uuid: (*finding != Finding::Left).then(|| "u".to_owned()),
            node: "default".into(),
            message: text::verify::verify_left(u64::MAX),
            counts: vec![VerifyCount {
                subject: *subject,
                checked: 1,
                elsewhere: 2,
                live: 3,
                unproved: 4,
                left: u64::MAX,
            }],
            items: vec![VerifyItem {
                subject: *subject,
                name: "订单 🦀".into(),
                finding: *finding,
                message: text::verify::port_free(1),
                holders: vec![holder.clone()],
            }],
        };
        assert_eq!(there_and_back::<_, pb::VerifyReport>(&report).unwrap(), report);
    }
}
