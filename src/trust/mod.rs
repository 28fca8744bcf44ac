//! What a server's certificate is checked against, where a person named a file of authorities.
//!
//! Belongs here: the one rule by which a self-signed certificate that was named itself is trusted.
//! Does not belong here: reading files, what a connection is for. Ground rules: this room names nobody;
//! whatever webpki refuses for another reason stays refused.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// `verdict` of webpki on `certificate`, unless it is one of those that were `named` and is refused only
/// for calling itself an authority.
///
/// `openssl req -x509` makes a self-signed certificate that way, and webpki takes no authority for a
/// server. That it is valid now was checked before that; its name is checked here.
///
/// # Errors
/// Those of webpki.
pub fn unless_named(
    verdict: Result<ServerCertVerified, Error>,
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    named: &[CertificateDer<'static>],
) -> Result<ServerCertVerified, Error> {
    match verdict {
        Err(Error::InvalidCertificate(CertificateError::Other(_)))
            if named.iter().any(|of| of.as_ref() == certificate.as_ref()) =>
        {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
            Ok(ServerCertVerified::assertion())
        }
        other => other,
    }
}

/// Takes what a named authority vouches for, and a named certificate itself; see [`unless_named`].
#[derive(Debug)]
pub struct NamedAuthorities {
    by_authority: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl NamedAuthorities {
    /// Trusts in `named` alone.
    ///
    /// # Errors
    /// A certificate that no trust can rest on.
    pub fn new(
        named: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &named {
            roots.add(certificate.clone())?;
        }
        let by_authority =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { by_authority, named, provider })
    }
}

impl ServerCertVerifier for NamedAuthorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.by_authority.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        unless_named(verdict, end_entity, server_name, &self.named)
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::crypto::ring;

    use super::*;

    /// As `openssl req -x509` makes it.
    fn self_signed(name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn is_taken(named: &CertificateDer<'static>, shown: &CertificateDer<'_>, name: &str) -> bool {
        let provider = Arc::new(ring::default_provider());
        let trust = NamedAuthorities::new(vec![named.clone()], provider).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        trust.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_self_signed_certificate_is_trusted_if_it_was_named_and_for_its_own_names_only() {
        let (own, other) = (self_signed("registry.example"), self_signed("registry.example"));
        assert!(is_taken(&own, &own, "registry.example"));
        assert!(!is_taken(&own, &own, "elsewhere.example"));
        assert!(!is_taken(&own, &other, "registry.example"));
    }

    #[test]
    fn what_no_trust_can_rest_on_is_refused() {
        let provider = Arc::new(ring::default_provider());
        assert!(NamedAuthorities::new(vec![CertificateDer::from(vec![0; 3])], provider).is_err());
    }
}
