//! What machines ask: alive, ready, figures.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;

use super::answer::{Answer, Failure};
use super::metrics;
use crate::model::{Fault, FaultKind, Phase};
use crate::ops::Ops;
use crate::text;

#[derive(Serialize)]
pub(super) struct Alive {
    success: bool,
    phase: Phase,
}

fn no_live_server() -> Fault {
    Fault::new(FaultKind::Unavailable, text::control::no_live_server())
}

fn phase(ops: &Ops) -> Result<Phase, Failure> {
    Ok(ops.live().ok_or_else(no_live_server)?.phase())
}

/// GET `/healthz`: the process answers, whatever its phase.
pub(super) async fn alive(State(ops): State<Ops>) -> Answer<Alive> {
    Ok(Json(Alive { success: true, phase: phase(&ops)? }))
}

/// GET `/readyz`: 503 unless everything vital stands and no stop was asked for.
pub(super) async fn ready(State(ops): State<Ops>) -> Answer<Alive> {
    readiness(phase(&ops)?)
}

fn readiness(phase: Phase) -> Answer<Alive> {
    match phase {
        Phase::Ready => Ok(Json(Alive { success: true, phase })),
        Phase::Starting | Phase::Draining | Phase::Stopped => {
            Err(Fault::new(FaultKind::Unavailable, text::control::not_ready(phase)).into())
        }
    }
}

/// GET `/metrics`: the Prometheus text format.
pub(super) async fn figures(State(ops): State<Ops>) -> Result<Response, Failure> {
    let live = ops.live().ok_or_else(no_live_server)?;
    let text = metrics::render(&live.metrics(), live.phase(), env!("CARGO_PKG_VERSION"));
    let headers = [(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn only_a_ready_server_is_ready() {
        for phase in Phase::ALL {
            let status = readiness(*phase).into_response().status();
            assert_eq!(status == StatusCode::OK, *phase == Phase::Ready, "{phase}");
            assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}
