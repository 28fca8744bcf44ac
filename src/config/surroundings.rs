//! What resolving may know of the machine and its caller.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::dirs;

/// Looks an environment variable up.
pub type Environment = dyn Fn(&str) -> Option<OsString>;

/// The environment, the working directory and the user, as values: a test makes its own.
pub struct Surroundings {
    /// Looks an environment variable up; `None` where it is not set.
    pub env: Box<Environment>,
    /// The current directory, absolute.
    pub working_dir: PathBuf,
    /// Effective user id; `None` where the platform has none.
    pub user: Option<u32>,
    /// Home directory of a user by id, from the user database.
    pub home_of: fn(u32) -> Option<PathBuf>,
    /// Threads the machine runs at once, at least 1.
    pub cpus: usize,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        Self {
            env: Box::new(|name| std::env::var_os(name)),
            // A working directory that was removed leaves only absolute paths meaningful.
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            user: dirs::effective_user(),
            home_of: dirs::home_of_user,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn var(&self, name: &str) -> Option<OsString> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path; others are ignored, as the XDG base directory
    /// specification asks.
    pub(super) fn dir(&self, name: &str) -> Option<PathBuf> {
        self.var(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// `path` as seen from the working directory.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.working_dir.join(path)
    }
}
