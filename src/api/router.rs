//! The routes.

use std::collections::BTreeSet;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use super::answer::{Answer, Failure, refusal, single};
use super::body::{Body, MAX_BODY, NoBody, ServiceBody, SwitchBody};
use super::{freeing, heartbeat, probe};
use crate::model::{
    Access, ActionReport, Actor, Caller, Event, EventsReport, Fault, FaultKind, NewService,
    PortsReport, Selection, ServiceName, ServicesReport, StatusReport, VerifyReport, parse_ports,
};
use crate::ops::Ops;
use crate::text;

/// UNIMPLEMENTED.
const GRPC_UNIMPLEMENTED: u8 = 12;
/// Events in an answer when no number is asked for.
const DEFAULT_EVENTS: u32 = 100;

/// The routes of the JSON API over `ops`, and the fallback for every path that neither they nor
/// the routes merged into them have: JSON, or a gRPC status for callers that speak gRPC.
pub fn router(ops: Ops) -> Router {
    let routes = Router::new()
        .route("/api/status", get(status))
        .route("/api/ports/status", get(ports))
        .route("/api/ports/{port}/kill", post(freeing::kill))
        .route("/api/cleanup", post(freeing::cleanup))
        .route("/api/verify", get(verify))
        .route("/api/heartbeat/status", get(heartbeat::status))
        .route("/api/heartbeat/history/{name}", get(heartbeat::history))
        .route("/api/services/{name}/drain", post(heartbeat::drain))
        .route("/api/events", get(events))
        .route("/api/services", get(services).post(add))
        .route("/api/services/{name}", delete(remove))
        .route("/api/services/{name}/start", post(start))
        .route("/api/services/{name}/stop", post(stop))
        .route("/api/services/{name}/switch", post(switch))
        .route("/healthz", get(probe::alive))
        .route("/readyz", get(probe::ready))
        .route("/metrics", get(probe::figures));
    #[cfg(feature = "debug-hooks")]
    let routes = routes.route("/api/debug/{how}", post(misbehave));
    with_fallbacks(routes).with_state(ops)
}

/// Misbehaves as a test asks it to.
#[cfg(feature = "debug-hooks")]
async fn misbehave(State(ops): State<Ops>, Path(how): Path<String>) -> StatusCode {
    let Some(live) = ops.live() else { return StatusCode::NOT_FOUND };
    live.misbehave(&how);
    StatusCode::ACCEPTED
}

fn with_fallbacks<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_path)
}

async fn no_path(request: Request) -> Response {
    let path = request.uri().path();
    if super::answer::is_grpc(request.headers()) {
        let fault = Fault::new(FaultKind::NotFound, text::control::no_such_call(path));
        // A gRPC client reads the status of the call, not that of HTTP.
        let failure = Failure::with(StatusCode::OK, fault);
        return refusal(request.headers(), failure, GRPC_UNIMPLEMENTED);
    }
    Failure::from(Fault::new(FaultKind::NotFound, text::control::no_such_path(path)))
        .into_response()
}

async fn wrong_method(request: Request) -> Response {
    let message = text::control::method_not_allowed(request.uri().path(), request.method());
    Failure::with(StatusCode::METHOD_NOT_ALLOWED, Fault::usage(message)).into_response()
}

/// Who calls; the accept loop puts it into every request.
pub(super) type By = Option<Extension<Caller>>;

pub(super) fn actor(by: By) -> Actor {
    by.map_or_else(|| Actor::Control("unknown".to_owned()), |Extension(caller)| caller.actor())
}

/// The `{name}` of a path, percent-decoded.
pub(super) type Name = Result<Path<String>, PathRejection>;

pub(super) fn name(path: Name) -> Result<ServiceName, Fault> {
    path_part(path)?.parse().map_err(Fault::usage)
}

/// The one part of a path that varies, percent-decoded.
pub(super) fn path_part(path: Result<Path<String>, PathRejection>) -> Result<String, Fault> {
    let unreadable = |reason: String| Fault::usage(text::control::path_not_readable(reason));
    let Path(part) = path.map_err(|rejection| match rejection {
        PathRejection::FailedToDeserializePathParams(error) => match error.kind() {
            ErrorKind::InvalidUtf8InPathParam { .. } => unreadable("it is not UTF-8".to_owned()),
            _ => unreadable(error.body_text()),
        },
        other => unreadable(other.body_text()),
    })?;
    Ok(part)
}

