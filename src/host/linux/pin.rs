//! A process held fast by a pidfd (pidfd_open(2)): a signal through it reaches that process or none.
//!
//! The pidfd is opened first and the identity read after it. The process is seen to live after that,
//! so what was read was about the process that the pidfd holds.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::host::{PinError, unpinned};
use crate::model::{EndSignal, Port, ProcessIdentity};

use super::{all_listening, descriptors, process};

#[derive(Debug)]
pub(in crate::host) struct Pin {
    pid: Pid,
    /// `None`: a kernel before 5.3, or a sandbox that does not let it be had.
    pidfd: Option<OwnedFd>,
}

impl Pin {
    pub(in crate::host) fn new(identity: &ProcessIdentity) -> Result<Self, PinError> {
        let pid = unpinned::pid_of(identity)?;
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
        unpinned::compare(identity).map_err(|error| match error {
            PinError::Denied if !process::is_in_this_pid_namespace(identity) => {
                let reason = "the process counts in another pid namespace";
                PinError::Unsupported(io::Error::new(io::ErrorKind::Unsupported, reason))
            }
            error => error,
        })?;
        if pin.wait(identity, Duration::ZERO) { Err(PinError::Gone) } else { Ok(pin) }
    }

    /// Signal 0 to the pid harms nobody, whoever has it; that the process lives after it shows that
    /// the answer was about it.
    pub(in crate::host) fn may_signal(&self, identity: &ProcessIdentity) -> bool {
        unpinned::may_signal(self.pid) && !self.wait(identity, Duration::ZERO)
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
        self.send(identity, unpinned::signal_of(signal))
    }

    pub(in crate::host) fn resume(&self, identity: &ProcessIdentity) -> Result<(), PinError> {
        self.send(identity, Signal::CONT)
    }

    pub(in crate::host) fn freeze(&self, identity: &ProcessIdentity) -> Result<(), PinError> {
        self.send(identity, Signal::STOP)
    }

    fn send(&self, identity: &ProcessIdentity, signal: Signal) -> Result<(), PinError> {
        match &self.pidfd {
            None => unpinned::send(identity, signal),
            // A zombie would take the signal without an answer.
            Some(_) if self.wait(identity, Duration::ZERO) => Err(PinError::Gone),
            Some(pidfd) => pidfd_send_signal(pidfd, signal).map_err(unpinned::refused),
        }
    }

    pub(in crate::host) fn wait(&self, identity: &ProcessIdentity, at_most: Duration) -> bool {
        let Some(pidfd) = &self.pidfd else { return unpinned::wait(identity, at_most) };
        let begun = Instant::now();
        loop {
            let left = at_most.saturating_sub(begun.elapsed());
            let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
            // Longer than the kernel can count is as good as for ever.
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::INTR) => {}
                // Out of memory: nothing is known, so the process counts as alive.
                Err(_) => return false,
            }
        }
    }

    /// Waits until `input` can be read (its end included) or the process has ended; whether it has,
    /// and there is nothing to read. False at once without a pidfd.
    pub(in crate::host) fn ends_before(&self, input: &impl AsFd) -> bool {
        let Some(pidfd) = &self.pidfd else { return false };
        loop {
            let mut fds = [PollFd::new(input, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) if !fds[0].revents().is_empty() => return false,
                Ok(_) if !fds[1].revents().is_empty() => return true,
                Ok(_) | Err(Errno::INTR) => {}
                // Out of memory: the end of the input tells, too.
                Err(_) => return false,
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
