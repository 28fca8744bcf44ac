//! The server's half: each method converts, calls `ops`, converts.

use std::collections::BTreeSet;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::beat::Beat;
use super::convert::{
    Need, drain_max, event_limit, history_limit, names, selection, service_name, target_name,
};
use super::generated::control_server::Control;
use super::generated::{self as pb};
use super::stream::{self, Pending, Updates};
use super::{API_VERSION, status};
use crate::model::{
    Access, ActionReport, Actor, Caller, CleanupProgress, CleanupRequest, DrainProgress, Event,
    Fault, FaultKind, KillProgress, KillRequest, NewService, NewTarget, Port, Selection,
    ServiceName, ServicePatch, ServicesReport, TargetName,
};
use crate::ops::{Live, Ops};
use crate::text;

type Answer<T> = Result<Response<T>, Status>;

/// The methods of `pmctl.v1.Control` over the verbs of one server.
pub(super) struct Face {
    ops: Ops,
}

impl Face {
    pub(super) fn new(ops: Ops) -> Self {
        Self { ops }
    }

    fn live(&self) -> Result<&Arc<dyn Live>, Fault> {
        self.ops.live().ok_or_else(no_live_server)
    }
}

/// The fault of asking a server's question where none runs.
pub(super) fn no_live_server() -> Fault {
    Fault::new(FaultKind::Unavailable, text::control::no_live_server())
}

/// Who calls; the accept loop says it in the extensions of every request.
fn actor<T>(request: &Request<T>) -> Actor {
    let caller = request.extensions().get::<Caller>();
    caller.map_or_else(|| Actor::Control("unknown".to_owned()), Caller::actor)
}

/// What the caller may do; the guard before the routes says it in the extensions.
fn access<T>(request: &Request<T>) -> Access {
    request.extensions().get().copied().unwrap_or(Access::Greeting)
}

/// What an operation found, as the caller gets it.
fn answer<M, P: for<'a> From<&'a M>>(found: Result<M, Fault>) -> Answer<P> {
    found.map(|report| Response::new((&report).into())).map_err(|fault| status::status(&fault))
}

/// A value of the model from the message of a request.
fn read<P, M: TryFrom<P, Error = Fault>>(sent: P) -> Result<M, Status> {
    sent.try_into().map_err(refuse)
}

fn refuse(fault: Fault) -> Status {
    status::status(&fault)
}

#[tonic::async_trait]
impl Control for Face {
    async fn get_server(
        &self,
        request: Request<pb::GetServerRequest>,
    ) -> Answer<pb::GetServerResponse> {
        let live = self.live().map_err(refuse)?;
        let server = live.server();
        let access = access(&request);
        Ok(Response::new(pb::GetServerResponse {
            api_version: API_VERSION,
            server: Some(match access {
                Access::Greeting => pb::Server {
                    state: pb::ServerState::from(server.state).into(),
                    database_uuid: server.database_uuid,
                    ..pb::Server::default()
                },
                Access::Reading | Access::Full => (&server).into(),
            }),
            phase: pb::Phase::from(live.phase()).into(),
            limited: access < Access::Full,
        }))
    }

    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Answer<pb::StatusReport> {
        answer(self.ops.status().await)
    }

    async fn list_services(
        &self,
        request: Request<pb::ListServicesRequest>,
    ) -> Answer<pb::ServicesReport> {
        let which = match request.into_inner().which {
            Some(which) => selection(Some(which)).map_err(refuse)?,
            None => Selection::All,
        };
        answer(self.ops.list_services(&which).await)
    }

    async fn add_service(
        &self,
        request: Request<pb::AddServiceRequest>,
    ) -> Answer<pb::ActionReport> {
        let by = actor(&request);
        let new: NewService = read(request.into_inner())?;
        answer(self.ops.add_service(new, &by).await)
    }

    async fn start_services(
        &self,
        request: Request<pb::StartServicesRequest>,
    ) -> Answer<pb::ActionReport> {
        let by = actor(&request);
        let which = selection(request.into_inner().which).map_err(refuse)?;
        answer(self.ops.start_services(&which, &by).await)
    }

    type StopServicesStream = Updates<pb::ActionUpdate>;

