//! A service and its targets, as registered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{
    Actual, Credentials, Desired, HealthCheck, Port, ServiceName, TargetName, TargetUrl, Timestamp,
    UpstreamTls,
};
use crate::text::{self, Message};

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
    /// How the active target's health is watched; `None`: not at all.
    pub health: Option<HealthCheck>,
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

/// Most bytes of a tag.
const MAX_TAG_BYTES: usize = 253;

/// `written` as the tags of a service, each once, in the order written.
///
/// # Errors
/// The sentence about the first that is no tag.
pub fn parse_tags(written: &[String]) -> Result<Vec<String>, Message> {
    let is_wrong = |tag: &&String| {
        tag.trim() != tag.as_str()
            || tag.is_empty()
            || tag.len() > MAX_TAG_BYTES
            || tag.chars().any(char::is_control)
    };
    if let Some(tag) = written.iter().find(is_wrong) {
        return Err(text::model::tag_invalid(tag.escape_debug(), MAX_TAG_BYTES));
    }
    let mut seen = BTreeSet::new();
    Ok(written.iter().filter(|tag| seen.insert(*tag)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_kept_once_each_and_what_could_break_a_line_is_refused() {
        let tags = |written: &[&str]| {
            let written: Vec<String> = written.iter().map(ToString::to_string).collect();
            parse_tags(&written).map_err(|message| message.code())
        };
        assert_eq!(tags(&["b", "订单 1", "b"]), Ok(vec!["b".to_owned(), "订单 1".to_owned()]));
        for wrong in ["", " a", "a\nb", "\u{1b}[31m", &"x".repeat(254)] {
            assert_eq!(tags(&["a", wrong]), Err("tag-invalid"), "{wrong:?}");
        }
    }
}
