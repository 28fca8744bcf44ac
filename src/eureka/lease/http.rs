//! The calls over HTTP: one registry that has several servers.
//!
//! The server that answered last is asked first; one that failed is asked last for a while. Answers
//! are JSON. A redirection is not followed: a registry sends none, a proxy in front of it might, and
//! with it our credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{ACCEPT, CONNECTION, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use rustls::RootCertStore;

use super::ask::Ask;
use super::reading::{begins_as_list, body, malformed, pieces, unreachable};
use super::server::Server;
use super::trust::{ClientError, Trusted, client, is_secure, trusted};
use super::{Answered, CallError, Extent, Registries, RegistryCalls};
use crate::eureka::wire::RollReader;
use crate::eureka::{Application, Applications, Document, Format, Instance, InstanceStatus, Roll};
use crate::model::RegistryUrl;

/// Bound of one call of one server, where nobody asks for another.
pub const CALL: Duration = Duration::from_secs(5);

/// Servers asked by one call.
const MOST_TRIES: usize = 3;

/// Makes registries of base URLs.
pub struct HttpRegistries {
    client: Client,
    /// Bound of one call of one server.
    call: Duration,
    /// Whether the client knows whose certificates to trust: reading those of a system takes long.
    has_roots: bool,
    ca_file: Option<PathBuf>,
    configured: Vec<RegistryUrl>,
    registry: Option<Arc<dyn RegistryCalls>>,
}

impl HttpRegistries {
    /// The registry at `urls` (none: there is no configured one), whose certificates are checked
    /// against `ca_file`, or the system's authorities without one. A call of one server may take as
    /// long as `call`.
    ///
    /// # Errors
    /// [`ClientError`]. Reads the file.
    pub fn new(
        urls: &[RegistryUrl],
        ca_file: Option<&Path>,
        call: Duration,
    ) -> Result<Self, ClientError> {
        let has_roots = ca_file.is_some() || urls.iter().any(|url| is_secure(url.as_str()));
        let trusted = match has_roots {
            true => trusted(ca_file)?,
            false => Trusted::System(RootCertStore::empty()),
        };
        let client = client(trusted, call)?;
        let servers: Vec<Server> = urls.iter().map(Server::configured).collect();
        let registry = (!servers.is_empty()).then(|| {
            let registry: Arc<dyn RegistryCalls> =
                Arc::new(HttpRegistry::new(client.clone(), servers));
            registry
        });
        let (configured, ca_file) = (urls.to_vec(), ca_file.map(Path::to_owned));
        Ok(Self { client, call, has_roots, ca_file, configured, registry })
    }
}

impl Registries for HttpRegistries {
    fn configured(&self) -> Option<Arc<dyn RegistryCalls>> {
        self.registry.clone()
    }

    fn at(&self, urls: &[String]) -> Arc<dyn RegistryCalls> {
        let server = |url: &String| {
            let known = self.configured.iter().find(|known| known.as_str() == url);
            known.map_or_else(|| Server::new(url.clone(), None), Server::configured)
        };
        let servers = urls.iter().map(server).collect();
        let mut ours = self.client.clone();
        if !self.has_roots && urls.iter().any(|url| is_secure(url)) {
            match trusted(self.ca_file.as_deref()).and_then(|of| client(of, self.call)) {
                Ok(with_roots) => ours = with_roots,
                // Its calls fail then, and say so.
                Err(error) => tracing::warn!(%error, "no authority is trusted"),
            }
        }
        Arc::new(HttpRegistry::new(ours, servers))
    }
}

struct HttpRegistry {
    client: Client,
    servers: Vec<Server>,
    /// Who answered last.
    preferred: AtomicUsize,
}

impl HttpRegistry {
    fn new(client: Client, servers: Vec<Server>) -> Self {
        Self { client, servers, preferred: AtomicUsize::new(0) }
    }

