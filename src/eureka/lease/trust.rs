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

use crate::trust::NamedAuthorities;

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

pub(super) fn client(trusted: Trusted, call: Duration) -> Result<Client, ClientError> {
    let setup = |error: Box<dyn Error + Send + Sync>| ClientError::Setup(error);
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.into()))?;
    let tls = match trusted {
        Trusted::System(roots) => builder.with_root_certificates(roots),
        Trusted::Named(named) => {
            let named = NamedAuthorities::new(named, provider).map_err(|e| setup(e.into()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(named))
        }
    };
    let tls = tls.with_no_client_auth();
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

/// What the certificate of a registry is checked against.
pub(super) enum Trusted {
    /// The system's authorities, or none yet.
    System(RootCertStore),
    /// Those of a file.
    Named(Vec<CertificateDer<'static>>),
}

pub(super) fn trusted(ca_file: Option<&Path>) -> Result<Trusted, ClientError> {
    let Some(path) = ca_file else {
        let mut roots = RootCertStore::empty();
        // What the system cannot read of its own is its affair: a call says what is missing.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(Trusted::System(roots));
    };
    let unreadable =
        |reason: String| ClientError::Authorities { path: path.display().to_string(), reason };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))?;
    let mut named = Vec::new();
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
        roots.add(certificate.clone()).map_err(|e| unreadable(e.to_string()))?;
        named.push(certificate);
    }
    match named.is_empty() {
        true => Err(unreadable("it has no certificate".to_owned())),
        false => Ok(Trusted::Named(named)),
    }
}
