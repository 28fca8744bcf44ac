//! What is asked of the registry of services, each field already parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{
    Credentials, Fault, HealthChange, HealthCheck, PortChoice, Scheme, ServiceName, TargetName,
    TargetUrl, UpstreamTls,
};
use crate::text::{self, Message};

/// A target to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTarget {
    /// Where it is.
    pub url: TargetUrl,
    /// What stood before the `@` of the URL.
    pub credentials: Option<Credentials>,
    /// What its certificate is checked against.
    pub tls: UpstreamTls,
}

impl NewTarget {
    /// What is trusted matters for TLS only, and trusting everything leaves an authority no role.
    /// Every mistake in that, of the target called `name`.
    pub fn trust_mistakes(&self, name: &TargetName) -> Vec<Message> {
        let UpstreamTls { ca_file, insecure } = &self.tls;
        let mut mistakes = Vec::new();
        let may_be_tls = matches!(self.url.scheme(), Scheme::Https | Scheme::Lb);
        if (ca_file.is_some() || *insecure) && !may_be_tls {
            mistakes.push(text::model::target_without_tls(name, &self.url));
        }
        if ca_file.is_some() && *insecure {
            mistakes.push(text::model::target_trust_twice(name));
        }
        mistakes
    }

    /// The first of those mistakes as a fault.
    pub fn refuse_mistaken_trust(&self, name: &TargetName) -> Result<(), Fault> {
        self.trust_mistakes(name).into_iter().next().map_or(Ok(()), |m| Err(Fault::usage(m)))
    }
}

/// A service to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewService {
    /// Unique within the node name.
    pub name: ServiceName,
    /// Port, or the lowest free one.
    pub port: PortChoice,
    /// `None`: every address.
    pub bind: Option<IpAddr>,
    /// At least one, else the request is refused.
    pub targets: BTreeMap<TargetName, NewTarget>,
    /// Which target is active; the first one written where `None` (the maker of this value knows
    /// the order, so it fills this in whenever there is more than one target).
    pub active: Option<TargetName>,
    /// Free labels.
    pub tags: Vec<String>,
    /// Announce it in the registry.
    pub register: bool,
    /// How the active target's health is watched; `None`: not at all.
    pub health: Option<HealthCheck>,
    /// Add it without starting it.
    pub stopped: bool,
}

/// What `service set` changes; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePatch {
    /// A new name.
    pub name: Option<ServiceName>,
    /// Another port.
    pub port: Option<PortChoice>,
    /// Another address; `Some(None)` is every address.
    pub bind: Option<Option<IpAddr>>,
    /// All labels anew.
    pub tags: Option<Vec<String>>,
    /// Announce it, or not.
    pub register: Option<bool>,
    /// Watch its active target's health, otherwise, or no more.
    pub health: Option<HealthChange>,
}

/// Which services a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every registered one.
    All,
    /// These, each of which must exist.
    Named(Vec<ServiceName>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_for_https_and_either_an_authority_or_everything() {
        let code = |url: &str, ca: bool, insecure: bool| {
            let url = url.parse().unwrap_or_else(|e| panic!("{e}"));
            let tls = UpstreamTls { ca_file: ca.then(|| "/own.pem".into()), insecure };
            let name = "main".parse().unwrap_or_else(|e| panic!("{e}"));
            let target = NewTarget { url, credentials: None, tls };
            let mistakes = target.trust_mistakes(&name);
            mistakes.iter().map(Message::code).collect::<Vec<_>>()
        };
        assert!(code("http://a", false, false).is_empty());
        assert!(code("https://a", true, false).is_empty());
        assert!(code("https://a", false, true).is_empty());
        assert!(code("lb://a", true, false).is_empty(), "its instances may speak TLS");
        assert_eq!(code("h2c://a", false, true), ["target-without-tls"]);
        assert_eq!(code("http://a", true, true), ["target-without-tls", "target-trust-twice"]);
        assert_eq!(code("https://a", true, true), ["target-trust-twice"]);
    }
}