    fn request(&self, server: &Server, ask: &Ask<'_>) -> Result<RequestBuilder, CallError> {
        let mut url = server.base.clone().map_err(|reason| {
            let url = server.url.clone();
            CallError::Unreachable { url, reason }
        })?;
        if let Ok(mut segments) = url.path_segments_mut() {
            // A segment is encoded as such, whatever stands in it.
            segments.pop_if_empty().extend(ask.path);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        let mut request = self.client.request(ask.method.clone(), url);
        request = request.header(ACCEPT, Format::Json.media_type());
        // What was read into for a long list is kept as long as its connection: that one ends with it.
        if ask.is_list() {
            request = request.header(CONNECTION, "close");
        }
        if let Some(login) = &server.credentials {
            request = request.basic_auth(&login.username, Some(&login.password));
        }
        if let Some(body) = ask.body {
            request = request.header(CONTENT_TYPE, Format::Json.media_type()).body(body.to_vec());
        }
        Ok(request)
    }

    /// One call of one server. That it does not have something is proved by a registry alone: a
    /// gateway that has lost the one behind it, or a wrong path, says so to everything. Where nothing
    /// is built on it but an announcement, which such a one refuses, it is not looked into: a server
    /// that was restarted and found no peer refuses its lists for five minutes
    /// (`EurekaServerConfig.getWaitTimeInMsWhenSyncEmpty`), and takes announcements.
    async fn send(&self, server: &Server, ask: &Ask<'_>) -> Result<Response, CallError> {
        let answer = self.transmit(server, ask).await;
        if matches!(answer, Err(CallError::NotFound { .. })) && ask.is_proof {
            server.checked(self.check(server)).await?;
        }
        answer
    }

    /// Whether a server is a registry: it lists what changed, or refuses to (`disableDelta`, 403 in
    /// `ApplicationsResource.java`) and lists what it has. Any other page is that of somebody else.
    async fn check(&self, server: &Server) -> Result<(), CallError> {
        for path in [&["apps", "delta"][..], &["apps"]] {
            match self.transmit(server, &Ask::new(Method::GET, path)).await {
                Ok(response) => {
                    if begins_as_list(server, response).await? {
                        return Ok(());
                    }
                }
                Err(CallError::Refused { status: 403, .. }) if path.len() > 1 => {}
                Err(CallError::NotFound { .. } | CallError::Status { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CallError::Status { url: server.url.clone(), status: 404 })
    }

    async fn transmit(&self, server: &Server, ask: &Ask<'_>) -> Result<Response, CallError> {
        let mut was_lost = false;
        let response = loop {
            match self.request(server, ask)?.send().await {
                // A kept connection that the server closed in this moment: asked once more.
                Err(error) if !was_lost && !error.is_connect() && !error.is_timeout() => {
                    was_lost = true;
                }
                Err(error) => {
                    return Err(match unreachable(server, &error) {
                        // The first time it may have arrived.
                        CallError::Unreachable { url, reason } if was_lost => {
                            CallError::Lost { url, reason }
                        }
                        met => met,
                    });
                }
                Ok(response) => break response,
            }
        };
        let (url, status) = (server.url.clone(), response.status());
        match status {
            _ if status.is_success() => Ok(response),
            // To an announcement it says that no registry is there.
            StatusCode::NOT_FOUND if ask.method != Method::POST => Err(CallError::NotFound { url }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(CallError::Refused { url, status: status.as_u16() })
            }
            _ => Err(CallError::Status { url, status: status.as_u16() }),
        }
    }

    /// The servers: who answered last first, who failed of late last.
    fn in_order(&self, now: Instant) -> Vec<&Server> {
        let count = self.servers.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut order: Vec<&Server> =
            (0..count).map(|n| &self.servers[(first + n) % count]).collect();
        order.sort_by_key(|server| server.is_quarantined(now));
        order
    }

    fn prefer(&self, server: &Server) {
        if let Some(at) = self.servers.iter().position(|known| std::ptr::eq(known, server)) {
            self.preferred.store(at, Ordering::Relaxed);
        }
    }

    fn server(&self, url: &str) -> Result<&Server, CallError> {
        self.servers.iter().find(|server| server.url == url).ok_or_else(CallError::no_server)
    }

    /// One instance by the word of one server.
    async fn find(
        &self,
        server: &Server,
        (app, id): (&str, &str),
        is_proof: bool,
    ) -> Result<Option<Instance>, CallError> {
        let path = ["apps", app, id];
        let ask = Ask { is_proof, ..Ask::new(Method::GET, &path) };
        let response = match self.send(server, &ask).await {
            Ok(response) => response,
            Err(CallError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let body = body(server, response).await?;
        let instance = Instance::decode(Format::Json, &body);
        instance.map(Some).map_err(|error| malformed(server, &error))
    }

    /// Asks one server after the other until one knows: that it does not have something is an answer.
    async fn ask<T>(
        &self,
        ask: Ask<'_>,
        read: impl AsyncFn(&Server, Response) -> Result<T, CallError>,
    ) -> Result<(T, Answered), CallError> {
        let mut failure = CallError::no_server();
        for server in self.in_order(Instant::now()).into_iter().take(MOST_TRIES) {
            let result = match self.send(server, &ask).await {
                Ok(response) => read(server, response).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(value) => {
                    server.note(None);
                    self.prefer(server);
                    return Ok((value, Answered { registry: server.url.clone() }));
                }
                Err(error @ CallError::NotFound { .. }) => return Err(error),
                Err(error) => {
                    server.note(Some(Instant::now()));
                    // Whatever the others say, this one may have done it.
                    if !failure.may_be_done() || error.may_be_done() {
                        failure = error;
                    }
                }
            }
        }
        Err(failure)
    }

    /// An answer whose status says it all: its body is not waited for.
    async fn tell(&self, ask: Ask<'_>) -> Result<Answered, CallError> {
        let (_, answered) = self.ask(ask, async |_: &Server, _| Ok(())).await?;
        Ok(answered)
    }
}

async fn application(server: &Server, response: Response) -> Result<Application, CallError> {
    let body = body(server, response).await?;
    Application::decode(Format::Json, &body).map_err(|error| malformed(server, &error))
}

async fn applications(server: &Server, response: Response) -> Result<Applications, CallError> {
    let body = body(server, response).await?;
    Applications::decode(Format::Json, &body).map_err(|error| malformed(server, &error))
}

impl RegistryCalls for HttpRegistry {
    fn register<'a>(
        &'a self,
        instance: &'a Instance,
    ) -> BoxFuture<'a, Result<Answered, CallError>> {
        async move {
            let body = Document::Instance(instance).encode(Format::Json);
            let path = ["apps", instance.app.as_str()];
            self.tell(Ask { body: Some(&body), ..Ask::new(Method::POST, &path) }).await
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        app: &'a str,
        id: &'a str,
        status: InstanceStatus,
        dirty: i64,
    ) -> BoxFuture<'a, Result<Answered, CallError>> {
        async move {
            let path = ["apps", app, id];
            let query =
                [("status", status.as_str().to_owned()), ("lastDirtyTimestamp", dirty.to_string())];
            self.tell(Ask { query: &query, ..Ask::new(Method::PUT, &path) }).await
        }
        .boxed()
    }

    fn cancel<'a>(
        &'a self,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Answered, CallError>> {
        async move {
            let path = ["apps", app, id];
            let (mut lacks, mut failure) = (None, CallError::no_server());
            for server in self.in_order(Instant::now()).into_iter().take(MOST_TRIES) {
                match self.send(server, &Ask::new(Method::DELETE, &path)).await {
                    Ok(_) => {
                        server.note(None);
                        self.prefer(server);
                        return Ok(Answered { registry: server.url.clone() });
                    }
                    Err(CallError::NotFound { url }) => {
                        server.note(None);
                        lacks = Some(Answered { registry: url });
                    }
                    Err(error) => {
                        server.note(Some(Instant::now()));
                        failure = error;
                    }
                }
            }
            lacks.ok_or(failure)
        }
        .boxed()
    }

    fn instance<'a>(
        &'a self,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>> {
        async move {
            let mut lacks = false;
            let mut failure = CallError::no_server();
            let now = Instant::now();
            for server in self.in_order(now).into_iter().take(MOST_TRIES) {
                // One that failed of late is not waited for where another has answered.
                if lacks && server.is_quarantined(now) {
                    break;
                }
                match self.find(server, (app, id), false).await {
                    Ok(Some(found)) => {
                        server.note(None);
                        return Ok(Some(found));
                    }
                    Ok(None) => {
                        server.note(None);
                        lacks = true;
                    }
                    Err(error) => {
                        server.note(Some(Instant::now()));
                        failure = error;
                    }
                }
            }
            if lacks { Ok(None) } else { Err(failure) }
        }
        .boxed()
    }

    fn servers(&self) -> Vec<&str> {
        self.in_order(Instant::now()).into_iter().map(|server| server.url.as_str()).collect()
    }

    fn instance_at<'a>(
        &'a self,
        server: &'a str,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Instance>, CallError>> {
        async move { self.find(self.server(server)?, (app, id), true).await }.boxed()
    }

    fn cancel_at<'a>(
        &'a self,
        server: &'a str,
        app: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, CallError>> {
        async move {
            let path = ["apps", app, id];
            match self.send(self.server(server)?, &Ask::proving(Method::DELETE, &path)).await {
                Ok(_) => Ok(true),
                Err(CallError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn application_at<'a>(
        &'a self,
        server: &'a str,
        app: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Instance>, CallError>> {
        async move {
            let (server, path) = (self.server(server)?, ["apps", app]);
            match self.send(server, &Ask::proving(Method::GET, &path)).await {
                Ok(response) => Ok(application(server, response).await?.instances),
                Err(CallError::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn applications_at<'a>(
        &'a self,
        server: &'a str,
    ) -> BoxFuture<'a, Result<Applications, CallError>> {
        async move {
            let server = self.server(server)?;
            applications(server, self.send(server, &Ask::new(Method::GET, &["apps"])).await?).await
        }
        .boxed()
    }

    fn application<'a>(&'a self, app: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, CallError>> {
        async move {
            let path = ["apps", app];
            match self.ask(Ask::proving(Method::GET, &path), application).await {
                Ok((application, _)) => Ok(application.instances),
                Err(CallError::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn applications(&self) -> BoxFuture<'_, Result<(Applications, Answered), CallError>> {
        async { self.ask(Ask::new(Method::GET, &["apps"]), applications).await }.boxed()
    }

    fn roll(&self, extent: Extent) -> BoxFuture<'_, Result<Roll, CallError>> {
        async move {
            let path: &[&str] = match extent {
                Extent::Whole => &["apps"],
                Extent::Changes => &["apps", "delta"],
            };
            let read = async |server: &Server, response| {
                let mut reader = RollReader::default();
                let mut refused = None;
                pieces(server, response, |piece| match reader.feed(piece) {
                    Ok(()) => true,
                    Err(error) => {
                        refused = Some(error);
                        false
                    }
                })
                .await?;
                let roll = match refused {
                    None => reader.end(),
                    Some(error) => Err(error),
                };
                roll.map_err(|error| malformed(server, &error))
            };
            Ok(self.ask(Ask::new(Method::GET, path), read).await?.0)
        }
        .boxed()
    }
}
