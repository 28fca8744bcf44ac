//! Freeing a port and cleaning up.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::answer::{Answer, single_port};
use super::body::NoBody;
use super::router::{By, actor, path_part, query};
use crate::model::{CleanupReport, CleanupRequest, Fault, KillReport, KillRequest, Port};
use crate::ops::Ops;
use crate::text;

/// What either call may be told in its query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FreeingQuery {
    /// Include what is left alone without it, where that is allowed at all.
    #[serde(default)]
    force: bool,
    /// Say what would be done and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// `500ms`, `5s`: how long a process may take to end by itself.
    grace: Option<String>,
}

impl FreeingQuery {
    fn grace(&self) -> Result<Duration, Fault> {
        let Some(written) = &self.grace else { return Ok(KillRequest::DEFAULT_GRACE) };
        let grace = humantime::parse_duration(written).ok();
        grace.filter(|grace| *grace <= KillRequest::MAX_GRACE).ok_or_else(|| {
            let most = humantime::format_duration(KillRequest::MAX_GRACE);
            Fault::usage(text::backend::grace_invalid(written, most))
        })
    }
}

/// What came of one port; the fault of one that was left is the answer.
pub(super) async fn kill(
    State(ops): State<Ops>,
    caller: By,
    path: Result<Path<String>, PathRejection>,
    asked: Result<Query<FreeingQuery>, QueryRejection>,
    _: NoBody,
) -> Answer<KillReport> {
    let request = kill_request(path, asked)?;
    single_port(ops.kill_ports(&request, &actor(caller), &|_| {}).await?)
}

pub(super) fn kill_request(
    path: Result<Path<String>, PathRejection>,
    asked: Result<Query<FreeingQuery>, QueryRejection>,
) -> Result<KillRequest, Fault> {
    let port: Port = path_part(path)?.parse().map_err(Fault::usage)?;
    let asked = query(asked)?;
    Ok(KillRequest {
        ports: [port].into(),
        signal: None,
        grace: asked.grace()?,
        dry_run: asked.dry_run,
        force: asked.force,
    })
}

/// What was found and done for every service. One that was left has its fault beside it: the call
/// as a whole was carried out.
pub(super) async fn cleanup(
    State(ops): State<Ops>,
    caller: By,
    asked: Result<Query<FreeingQuery>, QueryRejection>,
    _: NoBody,
) -> Answer<CleanupReport> {
    let asked = query(asked)?;
    let (dry_run, force, grace) = (asked.dry_run, asked.force, asked.grace()?);
    let request = CleanupRequest { dry_run, force, grace };
    Ok(Json(ops.cleanup(&request, &actor(caller), &|_| {}).await?))
}
