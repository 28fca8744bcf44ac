//! Reports and faults as HTTP answers.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use crate::model::{ActionReport, Fault, FaultKind, KillReport, without_users};

/// What a handler gives back: a document, or the reason why there is none.
pub(super) type Answer<T> = Result<Json<T>, Failure>;

/// A failed call, with the status its answer takes.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    fault: Fault,
}

#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    error: String,
    code: &'a str,
}

/// The status of a kind.
fn status(kind: FaultKind) -> StatusCode {
    match kind {
        FaultKind::Usage => StatusCode::BAD_REQUEST,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::Exists | FaultKind::Precondition | FaultKind::LeftAlone => StatusCode::CONFLICT,
        FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FaultKind::Denied => StatusCode::FORBIDDEN,
        FaultKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { status: status(fault.kind), fault }
    }
}

impl Failure {
    /// A fault whose status is finer than that of its kind.
    pub(super) fn with(status: StatusCode, fault: Fault) -> Self {
        Self { status, fault }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let document = Document {
            success: false,
            // A sentence may quote what was sent, and that may be a URL with a password in it.
            error: without_users(&self.fault.to_string()),
            code: self.fault.message.code(),
        };
        (self.status, Json(document)).into_response()
    }
}

/// The report on a call about one service: its fault, if it has one, is the answer.
pub(super) fn single(report: ActionReport) -> Answer<ActionReport> {
    match report.services.iter().find_map(|item| item.fault.clone()) {
        Some(fault) => Err(fault.into()),
        None => Ok(Json(report)),
    }
}

/// The report on a call about one port, likewise.
pub(super) fn single_port(report: KillReport) -> Answer<KillReport> {
    match report.ports.iter().find_map(|item| item.fault.clone()) {
        Some(fault) => Err(fault.into()),
        None => Ok(Json(report)),
    }
}

// What `grpc-message` may hold unescaped (the gRPC protocol over HTTP/2, "Percent-Encoded").
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Whether the caller speaks gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// A refusal before any method is reached, in the caller's own tongue: JSON, or a gRPC status of
/// the number `grpc` in an answer of the same HTTP status.
pub(super) fn refusal(headers: &HeaderMap, failure: Failure, grpc: u8) -> Response {
    if !is_grpc(headers) {
        return failure.into_response();
    }
    let message = utf8_percent_encode(&failure.fault.to_string(), MESSAGE).to_string();
    let mut response = failure.status.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(grpc)));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn every_kind_of_fault_has_an_error_status() {
        for kind in FaultKind::ALL {
            let status = status(*kind);
            assert!(status.is_client_error() || status.is_server_error(), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_a_document_with_the_sentence_and_its_code() {
        let message = text::model::service_not_found("订单");
        let response = Failure::from(Fault::new(FaultKind::NotFound, message)).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let bytes = axum::body::to_bytes(response.into_body(), 9_999).await.unwrap_or_default();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        assert_eq!(document["success"], false);
        assert_eq!(document["code"], "service-not-found");
        assert!(document["error"].as_str().is_some_and(|error| error.contains("订单")));
    }

    #[test]
    fn a_grpc_caller_is_refused_in_grpc() {
        let headers: HeaderMap = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/grpc+proto"),
        )]);
        let fault = Fault::new(
            FaultKind::Denied,
            text::control::host_not_allowed("é\n", "a:1", "http://a:1"),
        );
        let response = refusal(&headers, fault.into(), 7);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["grpc-status"], "7");
        let message = response.headers()["grpc-message"].to_str().unwrap_or_default();
        assert!(message.contains("%C3%A9%0A"), "{message}");
    }
}
