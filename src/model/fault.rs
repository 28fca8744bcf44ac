//! Why something was not done: a closed list of kinds, each with one meaning everywhere.

use std::error::Error;
use std::fmt;

use crate::text::Message;

/// Whose turn it is after a failure. Exit code, HTTP status and gRPC status follow from it by one
/// exhaustive match each (`cli::exit`, `api::status`, `rpc::status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The request itself is wrong; nothing was changed. Exit 2, HTTP 400.
    Usage,
    /// It names something that does not exist. Exit 1, HTTP 404.
    NotFound,
    /// Something of that name or port exists. Exit 1, HTTP 409.
    Exists,
    /// The world does not allow it now: a port is taken, a service is stopped. Exit 1, HTTP 409.
    Precondition,
    /// Left alone for safety; `--force` would include it where that is allowed. Exit 3, HTTP 409.
    LeftAlone,
    /// A server was required and is down, hung, busy or of another database. Exit 4, HTTP 503.
    Unavailable,
    /// Not permitted. Exit 5, HTTP 403.
    Denied,
    /// Did not finish in its time. Exit 1, HTTP 504.
    Timeout,
    /// Disk, database, operating system or pmctl itself failed. Exit 1, HTTP 500.
    Internal,
}

impl FaultKind {
    /// Every kind, for the tests of the translations.
    pub const ALL: &[Self] = &[
        Self::Usage,
        Self::NotFound,
        Self::Exists,
        Self::Precondition,
        Self::LeftAlone,
        Self::Unavailable,
        Self::Denied,
        Self::Timeout,
        Self::Internal,
    ];
}

/// A failure as the edge shows it: a sentence that says what happened, to what, and what to do,
/// and below it the chain of technical causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose turn it is.
    pub kind: FaultKind,
    /// The sentence; its code is the stable `code` of JSON and gRPC answers.
    pub message: Message,
    /// Technical causes in English, outermost first; empty where the sentence says it all.
    pub causes: Vec<String>,
}

impl Fault {
    /// A failure that its sentence explains whole.
    pub fn new(kind: FaultKind, message: Message) -> Self {
        Self { kind, message, causes: Vec::new() }
    }

    /// A failure with `error` and everything behind it as causes.
    pub fn caused(kind: FaultKind, message: Message, error: &(dyn Error + 'static)) -> Self {
        let mut causes = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Libraries that repeat their source would make it stand twice.
            if !causes.iter().any(|seen| seen.contains(&text)) {
                causes.push(text);
            }
            source = error.source();
        }
        Self { kind, message, causes }
    }

    /// The request is wrong.
    pub fn usage(message: Message) -> Self {
        Self::new(FaultKind::Usage, message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn a_cause_that_repeats_its_source_is_said_once() {
        let inner = std::io::Error::other("disk on fire");
        let outer = std::io::Error::other(inner);
        let message = text::model::service_not_found("a");
        let fault = Fault::caused(FaultKind::Internal, message, &outer);
        assert_eq!(fault.causes, ["disk on fire"]);
        assert!(fault.to_string().ends_with(": disk on fire"));
    }
}
