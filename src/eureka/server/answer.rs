//! Answers: documents in the form the caller reads, and failures with a sentence.

use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::eureka::wire::{Document, Format};
use crate::text::{self, Message};

/// A call that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: Message,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: Message) -> Self {
        Self { status, message }
    }

    /// What was named is not listed.
    pub(super) fn not_listed(what: &str) -> Self {
        let message = text::eureka::registry_not_listed(what.escape_debug());
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The caller's mistake.
    pub(super) fn bad(message: Message) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let text = format!("{}\n", self.message);
        (self.status, fields("text/plain; charset=utf-8"), text).into_response()
    }
}

/// The fields of every answer that has a body: nobody may keep it or take it for something else.
pub(super) fn fields(media_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ])
}

/// JSON for whoever says `json` anywhere in `Accept`, XML for everybody else, as
/// `ApplicationsResource.java` decides.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let mut accepted = headers.get_all(ACCEPT).iter();
    match accepted.any(|value| value.as_bytes().windows(4).any(|word| word == b"json")) {
        true => Format::Json,
        false => Format::Xml,
    }
}

/// A document in the form the caller reads.
pub(super) fn document(headers: &HeaderMap, document: Document<'_>) -> Response {
    let format = format(headers);
    (fields(format.media_type()), document.encode(format)).into_response()
}

pub(super) async fn no_such_path(uri: Uri) -> Failure {
    let path = text::eureka::registry_no_such_path(uri.path().escape_debug());
    Failure::new(StatusCode::NOT_FOUND, path)
}
