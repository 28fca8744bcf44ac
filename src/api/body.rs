//! Bodies as they are written, and the requests they make.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};

use super::answer::Failure;
use crate::model::{
    Fault, FaultKind, HealthCheck, HealthPatch, NewService, NewTarget, Port, PortChoice,
    TargetName, TargetUrl, UpstreamTls, parse_tags,
};
use crate::text;

/// Largest request body, in bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// How long a body may take to arrive.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A JSON body of exactly the fields of `T`.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let (json, bytes) = bytes(request, state).await?;
        json?;
        parse(&bytes).map(Self).map_err(Into::into)
    }
}

/// A body that says nothing: none, or an empty JSON object.
pub(super) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let (json, bytes) = bytes(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self);
        }
        json?;
        parse::<Nothing>(&bytes)?;
        Ok(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The body, and whether it is announced as JSON.
async fn bytes<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<(Result<(), Failure>, Bytes), Failure> {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
    let json = is_json(kind.as_deref())
        .map_err(|fault| Failure::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, fault));
    let late = || {
        let message = text::control::body_not_readable(format!("not whole after {MAX_WAIT:?}"));
        Failure::with(StatusCode::REQUEST_TIMEOUT, Fault::new(FaultKind::Timeout, message))
    };
    let read = tokio::time::timeout(MAX_WAIT, Bytes::from_request(request, state));
    let bytes = read.await.map_err(|_| late())?.map_err(|rejection| {
        let message = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => text::control::body_too_large(MAX_BODY),
            _ => text::control::body_not_readable(rejection.body_text()),
        };
        Failure::with(rejection.status(), Fault::usage(message))
    })?;
    Ok((json, bytes))
}

fn is_json(kind: Option<&str>) -> Result<(), Fault> {
    let kind = kind.unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    match essence.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(Fault::usage(text::control::body_not_json(kind.escape_debug()))),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|e| Fault::usage(text::control::body_not_readable(e)))
}

/// POST `/api/services/{name}/switch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchBody {
    target: String,
}

impl SwitchBody {
    pub(super) fn target(&self) -> Result<TargetName, Fault> {
        self.target.parse().map_err(Fault::usage)
    }
}

/// POST `/api/services`: the words of `pmctl service add`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceBody {
    name: String,
    port: PortBody,
    #[serde(default)]
    bind: Option<String>,
    targets: TargetsBody,
    #[serde(default)]
    active: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default = "yes")]
    register: bool,
    #[serde(default)]
    health: Option<HealthBody>,
    #[serde(default)]
    stopped: bool,
}

/// What is left out has its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HealthBody {
    path: String,
    interval_ms: Option<u64>,
    timeout_ms: Option<u64>,
    unhealthy_after: Option<u32>,
    healthy_after: Option<u32>,
}

impl TryFrom<HealthBody> for HealthCheck {
    type Error = Fault;

    fn try_from(body: HealthBody) -> Result<Self, Fault> {
        let patch = HealthPatch {
            path: Some(body.path),
            interval_ms: body.interval_ms,
            timeout_ms: body.timeout_ms,
            unhealthy_after: body.unhealthy_after,
            healthy_after: body.healthy_after,
        };
        patch.over(None).map_err(Fault::usage)
    }
}

fn yes() -> bool {
    true
}

impl TryFrom<ServiceBody> for NewService {
    type Error = Fault;

    fn try_from(body: ServiceBody) -> Result<Self, Fault> {
        let address = |bind: String| {
            let refuse = |_| Fault::usage(text::control::bind_not_an_address(&bind));
            bind.parse::<IpAddr>().map_err(refuse)
        };
        let mut targets = BTreeMap::new();
        let mut first = None;
        for (name, target) in body.targets.0 {
            let name: TargetName = name.parse().map_err(Fault::usage)?;
            first.get_or_insert_with(|| name.clone());
            if targets.contains_key(&name) {
                return Err(Fault::usage(text::control::target_twice(name)));
            }
            targets.insert(name, target.try_into()?);
        }
        let active = body.active.map(|name| name.parse().map_err(Fault::usage)).transpose()?;
        Ok(Self {
            name: body.name.parse().map_err(Fault::usage)?,
            port: body.port.choice()?,
            bind: body.bind.map(address).transpose()?,
            targets,
            active: active.or(first),
            tags: parse_tags(&body.tags).map_err(Fault::usage)?,
            register: body.register,
            health: body.health.map(TryInto::try_into).transpose()?,
            stopped: body.stopped,
        })
    }
}

