//! A process held fast by a pidfd (pidfd_open(2)): a signal through it reaches that process or none.
//!
//! The pidfd is opened first and the identity read after it. The process is seen to live after that,
//! so what was read was about the process that the pidfd holds.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal, test_kill_process,
};

use crate::host::{Liveness, PinError};
use crate::model::{EndSignal, Port, ProcessIdentity};

use super::{all_listening, descriptors, process};

/// How often a process without a pidfd is looked at while its end is waited for.
const BEAT: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(in crate::host) struct Pin {
    pid: Pid,
    /// `None`: a kernel before 5.3, or a sandbox that does not let it be had.
    pidfd: Option<OwnedFd>,
}

impl Pin {
    pub(in crate::host) fn new(identity: &ProcessIdentity) -> Result<Self, PinError> {
        let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(PinError::Gone)?;
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            // Opening one needs no right: this is a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => None,
            // Not the first thread of a process.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Err(PinError::Gone),
            Err(error) => return Err(PinError::Other(error.into())),
        };
        Self::compared(pid, pidfd, identity)
    }

    fn compared(
        pid: Pid,
        pidfd: Option<OwnedFd>,
        identity: &ProcessIdentity,
    ) -> Result<Self, PinError> {
        let pin = Self { pid, pidfd };
        match process::liveness(identity) {
            Liveness::Alive if pin.wait(identity, Duration::ZERO) => Err(PinError::Gone),
            Liveness::Alive => Ok(pin),
            Liveness::Dead => Err(PinError::Gone),
            Liveness::Unknown => match process::is_in_this_pid_namespace(identity) {
                true => Err(PinError::Denied),
                false => {
                    let reason = "the process counts in another pid namespace";
                    Err(PinError::Unsupported(io::Error::new(io::ErrorKind::Unsupported, reason)))
                }
            },
        }
    }

    /// Signal 0 to the pid harms nobody, whoever has it; that the process lives after it shows that
    /// the answer was about it.
    pub(in crate::host) fn may_signal(&self, identity: &ProcessIdentity) -> bool {
        test_kill_process(self.pid).is_ok() && !self.wait(identity, Duration::ZERO)
    }

    pub(in crate::host) fn listens_on(&self, identity: &ProcessIdentity, port: Port) -> bool {
        let Ok(sockets) = all_listening() else { return false };
        let on_port = sockets.iter().filter(|socket| socket.port == port);
        let inodes: BTreeSet<u64> = on_port.map(|socket| socket.inode).collect();
        !inodes.is_empty()
            && descriptors::sockets_of(identity.pid).any(|inode| inodes.contains(&inode))
            && !self.wait(identity, Duration::ZERO)
    }

    pub(in crate::host) fn end(
        &self,
        identity: &ProcessIdentity,
        signal: Option<EndSignal>,
    ) -> Result<(), PinError> {
        let signal = match signal.unwrap_or(EndSignal::Term) {
            EndSignal::Term => Signal::TERM,
            EndSignal::Int => Signal::INT,
            EndSignal::Hup => Signal::HUP,
            EndSignal::Quit => Signal::QUIT,
            EndSignal::Kill => Signal::KILL,
        };
        self.send(identity, signal)
    }

    pub(in crate::host) fn resume(&self, identity: &ProcessIdentity) -> Result<(), PinError> {
        self.send(identity, Signal::CONT)
    }

    fn send(&self, identity: &ProcessIdentity, signal: Signal) -> Result<(), PinError> {
        let sent = match &self.pidfd {
            // A zombie would take the signal without an answer.
            Some(_) if self.wait(identity, Duration::ZERO) => return Err(PinError::Gone),
            Some(pidfd) => pidfd_send_signal(pidfd, signal),
            None => match process::liveness(identity) {
                Liveness::Alive => kill_process(self.pid, signal),
                Liveness::Dead => return Err(PinError::Gone),
                Liveness::Unknown => return Err(PinError::Denied),
            },
        };
        sent.map_err(|error| match error {
            Errno::SRCH => PinError::Gone,
            Errno::PERM => PinError::Denied,
            Errno::NOSYS => PinError::Unsupported(error.into()),
            error => PinError::Other(error.into()),
        })
    }

    pub(in crate::host) fn wait(&self, identity: &ProcessIdentity, at_most: Duration) -> bool {
        let until = Instant::now().checked_add(at_most);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match &self.pidfd {
                Some(pidfd) => {
                    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
                    // Longer than the kernel counts is as good as for ever.
                    let left = left.and_then(|left| Timespec::try_from(left).ok());
                    match poll(&mut fds, left.as_ref()) {
                        Ok(0) => return false,
                        Ok(_) => return true,
                        Err(Errno::INTR) => {}
                        // Out of memory: nothing is known, so the process counts as alive.
                        Err(_) => return false,
                    }
                }
                None if process::liveness(identity) == Liveness::Dead => return true,
                None => match left {
                    Some(Duration::ZERO) => return false,
                    left => std::thread::sleep(left.unwrap_or(BEAT).min(BEAT)),
                },
            }
        }
    }

    pub(in crate::host) fn has_window(&self) -> bool {
        self.pidfd.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn without_a_pidfd_the_identity_is_compared_right_before_each_signal() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let identity = process::identity_of(child.id()).unwrap();
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        let pin = Pin::compared(pid, None, &identity).unwrap();
        assert!(pin.has_window() && pin.may_signal(&identity));
        let other = ProcessIdentity { start_time: identity.start_time - 1, ..identity.clone() };
        assert!(matches!(Pin::compared(pid, None, &other), Err(PinError::Gone)));
        assert!(matches!(pin.end(&other, None), Err(PinError::Gone)));
        assert!(!pin.wait(&identity, Duration::from_millis(1)));
        pin.end(&identity, None).unwrap();
        assert!(pin.wait(&identity, Duration::from_secs(20)));
        assert!(matches!(pin.resume(&identity), Err(PinError::Gone)));
        child.wait().unwrap();
    }
}
