//! Where a target is: an upstream base URL, and what is needed to trust and log in to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use url::{Host, Url};

use crate::text::{self, Message};

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1.1 in the clear.
    Http,
    /// TLS, then HTTP/2 or HTTP/1.1 as ALPN chooses.
    Https,
    /// HTTP/2 with prior knowledge in the clear (RFC 9113 section 3.3).
    H2c,
    /// No one place: the instances that the registry lists of an application.
    Lb,
}

impl Scheme {
    /// The scheme as it stands in the URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::Lb => "lb",
        }
    }

    /// The port of a URL that names none; an application has none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Lb => 0,
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// User name and password from a target's URL, sent upstream as basic authorization and kept apart
/// from the URL everywhere else. Never printed: `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Decoded user name.
    pub username: String,
    /// Decoded password, possibly empty.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ***)", self.username)
    }
}

/// Most bytes of an application's name: those of a service's.
const MAX_APPLICATION_BYTES: usize = 253;

/// A target's base URL, normalised: lower-case scheme and host (IDNA to ASCII), no default port, no
/// credentials, no query, no fragment, a base path without its trailing slash. In the place of a host
/// `lb://` has the name of an application, in capitals as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    base_path: String,
}

impl TargetUrl {
    /// Parses what a person wrote, and sets the credentials in it apart.
    pub fn parse_with_credentials(text: &str) -> Result<(Self, Option<Credentials>), Message> {
        let shown = redact(text);
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(text::model::target_url_without_scheme(&shown));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "h2c" => Scheme::H2c,
            "lb" => Scheme::Lb,
            other => return Err(text::model::target_url_scheme_unknown(&shown, other)),
        };
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(text::model::target_url_invalid(&shown, "white space in it"));
        }
        if scheme == Scheme::Lb {
            return application(rest, &shown);
        }
        // `url` knows the rules of hosts for http and https only, and drops the default port of the
        // scheme it is given: h2c shares those of http.
        let known = if scheme == Scheme::Https { "https" } else { "http" };
        if rest.starts_with(['/', '\\']) {
            return Err(text::model::target_url_invalid(&shown, "empty host"));
        }
        let url = Url::parse(&format!("{known}://{rest}"))
            .map_err(|e| text::model::target_url_invalid(&shown, e))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(text::model::target_url_has_query(&shown));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => format!("[{ip}]"),
            _ => return Err(text::model::target_url_invalid(&shown, "empty host")),
        };
        let port = match url.port() {
            Some(0) => return Err(text::model::target_url_invalid(&shown, "port 0")),
            port => port.unwrap_or(scheme.default_port()),
        };
        let base_path = url.path().trim_end_matches('/').to_owned();
        let target = Self { scheme, host, port, base_path };
        Ok((target, credentials(&url)))
    }

    /// Where an instance of an application is, which registers itself with a host and a port; in TLS
    /// if it `is_secure`. `None` for what is no host, and for port 0.
    pub fn of_instance(is_secure: bool, host: &str, port: u16, base_path: &str) -> Option<Self> {
        let scheme = if is_secure { Scheme::Https } else { Scheme::Http };
        let host = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        let text = format!("{}://{host}:{port}{base_path}", scheme.as_str());
        let url = text.parse::<Self>().ok()?;
        // A host that is more than one would be read as something else.
        (url.port == port && url.base_path == base_path).then_some(url)
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The application whose instances are meant; `None` for one place.
    pub fn application(&self) -> Option<&str> {
        (self.scheme == Scheme::Lb).then_some(self.host.as_str())
    }

    /// Host name or address, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to, never 0; for an application always.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What stands before every forwarded path: empty, or `/` and more without a trailing slash.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// `host` or `host:port`, as a `Host` field takes it (RFC 9110 section 7.2): the port is left
    /// out where it is the scheme's default.
    pub fn authority(&self) -> String {
        match self.port == self.scheme.default_port() {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for TargetUrl {
    type Err = Message;

    /// Parses a URL as stored, which has no credentials; those of `text` would be dropped.
    fn from_str(text: &str) -> Result<Self, Message> {
        Self::parse_with_credentials(text).map(|(url, _)| url)
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.scheme.as_str(), self.authority());
        write!(f, "{scheme}://{authority}{}", self.base_path)
    }
}

impl Serialize for TargetUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What stands behind `lb://`: a name, as a registry takes it, and perhaps a base path.
fn application(rest: &str, shown: &str) -> Result<(TargetUrl, Option<Credentials>), Message> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (login, name) = authority.rsplit_once('@').unwrap_or(("", authority));
    // The rules of hosts would change a name that is none; the rest is as in every URL.
    let url = Url::parse(&format!("http://{login}@application{path}"))
        .map_err(|e| text::model::target_url_invalid(shown, e))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(text::model::target_url_has_query(shown));
    }
    let is_wrong = |c: char| c.is_ascii_punctuation() && !matches!(c, '-' | '_' | '.' | '~');
    if name.is_empty() || name.len() > MAX_APPLICATION_BYTES || name.contains(is_wrong) {
        return Err(text::model::target_application_invalid(shown));
    }
    let base_path = url.path().trim_end_matches('/').to_owned();
    let (scheme, host) = (Scheme::Lb, name.to_uppercase());
    Ok((TargetUrl { scheme, host, port: scheme.default_port(), base_path }, credentials(&url)))
}

