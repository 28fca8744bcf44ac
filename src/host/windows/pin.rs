//! A process held fast by a handle: while it is open, its pid is not given to another process.

use std::io;
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{
    INFINITE, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
};

use super::process::Process;
use super::{all_listening, is_code, is_untouchable};
use crate::host::PinError;
use crate::host::holders::Listening;
use crate::model::{EndSignal, Port, ProcessIdentity};

/// The open handle keeps the pid from being given to another process.
#[derive(Debug)]
pub(in crate::host) struct Pin {
    process: Process,
    /// Whether it was opened with the right to end it.
    may_end: bool,
}

impl Pin {
    pub(in crate::host) fn new(identity: &ProcessIdentity) -> Result<Self, PinError> {
        if is_untouchable(identity.pid) {
            return Err(PinError::Denied);
        }
        let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
        let with_end = Process::open_for(identity.pid, rights | PROCESS_TERMINATE);
        let (process, may_end) = match with_end {
            // Whoever only wants to see its end may have it all the same.
            Err(error) if is_code(&error, ERROR_ACCESS_DENIED) => {
                (Process::open_for(identity.pid, rights), false)
            }
            opened => (opened, true),
        };
        let process = process.map_err(|error| {
            // What it says of a pid that nobody has.
            match is_code(&error, ERROR_INVALID_PARAMETER) {
                true => PinError::Gone,
                false => refused(error),
            }
        })?;
        let created_at = process.created_at().map_err(refused)?;
        match created_at == identity.start_time && process.is_running() {
            true => Ok(Self { process, may_end }),
            false => Err(PinError::Gone),
        }
    }

    /// The right to was asked for when it was opened.
    pub(in crate::host) fn may_signal(&self, _: &ProcessIdentity) -> bool {
        self.may_end && self.process.is_running()
    }

    pub(in crate::host) fn listens_on(&self, identity: &ProcessIdentity, port: Port) -> bool {
        let is_it = |socket: &Listening| socket.port == port && socket.pids.contains(&identity.pid);
        all_listening().is_ok_and(|sockets| sockets.iter().any(is_it)) && self.process.is_running()
    }

    pub(in crate::host) fn end(
        &self,
        _: &ProcessIdentity,
        signal: Option<EndSignal>,
    ) -> Result<(), PinError> {
        match signal {
            None | Some(EndSignal::Kill) => {}
            Some(EndSignal::Term | EndSignal::Int | EndSignal::Hup | EndSignal::Quit) => {
                return Err(PinError::Unsupported(io::ErrorKind::Unsupported.into()));
            }
        }
        if !self.process.is_running() {
            return Err(PinError::Gone);
        }
        if !self.may_end {
            return Err(PinError::Denied);
        }
        // It refuses for one that is ending as it does without the right.
        self.process.terminate().map_err(|error| match self.process.is_running() {
            true => refused(error),
            false => PinError::Gone,
        })
    }

    /// Nor can it be.
    pub(in crate::host) fn freeze(&self, _: &ProcessIdentity) -> Result<(), PinError> {
        Err(PinError::Unsupported(io::ErrorKind::Unsupported.into()))
    }

    /// Nothing is stopped by a signal here.
    pub(in crate::host) fn resume(&self, _: &ProcessIdentity) -> Result<(), PinError> {
        Ok(())
    }

    pub(in crate::host) fn wait(&self, _: &ProcessIdentity, at_most: Duration) -> bool {
        let milliseconds = u32::try_from(at_most.as_millis()).unwrap_or(INFINITE);
        self.process.waited_for(milliseconds) == WAIT_OBJECT_0
    }

    pub(in crate::host) fn has_window(&self) -> bool {
        false
    }
}

fn refused(error: io::Error) -> PinError {
    if is_code(&error, ERROR_ACCESS_DENIED) { PinError::Denied } else { PinError::Other(error) }
}
