//! `grpc.health.v1`: serving while the server is ready.

use std::time::Duration;

use futures_util::stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::generated::control_server::SERVICE_NAME;
use super::stream::Updates;
use crate::model::Phase;
use crate::ops::Ops;

/// How often a watcher's answer is compared with the phase.
const LOOK: Duration = Duration::from_millis(250);

/// Answers from the phase of the live server, so there is no second state to keep true.
pub(super) struct PhaseHealth {
    ops: Ops,
}

/// The health service of the server behind `ops`.
pub(super) fn server(ops: Ops) -> HealthServer<PhaseHealth> {
    HealthServer::new(PhaseHealth { ops })
}

/// The health of `service`; the empty name stands for the whole server.
fn health(ops: &Ops, service: &str) -> ServingStatus {
    if !service.is_empty() && service != SERVICE_NAME {
        return ServingStatus::ServiceUnknown;
    }
    match ops.live().map(|live| live.phase()) {
        Some(Phase::Ready) => ServingStatus::Serving,
        Some(Phase::Starting | Phase::Draining | Phase::Stopped) | None => {
            ServingStatus::NotServing
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for PhaseHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match health(&self.ops, &request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service")),
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = Updates<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (ops, service) = (self.ops.clone(), request.into_inner().service);
        let changes = stream::unfold(None, move |said| {
            let (ops, service) = (ops.clone(), service.clone());
            async move {
                loop {
                    let now = health(&ops, &service);
                    if said != Some(now) {
                        return Some((Ok(response(now)), Some(now)));
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
