//! A service and its targets, as registered.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{
    Actual, Credentials, Desired, Port, ServiceName, TargetName, TargetUrl, Timestamp, UpstreamTls,
};
use crate::text::Message;

/// Primary key of a service in its database; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub i64);

/// A named upstream of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub url: TargetUrl,
    /// What to log in with, kept apart from the URL and never shown.
    pub credentials: Option<Credentials>,
    /// What its certificate is checked against.
    pub tls: UpstreamTls,
}

/// A registered service: one listen port, named targets, one of them active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Key in the database.
    pub id: ServiceId,
    /// Unique within the node name.
    pub name: ServiceName,
    /// Unique within the node name.
    pub port: Port,
    /// Address to listen on. `None` is every address: `0.0.0.0`, and `::` where possible.
    pub bind: Option<IpAddr>,
    /// What the user asked for.
    pub desired: Desired,
    /// What the proxy was last known to do.
    pub actual: Actual,
    /// Why `actual` is what it is, where that needs saying (a failed service always has one).
    pub reason: Option<Message>,
    /// When `actual` last changed.
    pub since: Timestamp,
    /// The target that requests go to; always a key of `targets`.
    pub active_target: TargetName,
    /// At least one.
    pub targets: BTreeMap<TargetName, Target>,
    /// Free labels.
    pub tags: Vec<String>,
    /// Announce it in the registry.
    pub register: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its registration last changed.
    pub updated_at: Timestamp,
    /// Counts the changes of the registration, from 1.
    pub revision: i64,
}

impl Service {
    /// The active target. `None` never happens for a service read from a store, whose constraints
    /// hold the reference.
    pub fn active(&self) -> Option<&Target> {
        self.targets.get(&self.active_target)
    }
}
