//! The pseudonym by which a proxy recognises its own requests coming back.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Version, header};
use uuid::Uuid;

use crate::model::ServiceId;

/// What stands as `received-by` in the `Via` fields this node writes (RFC 9110 section 7.6.3).
///
/// A pseudonym, so that no host name leaves the house. The node makes one with [`ViaId::random`];
/// each service uses its own [`ViaId::of_service`], so that one service may have another of the
/// same node as its target, and only a request that comes back to the *same* service is a loop.
#[derive(Clone, PartialEq, Eq)]
pub struct ViaId(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    id: String,
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl ViaId {
    /// A pseudonym nobody else has.
    pub fn random() -> Self {
        Self::of(format!("pmctl-{:.12}", Uuid::new_v4().simple().to_string()))
    }

    /// The pseudonym of one service of this node.
    pub fn of_service(&self, service: ServiceId) -> Self {
        Self::of(format!("{}-{}", self.0.id, service.0))
    }

    fn of(id: String) -> Self {
        // Letters, digits and dashes only: never an invalid field value.
        let value = |version: &str| {
            HeaderValue::try_from(format!("{version} {id}"))
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 pmctl"))
        };
        let (http10, http11, http2) = (value("1.0"), value("1.1"), value("2.0"));
        Self(Arc::new(Inner { id, http10, http11, http2 }))
    }

    /// The pseudonym itself.
    pub fn as_str(&self) -> &str {
        &self.0.id
    }

    /// The `Via` member for a message received by `version`.
    pub(super) fn value(&self, version: Version) -> &HeaderValue {
        match version {
            Version::HTTP_09 | Version::HTTP_10 => &self.0.http10,
            Version::HTTP_2 => &self.0.http2,
            _ => &self.0.http11,
        }
    }

    /// Whether a message with these fields already went through whoever has this pseudonym.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        received_by(headers, |by| by == self.0.id.as_bytes())
    }

    /// Whether this value of a `Via` field names whoever has this pseudonym.
    pub(super) fn is_named_in(&self, value: &[u8]) -> bool {
        names(value, &|by| by == self.0.id.as_bytes())
    }

    /// Whether a message with these fields went through any service of the node with this
    /// pseudonym.
    pub fn is_of_any_service_in(&self, headers: &HeaderMap) -> bool {
        received_by(headers, |by| {
            by.strip_prefix(self.0.id.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'-'))
        })
    }
}

/// Whether `is_it` holds of any `received-by` in the `Via` fields.
fn received_by(headers: &HeaderMap, is_it: impl Fn(&[u8]) -> bool) -> bool {
    headers.get_all(header::VIA).iter().any(|value| names(value.as_bytes(), &is_it))
}

/// Whether `is_it` holds of any `received-by` in one value.
fn names(value: &[u8], is_it: &impl Fn(&[u8]) -> bool) -> bool {
    value.split(|b| *b == b',').any(|member| {
        let mut words = member.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(is_it)
    })
}

impl fmt::Debug for ViaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViaId({})", self.0.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_received_by_of_its_own_is_recognised() {
        let node = ViaId::random();
        let via = node.of_service(ServiceId(1));
        let seen = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::VIA, HeaderValue::from_static("1.0 fred"));
            headers.append(header::VIA, HeaderValue::try_from(value).unwrap());
            via.is_in(&headers)
        };
        let id = via.as_str();
        assert!(seen(&format!("1.1 {id}")));
        assert!(seen(&format!("1.0 a, HTTP/1.1\t {id} (a comment), 2.0 b")));
        assert!(!seen(&format!("1.1 {id}0")));
        assert!(!seen(&format!("1.1 a ({id})")));
        assert!(!seen("1.1"));
        assert!(!via.is_in(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        headers.append(header::VIA, HeaderValue::try_from(format!("1.1 {id}")).unwrap());
        assert!(node.is_of_any_service_in(&headers));
        assert!(!ViaId::random().is_of_any_service_in(&headers));
    }

    #[test]
    fn services_of_a_node_and_nodes_have_different_pseudonyms() {
        let node = ViaId::random();
        assert_ne!(node.of_service(ServiceId(1)), node.of_service(ServiceId(2)));
        assert_ne!(ViaId::random(), node);
        assert_eq!(node.value(Version::HTTP_2), &format!("2.0 {}", node.as_str()));
    }
}
