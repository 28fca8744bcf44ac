//! What a target's certificate is checked against.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::connect::Want;
use super::upstream::UpstreamError;
use crate::model::UpstreamTls;
use crate::trust::NamedAuthorities;

/// More than every bundle of a system has; what is larger is no CA file.
const MAX_CA_BYTES: u64 = 8 * 1024 * 1024;

static RING: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// How TLS is begun with a target. Cheap to clone.
///
/// Targets that trust the system share one, and with it the sessions that make a second handshake
/// short; nothing is shared between different kinds of trust.
#[derive(Clone)]
pub(super) struct TlsClient {
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
}

impl TlsClient {
    pub(super) fn new(trust: &UpstreamTls) -> Result<Self, UpstreamError> {
        static SYSTEM: OnceLock<TlsClient> = OnceLock::new();
        static INSECURE: OnceLock<TlsClient> = OnceLock::new();
        match (trust.insecure, &trust.ca_file) {
            (true, _) => shared(&INSECURE, || Self::of(Trust::Anything)),
            (false, Some(path)) => Self::of(Trust::Named(file_authorities(path)?)),
            (false, None) => shared(&SYSTEM, || Self::of(Trust::In(system_roots()?))),
        }
    }

    fn of(trust: Trust) -> Result<Self, UpstreamError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&RING))
            .with_safe_default_protocol_versions()
            .map_err(UpstreamError::Tls)?;
        let mut any = match trust {
            Trust::In(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
            Trust::Named(named) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(named))
                .with_no_client_auth(),
            Trust::Anything => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptsAnything))
                .with_no_client_auth(),
        };
        // The clone shares the store of sessions.
        let mut http1 = any.clone();
        any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { any: Arc::new(any), http1: Arc::new(http1) })
    }

    pub(super) fn config(&self, want: Want) -> Arc<ClientConfig> {
        match want {
            Want::Any => Arc::clone(&self.any),
            Want::Http1 => Arc::clone(&self.http1),
        }
    }
}

enum Trust {
    In(RootCertStore),
    Named(NamedAuthorities),
    Anything,
}

/// The value of `cell`, made by `make` if there is none. A failure is not kept: what was missing
/// may be there the next time.
fn shared(
    cell: &OnceLock<TlsClient>,
    make: impl FnOnce() -> Result<TlsClient, UpstreamError>,
) -> Result<TlsClient, UpstreamError> {
    match cell.get() {
        Some(made) => Ok(made.clone()),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made).clone())
        }
    }
}

fn system_roots() -> Result<RootCertStore, UpstreamError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that nothing can be checked by; the others are as good.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    match usable {
        0 => Err(UpstreamError::NoSystemRoots { source: found.errors.into_iter().next() }),
        _ => Ok(roots),
    }
}

fn file_authorities(path: &Path) -> Result<NamedAuthorities, UpstreamError> {
    let path_owned = || path.to_owned();
    let text = read_bounded(path)
        .map_err(|source| UpstreamError::CaUnreadable { path: path_owned(), source })?;
    let named = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| UpstreamError::CaNotPem { path: path_owned(), source })?;
    if named.is_empty() {
        return Err(UpstreamError::CaEmpty { path: path_owned() });
    }
    NamedAuthorities::new(named, Arc::clone(&RING))
        .map_err(|source| UpstreamError::CaUnusable { path: path_owned(), source })
}

/// The bytes of a regular file that is not unreasonably large: a device would never end.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(MAX_CA_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(read).is_ok_and(|read| read <= MAX_CA_BYTES) {
        true => Ok(bytes),
        false => Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a CA file")),
    }
}

/// Checks nothing: for targets registered with `--insecure`, and only for those. Whoever stands
/// between pmctl and such a target can read and change everything.
#[derive(Debug)]
struct AcceptsAnything;

impl ServerCertVerifier for AcceptsAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        RING.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn trust_in(path: &Path) -> Result<TlsClient, UpstreamError> {
        TlsClient::new(&UpstreamTls { ca_file: Some(path.to_owned()), insecure: false })
    }

    #[test]
    fn a_ca_file_that_is_none_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let reason = |path: &Path| match trust_in(path).err() {
            Some(UpstreamError::CaUnreadable { .. }) => "unreadable",
            Some(UpstreamError::CaNotPem { .. }) => "not pem",
            Some(UpstreamError::CaEmpty { .. }) => "empty",
            Some(UpstreamError::CaUnusable { .. }) => "unusable",
            Some(_) => "other",
            None => "fine",
        };
        let certificate = |base64: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
        };
        assert_eq!(reason(&folder.path().join("absent")), "unreadable");
        assert_eq!(reason(folder.path()), "unreadable");
        assert_eq!(reason(&write("empty", "")), "empty");
        assert_eq!(reason(&write("text", "hello")), "empty");
        assert_eq!(reason(&write("bad", &certificate("!!!"))), "not pem");
        assert_eq!(reason(&write("odd", &certificate("AAAA"))), "unusable");
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert_eq!(reason(&write("own", &own.cert.pem())), "fine");
    }

    #[test]
    fn insecure_targets_share_nothing_with_trusting_ones() {
        let insecure = UpstreamTls { ca_file: None, insecure: true };
        let first = TlsClient::new(&insecure).unwrap();
        let second = TlsClient::new(&insecure).unwrap();
        assert!(Arc::ptr_eq(&first.any, &second.any));
        if let Ok(system) = TlsClient::new(&UpstreamTls::default()) {
            assert!(!Arc::ptr_eq(&first.any, &system.any));
        }
    }
}
