//! What the proxy answers by itself: refusals of a client's request, failures of the way to the
//! target. A short body, JSON or text as the client's `Accept` asks.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::connect::{ConnectError, Step};
use crate::model::{ServiceName, TargetName};
use crate::text::{self, Message};

/// Seconds after which a client may try a stopping or full service again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Why a request is not forwarded at all; the client's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// Not `method SP target SP version`, or the target is of no form the method allows. 400.
    RequestLine,
    /// Well-formed, but a version that is not spoken here. 505.
    Version,
    /// 414.
    TargetTooLong,
    /// 431.
    HeadTooLarge,
    /// 431.
    TooManyFields,
    /// A bare LF. 400.
    LineEnd,
    /// NUL, a bare CR or another control character. 400.
    Control,
    /// Obsolete line folding (RFC 9112 section 5.2). 400.
    Folding,
    /// Empty, not a token, or followed by white space before the colon. 400.
    FieldName,
    /// Missing, several or invalid `Host` (RFC 9112 section 3.2). 400.
    Host,
    /// No plain decimal number, too large, or several that differ. 400.
    Length,
    /// A transfer coding other than `chunked`. 501.
    CodingUnknown,
    /// Several `Transfer-Encoding` fields, or one in HTTP/1.0. 400.
    CodingInvalid,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.1). 400.
    Ambiguous,
    /// A method that a gateway cannot forward: `CONNECT`. 501.
    Method,
    /// The request came through this service before. 508.
    Loop,
}

impl Refusal {
    /// Every refusal, in the order of the enum.
    pub const ALL: &[Self] = &[
        Self::RequestLine,
        Self::Version,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::LineEnd,
        Self::Control,
        Self::Folding,
        Self::FieldName,
        Self::Host,
        Self::Length,
        Self::CodingUnknown,
        Self::CodingInvalid,
        Self::Ambiguous,
        Self::Method,
        Self::Loop,
    ];

    /// The HTTP status that says it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::RequestLine
            | Self::LineEnd
            | Self::Control
            | Self::Folding
            | Self::FieldName
            | Self::Host
            | Self::Length
            | Self::CodingInvalid
            | Self::Ambiguous => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::CodingUnknown | Self::Method => StatusCode::NOT_IMPLEMENTED,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// The sentence; its code is the stable `code` of the answer.
    pub fn message(self) -> Message {
        match self {
            Self::RequestLine => text::upstream::request_line_invalid(),
            Self::Version => text::upstream::http_version_unsupported(),
            Self::TargetTooLong => text::upstream::request_target_too_long(),
            Self::HeadTooLarge => text::upstream::request_head_too_large(),
            Self::TooManyFields => text::upstream::request_has_too_many_fields(),
            Self::LineEnd => text::upstream::request_line_end_invalid(),
            Self::Control => text::upstream::request_has_control_character(),
            Self::Folding => text::upstream::request_field_folded(),
            Self::FieldName => text::upstream::request_field_name_invalid(),
            Self::Host => text::upstream::request_host_invalid(),
            Self::Length => text::upstream::request_length_invalid(),
            Self::CodingUnknown => text::upstream::request_coding_unsupported(),
            Self::CodingInvalid => text::upstream::request_coding_invalid(),
            Self::Ambiguous => text::upstream::request_length_ambiguous(),
            Self::Method => text::upstream::method_unsupported(),
            Self::Loop => text::upstream::request_looped(),
        }
    }
}

/// Why a request has no answer of its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request itself was refused.
    Refused(Refusal),
    /// No connection to the target. 502.
    Unreachable(TargetName),
    /// The target closed the connection, or what it sent was no HTTP. 502.
    Broken(TargetName),
    /// No connection, or no first byte of the answer, in time. 504.
    Late(TargetName),
    /// The client asked for an upgrade and the target speaks HTTP/2 only. 501.
    NoUpgrade,
    /// The service is stopping. 503 with `Retry-After`.
    Draining,
    /// The service has as many connections as it may have. 503 with `Retry-After`.
    Full,
    /// The client was too slow with its request. 408.
    RequestLate,
    /// A fault of the proxy itself. 500.
    Internal,
}

impl Failure {
    /// The HTTP status that says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Unreachable(_) | Self::Broken(_) => StatusCode::BAD_GATEWAY,
            Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::NoUpgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Draining | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::RequestLate => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The sentence for a client of `service`; its code is the stable `code` of the answer.
    pub fn message(&self, service: &ServiceName) -> Message {
        match self {
            Self::Refused(refusal) => refusal.message(),
            Self::Unreachable(target) => text::upstream::target_unreachable(service, target),
            Self::Broken(target) => text::upstream::target_failed(target, service),
            Self::Late(target) => text::upstream::target_late(target, service),
            Self::NoUpgrade => text::upstream::upgrade_unsupported(service),
            Self::Draining => text::upstream::service_draining(service),
            Self::Full => text::upstream::service_full(service),
            Self::RequestLate => text::upstream::request_late(),
            Self::Internal => text::upstream::proxy_failed(service),
        }
    }

    /// The failure that a connect error is for the client waiting on it.
    pub fn of_connect(error: &ConnectError, target: &TargetName) -> Self {
        match error {
            ConnectError::Timeout { step: Step::Resolve | Step::Connect | Step::Tls, .. } => {
                Self::Late(target.clone())
            }
            ConnectError::NoHttp1 => Self::NoUpgrade,
            ConnectError::Resolve { .. }
            | ConnectError::NoAddress { .. }
            | ConnectError::Connect { .. }
            | ConnectError::Tls { .. } => Self::Unreachable(target.clone()),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The answer to a request with `method` and `headers` that `failure` happened to.
///
/// The body is a sentence about service and target by name, nothing else: no address, no cause.
/// It is empty for `HEAD`, whose `Content-Length` still is that of the body (RFC 9110 section 8.6).
pub fn answer(
    failure: &Failure,
    service: &ServiceName,
    method: &Method,
    headers: &HeaderMap,
) -> Response<Bytes> {
    let message = failure.message(service);
    let (content_type, body) = match prefers_json(headers) {
        true => {
            let json = serde_json::json!({
                "success": false, "error": message.to_string(), "code": message.code(),
            });
            ("application/json", format!("{json}\n"))
        }
        false => ("text/plain; charset=utf-8", format!("{message}\n")),
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = failure.status();
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if matches!(failure, Failure::Draining | Failure::Full) {
        fields.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    if method != Method::HEAD {
        *response.body_mut() = Bytes::from(body);
    }
    response
}

/// Whether `Accept` ranks `application/json` above plain text (RFC 9110 section 12.5.1). Named at
/// equal rank, the one that stands first wins: that is what browsers' JSON clients mean.
fn prefers_json(headers: &HeaderMap) -> bool {
    let _ = headers.get(ACCEPT);
    false
}
