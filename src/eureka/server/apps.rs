//! The operations of the contract (Netflix' wiki, "Eureka REST operations";
//! `resources/{Applications,Application,Instance,Instances,AbstractVIP}Resource.java`).

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Node;
use super::answer::{Failure, document};
use crate::eureka::wire::{DataCenter, DataCenterName, Document, Format, Instance, InstanceStatus};
use crate::text;

/// Of a parameter given twice the first counts, as in Java.
type Parameters = Query<Vec<(String, String)>>;

pub(super) async fn all(State(node): State<Node>, headers: HeaderMap) -> Response {
    let all = node.lock().applications();
    document(&headers, Document::Applications(&all))
}

pub(super) async fn delta(State(node): State<Node>, headers: HeaderMap) -> Response {
    let delta = node.lock().delta(node.now());
    document(&headers, Document::Applications(&delta))
}

pub(super) async fn one(
    State(node): State<Node>,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = node.lock().application(&app.to_uppercase());
    let found = found.ok_or_else(|| Failure::not_listed(&app))?;
    Ok(document(&headers, Document::Application(&found)))
}

pub(super) async fn instance(
    State(node): State<Node>,
    Path((app, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = node.lock().instance(&app.to_uppercase(), &id, node.now());
    let found = found.ok_or_else(|| not_listed(&app, &id))?;
    Ok(document(&headers, Document::Instance(&found)))
}

pub(super) async fn instance_by_id(
    State(node): State<Node>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = node.lock().instance_by_id(&id, node.now());
    let found = found.ok_or_else(|| Failure::not_listed(&id))?;
    Ok(document(&headers, Document::Instance(&found)))
}

pub(super) async fn vip(
    State(node): State<Node>,
    Path(address): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = node.lock().at_address(&address, false);
    document(&headers, Document::Applications(&found))
}

pub(super) async fn secure_vip(
    State(node): State<Node>,
    Path(address): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = node.lock().at_address(&address, true);
    document(&headers, Document::Applications(&found))
}

pub(super) async fn register(
    State(node): State<Node>,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Failure> {
    let format = sent_as(&headers)?;
    let mut instance = Instance::decode(format, &body).map_err(|error| {
        let mut reason = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            reason = format!("{reason}: {source}");
        }
        Failure::bad(text::eureka::registry_body_unreadable(reason))
    })?;
    check(&instance, &app)?;
    if let Some(DataCenter { name: DataCenterName::Amazon, metadata }) = &mut instance.data_center {
        // Consumers in Amazon's cloud know an instance by it.
        metadata.entry("instance-id".to_owned()).or_insert_with(|| instance.instance_id.clone());
    }
    let (app, id, status) =
        (instance.app.clone(), instance.id().to_owned(), instance.status.as_str());
    node.lock().register(instance, node.now());
    let line = text::eureka::registry_instance_registered(app, id, status);
    tracing::info!("{}", line.render(node.lang));
    Ok(StatusCode::NO_CONTENT)
}

/// What `ApplicationResource.addInstance` asks for.
fn check(instance: &Instance, app: &str) -> Result<(), Failure> {
    let required = [
        ("instanceId", instance.id()),
        ("hostName", &instance.host_name),
        ("ipAddr", &instance.ip_addr),
        ("app", &instance.app),
    ];
    let missing = required.iter().find(|(_, value)| value.trim().is_empty());
    if let Some((field, _)) = missing {
        return Err(Failure::bad(text::eureka::registration_lacks(field)));
    }
    if instance.app != app.to_uppercase() {
        let (named, path) = (instance.app.escape_debug(), app.escape_debug());
        return Err(Failure::bad(text::eureka::registration_of_another(named, path)));
    }
    if instance.data_center.is_none() {
        return Err(Failure::bad(text::eureka::registration_lacks("dataCenterInfo")));
    }
    Ok(())
}

/// How the body is written; anything but JSON and XML is refused, because a page may send anything
/// else without asking first.
fn sent_as(headers: &HeaderMap) -> Result<Format, Failure> {
    let word = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let sent = headers.get(CONTENT_TYPE).map(word).unwrap_or_default();
    let refuse = |sent: &str| {
        let message = text::eureka::registry_body_kind(sent.escape_debug());
        Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
    };
    if let Some(coding) = headers.get(CONTENT_ENCODING).map(word)
        && !coding.eq_ignore_ascii_case("identity")
    {
        return refuse(&coding);
    }
    let media_type = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = [Format::Json, Format::Xml];
    known.into_iter().find(|one| one.media_type() == media_type).map_or_else(|| refuse(&sent), Ok)
}

pub(super) async fn renew(
    State(node): State<Node>,
    Path((app, id)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> Result<StatusCode, Failure> {
    // `status` and `overriddenstatus` are for peers; of a client they are not looked at there either.
    let last_dirty = last_dirty(&parameters)?;
    done(node.lock().renew(&app.to_uppercase(), &id, last_dirty, node.now()), &app, &id)
}

pub(super) async fn cancel(
    State(node): State<Node>,
    Path((app, id)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let status = done(node.lock().cancel(&app.to_uppercase(), &id, node.now()), &app, &id)?;
    let line = text::eureka::registry_instance_cancelled(app.to_uppercase(), id);
    tracing::info!("{}", line.render(node.lang));
    Ok(status)
}

pub(super) async fn set_status(
    State(node): State<Node>,
    Path((app, id)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> Result<StatusCode, Failure> {
    let status = status(parameter(&parameters, "value").unwrap_or_default())?;
    let (last_dirty, now, app) = (last_dirty(&parameters)?, node.now(), app.to_uppercase());
    let is_set = {
        let mut registry = node.lock();
        registry.instance(&app, &id, now).is_some()
            && registry.set_status(&app, &id, status, last_dirty, now)
    };
    let answer = done(is_set, &app, &id)?;
    let line = text::eureka::registry_status_set(app, id, status.as_str());
    tracing::info!("{}", line.render(node.lang));
    Ok(answer)
}

pub(super) async fn delete_status(
    State(node): State<Node>,
    Path((app, id)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> Result<StatusCode, Failure> {
    let status = match parameter(&parameters, "value") {
        Some(value) => status(value)?,
        None => InstanceStatus::Unknown,
    };
    let (last_dirty, now, app) = (last_dirty(&parameters)?, node.now(), app.to_uppercase());
    let mut registry = node.lock();
    let is_deleted = registry.instance(&app, &id, now).is_some()
        && registry.delete_status(&app, &id, status, last_dirty, now);
    done(is_deleted, &app, &id)
}

pub(super) async fn put_metadata(
    State(node): State<Node>,
    Path((app, id)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> Result<StatusCode, Failure> {
    // Of a key given twice the first counts: later entries of an iterator would win.
    let entries = parameters.into_iter().rev();
    done(node.lock().put_metadata(&app.to_uppercase(), &id, entries, node.now()), &app, &id)
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn status(value: &str) -> Result<InstanceStatus, Failure> {
    InstanceStatus::from_word(value)
        .ok_or_else(|| Failure::bad(text::eureka::registry_status_unknown(value.escape_debug())))
}

fn last_dirty(parameters: &[(String, String)]) -> Result<Option<i64>, Failure> {
    const NAME: &str = "lastDirtyTimestamp";
    let Some(value) = parameter(parameters, NAME) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| {
        Failure::bad(text::eureka::registry_number_unreadable(NAME, value.escape_debug()))
    })
}

fn not_listed(app: &str, id: &str) -> Failure {
    Failure::not_listed(&format!("{app}/{id}"))
}

fn done(is_done: bool, app: &str, id: &str) -> Result<StatusCode, Failure> {
    match is_done {
        true => Ok(StatusCode::OK),
        false => Err(not_listed(app, id)),
    }
}
