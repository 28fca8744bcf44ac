//! Which file a database was opened from, and whether it still lies where it lay.

use std::path::Path;

/// What a file is to the system, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Place {
    /// The one of the file that lies at `path` now; `None` where there is none, or it cannot be told.
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = path.metadata().ok()?;
        Some(Self { device: found.dev(), inode: found.ino() })
    }

    /// Windows neither removes nor replaces a file that a program has open as SQLite does.
    #[cfg(not(unix))]
    pub(super) fn of(_path: &Path) -> Option<Self> {
        Some(Self {})
    }

    /// Whether it lies at `path` no more: the file was removed, or another has its place. What cannot
    /// be told counts as no change.
    pub(super) fn is_left(self, path: &Path) -> bool {
        match Self::of(path) {
            Some(now) => now != self,
            None => matches!(path.try_exists(), Ok(false)),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_removed_or_replaced_has_left_its_place_and_comes_back_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, "1").unwrap();
        let place = Place::of(&path).unwrap();
        std::fs::write(&path, "12").unwrap();
        assert!(!place.is_left(&path), "changed, and the same file");
        std::fs::rename(&path, &aside).unwrap();
        assert!(place.is_left(&path), "removed");
        std::fs::write(&path, "1").unwrap();
        assert!(place.is_left(&path), "replaced");
        std::fs::rename(&aside, &path).unwrap();
        assert!(!place.is_left(&path), "back again");
    }
}
