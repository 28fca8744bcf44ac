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
use crate::serve::{Charge, own_program, take_over};
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
    let child = start(argv).map_err(|error| failed(&error))?;
    let identity = host::identity_of(child);
    let end = reaper.run(child).map_err(|error| failed(&error))?;
    let code = match end {
        ChildEnd::Exited(number) => {
            let is_it = |code: &&ExitCode| i32::from(code.number()) == number;
            ExitCode::ALL.iter().find(is_it).copied().unwrap_or(ExitCode::Failed)
        }
        ChildEnd::Signalled(signal) => {
            output.note(&text::guardian::child_killed(child, signal));
            ExitCode::Failed
        }
    };
    // What a demo had is nobody's any more; any other code says that nothing was begun, or all ended.
    if code == ExitCode::Failed
        && !is_demo
        && let Ok(identity) = identity
    {
        match take_over(&Charge::new(settings, identity)) {
            Ok(_) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(code)
}

/// Starts it in a process group of its own, which gets the terminal if there is one: Ctrl-C reaches
/// the server once, not a second time through this process.
fn start(argv: &[OsString]) -> io::Result<u32> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(own_program()?);
    if let Some(name) = argv.first() {
        command.arg0(name);
    }
    command.arg(GUARDED).args(argv.iter().skip(1)).process_group(0);
    let child = command.spawn()?;
    // Without it the server is in the background, and serves all the same.
    give_terminal_to(child.id()).ok();
    Ok(child.id())
}
