//! A file whose only use is that the kernel locks it. The lock ends with the process, whatever ends
//! it; the file stays, for removing it would let two holders in.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::model::NodeName;

use super::file_system::{self, create_file, create_private_directory};
use super::{Location, StoreError};

/// How often a lock file that was made or replaced by somebody else just now is opened anew.
const TRIES: usize = 100;

/// Longest node name that stands in a file name as it is (encoded).
const MAX_PART: usize = 100;

/// The file, locked by us alone; dropping it releases the lock.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
}

/// What came of one try.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It is ours.
    Locked(LockFile),
    /// Somebody holds it.
    Held,
    /// Nobody holds it, but somebody is just asking whether it is held: try again.
    Asked,
}

impl LockFile {
    /// Tries to lock `path`, which is made (with its directory) if it is missing.
    pub(super) fn try_lock(path: &Path) -> Result<Attempt, StoreError> {
        if let Some(directory) = path.parent() {
            create_private_directory(directory)
                .map_err(|e| StoreError::io("create the directory", directory, e))?;
        }
        let failed = |error| StoreError::io("lock", path, error);
        for _ in 0..TRIES {
            let file = match file_system::lock_file().read(true).write(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mut options = file_system::lock_file();
                    match create_file(options.read(true).write(true), path) {
                        // Somebody else made it meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        other => other,
                    }
                }
                other => other,
            };
            let file = file.map_err(failed)?;
            let attempt = match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            };
            // Locked, but is it still the file that others will find at this path?
            if !is_at(&file, path).map_err(failed)? {
                continue;
            }
            if attempt {
                return Ok(Attempt::Locked(Self { file }));
            }
            // Whoever only asks has it shared, so a shared lock tells the two apart.
            return match is_held(&file).map_err(failed)? {
                true => Ok(Attempt::Held),
                false => Ok(Attempt::Asked),
            };
        }
        Err(failed(io::Error::other("the lock file is replaced again and again")))
    }

    /// Whether somebody holds the lock of `path`. Makes no file.
    pub(super) fn is_held(path: &Path) -> Result<bool, StoreError> {
        let failed = |error| StoreError::io("ask about the lock", path, error);
        match file_system::lock_file().read(true).open(path) {
            Ok(file) => is_held(&file).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing it does the same, on Windows a little later.
        let _ = self.file.unlock();
    }
}

/// Whether somebody else than this handle, which holds nothing, holds the lock.
fn is_held(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => {
            // As in `drop`.
            let _ = file.unlock();
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(theirs) => Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Always: it is opened so that nobody can remove or rename it.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

/// What stands between the database's name and `.lock` or `.owner.json` for that node: without
/// dots, so that two databases in one directory never share a file, never `writer`, and short.
pub(super) fn node_part(node: &NodeName) -> String {
    let mut part = String::new();
    for byte in node.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => part.push(char::from(byte)),
            _ => part.push_str(&format!("%{byte:02X}")),
        }
    }
    if part == "writer" {
        return "%77riter".to_owned();
    }
    if part.len() > MAX_PART {
        // FNV-1a: two names that meet here would only exclude each other.
        let hash = node.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        part.truncate(MAX_PART - 17);
        part.push_str(&format!("~{hash:016x}"));
    }
    part
}

/// The lock file of the owner for that node.
pub(super) fn owner_lock_path(location: &Location, node: &NodeName) -> std::path::PathBuf {
    location.beside(&format!(".{}.lock", node_part(node)))
}

/// The lock file of direct writers.
pub(super) fn writer_lock_path(location: &Location) -> std::path::PathBuf {
    location.beside(".writer.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_node_names_share_a_file_and_none_is_the_writers() {
        let part = |name: &str| node_part(&name.parse().unwrap());
        assert_eq!(part("default"), "default");
        assert_eq!(part("a.b"), "a%2Eb");
        assert_eq!(part("writer"), "%77riter");
        assert_ne!(part("%77riter"), part("writer"));
        let (x, y) = (part(&"节".repeat(80)), part(&format!("{}点", "节".repeat(79))));
        assert_ne!(x, y);
        assert!(x.len() <= MAX_PART && y.len() <= MAX_PART);
    }

    #[test]
    fn a_question_makes_no_file_and_never_keeps_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        assert!(!LockFile::is_held(&path).unwrap());
        assert!(!path.exists());
        let Attempt::Locked(lock) = LockFile::try_lock(&path).unwrap() else { panic!("not got") };
        assert!(LockFile::is_held(&path).unwrap());
        assert!(matches!(LockFile::try_lock(&path).unwrap(), Attempt::Held));
        drop(lock);
        assert!(!LockFile::is_held(&path).unwrap());
        assert!(matches!(LockFile::try_lock(&path).unwrap(), Attempt::Locked(_)));
    }

    #[test]
    fn somebody_who_is_asking_is_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let asking = File::create(&path).unwrap();
        asking.lock_shared().unwrap();
        assert!(matches!(LockFile::try_lock(&path).unwrap(), Attempt::Asked));
    }

    #[test]
    #[cfg(unix)]
    fn a_symbolic_link_is_no_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("l")).unwrap();
        assert!(LockFile::try_lock(&dir.path().join("l")).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    #[cfg(unix)]
    fn a_lock_file_is_readable_by_its_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/l");
        let _lock = LockFile::try_lock(&path).unwrap();
        let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.path().join("new"))), (0o600, 0o700));
    }
}
