//! What the control address goes by: the token, whose connection is whose, TLS.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::control::Introduce;
use crate::api::Token;
use crate::config::{AccessSettings, Settings};
use crate::host;
use crate::model::{Fault, FaultKind, NodeName, Standing, Unproven};
use crate::ops::token_file_fault;
use crate::store::{
    Location, OwnFile, chosen_token, control_certificate_path, control_token_path, hex,
};
use crate::text;

/// Bytes of a token before they are written as hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// More than every certificate chain has.
const MOST_PEM: u64 = 1024 * 1024;

/// TLS as the control address speaks it, read when the server starts.
pub(super) struct ControlTls {
    pub(super) acceptor: TlsAcceptor,
    /// The server's own certificate, DER.
    certificate: Vec<u8>,
}

/// The token of a run. Dropping it removes the files that were made for this run.
pub(super) struct ControlToken {
    pub(super) token: Token,
    /// Where it lies beside the database.
    pub(super) path: PathBuf,
    _files: Vec<OwnFile>,
}

impl ControlToken {
    /// The token that was chosen with `--token-file`, or a new one in a file beside the database;
    /// the certificate goes beside it, so that clients of this user know this server by it.
    pub(super) fn prepare(
        settings: &Settings,
        location: &Location,
        node: &NodeName,
        tls: Option<&ControlTls>,
    ) -> Result<Self, Fault> {
        let failed = |error| token_file_fault(&error);
        let state_dir = settings.state_dir.as_deref();
        let beside = control_token_path(location, node, state_dir);
        let (made, mut files) = (new_token()?, Vec::new());
        let text = match &settings.token_file {
            Some(path) => {
                let token = chosen_token(path, made).map_err(failed)?;
                if *path != beside {
                    // Where clients of this user look by themselves, and where a server that was
                    // killed may have left one that opens nothing.
                    files.push(OwnFile::replace(beside.clone(), &token).map_err(failed)?);
                }
                token
            }
            None => {
                files.push(OwnFile::replace(beside.clone(), &made).map_err(failed)?);
                made
            }
        };
        if let Some(tls) = tls {
            let path = control_certificate_path(&beside);
            files.push(OwnFile::replace(path, &hex(&tls.certificate)).map_err(failed)?);
        }
        Ok(Self { token: Token::new(&text), path: beside, _files: files })
    }
}

fn new_token() -> Result<String, Fault> {
    let mut bytes = [0; TOKEN_BYTES];
    ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Fault::new(FaultKind::Internal, text::access::token_not_made()))?;
    Ok(hex(&bytes))
}

/// Who is at the far end of a connection, by its socket.
pub(super) fn introduction(access: &AccessSettings) -> Result<Introduce, Fault> {
    let group = access.control_group.clone();
    if let Some(group) = &group {
        if !cfg!(target_os = "linux") {
            return Err(Fault::usage(text::access::control_group_unsupported()));
        }
        if host::is_in_group(0, group).is_none() {
            return Err(Fault::usage(text::access::control_group_unknown(group)));
        }
    }
    let users = Users {
        own: host::own_uid(),
        nobody: host::overflow_uid(),
        root_is_root: !host::in_user_namespace(),
        is_member: Box::new(move |uid| {
            group.as_deref().and_then(|group| host::is_in_group(uid, group)) == Some(true)
        }),
    };
    Ok(Arc::new(move |local, peer| standing(local, peer, &users)))
}

/// What the numbers of users mean to this server.
struct Users {
    own: Option<u32>,
    /// Stands for everybody who has no number here.
    nobody: u32,
    /// Whether 0 is the machine's root.
    root_is_root: bool,
    is_member: Box<dyn Fn(u32) -> bool + Send + Sync>,
}

impl Users {
    fn are_trusted(&self, uid: u32) -> bool {
        uid != self.nobody
            && (Some(uid) == self.own || (uid == 0 && self.root_is_root) || (self.is_member)(uid))
    }
}

