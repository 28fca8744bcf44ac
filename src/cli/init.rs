//! `serve` as the first process of a container: the guardian is the parent then, and the server its
//! child, because the end of the first process is the end of all others.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use super::exit::ExitCode;
use super::render::Output;
use crate::config::Settings;
use crate::host;
use crate::lifecycle::{ChildEnd, Reaper, give_terminal_to};
use crate::model::{Fault, FaultKind};
use crate::serve::{Charge, PrivateDirectory, Taken, own_program, take_over};
use crate::text;

/// The hidden first word of the command line that says: the parent is the guardian.
pub(super) const GUARDED: &str = "__guarded";

/// Whether this process is the one that the kernel gives every orphan to.
pub(super) fn is_first_process() -> bool {
    std::process::id() == 1
}

/// Runs `argv` as a child, passes stop signals on to it, waits for every orphan, and puts right what
/// the child left if it was killed. Ends as the child did.
pub(super) fn run(
    settings: &Settings,
    is_demo: bool,
    argv: &[OsString],
    output: &Output,
) -> Result<ExitCode, Fault> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let message = text::guardian::child_failed();
        Fault::caused(FaultKind::Internal, message, error)
    };
    let reaper = Reaper::new().map_err(|error| failed(&error))?;
    // What a demo makes for itself lies in there, and goes with it however it ends.
    let scratch = is_demo.then(|| PrivateDirectory::new("pmctl-demo")).transpose();
    let scratch = scratch.map_err(|error| failed(&error))?;
    let child = start(argv, scratch.as_ref()).map_err(|error| failed(&error))?;
    let identity = host::identity_of(child);
    let end = reaper.run(child).map_err(|error| failed(&error))?;
    let (code, signal) = match end {
        ChildEnd::Exited(number) => {
            let is_it = |code: &&ExitCode| i32::from(code.number()) == number;
            (ExitCode::ALL.iter().find(is_it).copied().unwrap_or(ExitCode::Failed), None)
        }
        ChildEnd::Signalled(signal) => (ExitCode::Failed, Some(signal)),
    };
    // What a demo had is nobody's any more; any other code says that nothing was begun, or all ended.
    let taken = match identity {
        Ok(identity) if code == ExitCode::Failed && !is_demo => {
            Some(take_over(&Charge::new(settings, identity)))
        }
        _ => None,
    };
    if let Some(signal) = signal {
        output.note(&match taken {
            Some(Ok(Taken::Done)) => text::guardian::child_killed(child, signal),
            _ => text::guardian::child_ended(child, signal),
        });
    }
    match taken {
        Some(Err(fault)) => Err(fault),
        _ => Ok(code),
    }
}

/// Starts it in a process group of its own, which gets the terminal if there is one: Ctrl-C reaches
/// the server once, not a second time through this process.
fn start(argv: &[OsString], scratch: Option<&PrivateDirectory>) -> io::Result<u32> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(own_program()?);
    if let Some(name) = argv.first() {
        command.arg0(name);
    }
    if let Some(scratch) = scratch {
        command.env("TMPDIR", scratch.path());
    }
    command.arg(GUARDED).args(argv.iter().skip(1)).process_group(0);
    let child = command.spawn()?;
    // Without it the server is in the background, and serves all the same.
    give_terminal_to(child.id()).ok();
    Ok(child.id())
}
