//! Asking any registry what it lists.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::wire::{Applications, Format, WireError};
use crate::model::RegistryUrl;

/// Most bytes of an answer.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Why there is no list. The URLs are without credentials.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Nobody answers there, or not in time.
    #[error("reach {url}")]
    Unreachable {
        /// Which.
        url: String,
        /// What the system said.
        #[source]
        source: reqwest::Error,
    },
    /// It wants other credentials, or some.
    #[error("be let in by {url}: status {status}")]
    Refused {
        /// Which.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// There is no list at that path.
    #[error("find the list at {url}")]
    NotFound {
        /// Which.
        url: String,
    },
    /// It answered with another status, a redirection for instance.
    #[error("get the list of {url}: status {status}")]
    Status {
        /// Which.
        url: String,
        /// The status.
        status: u16,
    },
    /// It answered something else.
    #[error("read the list of {url}")]
    Malformed {
        /// Which.
        url: String,
        /// What is wrong with it; `None` if it is too long.
        #[source]
        source: Option<WireError>,
    },
    /// TLS cannot be begun on this machine.
    #[error("set up TLS")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
}

/// Everything the first of `urls` lists that answers, and its URL. Each gets `timeout`. Redirections
/// are not followed, so that credentials stay where they were meant for, and no proxy of the
/// environment is asked.
///
/// # Errors
/// That of the last one asked.
pub async fn list(
    urls: &[RegistryUrl],
    timeout: Duration,
) -> Result<(Applications, String), ListError> {
    let client = client(urls, timeout)?;
    let mut failure = None;
    for url in urls {
        match of(&client, url).await {
            Ok(all) => return Ok((all, url.as_str().to_owned())),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| ListError::Setup("no registry is named".into())))
}

fn client(urls: &[RegistryUrl], timeout: Duration) -> Result<Client, ListError> {
    let mut roots = RootCertStore::empty();
    // Reading them takes long, and is for nothing without TLS.
    if urls.iter().any(|url| url.as_str().starts_with("https:")) {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let setup = |error: Box<dyn Error + Send + Sync>| ListError::Setup(error);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(timeout);
    builder.build().map_err(|error| setup(error.into()))
}

async fn of(client: &Client, registry: &RegistryUrl) -> Result<Applications, ListError> {
    let url = || registry.as_str().to_owned();
    let unreachable = |source: reqwest::Error| ListError::Unreachable {
        url: url(),
        source: source.without_url(),
    };
    let mut request = client.get(format!("{registry}/apps"));
    request = request.header(ACCEPT, Format::Json.media_type());
    if let Some(login) = registry.credentials() {
        request = request.basic_auth(&login.username, Some(&login.password));
    }
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(ListError::Refused { url: url(), status: status.as_u16() });
        }
        StatusCode::NOT_FOUND => return Err(ListError::NotFound { url: url() }),
        _ => return Err(ListError::Status { url: url(), status: status.as_u16() }),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(ListError::Malformed { url: url(), source: None });
        }
        body.extend_from_slice(&chunk);
    }
    Applications::decode(Format::Json, &body)
        .map_err(|source| ListError::Malformed { url: url(), source: Some(source) })
}
