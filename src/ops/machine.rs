//! What the operations ask of this machine, behind a trait, so that unit tests can put a made-up one
//! in its place: processes that ignore signals, pids that are reused, users one is not.
//!
//! Everything here blocks for as long as the question to the system takes: it is asked on a blocking
//! thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::host::{self, BindFailure, Holder, Holding, HostError, Liveness, PinError, Pinned};
use crate::model::{EndSignal, HolderDetails, Port, ProcessIdentity};

/// A process that cannot be mistaken for another any more, whatever becomes of its pid.
pub(super) trait PinnedProcess: Send + Sync {
    /// Whether this user may signal it.
    fn may_signal(&self) -> bool;

    /// Whether it has a listening socket on `port` now.
    fn listens_on(&self, port: Port) -> bool;

    /// Asks it to end; `None` is `TERM`, or the one way Windows has.
    fn end(&self, signal: Option<EndSignal>) -> Result<(), PinError>;

    /// Lets it go on if a signal had stopped it, or it could not hear the one to end.
    fn resume(&self) -> Result<(), PinError>;

    /// Whether a moment stays between the last look at it and a signal in which its pid could become
    /// another process'.
    fn has_window(&self) -> bool;

    /// Waits until it has ended, at most this long; whether it has.
    fn wait(&self, at_most: Duration) -> bool;
}

/// This machine, or one made up for a test.
pub(super) trait Machine: Send + Sync {
    /// Who listens on each of `ports`. `known` processes are asked first: those who share a socket
    /// with one of them are found only where nobody is `known`.
    fn holders(
        &self,
        ports: &BTreeSet<Port>,
        known: &[u32],
    ) -> Result<BTreeMap<Port, Holding>, HostError>;

    /// More about each of `holders`, in their order.
    fn details(&self, holders: &[Holder]) -> Vec<HolderDetails>;

    /// Clients connected to each of `ports`; `None` where that cannot be told.
    fn connections(&self, ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>>;

    /// Whether that process still lives.
    fn liveness(&self, identity: &ProcessIdentity) -> Liveness;

    /// Who this process is.
    fn own_identity(&self) -> Result<ProcessIdentity, HostError>;

    /// How this machine shows a process that may count in another pid namespace; see
    /// [`host::seen_here`].
    fn seen_here(&self, identity: &ProcessIdentity) -> Vec<ProcessIdentity>;

    /// Pids of this process and its ancestors.
    fn own_line(&self) -> BTreeSet<u32>;

    /// Whether nobody may end the process with that pid: init, a part of the kernel.
    fn is_untouchable(&self, pid: u32) -> bool;

    /// The effective user of this process; `None` on systems without such numbers.
    fn own_uid(&self) -> Option<u32>;

    /// Whether this process may signal those of any user.
    fn may_end_any(&self) -> bool;

    /// Whether that address can be bound.
    fn try_bind(&self, address: IpAddr, port: Port) -> Result<(), BindFailure>;

    /// Makes sure of the process. The only way to end one.
    fn pin(&self, identity: &ProcessIdentity) -> Result<Box<dyn PinnedProcess>, PinError>;
}

/// The machine this process runs on.
pub(super) struct ThisMachine;

impl Machine for ThisMachine {
    fn holders(
        &self,
        ports: &BTreeSet<Port>,
        known: &[u32],
    ) -> Result<BTreeMap<Port, Holding>, HostError> {
        host::holders(ports, known)
    }

    fn details(&self, holders: &[Holder]) -> Vec<HolderDetails> {
        host::details(holders)
    }

    fn connections(&self, ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
        host::connections(ports)
    }

    fn liveness(&self, identity: &ProcessIdentity) -> Liveness {
        host::liveness(identity)
    }

    fn own_identity(&self) -> Result<ProcessIdentity, HostError> {
        host::own_identity()
    }

    fn seen_here(&self, identity: &ProcessIdentity) -> Vec<ProcessIdentity> {
        host::seen_here(identity)
    }

    fn own_line(&self) -> BTreeSet<u32> {
        host::own_line()
    }

    fn is_untouchable(&self, pid: u32) -> bool {
        host::is_untouchable(pid)
    }

    fn own_uid(&self) -> Option<u32> {
        host::own_uid()
    }

    fn may_end_any(&self) -> bool {
        host::may_end_any()
    }

    fn try_bind(&self, address: IpAddr, port: Port) -> Result<(), BindFailure> {
        host::try_bind(address, port)
    }

    fn pin(&self, identity: &ProcessIdentity) -> Result<Box<dyn PinnedProcess>, PinError> {
        Ok(Box::new(host::pin(identity)?))
    }
}

impl PinnedProcess for Pinned {
    fn may_signal(&self) -> bool {
        Pinned::may_signal(self)
    }

    fn listens_on(&self, port: Port) -> bool {
        Pinned::listens_on(self, port)
    }

    fn end(&self, signal: Option<EndSignal>) -> Result<(), PinError> {
        Pinned::end(self, signal)
    }

    fn resume(&self) -> Result<(), PinError> {
        Pinned::resume(self)
    }

    fn has_window(&self) -> bool {
        Pinned::has_window(self)
    }

    fn wait(&self, at_most: Duration) -> bool {
        Pinned::wait(self, at_most)
    }
}
