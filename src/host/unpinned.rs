//! Signals by pid, where the system has nothing to hold a process with: its identity is compared right
//! before each signal, and a window of microseconds stays.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::model::{EndSignal, ProcessIdentity};

use super::{Liveness, PinError, liveness};

/// How often a process is looked at while its end is waited for.
const BEAT: Duration = Duration::from_millis(20);

/// The pid as a number that a signal can be sent to: never 0, which is a group of processes.
pub(super) fn pid_of(identity: &ProcessIdentity) -> Result<Pid, PinError> {
    i32::try_from(identity.pid).ok().and_then(Pid::from_raw).ok_or(PinError::Gone)
}

/// That it lives and is the one that was meant.
pub(super) fn compare(identity: &ProcessIdentity) -> Result<(), PinError> {
    match liveness(identity) {
        Liveness::Alive => Ok(()),
        Liveness::Dead => Err(PinError::Gone),
        Liveness::Unknown => Err(PinError::Denied),
    }
}

/// Whether a signal would be let through, as far as one that does nothing tells.
pub(super) fn may_signal(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

pub(super) fn send(identity: &ProcessIdentity, signal: Signal) -> Result<(), PinError> {
    let pid = pid_of(identity)?;
    compare(identity)?;
    kill_process(pid, signal).map_err(refused)
}

pub(super) fn wait(identity: &ProcessIdentity, at_most: Duration) -> bool {
    let begun = Instant::now();
    loop {
        if liveness(identity) == Liveness::Dead {
            return true;
        }
        let left = at_most.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(BEAT));
    }
}

pub(super) fn signal_of(signal: Option<EndSignal>) -> Signal {
    match signal {
        None | Some(EndSignal::Term) => Signal::TERM,
        Some(EndSignal::Int) => Signal::INT,
        Some(EndSignal::Hup) => Signal::HUP,
        Some(EndSignal::Quit) => Signal::QUIT,
        Some(EndSignal::Kill) => Signal::KILL,
    }
}

/// What the system said when a signal was sent.
pub(super) fn refused(error: Errno) -> PinError {
    match error {
        Errno::SRCH => PinError::Gone,
        Errno::PERM => PinError::Denied,
        Errno::NOSYS => PinError::Unsupported(error.into()),
        error => PinError::Other(error.into()),
    }
}