/// The query of a URL, whole.
pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Fault> {
    let Query(query) = query.map_err(|rejection| {
        let reason = match &rejection {
            QueryRejection::FailedToDeserializeQueryString(error) => {
                std::error::Error::source(error)
                    .map_or_else(|| error.body_text(), |e| e.to_string())
            }
            other => other.body_text(),
        };
        Fault::usage(text::control::query_not_readable(reason))
    })?;
    Ok(query)
}

async fn status(State(ops): State<Ops>) -> Answer<StatusReport> {
    Ok(Json(ops.status().await?))
}

/// 409 while anything stands against the proof, the receipt all the same.
async fn verify(
    State(ops): State<Ops>,
    access: Option<Extension<Access>>,
) -> Result<(StatusCode, Json<VerifyReport>), Failure> {
    let access = access.map_or(Access::Greeting, |Extension(access)| access);
    let report = ops.verify().await?.shown_to(access);
    let status = match report.is_clean() {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    Ok((status, Json(report)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortsQuery {
    /// As the command line takes them: `8080,6000-6002`; none: every registered port.
    ports: Option<String>,
}

async fn ports(
    State(ops): State<Ops>,
    access: Option<Extension<Access>>,
    asked: Result<Query<PortsQuery>, QueryRejection>,
) -> Answer<PortsReport> {
    let ports = match query(asked)?.ports {
        Some(list) => parse_ports(&list).map_err(Fault::usage)?,
        None => BTreeSet::new(),
    };
    let access = access.map_or(Access::Greeting, |Extension(access)| access);
    Ok(Json(ops.ports_status(&ports).await?.shown_to(access)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    limit: Option<u32>,
    after: Option<i64>,
}

impl EventsQuery {
    fn limit(&self) -> Result<u32, Fault> {
        let limit = self.limit.unwrap_or(DEFAULT_EVENTS);
        match limit {
            1..=Event::MAX_PAGE => Ok(limit),
            _ => Err(Fault::usage(text::control::event_limit_out_of_range(limit, Event::MAX_PAGE))),
        }
    }
}

async fn events(
    State(ops): State<Ops>,
    asked: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer<EventsReport> {
    let asked = query(asked)?;
    Ok(Json(ops.events(asked.limit()?, asked.after).await?))
}

async fn services(State(ops): State<Ops>) -> Answer<ServicesReport> {
    Ok(Json(ops.list_services(&Selection::All).await?))
}

/// 201 even where the new service could not be started: it is registered, and its item says what
/// failed.
async fn add(
    State(ops): State<Ops>,
    caller: By,
    Body(body): Body<ServiceBody>,
) -> Result<(StatusCode, Json<ActionReport>), Failure> {
    let new = NewService::try_from(body)?;
    Ok((StatusCode::CREATED, Json(ops.add_service(new, &actor(caller)).await?)))
}

async fn start(State(ops): State<Ops>, caller: By, path: Name, _: NoBody) -> Answer<ActionReport> {
    let which = Selection::Named(vec![name(path)?]);
    single(ops.start_services(&which, &actor(caller)).await?)
}

async fn stop(State(ops): State<Ops>, caller: By, path: Name, _: NoBody) -> Answer<ActionReport> {
    let which = Selection::Named(vec![name(path)?]);
    single(ops.stop_services(&which, &actor(caller)).await?)
}

async fn switch(
    State(ops): State<Ops>,
    caller: By,
    path: Name,
    Body(body): Body<SwitchBody>,
) -> Answer<ActionReport> {
    let (name, target) = (name(path)?, body.target()?);
    single(ops.switch_target(&name, &target, &actor(caller)).await?)
}

async fn remove(State(ops): State<Ops>, caller: By, path: Name) -> Answer<ActionReport> {
    let which = Selection::Named(vec![name(path)?]);
    single(ops.remove_services(&which, &actor(caller)).await?)
}

#[cfg(test)]
mod tests;