    async fn stop_services(
        &self,
        request: Request<pb::StopServicesRequest>,
    ) -> Answer<Self::StopServicesStream> {
        let (by, sent, ops) = (actor(&request), request.into_inner(), self.ops.clone());
        let which = selection(sent.which).map_err(refuse)?;
        let asked = which.clone();
        let work = async move { ops.stop_services(&asked, &by).await };
        Ok(self.watched(which, sent.beat_ms, work))
    }

    type RestartServicesStream = Updates<pb::ActionUpdate>;

    async fn restart_services(
        &self,
        request: Request<pb::RestartServicesRequest>,
    ) -> Answer<Self::RestartServicesStream> {
        let (by, sent, ops) = (actor(&request), request.into_inner(), self.ops.clone());
        let which = selection(sent.which).map_err(refuse)?;
        let asked = which.clone();
        let work = async move { ops.restart_services(&asked, &by).await };
        Ok(self.watched(which, sent.beat_ms, work))
    }

    type RemoveServicesStream = Updates<pb::ActionUpdate>;

    async fn remove_services(
        &self,
        request: Request<pb::RemoveServicesRequest>,
    ) -> Answer<Self::RemoveServicesStream> {
        let (by, sent, ops) = (actor(&request), request.into_inner(), self.ops.clone());
        let which = names(&sent.names).map_err(refuse)?;
        let asked = which.clone();
        let work = async move { ops.remove_services(&asked, &by).await };
        Ok(self.watched(which, sent.beat_ms, work))
    }

    type SetServiceStream = Updates<pb::ActionUpdate>;

    async fn set_service(
        &self,
        request: Request<pb::SetServiceRequest>,
    ) -> Answer<Self::SetServiceStream> {
        let (by, sent, ops) = (actor(&request), request.into_inner(), self.ops.clone());
        let beat_ms = sent.beat_ms;
        let (name, patch): (ServiceName, ServicePatch) = read(sent)?;
        let which = Selection::Named(vec![name.clone()]);
        let work = async move { ops.set_service(&name, patch, &by).await };
        Ok(self.watched(which, beat_ms, work))
    }

    async fn add_target(&self, request: Request<pb::AddTargetRequest>) -> Answer<pb::ActionReport> {
        let (by, sent) = (actor(&request), request.into_inner());
        let service = service_name(&sent.service).map_err(refuse)?;
        let (name, target): (TargetName, NewTarget) =
            read(sent.target.asked("target").map_err(refuse)?)?;
        answer(self.ops.add_target(&service, &name, target, &by).await)
    }

    async fn remove_target(
        &self,
        request: Request<pb::RemoveTargetRequest>,
    ) -> Answer<pb::ActionReport> {
        let (by, sent) = (actor(&request), request.into_inner());
        let service = service_name(&sent.service).map_err(refuse)?;
        let target = target_name(&sent.target).map_err(refuse)?;
        answer(self.ops.remove_target(&service, &target, &by).await)
    }

    async fn switch_target(
        &self,
        request: Request<pb::SwitchTargetRequest>,
    ) -> Answer<pb::ActionReport> {
        let (by, sent) = (actor(&request), request.into_inner());
        let service = service_name(&sent.service).map_err(refuse)?;
        let target = target_name(&sent.target).map_err(refuse)?;
        answer(self.ops.switch_target(&service, &target, &by).await)
    }

    async fn get_ports(&self, request: Request<pb::GetPortsRequest>) -> Answer<pb::PortsReport> {
        let access = access(&request);
        let ports: BTreeSet<Port> = read(request.into_inner())?;
        answer(self.ops.ports_status(&ports).await.map(|report| report.shown_to(access)))
    }

    type KillPortsStream = Updates<pb::KillUpdate>;

    async fn kill_ports(
        &self,
        request: Request<pb::KillPortsRequest>,
    ) -> Answer<Self::KillPortsStream> {
        use pb::kill_update::Update;
        let (by, sent, ops) = (actor(&request), request.into_inner(), self.ops.clone());
        let beat = Beat::asked(sent.beat_ms);
        let asked: KillRequest = read(sent)?;
        let told = |sign: KillProgress| Update::Progress((&sign).into());
        Ok(Response::new(stream::told(beat, told, |hear| async move {
            let report = ops.kill_ports(&asked, &by, &hear).await?;
            Ok(Update::Report((&report).into()))
        })))
    }

