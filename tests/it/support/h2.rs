//! HTTP/2 and TLS, where hyper speaks for the test on both sides.

use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A runtime for the calling test.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A certificate for localhost and 127.0.0.1, and the authority that signed it.
pub struct TlsIdentity {
    /// PEM of the authority, for `--ca`.
    pub ca_pem: String,
    chain_pem: String,
    key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl TlsIdentity {
    pub fn new() -> Self {
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "pmctl test authority");
        let ca_pem = ca.self_signed(&ca_key).expect("a self-signed certificate").pem();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).expect("parameters");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
        let (chain_pem, key_pem) = (leaf.pem(), key.serialize_pem());
        Self { ca_pem, chain_pem, key_pem, chain: vec![leaf.der().clone()], key: der }
    }

    /// Writes certificate chain, key and authority into `dir`; their paths, in this order.
    #[track_caller]
    pub fn write(&self, dir: &Path) -> [String; 3] {
        let all = [("chain", &self.chain_pem), ("key", &self.key_pem), ("ca", &self.ca_pem)];
        all.map(|(name, pem)| {
            let path = dir.join(format!("{name}.pem"));
            fs::write(&path, pem).expect("a PEM file");
            path.to_string_lossy().into_owned()
        })
    }

    fn acceptor(&self, alpn: &[&str]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .expect("a certificate and its key");
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// An upstream that hyper serves: echoes body and trailers, tells in `x-seen` what it saw
/// (`method`, `target`, `version`, `fields`).
pub struct HyperUpstream {
    address: SocketAddr,
    scheme: &'static str,
    // Its drop ends the upstream's thread.
    _stop: oneshot::Sender<()>,
}

impl HyperUpstream {
    /// HTTP/2 by prior knowledge in the clear, or HTTP/1.1.
    pub fn h2c() -> Self {
        Self::start("h2c", None)
    }

    /// TLS with these ALPN protocols.
    pub fn tls(identity: &TlsIdentity, alpn: &[&str]) -> Self {
        Self::start("https", Some(identity.acceptor(alpn)))
    }

    fn start(scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the upstream");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = runtime();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let accepting = async {
                    loop {
                        let Ok((stream, _)) = listener.accept().await else { return };
                        let tls = tls.clone();
                        runtime.handle().spawn(async move {
                            match tls {
                                None => serve(stream).await,
                                // A client that does not trust us goes away.
                                Some(tls) => {
                                    if let Ok(stream) = tls.accept(stream).await {
                                        serve(stream).await;
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! { _ = accepting => {}, _ = stopped => {} }
            });
        });
        Self { address, scheme, _stop: stop }
    }

    /// Base URL by the name `localhost`'s address.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

async fn serve<S>(stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(echo)).await;
}

async fn echo(request: Request<Incoming>) -> Result<Response<Incoming>, Infallible> {
    let fields: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    let seen = json!({
        "method": request.method().as_str(),
        "target": request.uri().path_and_query().map(|p| p.as_str()),
        "authority": request.uri().authority().map(|a| a.as_str()),
        "version": format!("{:?}", request.version()),
        "fields": fields,
    });
    let mut response = Response::new(request.into_body());
    let value = HeaderValue::from_str(&seen.to_string()).expect("ASCII");
    response.headers_mut().insert("x-seen", value);
    Ok(response)
}

/// One request by HTTP/2 prior knowledge to a loopback port, and its whole answer with trailers.
#[track_caller]
pub fn h2_request<B>(port: u16, request: Request<B>) -> Response<(Bytes, Option<hyper::HeaderMap>)>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    assert_eq!(request.version(), Version::HTTP_2, "the test asks by HTTP/2");
    let runtime = runtime();
    let asked = async {
        let stream =
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("an HTTP/2 connection");
        runtime.handle().spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let whole = body.collect().await.expect("a whole body");
        let trailers = whole.trailers().cloned();
        Response::from_parts(parts, (whole.to_bytes(), trailers))
    };
    runtime.block_on(async {
        tokio::time::timeout(super::DEADLINE, asked).await.expect("an answer within the deadline")
    })
}
