//! Who listens on a port.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Port, ProcessIdentity, Timestamp};

use super::HostError;

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nobody listens.
    Free,
    /// These processes have a listening socket on it, ascending by pid; at least one.
    Held(Vec<Holder>),
    /// Somebody listens whose process is not visible to this one.
    HeldUnseen {
        /// The user the socket belongs to, where the system says.
        uid: Option<u32>,
    },
}

/// A process with a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// Whom it runs as (effective user).
    pub uid: Option<u32>,
    /// That user's name.
    pub user: Option<String>,
    /// Its command line, unmasked.
    pub command: Option<String>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
}

/// Who listens on each of `ports`.
pub fn holders(
    ports: &BTreeSet<Port>,
    known_pids: &[u32],
) -> Result<BTreeMap<Port, Holding>, HostError> {
    let _ = (ports, known_pids);
    todo!()
}
