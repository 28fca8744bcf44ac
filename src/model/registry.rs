//! Where a registry is, and how our instances are called in it.

use std::fmt;

use url::{Host, Url};

use super::target::{credentials, redact};
use super::{Credentials, Port, ServiceName};

/// Where the operations of a Eureka server begin if its URL names no path.
const DEFAULT_PATH: &str = "/eureka";

/// Base URL of a registry's server. What stood before the `@` is kept apart and never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryUrl {
    url: String,
    credentials: Option<Credentials>,
}

/// Why something is no URL of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use {shown} as the URL of a registry: {reason}")]
pub struct RegistryUrlError {
    /// What was written, without a password.
    pub shown: String,
    /// A fragment of a sentence.
    pub reason: String,
}

impl RegistryUrl {
    /// Parses what a person wrote: `http` or `https`, an optional base path (`/eureka` without one),
    /// no query, no fragment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RegistryUrlError> {
        let refuse =
            |reason: &str| Err(RegistryUrlError { shown: redact(text), reason: reason.to_owned() });
        if !text.contains("://") {
            return refuse("it has no scheme");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it has white space in it");
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(&error.to_string()),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("the scheme is neither http nor https");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("it has a query or a fragment");
        }
        if url.port() == Some(0) {
            return refuse("port 0 names no server");
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => format!("[{ip}]"),
            _ => return refuse("it has no host"),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let path = match url.path().trim_end_matches('/') {
            "" => DEFAULT_PATH,
            path => path,
        };
        let base = format!("{}://{host}{port}{path}", url.scheme());
        Ok(Self { url: base, credentials: credentials(&url) })
    }

    /// The URL without credentials and without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The URL with its credentials, which [`RegistryUrl::parse`] reads back: for another process of
    /// this program, never to be shown.
    pub fn with_credentials(&self) -> String {
        let Some(Credentials { username, password }) = &self.credentials else {
            return self.url.clone();
        };
        let encode = |part: &str| {
            percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        format!("{scheme}://{}:{}@{rest}", encode(username), encode(password))
    }

    /// What to log in with.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.url)
    }
}

/// How the ids of our instances are made: text with `{host}`, `{service}` and `{port}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceIdPattern(String);

impl Default for InstanceIdPattern {
    fn default() -> Self {
        Self("{host}:{service}:{port}".to_owned())
    }
}

impl InstanceIdPattern {
    /// The placeholders there are.
    pub const PLACEHOLDERS: [&str; 3] = ["{host}", "{service}", "{port}"];

    /// Most bytes of a pattern.
    const MAX_BYTES: usize = 200;

    /// Parses what a person wrote.
    ///
    /// # Errors
    /// A fragment of a sentence: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.len() > Self::MAX_BYTES {
            return Err(format!("it is longer than {} bytes", Self::MAX_BYTES));
        }
        let is_wrong = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\');
        if text.contains(is_wrong) {
            return Err("it has white space or a slash in it".to_owned());
        }
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let from = &rest[at..];
            let known = Self::PLACEHOLDERS.iter().find(|known| from.starts_with(**known));
            let Some(known) = known else {
                let end = from.find('}').map_or(from.len(), |end| end + 1);
                return Err(format!("`{}` is no placeholder", &from[..end]));
            };
            rest = &from[known.len()..];
        }
        Ok(Self(text.to_owned()))
    }

    /// The id of a service that is announced at `host`.
    pub fn instance_id(&self, host: &str, service: &ServiceName, port: Port) -> String {
        // One pass: a service may be called `{port}`.
        let (mut id, mut rest) = (String::with_capacity(64), self.0.as_str());
        while let Some(at) = rest.find('{') {
            id.push_str(&rest[..at]);
            rest = &rest[at..];
            let [of_host, of_service, _] = Self::PLACEHOLDERS;
            let (value, placeholder) = match rest {
                _ if rest.starts_with(of_host) => (host.to_owned(), of_host),
                _ if rest.starts_with(of_service) => (service.to_string(), of_service),
                // Parsing left no other.
                _ => (port.to_string(), Self::PLACEHOLDERS[2]),
            };
            id.push_str(&value);
            rest = rest.get(placeholder.len()..).unwrap_or_default();
        }
        id.push_str(rest);
        id
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_url_keeps_its_path_and_its_credentials_apart() {
        for (written, kept) in [
            ("http://LocalHost:8761", "http://localhost:8761/eureka"),
            ("http://a:80/eureka/", "http://a/eureka"),
            ("https://ann:s3%40cret@a:8761/eureka/v2//", "https://a:8761/eureka/v2"),
            ("http://[::1]:8761/x", "http://[::1]:8761/x"),
        ] {
            let url = RegistryUrl::parse(written).unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(url.as_str(), kept, "{written}");
            assert!(!format!("{url} {url:?}").contains("s3"), "{url:?}");
        }
        let with = RegistryUrl::parse("https://ann:s3%40cret@a").unwrap_or_else(|e| panic!("{e}"));
        let kept = with.credentials().map(|c| (c.username.as_str(), c.password.as_str()));
        assert_eq!(kept, Some(("ann", "s3@cret")));
    }

    #[test]
    fn what_is_no_registry_url_is_refused_without_its_password() {
        for bad in [
            "a:8761",
            "h2c://a",
            "ann:s3cret@a",
            "http://ann:s3cret@",
            "http://ann:s3cret@a:0",
            "http://ann:s3cret@a/x?y=1",
            "http://ann:s3cret@a/#x",
            "ftp://ann:s3cret@a",
            "http://ann:s3cret@a/ b",
        ] {
            let error = RegistryUrl::parse(bad).err().unwrap_or_else(|| panic!("{bad}"));
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn an_instance_id_is_its_pattern_with_each_placeholder_filled_once() {
        let (service, port) = ("{port}".parse().unwrap(), Port::new(8080).unwrap());
        let id = |pattern: &str| {
            let pattern = InstanceIdPattern::parse(pattern).unwrap_or_else(|e| panic!("{e}"));
            pattern.instance_id("10.0.0.7", &service, port)
        };
        assert_eq!(id(InstanceIdPattern::default().as_str()), "10.0.0.7:{port}:8080");
        assert_eq!(id("blue-{port}.{port}"), "blue-8080.8080");
        for bad in ["", "a b", "{host}/{port}", "{ip}", "{host", "host}", "{}", &"x".repeat(201)] {
            assert!(InstanceIdPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
