//! The client: one connection to one server, values of the model in and out.

mod error;
mod stream;
mod tls;
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use tonic::{Response, Status};
use url::Url;

pub use error::ClientError;
use error::{Call, classify};
pub use stream::{ActionProgress, EventStream, ServiceProgress, ShutdownStream};
pub use tls::ServerTrust;
use wire::Wire;

use super::beat::Beat;
use super::convert::{Need, Word};
use super::generated::control_client::ControlClient;
use super::generated::{self as pb};
use crate::model::{
    ActionReport, CleanupProgress, CleanupReport, CleanupRequest, DrainProgress, EventsReport,
    Fault, HeartbeatHistory, HeartbeatsReport, KillProgress, KillReport, KillRequest, NewService,
    NewTarget, Phase, Port, PortsReport, Selection, ServerView, ServiceName, ServicePatch,
    ServicesReport, StatusReport, TargetName, VerifyReport,
};
use crate::text;

/// Largest message taken from a server, in bytes: a status of very many services.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A connection to a server that has said who it is. Every call is bounded by the timeout it was
/// made with; a stream by that much silence. Dropping it closes the connection; dropping a call
/// cancels it.
pub struct Client {
    calls: ControlClient<Wire>,
    wire: Wire,
    timeout: Duration,
    server: ServerView,
    phase: Phase,
    is_limited: bool,
}

impl Client {
    /// Connects to the server at `url` (`http://HOST:PORT`) and asks who it is, both within
    /// `timeout`. Nothing but that question is sent to a listener that is not pmctl.
    ///
    /// # Errors
    /// [`ClientError`], by whether somebody is there.
    pub async fn connect(url: &str, timeout: Duration) -> Result<Self, ClientError> {
        Self::connect_trusting(url, &ServerTrust::default(), timeout).await
    }

    /// The same, where the certificate of an `https://` server is checked against `trust` too.
    ///
    /// # Errors
    /// As those of [`Client::connect`]; a CA file that is of no use, a certificate that is not
    /// trusted.
    pub async fn connect_trusting(
        url: &str,
        trust: &ServerTrust,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let origin = origin(url)?;
        let greeting = async {
            let wire = wire::connect(&origin, trust).await?;
            let origin = origin.uri().map_err(|reason| bad_url(url, reason))?;
            let mut calls = ControlClient::with_origin(wire.clone(), origin)
                .max_decoding_message_size(MAX_ANSWER);
            let answer = calls.get_server(pb::GetServerRequest {}).await;
            let said = answer.map_err(|status| classify(&status, &wire, Call::First))?.into_inner();
            let is_limited = said.limited;
            let server = said.server.answered("server").and_then(ServerView::try_from)?;
            let phase = Phase::read(said.phase, "phase")?;
            Ok(Self { calls, wire, timeout, server, phase, is_limited })
        };
        let greeting = tokio::time::timeout(timeout, greeting).await;
        greeting.unwrap_or(Err(ClientError::Unresponsive { after: timeout }))
    }

