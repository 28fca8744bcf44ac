//! What an `https://` server is known by.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use super::ClientError;
use crate::model::Fault;
use crate::text;
use crate::trust::unless_named;

/// More than every bundle has.
const MOST_PEM: u64 = 8 * 1024 * 1024;

/// What the certificate of an `https://` server is checked against, beside the authorities that
/// the system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTrust {
    /// PEM file of further authorities.
    pub ca_file: Option<PathBuf>,
    /// This very certificate (DER), whatever names it carries: the server left it where only its
    /// own user can write.
    pub certificate: Option<Vec<u8>>,
}

impl ServerTrust {
    /// Reads the CA file.
    pub(super) fn connector(&self) -> Result<TlsConnector, ClientError> {
        let further = match &self.ca_file {
            Some(path) => authorities(path)?,
            None => Vec::new(),
        };
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier {
            certificate: self.certificate.clone(),
            further,
            provider: Arc::clone(&provider),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            // Ring knows every version that is asked for.
            .map_err(|_| ClientError::GoingAway)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let unusable = || Fault::usage(text::access::ca_unusable(path.display()));
    let bytes = || {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST_PEM).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = bytes().map_err(|error: io::Error| {
        let message = text::access::ca_unreadable(path.display());
        Fault::caused(crate::model::FaultKind::Usage, message, &error)
    })?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| unusable())?;
    let mut roots = RootCertStore::empty();
    let (_, refused) = roots.add_parsable_certificates(found.iter().cloned());
    match found.is_empty() || refused > 0 {
        true => Err(unusable().into()),
        false => Ok(found),
    }
}

/// Takes one certificate as it is, and every other one by the rules of the web.
#[derive(Debug)]
struct Verifier {
    certificate: Option<Vec<u8>>,
    further: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Reads the system's authorities, which takes a while: only when nothing else is known.
    fn by_authority(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut roots = RootCertStore::empty();
        // Systems carry certificates that nothing can be checked by; the others are as good.
        roots.add_parsable_certificates(self.further.iter().cloned());
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificate.as_deref() == Some(end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.by_authority()?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        unless_named(verified, end_entity, server_name, &self.further)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
