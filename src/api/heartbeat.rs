//! Leases in the registry, and leaving it in order.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::answer::{Answer, single};
use super::body::NoBody;
use super::router::{By, Name, actor, name, query};
use crate::model::{
    ActionReport, DrainProgress, Fault, HeartbeatHistory, HeartbeatsReport, Selection,
};
use crate::ops::Ops;
use crate::text;

pub(super) async fn status(State(ops): State<Ops>) -> Answer<HeartbeatsReport> {
    Ok(Json(ops.heartbeats_status(&Selection::All).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// The newest so many.
    limit: Option<u32>,
}

impl HistoryQuery {
    fn limit(&self) -> Result<u32, Fault> {
        let (limit, most) =
            (self.limit.unwrap_or(HeartbeatHistory::DEFAULT_CALLS), HeartbeatHistory::MAX_CALLS);
        match (1..=most).contains(&limit) {
            true => Ok(limit),
            false => Err(Fault::usage(text::heartbeat::history_limit_out_of_range(limit, most))),
        }
    }
}

pub(super) async fn history(
    State(ops): State<Ops>,
    path: Name,
    asked: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer<HeartbeatHistory> {
    let (name, asked) = (name(path)?, query(asked)?);
    Ok(Json(ops.heartbeat_history(&name, asked.limit()?).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainQuery {
    /// `30s`, `2m`: it is stopped after this at the latest.
    max: Option<String>,
}

impl DrainQuery {
    fn max(&self) -> Result<Duration, Fault> {
        let Some(written) = &self.max else { return Ok(DrainProgress::DEFAULT_MAX) };
        let max = humantime::parse_duration(written).ok();
        max.filter(|max| *max <= DrainProgress::MAX_MAX).ok_or_else(|| {
            let most = humantime::format_duration(DrainProgress::MAX_MAX);
            Fault::usage(text::heartbeat::drain_max_out_of_range(written, most))
        })
    }
}

/// Answers once the service has stopped.
pub(super) async fn drain(
    State(ops): State<Ops>,
    caller: By,
    path: Name,
    asked: Result<Query<DrainQuery>, QueryRejection>,
    _: NoBody,
) -> Answer<ActionReport> {
    let (name, max) = (name(path)?, query(asked)?.max()?);
    single(ops.drain_service(&name, max, &actor(caller), &|_| {}).await?)
}
