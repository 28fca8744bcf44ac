//! What a failed call to a server means to the person who asked.

use crate::model::{Fault, FaultKind};
use crate::rpc::ClientError;
use crate::text;

/// The fault of a call to the server at `url` that was to be answered by it and nobody else.
pub(in crate::cli) fn client_fault(url: &str, error: ClientError) -> Fault {
    let message = match error {
        ClientError::Fault(fault) => return fault,
        ClientError::Absent => text::backend::server_absent(url),
        ClientError::GoingAway => text::backend::server_going_away(url),
        ClientError::NotPmctl { what } => text::backend::server_not_pmctl(url, what),
        ClientError::Unresponsive { after } => {
            text::backend::server_silent(url, humantime::format_duration(after))
        }
    };
    Fault::new(FaultKind::Unavailable, message)
}
