//! Who a process is, and whether it still is.

use crate::model::ProcessIdentity;

use super::HostError;

/// Whether a process that was seen before still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It is gone, or a zombie.
    Dead,
    /// It cannot be told from here: another pid namespace, or hidden from this user.
    Unknown,
}

/// Who this process is.
pub fn own_identity() -> Result<ProcessIdentity, HostError> {
    todo!()
}

/// Whether that process still lives.
pub fn liveness(identity: &ProcessIdentity) -> Liveness {
    let _ = identity;
    todo!()
}

/// Whether that process is known to live: the answer the locks of `store` ask for.
pub fn is_alive(identity: &ProcessIdentity) -> bool {
    liveness(identity) == Liveness::Alive
}