    /// Whether the server does not know the caller well enough: it refuses changes, or every call,
    /// until [`Client::authorize`] has shown it a token. Who may not even read has been told its
    /// state and the UUID of its database, and nothing else.
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// Both ends of the connection, the own one first.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        self.wire.ends
    }

    /// Sends `token` with every call from now on, and asks again who the server is. Only for a
    /// server whose database was seen to be the right one.
    ///
    /// # Errors
    /// [`ClientError`]: also when the token is not the server's.
    pub async fn authorize(&mut self, token: &str) -> Result<(), ClientError> {
        self.wire.authorize(token);
        let request = pb::GetServerRequest {};
        let said = self.calls.clone().get_server(request).await_within(self, "GetServer").await?;
        self.is_limited = said.limited;
        self.server = said.server.answered("server").and_then(ServerView::try_from)?;
        self.phase = Phase::read(said.phase, "phase")?;
        Ok(())
    }

    /// The server, as it said when it was asked last.
    pub fn server(&self) -> &ServerView {
        &self.server
    }

    /// How far the server was in its life when the connection was made.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The server, its services and totals.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        let request = pb::GetStatusRequest {};
        let answer = self.calls.clone().get_status(request).await_within(self, "GetStatus").await;
        Ok(answer?.try_into()?)
    }

    /// The services of `which`.
    pub async fn list_services(&self, which: &Selection) -> Result<ServicesReport, ClientError> {
        let request = pb::ListServicesRequest { which: Some(which.into()) };
        let mut calls = self.calls.clone();
        let answer = calls.list_services(request).await_within(self, "ListServices").await;
        Ok(answer?.try_into()?)
    }

    /// Registers a service. A relative CA file is refused: make it absolute first.
    pub async fn add_service(&self, new: &NewService) -> Result<ActionReport, ClientError> {
        let request = pb::AddServiceRequest::from(new);
        let mut calls = self.calls.clone();
        let answer = calls.add_service(request).await_within(self, "AddService").await;
        Ok(answer?.try_into()?)
    }

    /// Starts the services of `which`.
    pub async fn start_services(&self, which: &Selection) -> Result<ActionReport, ClientError> {
        let request = pb::StartServicesRequest { which: Some(which.into()) };
        let mut calls = self.calls.clone();
        let answer = calls.start_services(request).await_within(self, "StartServices").await;
        Ok(answer?.try_into()?)
    }

    /// Drains and stops the services of `which`; `progress` hears how far they are meanwhile.
    pub async fn stop_services(
        &self,
        which: &Selection,
        mut progress: impl FnMut(&ActionProgress),
    ) -> Result<ActionReport, ClientError> {
        let request = pb::StopServicesRequest { which: Some(which.into()), beat_ms: self.beat() };
        let mut calls = self.calls.clone();
        let updates = calls.stop_services(request).await_within(self, "StopServices").await?;
        stream::report(self.updates(updates, "StopServices"), |sign: ActionProgress| {
            progress(&sign)
        })
        .await
    }

    /// Drains, stops and starts the services of `which`.
    pub async fn restart_services(
        &self,
        which: &Selection,
        mut progress: impl FnMut(&ActionProgress),
    ) -> Result<ActionReport, ClientError> {
        let request =
            pb::RestartServicesRequest { which: Some(which.into()), beat_ms: self.beat() };
        let mut calls = self.calls.clone();
        let updates = calls.restart_services(request).await_within(self, "RestartServices").await?;
        stream::report(self.updates(updates, "RestartServices"), |sign: ActionProgress| {
            progress(&sign)
        })
        .await
    }

    /// Drains, stops and forgets the named services.
    pub async fn remove_services(
        &self,
        names: &[ServiceName],
        mut progress: impl FnMut(&ActionProgress),
    ) -> Result<ActionReport, ClientError> {
        let names = names.iter().map(ToString::to_string).collect();
        let request = pb::RemoveServicesRequest { names, beat_ms: self.beat() };
        let mut calls = self.calls.clone();
        let updates = calls.remove_services(request).await_within(self, "RemoveServices").await?;
        stream::report(self.updates(updates, "RemoveServices"), |sign: ActionProgress| {
            progress(&sign)
        })
        .await
    }

    /// Changes the registration of a service; a new port or address drains the old one first.
    pub async fn set_service(
        &self,
        name: &ServiceName,
        patch: &ServicePatch,
        mut progress: impl FnMut(&ActionProgress),
    ) -> Result<ActionReport, ClientError> {
        let mut request = pb::SetServiceRequest::from((name, patch));
        request.beat_ms = self.beat();
        let mut calls = self.calls.clone();
        let updates = calls.set_service(request).await_within(self, "SetService").await?;
        stream::report(self.updates(updates, "SetService"), |sign: ActionProgress| progress(&sign))
            .await
    }

    /// Adds a target to a service or replaces it. A relative CA file is refused.
    pub async fn add_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        target: &NewTarget,
    ) -> Result<ActionReport, ClientError> {
        let target = Some(pb::NewTarget::from((name, target)));
        let request = pb::AddTargetRequest { service: service.to_string(), target };
        let mut calls = self.calls.clone();
        let answer = calls.add_target(request).await_within(self, "AddTarget").await;
        Ok(answer?.try_into()?)
    }

    /// Removes a target that is not the active one.
    pub async fn remove_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
    ) -> Result<ActionReport, ClientError> {
        let (service, target) = (service.to_string(), name.to_string());
        let request = pb::RemoveTargetRequest { service, target };
        let mut calls = self.calls.clone();
        let answer = calls.remove_target(request).await_within(self, "RemoveTarget").await;
        Ok(answer?.try_into()?)
    }

    /// Makes a target the active one.
    pub async fn switch_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
    ) -> Result<ActionReport, ClientError> {
        let (service, target) = (service.to_string(), name.to_string());
        let request = pb::SwitchTargetRequest { service, target };
        let mut calls = self.calls.clone();
        let answer = calls.switch_target(request).await_within(self, "SwitchTarget").await;
        Ok(answer?.try_into()?)
    }

    /// Who holds `ports`; every registered one if it is empty.
    pub async fn ports_status(&self, ports: &BTreeSet<Port>) -> Result<PortsReport, ClientError> {
        let ports = ports.iter().map(|port| port.get().into()).collect();
        let request = pb::GetPortsRequest { ports };
        let answer = self.calls.clone().get_ports(request).await_within(self, "GetPorts").await;
        Ok(answer?.try_into()?)
    }

    /// Frees ports; `hear` learns how far it is meanwhile.
    pub async fn kill_ports(
        &self,
        request: &KillRequest,
        hear: &(dyn Fn(KillProgress) + Send + Sync),
    ) -> Result<KillReport, ClientError> {
        let mut request = pb::KillPortsRequest::from(request);
        request.beat_ms = self.beat();
        let mut calls = self.calls.clone();
        let updates = calls.kill_ports(request).await_within(self, "KillPorts").await?;
        stream::report(self.updates(updates, "KillPorts"), hear).await
    }

    /// Removes what unclean ends left; `hear` learns how far it is meanwhile.
    pub async fn cleanup(
        &self,
        request: &CleanupRequest,
        hear: &(dyn Fn(CleanupProgress) + Send + Sync),
    ) -> Result<CleanupReport, ClientError> {
        let mut request = pb::CleanupRequest::from(request);
        request.beat_ms = self.beat();
        let mut calls = self.calls.clone();
        let updates = calls.cleanup(request).await_within(self, "Cleanup").await?;
        stream::report(self.updates(updates, "Cleanup"), hear).await
    }

    /// What is left behind, if anything is.
    pub async fn verify(&self) -> Result<VerifyReport, ClientError> {
        let request = pb::VerifyRequest {};
        let answer = self.calls.clone().verify(request).await_within(self, "Verify").await;
        Ok(answer?.try_into()?)
    }

    /// The leases of `which`.
    pub async fn heartbeats(&self, which: &Selection) -> Result<HeartbeatsReport, ClientError> {
        let request = pb::GetHeartbeatsRequest { which: Some(which.into()) };
        let mut calls = self.calls.clone();
        let answer = calls.get_heartbeats(request).await_within(self, "GetHeartbeats").await;
        Ok(answer?.try_into()?)
    }

    /// The newest `limit` calls to the registry about a service; at most
    /// [`HeartbeatHistory::MAX_CALLS`].
    pub async fn heartbeat_history(
        &self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<HeartbeatHistory, ClientError> {
        let request = pb::GetHeartbeatHistoryRequest { service: service.to_string(), limit };
        let mut calls = self.calls.clone();
        let answer =
            calls.get_heartbeat_history(request).await_within(self, "GetHeartbeatHistory").await;
        Ok(answer?.try_into()?)
    }

    /// Takes a service out of the registry, and stops it once its consumers have left or `max` has
    /// passed; `hear` learns how far it is meanwhile.
    pub async fn drain_service(
        &self,
        service: &ServiceName,
        max: Duration,
        hear: &(dyn Fn(DrainProgress) + Send + Sync),
    ) -> Result<ActionReport, ClientError> {
        let max_ms = Some(u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
        let (service, beat_ms) = (service.to_string(), self.beat());
        let request = pb::DrainServiceRequest { service, max_ms, beat_ms };
        let mut calls = self.calls.clone();
        let updates = calls.drain_service(request).await_within(self, "DrainService").await?;
        stream::report(self.updates(updates, "DrainService"), hear).await
    }

    /// The newest `limit` events, or the first `limit` after the one of id `after`; at most
    /// [`Event::MAX_PAGE`](crate::model::Event::MAX_PAGE).
    pub async fn events(
        &self,
        limit: u32,
        after: Option<i64>,
    ) -> Result<EventsReport, ClientError> {
        let request = pb::ListEventsRequest { limit, after };
        let answer = self.calls.clone().list_events(request).await_within(self, "ListEvents").await;
        Ok(answer?.try_into()?)
    }

    /// The newest `last` events (the first `last` after `after`, if that is given), then each that
    /// happens, until the stream is dropped or the server ends.
    pub async fn watch_events(
        &self,
        last: u32,
        after: Option<i64>,
    ) -> Result<EventStream, ClientError> {
        let request = pb::WatchEventsRequest { last, after, beat_ms: self.beat() };
        let mut calls = self.calls.clone();
        let updates = calls.watch_events(request).await_within(self, "WatchEvents").await?;
        Ok(EventStream::new(self.updates(updates, "WatchEvents")))
    }

    /// Asks the server to stop in order and hears each step. Dropping the stream stops nothing.
    pub async fn shutdown(&self) -> Result<ShutdownStream, ClientError> {
        let request = pb::ShutdownRequest { beat_ms: self.beat() };
        let mut calls = self.calls.clone();
        let updates = calls.shutdown(request).await_within(self, "Shutdown").await?;
        Ok(ShutdownStream::new(self.updates(updates, "Shutdown")))
    }

    fn beat(&self) -> u32 {
        Beat::for_silence(self.timeout)
    }

    fn call(&self, method: &'static str) -> Call {
        let theirs = self.server.version.clone().unwrap_or_else(|| "?".to_owned());
        Call::Later { method, theirs }
    }

    fn updates<T>(&self, inner: tonic::Streaming<T>, method: &'static str) -> stream::Updates<T> {
        stream::Updates::new(inner, self.wire.clone(), self.call(method), self.timeout)
    }
}

/// A call, waited for no longer than the client's timeout, its failure classified.
trait AwaitWithin<T> {
    async fn await_within(self, client: &Client, method: &'static str) -> Result<T, ClientError>;
}

impl<T, F: Future<Output = Result<Response<T>, Status>>> AwaitWithin<T> for F {
    async fn await_within(self, client: &Client, method: &'static str) -> Result<T, ClientError> {
        match tokio::time::timeout(client.timeout, self).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(classify(&status, &client.wire, client.call(method))),
            Err(_) => Err(ClientError::Unresponsive { after: client.timeout }),
        }
    }
}

/// Where a server URL points.
struct Origin {
    /// Name or address, an IPv6 address without its brackets.
    host: String,
    port: u16,
    is_tls: bool,
}

impl Origin {
    fn uri(&self) -> Result<Uri, http::Error> {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let authority = format!("{host}:{}", self.port);
        Uri::builder()
            .scheme(if self.is_tls { "https" } else { "http" })
            .authority(authority)
            .path_and_query("/")
            .build()
    }
}

fn bad_url(url: &str, reason: impl std::fmt::Display) -> ClientError {
    ClientError::Fault(Fault::usage(text::control::control_url_invalid(url, reason)))
}

fn origin(text: &str) -> Result<Origin, ClientError> {
    let url = Url::parse(text).map_err(|error| bad_url(text, error))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not quoted: it may hold a password.
        return Err(bad_url("***", "user name and password do not belong into it"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        let reason = format!("the scheme `{}` is neither http nor https", url.scheme());
        return Err(bad_url(text, reason));
    }
    let is_tls = url.scheme() == "https";
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(bad_url(text, "there is more after the port"));
    }
    let host = url.host_str().ok_or_else(|| bad_url(text, "it has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().filter(|port| *port != 0);
    Ok(Origin { host, is_tls, port: port.ok_or_else(|| bad_url(text, "its port is 0"))? })
}

#[cfg(test)]
mod tests;