    type CleanupStream = Updates<pb::CleanupUpdate>;

    async fn cleanup(&self, request: Request<pb::CleanupRequest>) -> Answer<Self::CleanupStream> {
        use pb::cleanup_update::Update;
        let (by, sent, ops) = (actor(&request), request.into_inner(), self.ops.clone());
        let beat = Beat::asked(sent.beat_ms);
        let asked: CleanupRequest = read(sent)?;
        let told = |sign: CleanupProgress| Update::Progress((&sign).into());
        Ok(Response::new(stream::told(beat, told, |hear| async move {
            let report = ops.cleanup(&asked, &by, &hear).await?;
            Ok(Update::Report((&report).into()))
        })))
    }

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Answer<pb::VerifyReport> {
        let access = access(&request);
        answer(self.ops.verify().await.map(|report| report.shown_to(access)))
    }

    async fn get_heartbeats(
        &self,
        request: Request<pb::GetHeartbeatsRequest>,
    ) -> Answer<pb::HeartbeatsReport> {
        let which = match request.into_inner().which {
            Some(which) => selection(Some(which)).map_err(refuse)?,
            None => Selection::All,
        };
        answer(self.ops.heartbeats_status(&which).await)
    }

    async fn get_heartbeat_history(
        &self,
        request: Request<pb::GetHeartbeatHistoryRequest>,
    ) -> Answer<pb::HeartbeatHistory> {
        let sent = request.into_inner();
        let service = service_name(&sent.service).map_err(refuse)?;
        let limit = history_limit(sent.limit).map_err(refuse)?;
        answer(self.ops.heartbeat_history(&service, limit).await)
    }

    type DrainServiceStream = Updates<pb::DrainUpdate>;

    async fn drain_service(
        &self,
        request: Request<pb::DrainServiceRequest>,
    ) -> Answer<Self::DrainServiceStream> {
        use pb::drain_update::Update;
        let (by, sent, ops) = (actor(&request), request.into_inner(), self.ops.clone());
        let beat = Beat::asked(sent.beat_ms);
        let service = service_name(&sent.service).map_err(refuse)?;
        let max = drain_max(sent.max_ms).map_err(refuse)?;
        let told = |sign: DrainProgress| Update::Progress((&sign).into());
        Ok(Response::new(stream::told(beat, told, move |hear| async move {
            let report = ops.drain_service(&service, max, &by, &hear).await?;
            Ok(Update::Report((&report).into()))
        })))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Answer<pb::EventsReport> {
        let sent = request.into_inner();
        let limit = event_limit(sent.limit).map_err(refuse)?;
        answer(self.ops.events(limit, sent.after).await)
    }

    type WatchEventsStream = Updates<pb::EventUpdate>;

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let sent = request.into_inner();
        let signal = self.live().map_err(refuse)?.event_signal();
        let beat = Beat::asked(sent.beat_ms);
        let ops = self.ops.clone();
        let read = move |limit, after| -> Pending<Vec<Event>> {
            let ops = ops.clone();
            Box::pin(async move { Ok(ops.events(limit, after).await?.events) })
        };
        let events = stream::events(read, signal, sent.last, sent.after, beat).await;
        Ok(Response::new(events.map_err(refuse)?))
    }

    type ShutdownStream = Updates<pb::ShutdownUpdate>;

    async fn shutdown(
        &self,
        request: Request<pb::ShutdownRequest>,
    ) -> Answer<Self::ShutdownStream> {
        let progress = self.live().map_err(refuse)?.request_shutdown(&actor(&request));
        Ok(Response::new(stream::shutdown(progress, Beat::asked(request.into_inner().beat_ms))))
    }
}

impl Face {
    /// The stream of an action on `which` that may take as long as a drain.
    fn watched(
        &self,
        which: Selection,
        beat_ms: u32,
        work: impl Future<Output = Result<ActionReport, Fault>> + Send + 'static,
    ) -> Response<Updates<pb::ActionUpdate>> {
        let ops = self.ops.clone();
        let look = move || -> Pending<ServicesReport> {
            let (ops, which) = (ops.clone(), which.clone());
            Box::pin(async move { ops.list_services(&which).await })
        };
        Response::new(stream::action(Box::pin(work), Beat::asked(beat_ms), look))
    }
}
