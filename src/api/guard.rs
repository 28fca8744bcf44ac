//! Who a request is addressed to and which page made it, before anything else is looked at.
//!
//! A web page can make a browser send requests to loopback addresses. What it cannot do is choose
//! their `Origin`, nor their `Host` beyond the names that resolve to it; so a request must be
//! addressed to this listener by address or as localhost, and if it comes from a page, from one of
//! this listener's own.

use std::net::SocketAddr;

use http::header::{HOST, ORIGIN};
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderName};

use crate::model::{Caller, is_own_host};
use crate::text::{self, Message};

/// The names of a listener.
#[derive(Clone, Debug)]
pub struct Own {
    /// Where it listens.
    pub address: SocketAddr,
    /// Names beside its address and localhost, in lower case.
    pub names: Vec<String>,
    /// It speaks TLS.
    pub is_tls: bool,
}

impl Own {
    /// The same, at the address that the caller's connection came in on: a listener on every
    /// address is, to each caller, the one that was called.
    pub(super) fn seen_by(&self, caller: &Caller) -> Self {
        let ip = caller.local.ip().to_canonical();
        Self { address: SocketAddr::new(ip, self.address.port()), ..self.clone() }
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    fn is_called(&self, host: &str) -> bool {
        // What a URL of its scheme means that names no port.
        let default_port = if self.is_tls { 443 } else { 80 };
        is_own_host(host, self.address, &self.names, default_port)
    }
}

/// Whether a request is addressed to `own` and, if a page made it, to the page's own listener.
pub(super) fn verdict(own: &Own, uri: &Uri, headers: &HeaderMap) -> Result<(), Message> {
    let url = || format!("{}://{}", own.scheme(), own.address);
    let host_denied = |said: &str| text::control::host_not_allowed(shown(said), own.address, url());
    // HTTP/2 says it in `:authority`, HTTP/1 in `Host`, and either may say it twice.
    let in_target = uri.authority().map(Authority::as_str);
    let in_field = one(headers, &HOST).map_err(host_denied)?;
    if in_target.is_none() && in_field.is_none() {
        return Err(host_denied(""));
    }
    for host in in_target.into_iter().chain(in_field) {
        if !own.is_called(host) {
            return Err(host_denied(host));
        }
    }
    let origin_denied = |said: &str| text::control::origin_not_allowed(shown(said));
    match one(headers, &ORIGIN).map_err(origin_denied)? {
        Some(origin) => match origin.split_once("://") {
            Some((scheme, host)) if scheme == own.scheme() && own.is_called(host) => Ok(()),
            _ => Err(origin_denied(origin)),
        },
        None => Ok(()),
    }
}

/// What a request called, on one line, not too long, and without what stands before an `@`: it ends
/// up in answers and events, and may be a password.
fn shown(said: &str) -> String {
    const LONGEST: usize = 200;
    let shown = match said.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => said.to_owned(),
    };
    shown.escape_debug().take(LONGEST).collect()
}

