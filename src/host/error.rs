//! Why the machine could not be asked.

use std::io;

/// Every way in which a question to the operating system fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A file of the kernel could not be read or made no sense.
    #[error("cannot read {what}")]
    Read {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The table of listening sockets could not be had.
    #[error("cannot list the listening sockets")]
    Listeners {
        /// Why.
        #[source]
        source: io::Error,
    },
}
