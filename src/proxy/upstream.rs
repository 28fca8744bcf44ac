//! A target made ready to be forwarded to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use http::uri;
use rustls_pki_types::{ServerName, pem};
use thiserror::Error;

use super::tls::TlsClient;
use super::via::ViaId;
use crate::model::{Credentials, Scheme, Target, TargetName, TargetUrl};
use crate::text::{self, Message};

/// Why a target cannot be made ready.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// Its CA file cannot be read.
    #[error("read the CA file {path}")]
    CaUnreadable {
        /// As registered.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its CA file is no PEM.
    #[error("read the CA file {path} as PEM")]
    CaNotPem {
        /// As registered.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Its CA file has no certificate in it.
    #[error("read the CA file {path}: it has no certificate in it")]
    CaEmpty {
        /// As registered.
        path: PathBuf,
    },
    /// A certificate of its CA file cannot be trusted in.
    #[error("trust in the CA file {path}")]
    CaUnusable {
        /// As registered.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The system has no trusted certificates.
    #[error("load the system's trusted certificates: there are none")]
    NoSystemRoots {
        /// The first of the problems met, if there was any.
        #[source]
        source: Option<rustls_native_certs::Error>,
    },
    /// Its host is no name a certificate can have.
    #[error("use {host} as the name of a certificate")]
    HostName {
        /// The host of the URL.
        host: String,
    },
    /// Its URL or credentials contain what no head can.
    #[error("put the URL and the credentials into a request's head")]
    NotSendable,
    /// TLS could not be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
}

impl UpstreamError {
    /// The sentence about it, for a target of that name.
    pub fn message(&self, target: &TargetName) -> Message {
        match self {
            Self::CaUnreadable { path, .. } | Self::CaNotPem { path, .. } => {
                text::upstream::target_ca_file_unreadable(path.display(), target)
            }
            Self::CaEmpty { path } => text::upstream::target_ca_file_empty(path.display(), target),
            Self::CaUnusable { path, .. } => {
                text::upstream::target_ca_file_invalid(path.display(), target)
            }
            Self::NoSystemRoots { .. } => text::upstream::system_roots_missing(target),
            Self::HostName { .. } => text::upstream::target_host_invalid(target),
            Self::NotSendable => text::upstream::target_not_sendable(target),
            Self::Tls(_) => text::upstream::tls_setup_failed(target),
        }
    }
}

/// A target made ready: everything that is the same for all its requests. Cheap to clone, never
/// changes.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    name: TargetName,
    url: TargetUrl,
    generation: u64,
    /// Where the host is an address, so that nothing is looked up.
    address: Option<SocketAddr>,
    host_field: HeaderValue,
    scheme: uri::Scheme,
    authority: uri::Authority,
    authorization: Option<HeaderValue>,
    via: ViaId,
    tls: Option<(TlsClient, ServerName<'static>)>,
}

impl Upstream {
    /// Prepares `target`. Blocks: it reads the CA file, and once a process the system's trusted
    /// certificates.
    ///
    /// # Errors
    /// See [`UpstreamError`]; nothing is connected to here.
    pub fn new(name: &TargetName, target: &Target, via: &ViaId) -> Result<Self, UpstreamError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let url = &target.url;
        let bare_host = url.host().trim_start_matches('[').trim_end_matches(']');
        let ip: Option<IpAddr> = bare_host.parse().ok();
        let not_sendable = |_| UpstreamError::NotSendable;
        let tls = match url.scheme() {
            Scheme::Http | Scheme::H2c => None,
            // An application is no one place: `Route` makes an upstream of each of its instances.
            Scheme::Lb => return Err(UpstreamError::NotSendable),
            Scheme::Https => {
                let server_name = ServerName::try_from(bare_host.to_owned())
                    .map_err(|_| UpstreamError::HostName { host: url.host().to_owned() })?;
                Some((TlsClient::new(&target.tls)?, server_name))
            }
        };
        let authority = url.authority();
        Ok(Self(Arc::new(Inner {
            name: name.clone(),
            url: url.clone(),
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
            address: ip.map(|ip| SocketAddr::new(ip, url.port())),
            host_field: HeaderValue::try_from(&authority).map_err(not_sendable)?,
            scheme: if tls.is_some() { uri::Scheme::HTTPS } else { uri::Scheme::HTTP },
            authority: authority.try_into().map_err(|_| UpstreamError::NotSendable)?,
            authorization: target.credentials.as_ref().map(basic).transpose()?,
            via: via.clone(),
            tls,
        })))
    }

    /// The target's name.
    pub fn name(&self) -> &TargetName {
        &self.0.name
    }

    /// The target's base URL.
    pub fn url(&self) -> &TargetUrl {
        &self.0.url
    }

    /// Unique among all upstreams of this process: the key of pooled connections.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Whether only HTTP/2 is spoken to it, so that no connection can be upgraded.
    pub fn is_http2_only(&self) -> bool {
        self.0.url.scheme() == Scheme::H2c
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    pub(super) fn host_field(&self) -> &HeaderValue {
        &self.0.host_field
    }

    pub(super) fn scheme(&self) -> &uri::Scheme {
        &self.0.scheme
    }

    pub(super) fn authority(&self) -> &uri::Authority {
        &self.0.authority
    }

    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.authorization.as_ref()
    }

    pub(super) fn via(&self) -> &ViaId {
        &self.0.via
    }

    pub(super) fn tls(&self) -> Option<&(TlsClient, ServerName<'static>)> {
        self.0.tls.as_ref()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({}={}, #{})", self.0.name, self.0.url, self.0.generation)
    }
}

/// The `Authorization` value of `credentials` (RFC 7617).
fn basic(credentials: &Credentials) -> Result<HeaderValue, UpstreamError> {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    let mut value = HeaderValue::try_from(format!("Basic {}", base64(pair.as_bytes())))
        .map_err(|_| UpstreamError::NotSendable)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Base 64 with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let three = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = three(0) << 16 | three(1) << 8 | three(2);
        for digit in 0..4 {
            // Six bits: always a place of the table.
            let place = (bits >> (18 - 6 * digit)) & 63;
            let is_padding = digit > group.len();
            out.push(if is_padding { '=' } else { char::from(DIGITS[place as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UpstreamTls;

    fn upstream(url: &str) -> Upstream {
        let (url, credentials) = TargetUrl::parse_with_credentials(url).unwrap();
        let target = Target { url, credentials, tls: UpstreamTls::default() };
        Upstream::new(&"blue".parse().unwrap(), &target, &ViaId::random()).unwrap()
    }

    #[test]
    fn base64_pads_what_is_no_multiple_of_three() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{ff}\u{3ff}?", "w7/Pvz8="),
        ];
        for (text, encoded) in table {
            assert_eq!(base64(text.as_bytes()), encoded, "{text}");
        }
    }

    #[test]
    fn an_address_is_not_looked_up_and_credentials_are_never_shown() {
        let upstream = upstream("http://ann:s3cret@[::1]:9000/base/");
        assert_eq!(upstream.address(), "[::1]:9000".parse().ok());
        assert_eq!(upstream.host_field(), "[::1]:9000");
        let sent = upstream.authorization().unwrap();
        assert_eq!(sent, &format!("Basic {}", base64(b"ann:s3cret")));
        let shown = format!("{upstream:?} {sent:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("Basic"), "{shown}");
    }

    #[test]
    fn every_upstream_has_a_generation_of_its_own() {
        let (first, second) = (upstream("h2c://localhost"), upstream("http://localhost"));
        assert_ne!(first.generation(), second.generation());
        assert_eq!(first.clone().generation(), first.generation());
        assert!(first.is_http2_only() && !second.is_http2_only());
        assert_eq!(first.address(), None);
    }
}
