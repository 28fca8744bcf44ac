//! How registries are reached: one client, and whose certificates it trusts.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Connections are kept for less than any server keeps them.
const KEPT: Duration = Duration::from_secs(4);

/// Why no registry can be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of authorities.
    #[error("read the authorities in {path}: {reason}")]
    Authorities {
        /// Which file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// TLS or the client itself.
    #[error("make a client of registries")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
}

pub(super) fn is_secure(url: &str) -> bool {
    url.starts_with("https:")
}

pub(super) fn client(roots: RootCertStore, call: Duration) -> Result<Client, ClientError> {
    let setup = |error: Box<dyn Error + Send + Sync>| ClientError::Setup(error);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(call)
        .pool_idle_timeout(KEPT)
        .build()
        .map_err(|error| setup(error.into()))
}

pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        // What the system cannot read of its own is its affair: a call says what is missing.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unreadable =
        |reason: String| ClientError::Authorities { path: path.display().to_string(), reason };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
        roots.add(certificate).map_err(|e| unreadable(e.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(unreadable("it has no certificate".to_owned())),
        false => Ok(roots),
    }
}
