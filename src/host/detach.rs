//! A process that stays when the one that started it goes: nothing of that one's in its hands, no
//! terminal, no directory.
//!
//! It needs unsafe code: a descriptor that was inherited belongs to nobody, so it can only be closed
//! by its number.

use std::io;
use std::process::{Child, Command};

/// Lets go of everything that this process inherited but its standard streams and its user: every
/// other descriptor, the session with its terminal, the working directory. To be called before
/// anything else of the process, while it has one thread and has opened nothing.
///
/// # Errors
/// What the system says. A descriptor that could not be found stays open.
#[cfg(unix)]
pub fn detach() -> io::Result<()> {
    close_inherited();
    match rustix::process::setsid() {
        // It leads a group, so it has been set apart from its starter's already.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // No file system is kept from being unmounted.
    std::env::set_current_dir("/")?;
    // What `ps` calls it; where the system has no such name, the program's stays.
    #[cfg(target_os = "linux")]
    rustix::thread::set_name(c"pmctl-guardian").ok();
    Ok(())
}

/// Lets go of the directory it was started in, which nobody could remove meanwhile. It has no console
/// ([`start_apart`]), and handles are not inherited here unless they are named.
///
/// # Errors
/// What the system says.
#[cfg(not(unix))]
pub fn detach() -> io::Result<()> {
    let program = std::env::current_exe()?;
    std::env::set_current_dir(program.ancestors().last().unwrap_or(&program))
}

/// Starts a process that stays when this one goes. What it is to let go of it does itself
/// ([`detach`]).
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn start_apart(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// Starts a process that stays when this one goes: without a console, whose events would end it, and
/// outside the job of this one, whose end would be its own, where that job lets it go. Our standard
/// streams are not passed on: who reads them need not wait for that process.
///
/// # Errors
/// What the system says.
#[cfg(windows)]
pub fn start_apart(command: &mut Command) -> io::Result<Child> {
    use std::os::windows::process::CommandExt;
    use windows_sys::Win32::System::Threading::{CREATE_BREAKAWAY_FROM_JOB, DETACHED_PROCESS};
    super::platform::keep_standard_streams();
    match command.creation_flags(DETACHED_PROCESS | CREATE_BREAKAWAY_FROM_JOB).spawn() {
        // The job keeps whom it has: better with it than not at all.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            command.creation_flags(DETACHED_PROCESS).spawn()
        }
        started => started,
    }
}

/// A server may have been started with more than the standard streams (a script's `3>log`, a CI's
/// pipe): whoever reads those waits until the last process that has them is gone.
#[cfg(unix)]
fn close_inherited() {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    // Collected first: the directory's own descriptor is among them, and closed by its owner.
    let numbers: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        if std::fs::symlink_metadata(format!("{directory}/{number}")).is_ok() {
            // SAFETY: the descriptor is open, and no value of this program owns one above 2: it has
            // opened nothing by itself yet but the directory, which is closed again, and has no
            // other thread that could have since.
            unsafe { rustix::io::close(number) };
        }
    }
}
