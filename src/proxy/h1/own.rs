//! Answers of pmctl's own, as bytes.

use std::io::Write as _;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};

use super::request::write_field;
use super::shape::Shape;
use crate::model::ServiceName;
use crate::proxy::answer::{Failure, answer};

/// What of a request its refusal depends on.
pub(in crate::proxy) struct Asked {
    pub(in crate::proxy) method: Method,
    accept: HeaderMap,
    is_http10: bool,
}

impl Asked {
    /// Of a request whose head nobody could read.
    pub(in crate::proxy) fn unknown(method: Method) -> Self {
        Self { method, accept: HeaderMap::new(), is_http10: false }
    }

    pub(super) fn of(head: &[u8], shape: &Shape) -> Self {
        let mut accept = HeaderMap::new();
        for (name, value) in shape.fields(head) {
            if name.eq_ignore_ascii_case(b"accept")
                && let Ok(value) = HeaderValue::from_bytes(value)
            {
                accept.append(ACCEPT, value);
            }
        }
        Self { method: shape.method.clone(), accept, is_http10: shape.is_http10 }
    }
}

/// Writes the whole answer to a request that `failure` happened to.
pub(in crate::proxy) fn write(
    failure: &Failure,
    service: &ServiceName,
    asked: &Asked,
    goes_on: bool,
    out: &mut Vec<u8>,
) {
    let own = answer(failure, service, &asked.method, &asked.accept);
    let minor = if asked.is_http10 { 0 } else { 1 };
    out.clear();
    // Writing to a vector does not fail.
    let _ = write!(out, "HTTP/1.{minor} {}\r\n", own.status());
    match (goes_on, asked.is_http10) {
        (true, true) => write_field(b"connection", b"keep-alive", out),
        (true, false) => {}
        (false, _) => write_field(b"connection", b"close", out),
    }
    for (name, value) in own.headers() {
        write_field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(own.body());
}
