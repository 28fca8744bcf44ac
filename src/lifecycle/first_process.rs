//! The first process of a container: the kernel gives it every orphan to wait for, and the signals of
//! whoever stops the container.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use rustix::termios::{isatty, tcsetpgrp};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use super::SignalError;
use super::signals::hangup_is_ignored;

/// Hears the stop signals and the ends of children, on the thread that calls [`Reaper::run`]: a child
/// that is signalled cannot have been waited for meanwhile.
pub struct Reaper(Signals);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

impl Reaper {
    /// Hears from now on, so before the child is started: what comes meanwhile is kept for it. SIGHUP
    /// is left ignored if it was ignored at the start.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub fn new() -> Result<Self, SignalError> {
        let mut wanted = vec![SIGINT, SIGTERM, SIGQUIT, SIGCHLD];
        if !hangup_is_ignored() {
            wanted.push(SIGHUP);
        }
        Signals::new(wanted).map(Self).map_err(SignalError::Install)
    }

    /// Passes each stop signal on to `child` and waits for whoever ends, until `child` has ended.
    ///
    /// # Errors
    /// Where `child` is none of this process.
    pub fn run(mut self, child: u32) -> io::Result<ChildEnd> {
        let child = pid_of(child)?;
        // It may have ended before anybody listened.
        if let Some(end) = reap(child)? {
            return Ok(end);
        }
        for number in self.0.forever() {
            let signal = match number {
                SIGINT => Signal::INT,
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                SIGQUIT => Signal::QUIT,
                _ => {
                    if let Some(end) = reap(child)? {
                        return Ok(end);
                    }
                    continue;
                }
            };
            // It has ended: the signal that says so is on its way.
            kill_process(child, signal).ok();
        }
        Err(Errno::CHILD.into())
    }
}

/// Lets the process group that the child `leader` leads have the terminal on standard input, if there
/// is one: keys that make signals reach that group alone.
///
/// # Errors
/// What the system says.
pub fn give_terminal_to(leader: u32) -> io::Result<()> {
    let terminal = io::stdin();
    if isatty(&terminal) {
        tcsetpgrp(&terminal, pid_of(leader)?)?;
    }
    Ok(())
}

fn pid_of(number: u32) -> io::Result<Pid> {
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Errno::SRCH.into())
}

/// Waits for everybody who has ended; how `child` did, if it was among them. One that was stopped by
/// the keys of a terminal goes on: there is no shell here that could let it.
fn reap(child: Pid) -> io::Result<Option<ChildEnd>> {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status)))
                if pid == child && status.stopping_signal() == Some(SIGTSTP) =>
            {
                kill_process(child, Signal::CONT).ok();
            }
            Ok(Some((pid, status))) if pid == child => found = end(status).or(found),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(found),
            Err(Errno::CHILD) if found.is_some() => return Ok(found),
            Err(error) => return Err(error.into()),
        }
    }
}

fn end(status: WaitStatus) -> Option<ChildEnd> {
    let exited = status.exit_status().map(ChildEnd::Exited);
    exited.or_else(|| status.terminating_signal().map(ChildEnd::Signalled))
}
