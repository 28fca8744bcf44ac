//! What the proxy answers by itself: refusals of a client's request, failures of the way to the
//! target. A short body, JSON or text as the client's `Accept` asks.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::connect::ConnectError;
use crate::model::{ServiceName, TargetName};
use crate::text::{self, Message};

/// Seconds after which a client may try a stopping or full service again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Why a request is not forwarded at all; the client's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Its body ended early or is framed wrongly. 400.
    Body,
}

impl Refusal {
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
            | Self::Ambiguous
            | Self::Body => StatusCode::BAD_REQUEST,
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
            Self::Body => text::upstream::request_body_broken(),
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
    /// The target is where pmctl itself takes orders. 508.
    Control(TargetName),
    /// The registry lists no instance of the target's application. 503 with `Retry-After`.
    NoInstance(TargetName),
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
            Self::Control(_) => StatusCode::LOOP_DETECTED,
            Self::NoUpgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Draining | Self::Full | Self::NoInstance(_) => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::Control(target) => text::upstream::target_is_control(target, service),
            Self::NoInstance(target) => text::upstream::target_has_no_instance(target, service),
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
            ConnectError::Timeout { .. } => Self::Late(target.clone()),
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
    if matches!(failure, Failure::Draining | Failure::Full | Failure::NoInstance(_)) {
        fields.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    if method != Method::HEAD {
        *response.body_mut() = Bytes::from(body);
    }
    response
}

/// Whether `Accept` ranks `application/json` above plain text (RFC 9110 section 12.5.1). Named at
/// equal rank, the one that stands first wins: that is what clients of JSON interfaces mean.
fn prefers_json(headers: &HeaderMap) -> bool {
    let (mut json, mut text) = (Rank::default(), Rank::default());
    let mut place = 0;
    for value in headers.get_all(ACCEPT) {
        for range in value.as_bytes().split(|b| *b == b',') {
            let mut parts = range.split(|b| *b == b';').map(<[u8]>::trim_ascii);
            let kind = parts.next().unwrap_or_default();
            let weight = parts.find_map(weight).unwrap_or(1000);
            place += 1;
            let is = |name: &[u8]| kind.eq_ignore_ascii_case(name);
            if is(b"application/json") {
                json.offer(3, weight, place);
            } else if is(b"application/*") {
                json.offer(2, weight, place);
            } else if is(b"text/plain") {
                text.offer(3, weight, place);
            } else if is(b"text/*") {
                text.offer(2, weight, place);
            } else if is(b"*/*") {
                json.offer(1, weight, place);
                text.offer(1, weight, place);
            }
        }
    }
    let is_first = json.precision == 3 && (text.precision < 3 || json.place < text.place);
    json.weight > text.weight || (json.weight == text.weight && json.weight > 0 && is_first)
}

/// How a media type is ranked by the most precise range that fits it.
#[derive(Default)]
struct Rank {
    precision: u8,
    /// Thousandths.
    weight: u16,
    place: u16,
}

impl Rank {
    fn offer(&mut self, precision: u8, weight: u16, place: u16) {
        if precision > self.precision {
            *self = Self { precision, weight, place };
        }
    }
}

/// The thousandths of a parameter `q=0.5`; what is no weight counts as 0.
fn weight(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or(parameter.strip_prefix(b"Q="))?;
    let text = std::str::from_utf8(value).unwrap_or_default();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let thousandths = || format!("{part:0<3}").parse::<u16>().ok();
    Some(match whole {
        "0" if is_digits => thousandths().unwrap_or_default(),
        "1" if is_digits => 1000,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::connect::Step;

    fn accepting(accept: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    #[test]
    fn json_is_for_those_who_prefer_it() {
        for json in [
            &["application/json"][..],
            &["Application/JSON; charset=utf-8"],
            &["application/json, text/plain, */*"],
            &["application/*"],
            &["text/plain;q=0.5, application/json;q=0.9"],
            &["text/html", "application/json"],
            &["application/json;q=0.1, text/*;q=0"],
            &["application/json, */*;q=0.5"],
            &["*/*, application/json"],
        ] {
            assert!(prefers_json(&accepting(json)), "{json:?}");
        }
        for text in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["text/plain, application/json"],
            &["application/json;q=0.2, text/plain;q=0.3"],
            &["application/json;q=0"],
            &["application/json;q=x"],
            &["application/jsonp"],
            &["application/*;q=0.5, */*"],
        ] {
            assert!(!prefers_json(&accepting(text)), "{text:?}");
        }
    }

    #[test]
    fn an_answer_names_service_and_target_and_nothing_else() {
        let service = "orders".parse().unwrap();
        let failure = Failure::Unreachable("blue".parse().unwrap());
        let text = answer(&failure, &service, &Method::GET, &HeaderMap::new());
        assert_eq!(text.status(), 502);
        assert_eq!(text.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        let said = "the service `orders` could not reach its target `blue`";
        assert_eq!(text.body(), &format!("{said}\n"));
        assert_eq!(text.headers()[CONTENT_LENGTH], text.body().len().to_string());

        let json = answer(&failure, &service, &Method::POST, &accepting(&["application/json"]));
        assert_eq!(json.headers()[CONTENT_TYPE], "application/json");
        let document: serde_json::Value = serde_json::from_slice(json.body()).unwrap();
        let expected = serde_json::json!({
            "success": false, "error": said, "code": "target-unreachable",
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn a_head_request_gets_the_length_without_the_body() {
        let service = "orders".parse().unwrap();
        let get = answer(&Failure::Full, &service, &Method::GET, &HeaderMap::new());
        let head = answer(&Failure::Full, &service, &Method::HEAD, &HeaderMap::new());
        assert!(head.body().is_empty());
        assert_eq!(head.headers()[CONTENT_LENGTH], get.headers()[CONTENT_LENGTH]);
        assert_eq!(head.headers()[RETRY_AFTER], "5");
    }

    #[test]
    fn every_failure_has_its_status() {
        let target: TargetName = "blue".parse().unwrap();
        let status = |failure: Failure| failure.status().as_u16();
        assert_eq!(status(Failure::Broken(target.clone())), 502);
        assert_eq!(status(Failure::Late(target)), 504);
        assert_eq!(status(Failure::Draining), 503);
        assert_eq!(status(Failure::NoUpgrade), 501);
        let refused = |refusal: Refusal| status(Failure::Refused(refusal));
        assert_eq!(refused(Refusal::Ambiguous), 400);
        assert_eq!(refused(Refusal::CodingUnknown), 501);
        assert_eq!(refused(Refusal::Version), 505);
        assert_eq!(refused(Refusal::Loop), 508);
    }

    #[test]
    fn a_connection_that_failed_is_the_fault_of_time_or_of_the_target() {
        let target: TargetName = "blue".parse().unwrap();
        let host = || "up".to_owned();
        let late = ConnectError::Timeout {
            host: host(),
            step: Step::Connect,
            after: std::time::Duration::from_secs(5),
        };
        assert_eq!(Failure::of_connect(&late, &target), Failure::Late(target.clone()));
        let gone = ConnectError::NoAddress { host: host() };
        assert_eq!(Failure::of_connect(&gone, &target), Failure::Unreachable(target.clone()));
        assert_eq!(Failure::of_connect(&ConnectError::NoHttp1, &target), Failure::NoUpgrade);
    }
}