/// What a `https` target is trusted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// The text with everything between `://` and the last `@` masked, so that a refused URL can be
/// quoted: a password that holds a `/`, `?` or `#` as it is makes the URL a wrong one.
pub(super) fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        // `user:secret@host` without a scheme may hold a password too.
        return match text.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => text.to_owned(),
        };
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None => text.to_owned(),
    }
}

pub(super) fn credentials(url: &Url) -> Option<Credentials> {
    let decode =
        |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let password = url.password().map(decode);
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    Some(Credentials { username: decode(url.username()), password: password.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> Result<String, &'static str> {
        text.parse::<TargetUrl>().map(|url| url.to_string()).map_err(|m| m.code())
    }

    #[test]
    fn a_url_is_normalised() {
        for (written, kept) in [
            ("HTTP://LocalHost:9001", "http://localhost:9001"),
            ("http://a:80/", "http://a"),
            ("https://a:443/x/", "https://a/x"),
            ("https://a:80", "https://a:80"),
            ("h2c://a:80/b//", "h2c://a/b"),
            ("h2c://a:9000", "h2c://a:9000"),
            ("http://[::1]:9001/v1", "http://[::1]:9001/v1"),
            ("http://bücher.example", "http://xn--bcher-kva.example"),
            ("http://a/x y".replace(' ', "%20").as_str(), "http://a/x%20y"),
            ("http://a/b/../c", "http://a/c"),
            ("LB://dspapi", "lb://DSPAPI"),
            ("lb://Orders_v2.x/base/", "lb://ORDERS_V2.X/base"),
            ("lb://订单服务", "lb://订单服务"),
        ] {
            assert_eq!(normal(written).as_deref(), Ok(kept), "{written}");
            assert_eq!(normal(kept).as_deref(), Ok(kept), "{kept} again");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_its_reason() {
        assert_eq!(normal("localhost:9001"), Err("target-url-without-scheme"));
        assert_eq!(normal("ftp://a"), Err("target-url-scheme-unknown"));
        assert_eq!(normal("http://a?x=1"), Err("target-url-has-query"));
        assert_eq!(normal("http://a/#x"), Err("target-url-has-query"));
        for bad in ["http://", "http:///x", "http://a:0", "http://a:99999", "http://a b"] {
            assert_eq!(normal(bad), Err("target-url-invalid"), "{bad}");
        }
        assert_eq!(normal("lb://A?x"), Err("target-url-has-query"));
        for bad in
            ["lb://", "lb:///x", "lb://a:80", "lb://[::1]", "lb://a%2Fb", "lb://@", "lb://a\\b"]
        {
            assert_eq!(normal(bad), Err("target-application-invalid"), "{bad}");
        }
    }

    #[test]
    fn credentials_are_set_apart_and_never_shown() {
        let parsed = TargetUrl::parse_with_credentials("http://ann:p%40ss@a:9000/x");
        let (url, credentials) = parsed.map_err(|m| m.code()).unwrap_or_else(|c| panic!("{c}"));
        assert_eq!(url.to_string(), "http://a:9000/x");
        let expected = Credentials { username: "ann".into(), password: "p@ss".into() };
        assert!(!format!("{expected:?}").contains("p@ss"));
        assert_eq!(credentials, Some(expected));
        let parsed = TargetUrl::parse_with_credentials("lb://ann:p%40ss@orders/x");
        let (url, credentials) = parsed.map_err(|m| m.code()).unwrap_or_else(|c| panic!("{c}"));
        assert_eq!((url.application(), url.base_path()), (Some("ORDERS"), "/x"));
        assert_eq!(credentials.map(|c| c.password).as_deref(), Some("p@ss"));
        for bad in
            ["ftp://ann:s3cret@a", "ann:s3cret@a:1", "http://ann:s3cret@a:0", "lb://ann:s3cret@a:1"]
        {
            let error = TargetUrl::parse_with_credentials(bad).map(|_| ()).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