fn standing(local: SocketAddr, peer: SocketAddr, users: &Users) -> Standing {
    let (from, to) = (peer.ip().to_canonical(), local.ip().to_canonical());
    let unknown = |why| Standing::Unknown { why };
    // Whoever calls this machine's outside address from this machine calls from that address.
    if !from.is_loopback() && from != to {
        return unknown(Unproven::Remote);
    }
    if !cfg!(target_os = "linux") {
        let is_local = from.is_loopback();
        return unknown(if is_local { Unproven::LocalOnly } else { Unproven::Remote });
    }
    let Some(socket) = host::peer_socket(local, peer) else {
        return unknown(Unproven::Invisible);
    };
    // Another user's socket can't be this process's; looking costs something for each descriptor.
    if Some(socket.uid) == users.own && host::is_own_socket(socket.inode) {
        return Standing::OwnSocket;
    }
    match (from.is_loopback(), users.are_trusted(socket.uid)) {
        (true, true) => Standing::Trusted { uid: socket.uid },
        (false, _) => unknown(Unproven::Remote),
        (true, false) => unknown(Unproven::OtherUser(socket.uid)),
    }
}

impl ControlTls {
    /// Reads the certificate chain and its key.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, Fault> {
        let empty = |path: &Path, what: &str| {
            Fault::usage(text::access::tls_file_empty(path.display(), what))
        };
        let chain: Vec<CertificateDer<'static>> = {
            let text = read(certificate)?;
            let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>();
            chain.map_err(|_| empty(certificate, "certificate"))?
        };
        let Some(own) = chain.first().map(|own| own.to_vec()) else {
            return Err(empty(certificate, "certificate"));
        };
        let private =
            PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| empty(key, "private key"))?;
        let provider = Arc::new(ring::default_provider());
        let made = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
        let mut config = made.map_err(|error| {
            let message = text::access::tls_unusable(certificate.display(), key.display());
            Fault::caused(FaultKind::Usage, message, &error)
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate: own })
    }

    /// The same, where TLS is configured.
    pub(super) fn of(files: Option<&(PathBuf, PathBuf)>) -> Result<Option<Self>, Fault> {
        files.map(|(certificate, key)| Self::read(certificate, key)).transpose()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let bytes = || {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST_PEM).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    bytes().map_err(|error: io::Error| {
        let message = text::access::tls_file_unreadable(path.display());
        Fault::caused(FaultKind::Usage, message, &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(own: u32, root_is_root: bool, member: u32) -> Users {
        let is_member = Box::new(move |uid| uid == member);
        Users { own: Some(own), nobody: 65_534, root_is_root, is_member }
    }

    #[test]
    fn the_own_user_root_and_the_group_are_trusted_and_nobody_never_is() {
        let of = users(1000, true, 7);
        for uid in [1000, 0, 7] {
            assert!(of.are_trusted(uid), "{uid}");
        }
        for uid in [1001, 65_534] {
            assert!(!of.are_trusted(uid), "{uid}");
        }
        assert!(!users(1000, false, 7).are_trusted(0), "root of a container of users");
        // Everybody without a number looks like that user: it proves nothing even to itself.
        assert!(!users(65_534, true, 65_534).are_trusted(65_534));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connection_of_this_process_to_itself_is_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, peer) = listener.accept().unwrap();
        let own = host::own_uid().unwrap();
        let seen = standing(near.local_addr().unwrap(), peer, &users(own, true, own));
        assert_eq!(seen, Standing::OwnSocket);
        drop(far);
    }

    #[test]
    fn a_remote_peer_is_not_looked_for_on_this_machine() {
        let (local, peer) = ("192.0.2.1:3000".parse().unwrap(), "192.0.2.9:5".parse().unwrap());
        let remote = Standing::Unknown { why: Unproven::Remote };
        assert_eq!(standing(local, peer, &users(0, true, 0)), remote);
    }

    #[test]
    fn tokens_are_256_random_bits_in_hexadecimal() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }

    #[test]
    fn tls_files_that_are_none_are_refused_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let cert = write("cert", &one.cert.pem());
        let key = write("key", &one.signing_key.serialize_pem());
        let foreign = write("foreign", &other.serialize_pem());
        let code = |cert: &Path, key: &Path| match ControlTls::read(cert, key) {
            Ok(_) => "fine",
            Err(fault) => fault.message.code(),
        };
        assert_eq!(code(&cert, &key), "fine");
        assert_eq!(code(&dir.path().join("absent"), &key), "tls-file-unreadable");
        assert_eq!(code(&key, &key), "tls-file-empty");
        assert_eq!(code(&cert, &cert), "tls-file-empty");
        assert_eq!(code(&cert, &foreign), "tls-unusable");
    }
}
