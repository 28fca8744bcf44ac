//! A temporary directory of one's own.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A directory that only this user can enter; dropping it removes it with all that is in it.
pub struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    /// A new one among the temporary ones, whose name begins with `prefix`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(prefix: &str) -> io::Result<Self> {
        let name = format!("{prefix}-{}", uuid::Uuid::new_v4().simple());
        let directory = env::temp_dir().join(name);
        create_private(&directory)?;
        Ok(Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let directory = self.0.display();
            tracing::warn!(%directory, %error, "a temporary directory stays");
        }
    }
}

#[cfg(unix)]
fn create_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(directory)
}

/// The temporary directory of a Windows user is that user's own.
#[cfg(not(unix))]
fn create_private(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_directory_goes_with_what_is_in_it() -> io::Result<()> {
        let own = PrivateDirectory::new("pmctl-test")?;
        let directory = own.path().to_owned();
        fs::write(directory.join("pmctl.db"), "x")?;
        drop(own);
        assert!(!directory.exists());
        Ok(())
    }
}
