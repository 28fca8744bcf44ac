//! The receipt of a verification.

use super::{Need, Word, all, millis, number};
use crate::model::{
    Fault, Finding, Source, Timestamp, VerifyCount, VerifyItem, VerifyReport, VerifySubject,
};
use crate::rpc::generated as pb;

impl From<&VerifyItem> for pb::VerifyItem {
    fn from(item: &VerifyItem) -> Self {
        Self {
            subject: number::<pb::VerifySubject, _>(item.subject),
            name: item.name.clone(),
            finding: number::<pb::Finding, _>(item.finding),
            message: Some((&item.message).into()),
            holders: item.holders.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::VerifyItem> for VerifyItem {
    type Error = Fault;

    fn try_from(sent: pb::VerifyItem) -> Result<Self, Fault> {
        Ok(Self {
            subject: VerifySubject::read(sent.subject, "item.subject")?,
            name: sent.name,
            finding: Finding::read(sent.finding, "item.finding")?,
            message: sent.message.answered("item.message")?.into(),
            holders: all(sent.holders)?,
        })
    }
}

impl From<&VerifyCount> for pb::VerifyCount {
    fn from(count: &VerifyCount) -> Self {
        let VerifyCount { subject, checked, elsewhere, live, unproved, left } = *count;
        let subject = number::<pb::VerifySubject, _>(subject);
        Self { subject, checked, elsewhere, live, unproved, left }
    }
}

impl TryFrom<pb::VerifyCount> for VerifyCount {
    type Error = Fault;

    fn try_from(sent: pb::VerifyCount) -> Result<Self, Fault> {
        let pb::VerifyCount { subject, checked, elsewhere, live, unproved, left } = sent;
        let subject = VerifySubject::read(subject, "count.subject")?;
        Ok(Self { subject, checked, elsewhere, live, unproved, left })
    }
}

impl From<&VerifyReport> for pb::VerifyReport {
    fn from(report: &VerifyReport) -> Self {
        Self {
            source: number::<pb::Source, _>(report.source),
            checked_at_ms: millis(report.checked_at),
            database: report.database.clone(),
            database_uuid: report.database_uuid.clone(),
            node: report.node.clone(),
            message: Some((&report.message).into()),
            counts: report.counts.iter().map(Into::into).collect(),
            items: report.items.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::VerifyReport> for VerifyReport {
    type Error = Fault;

    fn try_from(sent: pb::VerifyReport) -> Result<Self, Fault> {
        Ok(Self {
            source: Source::read(sent.source, "source")?,
            checked_at: Timestamp::from_millis(sent.checked_at_ms),
            database: sent.database,
            database_uuid: sent.database_uuid,
            node: sent.node,
            message: sent.message.answered("message")?.into(),
            counts: all(sent.counts)?,
            items: all(sent.items)?,
        })
    }
}
