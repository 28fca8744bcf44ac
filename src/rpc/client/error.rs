//! Why a call failed, by whether somebody is there: whether to fall back hangs on that.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

use super::wire::{NotGrpc, Wire};
use crate::model::{Fault, FaultKind};
use crate::rpc::convert::VERSION;
use crate::rpc::status;
use crate::text::{self, Message};

/// Why a call to a server failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there: the connection was refused, or there is no way to that address.
    #[error("no server listens there")]
    Absent,
    /// Somebody listens, but no answer came in time.
    #[error("the server did not answer within {after:?}")]
    Unresponsive {
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke or the call was cut: the server is on its way out, or was killed. Also
    /// a listener that closed the connection without a word.
    #[error("the server is going away")]
    GoingAway,
    /// Somebody listens who is not pmctl.
    #[error("the listener there is not pmctl but {what}")]
    NotPmctl {
        /// What it is, as far as its first words tell.
        what: Message,
    },
    /// The server answered, and the answer is no.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Which call failed.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// The first one, which every pmctl knows.
    First,
    /// One to a server that is known to be pmctl.
    Later {
        /// Its name in the proto.
        method: &'static str,
        /// The server's version.
        theirs: String,
    },
}

/// What `status` means for the caller.
pub(super) fn classify(status: &Status, wire: &Wire, call: Call) -> ClientError {
    if let Some(fault) = status::fault(status) {
        return ClientError::Fault(fault);
    }
    let causes = || std::iter::successors(status.source(), |error| (*error).source());
    if let Some(other) = causes().find_map(|error| error.downcast_ref::<NotGrpc>()) {
        return ClientError::NotPmctl { what: text::control::listener_http2(other.status) };
    }
    if causes().any(|error| error.is::<hyper::Error>()) {
        return match wire.other_protocol() {
            Some(what) => ClientError::NotPmctl { what },
            None => ClientError::GoingAway,
        };
    }
    match (status.code(), call) {
        (Code::Unimplemented | Code::Unauthenticated, Call::First) => {
            ClientError::NotPmctl { what: text::control::listener_grpc() }
        }
        (Code::Unimplemented, Call::Later { method, theirs }) => {
            let message = text::control::versions_differ(theirs, VERSION, method);
            ClientError::Fault(Fault::new(FaultKind::Precondition, message))
        }
        // A server that leaves says the first, then the second; the third is a cut.
        (Code::Cancelled | Code::Unavailable | Code::Unknown, _) => ClientError::GoingAway,
        _ => ClientError::Fault(status::foreign(status)),
    }
}
