//! A service registry from outside: where it is, and what it lists.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::{Credentials, Scheme, Success, TargetUrl, Timestamp};
use crate::text::{self, Message};

/// Where a Eureka registry is found when nobody says so: what its own server and every client of it
/// start with, and what `pmctl eureka serve` listens on.
const DEFAULT: &str = "http://127.0.0.1:8761/eureka";

/// The base path of a URL that has none.
const BASE_PATH: &str = "/eureka";

/// Base URL of a Eureka registry, http or https, with a base path (`/eureka` where none was written)
/// and without a slash at its end. Its credentials are kept apart and never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryUrl {
    base: String,
    credentials: Option<Credentials>,
}

impl RegistryUrl {
    /// One URL as a person wrote it, credentials in it or not.
    ///
    /// # Errors
    /// The sentence about what is wrong with it; credentials are not repeated in it.
    pub fn parse(text: &str) -> Result<Self, Message> {
        let (target, credentials) = TargetUrl::parse_with_credentials(text.trim())?;
        if target.scheme() == Scheme::H2c {
            return Err(text::eureka::registry_url_scheme(&target));
        }
        let path = match target.base_path() {
            "" => BASE_PATH,
            path => path,
        };
        let (scheme, authority) = (target.scheme().as_str(), target.authority());
        Ok(Self { base: format!("{scheme}://{authority}{path}"), credentials })
    }

    /// Several, separated by commas as Eureka's own configuration has them; each once.
    ///
    /// # Errors
    /// As [`RegistryUrl::parse`], for the first that is wrong; and if there is none at all.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Message> {
        let mut urls: Vec<Self> = Vec::new();
        for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let url = Self::parse(one)?;
            if urls.iter().all(|known| known.base != url.base) {
                urls.push(url);
            }
        }
        match urls.is_empty() {
            true => Err(text::eureka::registry_url_missing()),
            false => Ok(urls),
        }
    }

    /// The one on this machine, `http://127.0.0.1:8761/eureka`.
    pub fn local() -> Self {
        Self { base: DEFAULT.to_owned(), credentials: None }
    }

    /// The URL without a slash at its end and without credentials.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// What to log in with.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl Serialize for RegistryUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.base)
    }
}

/// `eureka apps`: what a registry lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryReport {
    /// Always true.
    pub success: Success,
    /// Base URL of the registry that answered, without credentials.
    pub registry: String,
    /// By name.
    pub applications: Vec<RegistryApplication>,
}

/// One application of [`RegistryReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryApplication {
    /// In capitals.
    pub name: String,
    /// By id.
    pub instances: Vec<RegistryInstance>,
}

/// One instance of [`RegistryApplication`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryInstance {
    /// Unique within the application.
    pub instance_id: String,
    /// `UP`, `DOWN`, `STARTING`, `OUT_OF_SERVICE`, `UNKNOWN`.
    pub status: String,
    /// What an operator set over it; null where nothing is set.
    pub override_status: Option<String>,
    /// Host name consumers are told.
    pub host: String,
    /// IP address consumers are told.
    pub address: String,
    /// Null where it is disabled.
    pub port: Option<u16>,
    /// The TLS port; null where it is disabled.
    pub secure_port: Option<u16>,
    /// When it was registered; null where the registry does not say.
    pub registered: Option<Timestamp>,
    /// How long the registry waits for a renewal, in seconds; null where it does not say.
    pub lease_seconds: Option<u32>,
    /// Free text for consumers.
    pub metadata: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_url_has_a_base_path_and_its_credentials_apart() {
        for (written, base) in [
            ("http://Host:8761", "http://host:8761/eureka"),
            ("http://host:8761/", "http://host:8761/eureka"),
            ("https://host/eureka/v2/", "https://host/eureka/v2"),
            ("http://[::1]:1/x", "http://[::1]:1/x"),
        ] {
            assert_eq!(RegistryUrl::parse(written).unwrap().as_str(), base, "{written}");
        }
        let url = RegistryUrl::parse("http://ann:p%40ss@host:1/eureka").unwrap();
        assert_eq!(url.to_string(), "http://host:1/eureka");
        assert_eq!(url.credentials().map(|c| c.password.as_str()), Some("p@ss"));
        assert!(!format!("{url:?}").contains("p@ss"));
        assert_eq!(RegistryUrl::parse(DEFAULT), Ok(RegistryUrl::local()));
    }

    #[test]
    fn a_list_has_each_registry_once() {
        let urls = RegistryUrl::parse_list("http://a:1, http://b:2/eureka/,http://A:1/").unwrap();
        let urls: Vec<&str> = urls.iter().map(RegistryUrl::as_str).collect();
        assert_eq!(urls, ["http://a:1/eureka", "http://b:2/eureka"]);
        let code = |text| RegistryUrl::parse_list(text).unwrap_err().code();
        assert_eq!(code(" , "), "registry-url-missing");
        assert_eq!(code("http://a,h2c://b"), "registry-url-scheme");
        assert_eq!(code("http://a,nonsense"), "target-url-without-scheme");
    }
}
