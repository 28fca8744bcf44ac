//! Faults as gRPC statuses, and back.
//!
//! A status carries a `google.rpc.ErrorInfo`: `reason` is the fault's code, `domain` is
//! [`DOMAIN`], `metadata` the values of the sentence, `fault-kind`, and `cause-0`, `cause-1`, ….
//! Two kinds share a status code, so the kind travels too. Names of values are identifiers, hence
//! no value can take the name of an entry with a dash.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::model::{Fault, FaultKind, without_users};
use crate::text::{self, Message};

/// Whose reasons these are.
const DOMAIN: &str = "pmctl";
const KIND: &str = "fault-kind";
const CAUSE: &str = "cause-";

// A status travels in header fields, and some clients take no more than 8 KiB of them. Sentences
// are sent percent-encoded (three bytes for each byte outside ASCII), details as base64.
const MAX_SENTENCE: usize = 800;
const MAX_VALUE: usize = 300;
const MAX_CAUSE: usize = 400;
const MAX_CAUSES: usize = 4;

/// The status code of a kind, and the word that tells it from its neighbours.
fn code(kind: FaultKind) -> (Code, &'static str) {
    match kind {
        FaultKind::Usage => (Code::InvalidArgument, "usage"),
        FaultKind::NotFound => (Code::NotFound, "not-found"),
        FaultKind::Exists => (Code::AlreadyExists, "exists"),
        FaultKind::Precondition => (Code::FailedPrecondition, "precondition"),
        FaultKind::LeftAlone => (Code::FailedPrecondition, "left-alone"),
        FaultKind::Unavailable => (Code::Unavailable, "unavailable"),
        FaultKind::Denied => (Code::PermissionDenied, "denied"),
        FaultKind::Timeout => (Code::DeadlineExceeded, "timeout"),
        FaultKind::Internal => (Code::Internal, "internal"),
    }
}

/// The kind of a status that does not say it, or says one this build does not know.
fn kind(code: Code) -> FaultKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => FaultKind::Usage,
        Code::NotFound => FaultKind::NotFound,
        Code::AlreadyExists => FaultKind::Exists,
        Code::FailedPrecondition | Code::Aborted => FaultKind::Precondition,
        Code::Unavailable | Code::Cancelled => FaultKind::Unavailable,
        Code::PermissionDenied | Code::Unauthenticated => FaultKind::Denied,
        Code::DeadlineExceeded => FaultKind::Timeout,
        Code::Ok
        | Code::Unknown
        | Code::Internal
        | Code::DataLoss
        | Code::ResourceExhausted
        | Code::Unimplemented => FaultKind::Internal,
    }
}

/// The status that tells a caller of `fault`. Over-long texts are cut at a character.
pub(super) fn status(fault: &Fault) -> Status {
    let (code, word) = code(fault.kind);
    let mut metadata: HashMap<String, String> = fault
        .message
        .args()
        .map(|(name, value)| (name.to_owned(), cut(value, MAX_VALUE)))
        .collect();
    metadata.insert(KIND.to_owned(), word.to_owned());
    for (at, cause) in fault.causes.iter().take(MAX_CAUSES).enumerate() {
        metadata.insert(format!("{CAUSE}{at}"), cut(cause, MAX_CAUSE));
    }
    let details = ErrorDetails::with_error_info(fault.message.code(), DOMAIN, metadata);
    Status::with_error_details(code, cut(&fault.to_string(), MAX_SENTENCE), details)
}

/// The whole answer that refuses a call before any method is reached: PERMISSION_DENIED and the
/// like by the kind of `fault`, or UNAUTHENTICATED where it is who calls that is not known.
pub fn refusal(fault: &Fault, is_unauthenticated: bool) -> http::Response<axum::body::Body> {
    let refused = status(fault);
    match is_unauthenticated {
        true => {
            let details = bytes::Bytes::copy_from_slice(refused.details());
            Status::with_details(Code::Unauthenticated, refused.message(), details).into_http()
        }
        false => refused.into_http(),
    }
}