/// The value of a field that stands there once or not at all; otherwise what to show of it.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, &'a str> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let value = value.to_str().map_err(|_| "?")?;
    match values.next() {
        Some(_) => Err(value),
        None => Ok(Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const OWN: &str = "127.0.0.1:3000";

    fn code(
        own: &str,
        uri: &'static str,
        fields: &[(HeaderName, &'static str)],
    ) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let address = own.parse().unwrap_or_else(|e| panic!("{own}: {e}"));
        let own = Own { address, names: Vec::new(), is_tls: false };
        verdict(&own, &Uri::from_static(uri), &headers).map_err(|message| message.code())
    }

    const HOST_DENIED: Result<(), &str> = Err("host-not-allowed");
    const ORIGIN_DENIED: Result<(), &str> = Err("origin-not-allowed");

    #[test]
    fn a_request_addressed_to_this_listener_passes() {
        for (own, host) in [
            (OWN, "127.0.0.1:3000"),
            (OWN, "localhost:3000"),
            (OWN, "LocalHost:3000"),
            (OWN, "[::1]:3000"),
            (OWN, "[0:0:0:0:0:0:0:1]:3000"),
            ("[::1]:3000", "[::1]:3000"),
            ("[::1]:3000", "127.0.0.1:3000"),
            ("127.0.0.5:3000", "127.0.0.5:3000"),
            ("192.0.2.7:3000", "192.0.2.7:3000"),
            ("[2001:db8::7]:3000", "[2001:DB8:0::7]:3000"),
            ("127.0.0.1:80", "localhost"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(code(own, "/", &[(HOST, host)]), Ok(()), "{host} at {own}");
        }
        // HTTP/2, and the absolute form of HTTP/1.1.
        assert_eq!(code(OWN, "http://localhost:3000/x", &[]), Ok(()));
        assert_eq!(code(OWN, "http://localhost:3000/x", &[(HOST, OWN)]), Ok(()));
    }

    #[test]
    fn a_request_addressed_to_anything_else_is_refused() {
        for host in [
            "evil.example:3000",
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:3001",
            "127.0.0.1:",
            "127.0.0.1:+3000",
            "127.0.0.1:03000x",
            "127.0.0.2:3000",
            "127.1:3000",
            "0.0.0.0:3000",
            "localhost.:3000",
            "localhost.evil.example:3000",
            "user@localhost:3000",
            "[::2]:3000",
            "[::1%25lo]:3000",
            "[::1]3000",
            "[::1",
            "::1:3000",
            "[127.0.0.1]:3000",
            "[::ffff:127.0.0.1]:3000",
            "",
            " localhost:3000",
        ] {
            assert_eq!(code(OWN, "/", &[(HOST, host)]), HOST_DENIED, "{host:?}");
        }
        assert_eq!(code(OWN, "/", &[]), HOST_DENIED, "no host at all");
        assert_eq!(code(OWN, "/", &[(HOST, OWN), (HOST, OWN)]), HOST_DENIED, "twice");
        assert_eq!(code(OWN, "http://evil.example:3000/", &[(HOST, OWN)]), HOST_DENIED);
        assert_eq!(code(OWN, "http://localhost:3000/", &[(HOST, "evil.example")]), HOST_DENIED);
    }

    #[test]
    fn a_password_in_a_host_is_not_repeated() {
        assert_eq!(shown("ann:s3cret@localhost:3000"), "***@localhost:3000");
        assert_eq!(shown("http://ann:s3\n@b@c"), "***@c");
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown(&"a".repeat(60_000)).len(), 200);
    }

    #[test]
    fn only_this_listener_s_own_pages_may_call() {
        let with = |origin| code(OWN, "/", &[(HOST, OWN), (ORIGIN, origin)]);
        assert_eq!(with("http://127.0.0.1:3000"), Ok(()));
        assert_eq!(with("http://localhost:3000"), Ok(()));
        for origin in [
            "null",
            "",
            "https://127.0.0.1:3000",
            "http://127.0.0.1:3001",
            "http://127.0.0.1",
            "http://127.0.0.1:3000/",
            "http://evil.example",
            "http://localhost:3000.evil.example",
            "http://localhost:3000@evil.example",
            "HTTP://localhost:3000",
            "file://",
            "chrome-extension://abcdef",
        ] {
            assert_eq!(with(origin), ORIGIN_DENIED, "{origin:?}");
        }
        let own = "http://127.0.0.1:3000";
        let twice = [(HOST, OWN), (ORIGIN, own), (ORIGIN, own)];
        assert_eq!(code(OWN, "/", &twice), ORIGIN_DENIED, "twice");
        let evil_host = [(HOST, "evil.example"), (ORIGIN, own)];
        assert_eq!(code(OWN, "/", &evil_host), HOST_DENIED, "the host counts first");
    }

    #[test]
    fn a_listener_with_tls_has_its_further_names_and_its_own_scheme() {
        let address = "192.0.2.7:443".parse().unwrap_or_else(|e| panic!("{e}"));
        let own = Own { address, names: vec!["host.example".to_owned()], is_tls: true };
        let code = |fields: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::from_static(value));
            }
            verdict(&own, &Uri::from_static("/"), &headers).map_err(|message| message.code())
        };
        for host in ["host.example", "Host.Example:443", "192.0.2.7", "localhost"] {
            assert_eq!(code(&[(HOST, host)]), Ok(()), "{host}");
        }
        for host in ["host.example:3000", "x.host.example", "host.example.", "0.0.0.0"] {
            assert_eq!(code(&[(HOST, host)]), HOST_DENIED, "{host}");
        }
        let from = |origin| code(&[(HOST, "host.example"), (ORIGIN, origin)]);
        assert_eq!(from("https://host.example"), Ok(()));
        assert_eq!(from("http://host.example"), ORIGIN_DENIED);
    }
}
