//! Where a database lies.

use std::path::{Path, PathBuf};

use super::StoreError;

/// The canonical path of a SQLite database that may or may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    path: PathBuf,
}

impl Location {
    /// From `sqlite:///absolute`, `sqlite://relative` or `sqlite:relative`.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let _ = url;
        todo!()
    }
    /// From a path.
    pub fn from_path(path: &Path) -> Result<Self, StoreError> {
        let _ = path;
        todo!()
    }
    /// Absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// `sqlite://` and the path.
    pub fn url(&self) -> String {
        todo!()
    }
    /// Whether a file lies there.
    pub fn exists(&self) -> bool {
        self.path.is_file()
    }
}
