//! What is asked of the registry of services, each field already parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Credentials, PortChoice, ServiceName, TargetName, TargetUrl, UpstreamTls};

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
}

/// Which services a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every registered one.
    All,
    /// These, each of which must exist.
    Named(Vec<ServiceName>),
}
