//! One server of a registry: where it is, whether it failed of late, whether it is a registry at all.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::CallError;
use crate::model::{Credentials, RegistryUrl};

/// How long a server that failed is asked last.
const QUARANTINE: Duration = Duration::from_secs(60);

/// How long it is known whether a server is a registry: long enough for one look at many instances,
/// short enough for a gateway that has just lost the registry behind it.
const KNOWN: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub(super) struct Server {
    pub(super) url: String,
    /// The same, read once; `Err` says why it cannot be.
    pub(super) base: Result<url::Url, String>,
    pub(super) credentials: Option<Credentials>,
    /// When it failed last.
    failed: Mutex<Option<Instant>>,
    /// Whether it was a registry, and when that was asked. Held while it is asked, so that all who
    /// want to know share one answer.
    checked: tokio::sync::Mutex<Option<(Instant, Result<(), CallError>)>>,
}

impl Server {
    pub(super) fn new(url: String, credentials: Option<Credentials>) -> Self {
        let base = match url::Url::parse(&url) {
            Ok(base) if base.cannot_be_a_base() => Err("it has no path".to_owned()),
            Ok(base) => Ok(base),
            Err(error) => Err(error.to_string()),
        };
        Self { url, base, credentials, failed: Mutex::default(), checked: Default::default() }
    }

    pub(super) fn configured(url: &RegistryUrl) -> Self {
        Self::new(url.as_str().to_owned(), url.credentials().cloned())
    }

    pub(super) fn is_quarantined(&self, now: Instant) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| now.duration_since(at) < QUARANTINE)
    }

    pub(super) fn note(&self, failed: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Whether it is a registry: what `check` says, or said to somebody else a moment ago.
    pub(super) async fn checked(
        &self,
        check: impl Future<Output = Result<(), CallError>>,
    ) -> Result<(), CallError> {
        let mut checked = self.checked.lock().await;
        if let Some((at, known)) = &*checked
            && at.elapsed() < KNOWN
        {
            return known.clone();
        }
        let answer = check.await;
        *checked = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn whether_a_server_is_a_registry_is_asked_once_for_all_who_want_to_know() {
        let server = Server::new("http://a/eureka".into(), None);
        let asked = Cell::new(0);
        let ask = || async {
            server
                .checked(async {
                    asked.set(asked.get() + 1);
                    tokio::task::yield_now().await;
                    Err(CallError::Status { url: "http://a/eureka".into(), status: 404 })
                })
                .await
        };
        let answers = join_all((0..1_000).map(|_| ask())).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(asked.get(), 1);
    }
}
