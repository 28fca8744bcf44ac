//! One server of a registry: where it is, whether it failed of late, whether it is a registry at all.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::CallError;
use crate::model::{Credentials, RegistryUrl};

/// How long a server that failed is asked last.
const QUARANTINE: Duration = Duration::from_secs(60);

/// How long it is remembered that a server is no registry.
const KNOWN: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub(super) struct Server {
    pub(super) url: String,
    /// The same, read once; `Err` says why it cannot be.
    pub(super) base: Result<url::Url, String>,
    pub(super) credentials: Option<Credentials>,
    /// When it failed last.
    failed: Mutex<Option<Instant>>,
    /// Whether it was a registry, and when that began to be asked. Held while it is asked, so that all
    /// who want to know share one answer.
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

    /// Whether it is a registry at a moment after this call: what `check` says, or says to somebody
    /// else who asks later than now. A gateway may lose the registry behind it at any moment, so that
    /// it was one before means nothing; that it was none a moment ago is enough to believe it nothing.
    pub(super) async fn checked(
        &self,
        check: impl Future<Output = Result<(), CallError>>,
    ) -> Result<(), CallError> {
        let since = Instant::now();
        let mut checked = self.checked.lock().await;
        if let Some((began, known)) = &*checked
            && (*began >= since || (known.is_err() && began.elapsed() < KNOWN))
        {
            return known.clone();
        }
        let began = Instant::now();
        let answer = check.await;
        *checked = Some((began, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    /// Asks `times` at once; how often the server was asked, and what it said.
    async fn ask(server: &Server, times: u32, is_registry: bool) -> (u32, bool) {
        let asked = Cell::new(0);
        let one = || {
            server.checked(async {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                let none = CallError::Status { url: "http://a/eureka".into(), status: 404 };
                if is_registry { Ok(()) } else { Err(none) }
            })
        };
        let answers = join_all((0..times).map(|_| one())).await;
        assert!(answers.iter().all(|answer| answer == &answers[0]));
        (asked.get(), answers[0].is_ok())
    }

    #[tokio::test]
    async fn whether_a_server_is_a_registry_is_asked_once_for_all_who_want_to_know_now() {
        let server = Server::new("http://a/eureka".into(), None);
        // Who comes while it is asked takes part in the next.
        assert_eq!(ask(&server, 1_000, true).await, (2, true));
        assert_eq!(ask(&server, 1, true).await, (1, true), "it may have changed since");
        assert_eq!(ask(&server, 1_000, false).await, (1, false));
        assert_eq!(ask(&server, 1_000, true).await, (0, false), "a while ago it was none");
    }
}
