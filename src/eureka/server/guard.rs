//! Who a request is addressed to and which page made it, before anything else is looked at.
//!
//! A page can make a browser send requests to loopback; what it cannot choose are the `Origin` and a
//! `Host` beyond the names that resolve there.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderName, StatusCode};

use super::answer::Failure;
use crate::model::is_own_host;
use crate::text::{self, Message};

/// What a URL of the scheme `http` means that names no port.
const DEFAULT_PORT: u16 = 80;

pub(super) async fn check(
    State(address): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match verdict(address, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(message) => Failure::new(StatusCode::FORBIDDEN, message).into_response(),
    }
}

fn verdict(address: SocketAddr, uri: &Uri, headers: &HeaderMap) -> Result<(), Message> {
    let denied = |host: &str| text::eureka::registry_host_denied(host.escape_debug(), address);
    let in_target = uri.authority().map(Authority::as_str);
    let in_field = one(headers, &HOST).map_err(|()| denied("?"))?;
    let hosts: Vec<&str> = in_target.into_iter().chain(in_field).collect();
    let Some(host) = hosts.first() else { return Err(denied("")) };
    for host in &hosts {
        // Beyond this machine the listener has names it cannot know, and everybody must log in.
        if address.ip().to_canonical().is_loopback()
            && !is_own_host(host, address, &[], DEFAULT_PORT)
        {
            return Err(denied(host));
        }
    }
    let foreign = |origin: &str| text::eureka::registry_origin_denied(origin.escape_debug());
    match one(headers, &ORIGIN).map_err(|()| foreign("?"))? {
        None => Ok(()),
        Some(origin) => match origin.split_once("://") {
            // https: a proxy that ends TLS may stand before a listener beyond this machine.
            Some(("http" | "https", page)) if page.eq_ignore_ascii_case(host) => Ok(()),
            _ => Err(foreign(origin)),
        },
    }
}

/// The value of a field that stands there once or not at all.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn code(own: &str, fields: &[(HeaderName, &'static str)]) -> Result<(), &'static str> {
        let headers = fields.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        verdict(own.parse().unwrap(), &Uri::from_static("/"), &map).map_err(|m| m.code())
    }

    const OWN: &str = "127.0.0.1:8761";
    const HOST_DENIED: Result<(), &str> = Err("registry-host-denied");
    const ORIGIN_DENIED: Result<(), &str> = Err("registry-origin-denied");

    #[test]
    fn a_loopback_registry_is_called_by_its_address_or_as_localhost() {
        for host in ["127.0.0.1:8761", "localhost:8761", "LocalHost:8761", "[::1]:8761"] {
            assert_eq!(code(OWN, &[(HOST, host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:8761",
            "127.0.0.1",
            "127.0.0.1:8762",
            "localhost.evil.example:8761",
            "a@localhost:8761",
            "0.0.0.0:8761",
            "",
        ] {
            assert_eq!(code(OWN, &[(HOST, host)]), HOST_DENIED, "{host}");
        }
        assert_eq!(code(OWN, &[]), HOST_DENIED);
        assert_eq!(code(OWN, &[(HOST, OWN), (HOST, OWN)]), HOST_DENIED);
    }

    #[test]
    fn only_its_own_page_may_call_wherever_it_listens() {
        for (own, host) in [(OWN, OWN), ("0.0.0.0:8761", "registry.example:8761")] {
            let with = |origin| code(own, &[(HOST, host), (ORIGIN, origin)]);
            assert_eq!(code(own, &[(HOST, host)]), Ok(()));
            for origin in ["null", "", "http://evil.example", "file://", "http://localhost:1"] {
                assert_eq!(with(origin), ORIGIN_DENIED, "{origin} at {own}");
            }
        }
        assert_eq!(code(OWN, &[(HOST, OWN), (ORIGIN, "http://127.0.0.1:8761")]), Ok(()));
        let page = [(HOST, "r.example"), (ORIGIN, "https://r.example")];
        assert_eq!(code("0.0.0.0:8761", &page), Ok(()), "a proxy that ends TLS");
    }
}
