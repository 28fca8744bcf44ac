//! The operating system's ways to say "stop", as values, heard on a thread of their own.

use std::fmt;

/// What asked the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopSignal {
    /// SIGINT, Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone.
    Hangup,
    /// SIGQUIT.
    Quit,
    /// Windows Ctrl-Break.
    Break,
    /// The Windows console is being closed; about 5 s remain.
    ConsoleClose,
    /// The Windows user is logging off; about 5 s remain.
    Logoff,
    /// Windows is shutting down; about 5 s remain.
    SystemShutdown,
}

impl StopSignal {
    /// The name an operator knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Quit => "SIGQUIT",
            Self::Break => "CTRL_BREAK",
            Self::ConsoleClose => "CTRL_CLOSE",
            Self::Logoff => "CTRL_LOGOFF",
            Self::SystemShutdown => "CTRL_SHUTDOWN",
        }
    }

    /// Whether Windows ends the process by itself about 5 s after this one.
    pub fn is_hurried(self) -> bool {
        matches!(self, Self::ConsoleClose | Self::Logoff | Self::SystemShutdown)
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why signals cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The operating system refused the handler.
    #[error("install the handlers of the stop signals")]
    Install(#[source] std::io::Error),
    /// The thread could not be started.
    #[error("start the thread that hears stop signals")]
    Thread(#[source] std::io::Error),
}

/// Hears stop signals from now on, on a thread of its own, for the life of the process, and gives
/// each to `hear`. SIGHUP is left ignored if it was ignored at the start (`nohup`).
pub fn listen_for_stop_signals(
    hear: impl Fn(StopSignal) + Send + Sync + 'static,
) -> Result<(), SignalError> {
    platform::listen(hear)
}

/// Lets every stop signal pass without a consequence from now on, for a process that ends by other
/// means.
pub fn ignore_stop_signals() -> Result<(), SignalError> {
    platform::ignore()
}

#[cfg(unix)]
mod platform {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;

    use super::{SignalError, StopSignal};

    pub(super) fn listen(
        hear: impl Fn(StopSignal) + Send + Sync + 'static,
    ) -> Result<(), SignalError> {
        let mut wanted = vec![SIGINT, SIGTERM, SIGQUIT];
        if !hangup_is_ignored() {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted).map_err(SignalError::Install)?;
        let run = move || {
            for number in signals.forever() {
                let signal = match number {
                    SIGINT => StopSignal::Interrupt,
                    SIGTERM => StopSignal::Terminate,
                    SIGHUP => StopSignal::Hangup,
                    SIGQUIT => StopSignal::Quit,
                    _ => continue,
                };
                hear(signal);
            }
        };
        let thread = thread::Builder::new().name("signals".into());
        thread.spawn(run).map(drop).map_err(SignalError::Thread)
    }

    /// A handler that does nothing: unlike an ignored signal, it is not passed on to a child.
    pub(super) fn ignore() -> Result<(), SignalError> {
        for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            let noted = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(number, noted).map_err(SignalError::Install)?;
        }
        Ok(())
    }

    /// Whether SIGHUP was ignored when the process began. Linux tells without unsafe code; where
    /// nothing tells, a hang-up is a stop.
    pub(in crate::lifecycle) fn hangup_is_ignored() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
    }
}

#[cfg(unix)]
pub(super) use platform::hangup_is_ignored;

#[cfg(windows)]
mod platform {
    //! Windows calls a console handler on a thread that it makes for each event. For close, logoff
    //! and shutdown it ends the process as soon as the handler returns, so the handler of those
    //! never does: the process ends by itself first.

    use std::sync::OnceLock;
    use std::{io, thread};

    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
        SetConsoleCtrlHandler,
    };

    use super::{SignalError, StopSignal};

    type Hear = Box<dyn Fn(StopSignal) + Send + Sync>;

    static HEAR: OnceLock<Hear> = OnceLock::new();

    pub(super) fn listen(
        hear: impl Fn(StopSignal) + Send + Sync + 'static,
    ) -> Result<(), SignalError> {
        if HEAR.set(Box::new(hear)).is_err() {
            let error = io::Error::other("stop signals are heard already");
            return Err(SignalError::Install(error));
        }
        // SAFETY: `on_event` has the signature Windows asks for, lives as long as the program and
        // touches nothing but a `OnceLock`.
        if unsafe { SetConsoleCtrlHandler(Some(on_event), 1) } == 0 {
            return Err(SignalError::Install(io::Error::last_os_error()));
        }
        Ok(())
    }

    pub(super) fn ignore() -> Result<(), SignalError> {
        listen(|_| ())
    }

    unsafe extern "system" fn on_event(event: u32) -> i32 {
        let signal = match event {
            CTRL_C_EVENT => StopSignal::Interrupt,
            CTRL_BREAK_EVENT => StopSignal::Break,
            CTRL_CLOSE_EVENT => StopSignal::ConsoleClose,
            CTRL_LOGOFF_EVENT => StopSignal::Logoff,
            CTRL_SHUTDOWN_EVENT => StopSignal::SystemShutdown,
            _ => return 0,
        };
        let Some(hear) = HEAR.get() else { return 0 };
        hear(signal);
        while signal.is_hurried() {
            thread::park();
        }
        1
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn a_hang_up_sent_to_this_process_is_heard_on_the_thread_unless_it_is_ignored() {
        let (heard, hears) = mpsc::channel();
        let listening = listen_for_stop_signals(move |signal| {
            // The receiver goes with the test; later signals of this process are not its business.
            heard.send(signal).ok();
        });
        assert!(listening.is_ok());
        let is_heard = |signal, as_what| {
            assert!(kill_process(getpid(), signal).is_ok());
            assert_eq!(hears.recv_timeout(Duration::from_secs(10)), Ok(as_what));
        };
        // It is under `nohup`.
        if !hangup_is_ignored() {
            is_heard(Signal::HUP, StopSignal::Hangup);
        }
        is_heard(Signal::TERM, StopSignal::Terminate);
    }
}
