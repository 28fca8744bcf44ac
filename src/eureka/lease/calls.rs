//! What a registry must be able to do for the holder of a lease.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::eureka::{Applications, Instance, InstanceStatus, Roll};
use crate::text::{self, Message};

/// Who answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Base URL, without credentials.
    pub registry: String,
}

/// Why a call did not go as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody answers there.
    #[error("reach the registry {url}: {reason}")]
    Unreachable {
        /// Base URL, without credentials.
        url: String,
        /// What the operating system said.
        reason: String,
    },
    /// The connection was lost before the answer had come.
    #[error("keep the connection to the registry {url}: {reason}")]
    Lost {
        /// Base URL, without credentials.
        url: String,
        /// What the operating system said.
        reason: String,
    },
    /// It was reached and did not answer in time.
    #[error("get an answer from the registry {url} in time")]
    Silent {
        /// Base URL, without credentials.
        url: String,
    },
    /// It does not take our credentials, or wants some.
    #[error("be let in by the registry {url}: status {status}")]
    Refused {
        /// Base URL, without credentials.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// It does not have what the call was about.
    #[error("find the instance in the registry {url}")]
    NotFound {
        /// Base URL, without credentials.
        url: String,
    },
    /// It answered with another status, a redirection for instance.
    #[error("get what was asked from the registry {url}: status {status}")]
    Status {
        /// Base URL, without credentials.
        url: String,
        /// Which.
        status: u16,
    },
    /// Its answer cannot be read.
    #[error("read the answer of the registry {url}: {reason}")]
    Malformed {
        /// Base URL, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
}

impl CallError {
    /// There is nobody to be asked.
    pub(super) fn no_server() -> Self {
        Self::Unreachable { url: String::new(), reason: "it has no server".to_owned() }
    }

    /// Whether the registry may have done what it was asked all the same.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Silent { .. } | Self::Malformed { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::NotFound { .. } => false,
        }
    }

    /// The sentence about it.
    pub fn message(&self) -> Message {
        match self {
            Self::Unreachable { url, reason } | Self::Lost { url, reason } => {
                text::lease::lease_registry_unreachable(url, reason)
            }
            Self::Silent { url } => text::lease::lease_registry_silent(url),
            Self::Refused { url, status } => text::lease::lease_registry_refuses(url, status),
            Self::NotFound { url } => text::lease::lease_registry_lacks_instance(url),
            Self::Status { url, status } => text::lease::lease_registry_status(url, status),
            Self::Malformed { url, reason } => text::lease::lease_registry_malformed(url, reason),
        }
    }
}

/// How much of a registry's list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    Whole,
    /// What changed of late: three minutes, for a server of Netflix
    /// (`EurekaServerConfig.getRetentionTimeInMSInDeltaQueue`).
    Changes,
}

/// The calls, each bounded by its implementation in time and size. Several servers of a registry are
/// one registry here.
pub trait RegistryCalls: Send + Sync {
    /// Announces an instance, in the place of the one of that id.
    fn register<'a>(&'a self, instance: &'a Instance)
    -> BoxFuture<'a, Result<Answered, CallError>>;

    /// Renews a lease. `status` and `dirty` are what the instance last said of itself.
    fn renew<'a>(
        &'a self,
        app: &'a str,
        id: &'a str,
        status: InstanceStatus,
        dirty: i64,
    ) -> BoxFuture<'a, Result<Answered, CallError>>;

    /// Takes an instance back before it is announced anew; one that is not there counts as taken back.
    /// One server does it, and is asked first by the next call: a peer that hears of the end from it
    /// later than of the announcement would end that. It is taken back if none of those that can be
    /// asked has it.
    fn cancel<'a>(
        &'a self,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Answered, CallError>>;

    /// One instance, `None` where the servers that can be asked do not have it. No proof of that: a
    /// gateway may have lost the registry behind it.
    fn instance<'a>(
        &'a self,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>>;

    /// Base URLs of its servers, for the calls of one server; the one that answered last first.
    fn servers(&self) -> Vec<&str>;

    /// One instance by the word of one server, `None` where that one does not have it and is known to be
    /// a registry.
    fn instance_at<'a>(
        &'a self,
        server: &'a str,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>>;

    /// Takes an instance out of one server; whether that one had it, as for
    /// [`RegistryCalls::instance_at`].
    fn cancel_at<'a>(
        &'a self,
        server: &'a str,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, CallError>>;

    /// The instances of an application by the word of one server, as for
    /// [`RegistryCalls::instance_at`]. A list may be of up to 30 s ago.
    fn application_at<'a>(
        &'a self,
        server: &'a str,
        app: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Instance>, CallError>>;

    /// Everything one server lists.
    fn applications_at<'a>(
        &'a self,
        server: &'a str,
    ) -> BoxFuture<'a, Result<Applications, CallError>>;

    /// The instances of an application, none where the registry does not know it.
    fn application<'a>(&'a self, app: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, CallError>>;

    /// Everything the registry lists, and who said so.
    fn applications(&self) -> BoxFuture<'_, Result<(Applications, Answered), CallError>>;

    /// Who the registry lists, or whose entry changed of late; read as it comes in, however long the
    /// list is.
    fn roll(&self, extent: Extent) -> BoxFuture<'_, Result<Roll, CallError>>;
}

/// The registries there are for whoever looks after what a dead node left.
pub trait Registries: Send + Sync {
    /// The configured one.
    fn configured(&self) -> Option<Arc<dyn RegistryCalls>>;

    /// The one at these base URLs, which a registration has. Credentials that are configured for a URL
    /// are used for it.
    fn at(&self, urls: &[String]) -> Arc<dyn RegistryCalls>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_did_not_arrive_was_not_done() {
        let url = || "u".to_owned();
        let status = |status| CallError::Status { url: url(), status };
        let lost = CallError::Lost { url: url(), reason: String::new() };
        for met in [status(500), status(502), CallError::Silent { url: url() }, lost] {
            assert!(met.may_be_done(), "{met}");
        }
        for met in [status(307), status(404), CallError::Refused { url: url(), status: 403 }] {
            assert!(!met.may_be_done(), "{met}");
        }
        assert!(!CallError::no_server().may_be_done());
    }
}