/// `8080` or `"auto"`; `"8080"` too.
#[derive(Debug)]
enum PortBody {
    Number(i64),
    Word(String),
}

impl PortBody {
    fn choice(&self) -> Result<PortChoice, Fault> {
        match self {
            Self::Number(number) => Port::try_from(*number).map(PortChoice::Fixed),
            Self::Word(word) => word.parse(),
        }
        .map_err(Fault::usage)
    }
}

impl<'de> Deserialize<'de> for PortBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = PortBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or \"auto\"")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<PortBody, E> {
                Ok(PortBody::Number(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<PortBody, E> {
                Ok(PortBody::Number(number))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<PortBody, E> {
                Ok(PortBody::Word(word.to_owned()))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// Targets by name, in the order written: the first one is the active one unless said otherwise.
#[derive(Debug)]
struct TargetsBody(Vec<(String, TargetBody)>);

impl<'de> Deserialize<'de> for TargetsBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = TargetsBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of targets by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TargetsBody, A::Error> {
                let mut targets = Vec::new();
                while let Some(target) = map.next_entry()? {
                    targets.push(target);
                }
                Ok(TargetsBody(targets))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// A URL, or a URL with what its certificate is checked against.
#[derive(Debug)]
struct TargetBody(TargetFields);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TargetFields {
    url: String,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    insecure: bool,
}

impl<'de> Deserialize<'de> for TargetBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = TargetBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or an object with `url`")
            }

            fn visit_str<E: Error>(self, url: &str) -> Result<TargetBody, E> {
                let url = url.to_owned();
                Ok(TargetBody(TargetFields { url, ca_file: None, insecure: false }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetBody, A::Error> {
                // Not an untagged enum: that would swallow the name of an unknown field.
                TargetFields::deserialize(MapAccessDeserializer::new(map)).map(TargetBody)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl TryFrom<TargetBody> for NewTarget {
    type Error = Fault;

    fn try_from(TargetBody(fields): TargetBody) -> Result<Self, Fault> {
        if let Some(path) = fields.ca_file.as_ref().filter(|path| !path.is_absolute()) {
            return Err(Fault::usage(text::control::ca_file_relative(path.display())));
        }
        let parsed = TargetUrl::parse_with_credentials(&fields.url).map_err(Fault::usage)?;
        let (url, credentials) = parsed;
        let tls = UpstreamTls { ca_file: fields.ca_file, insecure: fields.insecure };
        Ok(Self { url, credentials, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(json: &str) -> Result<NewService, Fault> {
        parse::<ServiceBody>(json.as_bytes())?.try_into()
    }

    fn refused(json: &str) -> (&'static str, String) {
        match service(json) {
            Ok(new) => panic!("{json} was taken as {new:?}"),
            Err(fault) => (fault.message.code(), fault.to_string()),
        }
    }

    #[test]
    fn a_service_is_read_as_the_command_line_would_write_it() {
        let read = service(
            r#"{"name":"订单","port":8080,"bind":"::1","active":"green","tags":["a"],"stopped":true,
                "register":false,"targets":{"blue":"http://u:p@a:1/x",
                "green":{"url":"https://b","insecure":true}}}"#,
        );
        let new = read.unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(new.name.as_str(), "订单");
        assert_eq!(new.port, PortChoice::Fixed(Port::new(8080).unwrap_or_else(|| panic!())));
        assert_eq!(new.bind.map(|ip| ip.to_string()).as_deref(), Some("::1"));
        assert_eq!(new.active.as_ref().map(TargetName::as_str), Some("green"));
        assert!(new.stopped && !new.register);
        let mut targets = new.targets.into_values();
        let blue = targets.next();
        assert_eq!(blue.as_ref().map(|t| t.url.to_string()).as_deref(), Some("http://a:1/x"));
        assert!(blue.is_some_and(|target| target.credentials.is_some()));
        assert!(targets.next().is_some_and(|target| target.tls.insecure));
    }

    #[test]
    fn the_first_target_written_is_the_active_one() {
        let read =
            service(r#"{"name":"a","port":"auto","targets":{"z":"http://z","b":"http://b"}}"#);
        let new = read.unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(new.active.as_ref().map(TargetName::as_str), Some("z"));
        assert_eq!(new.port, PortChoice::Auto);
        assert!(new.register && !new.stopped && new.bind.is_none());
    }

    #[test]
    fn the_health_of_a_target_is_watched_by_path_and_what_else_is_asked() {
        let with = |health: &str| {
            format!(r#"{{"name":"a","port":1,"targets":{{"t":"http://a"}},"health":{health}}}"#)
        };
        let new = service(&with(r#"{"path":"/up","intervalMs":500}"#));
        let check = new.unwrap_or_else(|fault| panic!("{fault}")).health;
        assert_eq!(check.map(|c| (c.path, c.timeout_ms)), Some(("/up".to_owned(), 500)));
        let none = service(&with("null")).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(none.health, None);
        assert_eq!(refused(&with(r#"{"path":"up"}"#)).0, "health-path-invalid");
        assert!(refused(&with(r#"{"path":"/","after":1}"#)).1.contains("`after`"));
        assert!(refused(&with("{}")).1.contains("`path`"));
    }

    #[test]
    fn an_unknown_field_is_named_at_both_levels() {
        let top = refused(r#"{"name":"a","port":1,"targets":{},"prot":2}"#);
        assert!(top.0 == "body-not-readable" && top.1.contains("`prot`"), "{top:?}");
        let inner =
            refused(r#"{"name":"a","port":1,"targets":{"t":{"url":"http://a","ca":"/x"}}}"#);
        assert!(inner.0 == "body-not-readable" && inner.1.contains("`ca`"), "{inner:?}");
    }

    #[test]
    fn what_is_missing_doubled_or_out_of_range_is_refused_by_name() {
        let with =
            |port: &str| format!(r#"{{"name":"a","port":{port},"targets":{{"t":"http://a"}}}}"#);
        for port in ["0", "70000", "-1", "18446744073709551615", "\"80x\"", "\"\""] {
            assert_eq!(refused(&with(port)).0, "port-out-of-range", "{port}");
        }
        for port in ["80.5", "null", "[80]", "true"] {
            assert_eq!(refused(&with(port)).0, "body-not-readable", "{port}");
        }
        let twice = r#"{"name":"a","port":1,"targets":{"t":"http://a","t":"http://b"}}"#;
        assert_eq!(refused(twice).0, "target-twice");
        let relative =
            r#"{"name":"a","port":1,"targets":{"t":{"url":"https://a","caFile":"x.pem"}}}"#;
        assert_eq!(refused(relative).0, "ca-file-relative");
        let bind = r#"{"name":"a","port":1,"bind":"localhost","targets":{"t":"http://a"}}"#;
        assert_eq!(refused(bind).0, "bind-not-an-address");
        assert!(refused(r#"{"port":1,"targets":{}}"#).1.contains("`name`"));
        assert_eq!(refused("").0, "body-not-readable");
        assert_eq!(refused("[1]").0, "body-not-readable");
    }

    #[test]
    fn only_json_is_taken_for_json() {
        assert!(is_json(Some("application/json")).is_ok());
        assert!(is_json(Some("Application/JSON ; charset=utf-8")).is_ok());
        for other in [None, Some(""), Some("text/plain"), Some("application/jsonx")] {
            assert!(is_json(other).is_err(), "{other:?}");
        }
    }
}
