//! A process held fast, and the only way to end one: what is signalled is the process whose identity
//! was shown, never another one that has its pid by now.

use std::io;
use std::time::Duration;

use crate::model::{EndSignal, Port, ProcessIdentity};

use super::platform;

/// A process whose identity was compared after it was pinned. Only [`pin`] makes one.
#[derive(Debug)]
pub struct Pinned {
    identity: ProcessIdentity,
    pin: platform::Pin,
}

/// Why a process could not be pinned or signalled.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There is no such process any more; whoever has its pid now is another one.
    #[error("process is gone")]
    Gone,
    /// The system does not let this user do it.
    #[error("not permitted")]
    Denied,
    /// This system, or the signal on this system, does not offer it.
    #[error("not supported here")]
    Unsupported(#[source] io::Error),
    /// Anything else.
    #[error("system refused")]
    Other(#[source] io::Error),
}

/// Pins the process of that identity. A few system calls.
///
/// # Errors
/// `Gone` where it has ended (a zombie has), was of another boot, or its pid is another one's;
/// `Denied` where the system does not let it be looked at; `Unsupported` where it counts in another
/// pid namespace and so cannot be told from another one.
pub fn pin(identity: &ProcessIdentity) -> Result<Pinned, PinError> {
    Ok(Pinned { identity: identity.clone(), pin: platform::Pin::new(identity)? })
}

impl Pinned {
    /// Who it is.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Whether this user may signal it, as far as it can be told without doing it.
    pub fn may_signal(&self) -> bool {
        self.pin.may_signal(&self.identity)
    }

    /// Whether it (still) has a listening socket on that port. False too where its descriptors
    /// cannot be seen. Blocks, some milliseconds.
    pub fn listens_on(&self, port: Port) -> bool {
        self.pin.listens_on(&self.identity, port)
    }

    /// Sends the signal; `None`: `TERM`, or the one way Windows has, which `KILL` is there too. Does
    /// not wait for the end.
    ///
    /// # Errors
    /// `Gone` where it has ended meanwhile, `Denied` without the right to, `Unsupported` for any
    /// other signal on Windows.
    pub fn end(&self, signal: Option<EndSignal>) -> Result<(), PinError> {
        self.pin.end(&self.identity, signal)
    }

    /// Lets a stopped process go on (`CONT`), so that a signal it was sent can reach it. Nothing on
    /// Windows.
    ///
    /// # Errors
    /// As [`Pinned::end`].
    pub fn resume(&self) -> Result<(), PinError> {
        self.pin.resume(&self.identity)
    }

    /// Lets nothing of it run (`STOP`) until it is resumed.
    ///
    /// # Errors
    /// As [`Pinned::end`]; `Unsupported` on Windows.
    pub fn freeze(&self) -> Result<(), PinError> {
        self.pin.freeze(&self.identity)
    }

    /// Whether it has ended. A zombie has.
    pub fn has_ended(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, at most that long; whether it has ended. Blocks.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.pin.wait(&self.identity, at_most)
    }

    /// Waits, without a wake-up in between, until standard input has something to read (its end
    /// included) or the process has ended: true only for the latter, and only while there is nothing
    /// to read. False at once where the system cannot wait for both: then reading is the wait.
    #[cfg(target_os = "linux")]
    pub fn ends_before_input(&self) -> bool {
        self.pin.ends_before(&std::io::stdin())
    }

    /// Whether a moment remains between the last look at its identity and a signal, in which it
    /// could end and its pid be given to another: microseconds, where the system has nothing to pin
    /// a process with.
    pub fn has_window(&self) -> bool {
        self.pin.has_window()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::host::{Holder, details, holders, own_line};

    /// What every system is asked in the same way. The test is the process that it ends, too.
    #[test]
    fn a_process_that_was_shown_is_ended_and_another_with_its_pid_is_not() {
        const INSIDE: &str = "PMCTL_TEST_IS_TO_BE_ENDED";
        if std::env::var_os(INSIDE).is_some() {
            let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let _ = std::io::stdin().read_line(&mut String::new());
            return;
        }
        let name = "host::pinned::tests::\
                    a_process_that_was_shown_is_ended_and_another_with_its_pid_is_not";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(INSIDE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let identity = platform::identity_of(child.id()).unwrap();
        let other = ProcessIdentity { start_time: identity.start_time - 1, ..identity.clone() };
        assert!(matches!(pin(&other), Err(PinError::Gone)));

        let holder = |identity: &ProcessIdentity| Holder {
            identity: identity.clone(),
            uid: None,
            user: None,
            command: None,
            started_at: None,
        };
        let begun = std::time::Instant::now();
        let port = loop {
            let all = details(&[holder(&other), holder(&identity)]);
            assert_eq!(all[0], Default::default(), "another process with that pid");
            assert!(all[1].executable.is_some());
            if let Some(port) = all[1].other_ports.first() {
                let pids: Vec<u32> = all[1].parents.iter().map(|parent| parent.pid).collect();
                assert_eq!(pids.first(), Some(&std::process::id()));
                assert!(own_line().is_superset(&pids.iter().copied().collect()), "{pids:?}");
                break *port;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it never listens: {all:?}");
            std::thread::yield_now();
        };

        let pinned = pin(&identity).unwrap();
        assert_eq!(pinned.identity(), &identity);
        assert!(pinned.may_signal() && pinned.listens_on(port) && !pinned.has_ended());
        assert!(!pinned.wait(Duration::from_millis(1)));
        pinned.end(None).unwrap();
        pinned.resume().ok();
        assert!(pinned.wait(Duration::from_secs(60)));
        assert!(pinned.has_ended() && !pinned.may_signal() && !pinned.listens_on(port));
        assert!(matches!(pinned.end(Some(EndSignal::Kill)), Err(PinError::Gone)));
        assert!(matches!(pin(&identity), Err(PinError::Gone)));
        child.wait().unwrap();
        assert_eq!(
            holders(&[port].into(), &[]).unwrap().remove(&port),
            Some(crate::host::Holding::Free)
        );
    }
}