/// The fault that pmctl put into a status; `None` for a status that anything else made.
pub(super) fn fault(status: &Status) -> Option<Fault> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    let word = info.metadata.get(KIND).map(String::as_str);
    let said = FaultKind::ALL.iter().copied().find(|kind| Some(code(*kind).1) == word);
    let kind = said.unwrap_or_else(|| kind(status.code()));
    let Some(message) = Message::from_parts(&info.reason, &info.metadata) else {
        // The words of the status say the causes too.
        return Some(Fault::new(kind, text::control::said_by_server(status.message())));
    };
    let causes = (0..).map_while(|at| info.metadata.get(&format!("{CAUSE}{at}")).cloned());
    Some(Fault { kind, message, causes: causes.collect() })
}

/// The fault that a status amounts to which pmctl did not make.
pub(super) fn foreign(status: &Status) -> Fault {
    let words = match status.message() {
        "" => status.code().description(),
        words => words,
    };
    Fault::new(kind(status.code()), text::control::said_by_server(words))
}

/// `text`, or as much of it as fits into `max` bytes with an ellipsis; without the passwords of URLs,
/// which a sentence that quotes what was sent may have in it.
fn cut(text: &str, max: usize) -> String {
    let text = &without_users(text);
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at));
    format!("{}…", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(fault: &Fault) -> Option<Fault> {
        let headers = status(fault).into_http::<()>().headers().clone();
        super::fault(&Status::from_header_map(&headers)?)
    }

    #[test]
    fn every_kind_of_fault_survives_the_header_fields_with_its_words_and_causes() {
        for kind in FaultKind::ALL {
            let fault = Fault {
                kind: *kind,
                message: text::model::name_too_long("服务 🦀\r\n", 300, 253),
                causes: vec!["cannot write \"数据库\"".to_owned(), "disk full".to_owned()],
            };
            assert_eq!(there_and_back(&fault), Some(fault));
        }
    }

    #[test]
    fn a_code_this_build_lacks_keeps_its_kind_and_the_server_s_words() {
        let metadata = HashMap::from([(KIND.to_owned(), "left-alone".to_owned())]);
        let details = ErrorDetails::with_error_info("from-the-future", DOMAIN, metadata);
        let sent = Status::with_error_details(Code::FailedPrecondition, "mind the gap", details);
        let read = fault(&sent).map(|fault| (fault.kind, fault.to_string()));
        assert_eq!(read, Some((FaultKind::LeftAlone, "mind the gap".to_owned())));
    }

    #[test]
    fn a_status_of_anything_else_is_not_taken_for_a_fault_of_ours() {
        assert_eq!(fault(&Status::unavailable("elsewhere")), None);
        let details = ErrorDetails::with_error_info("name-empty", "example.com", HashMap::new());
        let other = Status::with_error_details(Code::NotFound, "x", details);
        assert_eq!(fault(&other), None);
        assert_eq!(foreign(&other).kind, FaultKind::NotFound);
        assert!(!foreign(&Status::new(Code::Internal, "")).to_string().is_empty());
    }

    #[test]
    fn a_long_fault_still_fits_into_the_header_fields_of_a_modest_client() {
        let long = "长".repeat(3_000);
        let message = text::model::name_too_long(&long, 9_000, 253);
        let fault = Fault { kind: FaultKind::Usage, message, causes: vec![long; 9] };
        let headers = status(&fault).into_http::<()>().headers().clone();
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes < 8 * 1024, "{bytes}");
        assert!(there_and_back(&fault).is_some_and(|read| read.causes.len() == MAX_CAUSES));
    }

    #[test]
    fn a_refusal_of_an_unknown_caller_says_so_and_keeps_its_fault() {
        let fault = Fault::new(FaultKind::Denied, text::access::token_wrong());
        for (is_unauthenticated, code) in
            [(true, Code::Unauthenticated), (false, Code::PermissionDenied)]
        {
            let answer = refusal(&fault, is_unauthenticated);
            let read = Status::from_header_map(answer.headers());
            assert_eq!(read.as_ref().map(Status::code), Some(code));
            assert_eq!(read.and_then(|status| super::fault(&status)), Some(fault.clone()));
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("`http://a:b@c`", 99), "`http://***@c`");
        assert_eq!(cut("abcdefg", 6), "abc…");
        assert_eq!(cut("a长长长", 8), "a长…");
    }
}
