//! Where a database lies.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::{StoreError, file_system};

/// As many symbolic links as Linux follows.
const MAX_LINKS: usize = 40;

/// The canonical path of a SQLite database that may or may not exist yet: two locations are equal
/// when they name the same file, whatever links led there. Locks lie beside this path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    path: PathBuf,
}

impl Location {
    /// From `sqlite:///absolute`, `sqlite://relative` or `sqlite:relative`, with `%XX` decoded.
    /// Relative is to the current directory.
    ///
    /// # Errors
    /// `Url`, `Postgres`, `Scheme` for the URL; for the path those of [`Location::from_path`].
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let invalid = |reason: &str| StoreError::Url { reason: reason.to_owned() };
        let no_scheme = || invalid("it has no scheme; write sqlite:///path/to/file");
        let (scheme, rest) = url.split_once(':').ok_or_else(no_scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" => {}
            "postgres" | "postgresql" => return Err(StoreError::Postgres),
            // A drive letter, or a path with a colon in it.
            other if other.len() < 2 || !other.bytes().all(is_scheme_byte) => {
                return Err(no_scheme());
            }
            other => return Err(StoreError::Scheme { scheme: other.to_owned() }),
        }
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        if rest.contains(['?', '#']) {
            return Err(invalid("it has parameters after the path, which are not supported"));
        }
        let path =
            percent_decode_str(rest).decode_utf8().map_err(|_| invalid("its path is not UTF-8"))?;
        if path.contains(":memory:") {
            return Err(invalid("a database in memory would be gone with each command"));
        }
        #[cfg(windows)]
        let path = without_slash_before_drive(&path);
        Self::from_path(Path::new(&*path))
    }

    /// From a path, which may go through symbolic links and need not exist.
    ///
    /// # Errors
    /// `Url` if it is empty or not UTF-8, `IsDirectory`, `NotAFile`, `NetworkFileSystem`,
    /// `Permission` and `Io` where it cannot be resolved.
    pub fn from_path(path: &Path) -> Result<Self, StoreError> {
        let invalid = |reason: &str| StoreError::Url { reason: reason.to_owned() };
        let text = path.to_str().ok_or_else(|| invalid("its path is not UTF-8"))?;
        if text.is_empty() {
            return Err(invalid("it has no path"));
        }
        if text.contains('\0') {
            return Err(invalid("its path has a zero byte"));
        }
        let failed = |error| StoreError::io("find", path, error);
        let absolute = std::path::absolute(path).map_err(failed)?;
        let path = plain(canonical(&absolute, 0).map_err(failed)?);
        if path.to_str().is_none() {
            return Err(invalid("its path is not UTF-8"));
        }
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(StoreError::IsDirectory { path }),
            Ok(found) if !found.is_file() => return Err(StoreError::NotAFile { path }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("find", &path, error)),
        }
        let nearest = path.ancestors().find(|p| p.exists()).unwrap_or(&path);
        if nearest != path && !nearest.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        if let Some(kind) = file_system::network_kind(nearest) {
            return Err(StoreError::NetworkFileSystem { path, kind });
        }
        Ok(Self { path })
    }

    /// Absolute and without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The URL that [`Location::from_url`] reads back.
    pub fn url(&self) -> String {
        let path = self.path.to_string_lossy();
        #[cfg(windows)]
        let path = format!("/{}", path.replace('\\', "/"));
        // What would end or change the path; the rest stays as a person reads it.
        let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        format!("sqlite://{path}")
    }

    /// Whether a file lies there; it may still be empty or no database.
    pub fn exists(&self) -> bool {
        self.path.is_file()
    }

    /// The names of the files here that only a database makes: its own and those beside it. Empty where
    /// nothing ever was.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn traces(&self) -> Result<Vec<String>, StoreError> {
        let (Some(directory), Some(own)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(Vec::new());
        };
        let failed = |error| StoreError::io("read the directory", directory, error);
        let entries = match directory.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let own = own.to_string_lossy();
        let mut traces = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            let is_trace = name.strip_prefix(&*own).is_some_and(|rest| {
                let is_of_node = rest.starts_with('.')
                    && (rest.ends_with(".lock") || rest.ends_with(".owner.json"));
                is_of_node || ["", "-wal", "-shm", "-journal"].contains(&rest)
            });
            if is_trace {
                traces.push(name);
            }
        }
        traces.sort();
        Ok(traces)
    }

    /// The file beside the database whose name is that of the database and `suffix`.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(suffix);
        PathBuf::from(name)
    }
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

/// `path` with every link resolved, also where its last parts do not exist yet.
fn canonical(path: &Path, links: usize) -> io::Result<PathBuf> {
    let missing = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        done => return done,
    };
    let Some(parent) = path.parent() else { return Err(missing) };
    if let Ok(target) = path.read_link() {
        // A link that leads nowhere yet: SQLite would make the file where it leads.
        if links == MAX_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        return canonical(&parent.join(target), links + 1);
    }
    let Some(name) = path.file_name() else { return Err(missing) };
    Ok(canonical(parent, links)?.join(name))
}

#[cfg(not(windows))]
fn plain(path: PathBuf) -> PathBuf {
    path
}

/// Without the `\\?\` that the system puts before a canonical path and other programs choke on.
#[cfg(windows)]
fn plain(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix(r"\\?\")) {
        Some(rest) if rest.as_bytes().get(1) == Some(&b':') => PathBuf::from(rest),
        _ => path,
    }
}

/// `C:/x` for the `/C:/x` of `sqlite:///C:/x`.
#[cfg(windows)]
fn without_slash_before_drive(path: &str) -> String {
    match path.strip_prefix('/') {
        Some(rest) if rest.as_bytes().get(1) == Some(&b':') => rest.to_owned(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_sqlite_url_leads_to_its_path_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = plain(dir.path().canonicalize().unwrap());
        let file = dir.join("订单 a%#.db");
        let by_path = Location::from_path(&file).unwrap();
        assert_eq!(by_path.path(), file);
        assert!(by_path.url().ends_with("订单 a%25%23.db"), "{}", by_path.url());
        assert_eq!(Location::from_url(&by_path.url()).unwrap(), by_path);
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let relative = plain(here).join("x.db");
        for url in ["sqlite:x.db", "sqlite://x.db", "SQLite:./x.db"] {
            assert_eq!(Location::from_url(url).unwrap().path(), relative, "{url}");
        }
    }

    #[test]
    fn what_is_no_sqlite_url_is_refused_without_quoting_its_secrets() {
        use StoreError as E;
        let error = |url: &str| Location::from_url(url).unwrap_err();
        assert!(matches!(error("postgres://ann:s3cret@h/db"), E::Postgres));
        assert!(
            matches!(error("mysql://ann:s3cret@h/db"), E::Scheme { scheme } if scheme == "mysql")
        );
        for url in ["", "x.db", "/x.db", "C:\\x.db", "sqlite:", "sqlite://", "sqlite::memory:"] {
            assert!(matches!(error(url), E::Url { .. }), "{url}");
        }
        for url in ["sqlite:x.db?mode=rw", "sqlite:x.db#a", "sqlite:%ff.db", "sqlite:a%00b"] {
            assert!(matches!(error(url), E::Url { .. }), "{url}");
        }
        assert!(!error("s3cret").to_string().contains("s3cret"));
    }

    #[test]
    #[cfg(unix)]
    fn links_lead_to_one_location_even_before_the_file_exists() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        std::os::unix::fs::symlink("deep/er/a.db", real.join("b.db")).unwrap();
        std::os::unix::fs::symlink("round", real.join("round")).unwrap();
        let expected = Location::from_path(&real.join("deep/er/a.db")).unwrap();
        assert_eq!(expected.path(), real.join("deep/er/a.db"));
        for other in [link.join("deep/er/a.db"), link.join("b.db"), real.join("../link/b.db")] {
            assert_eq!(Location::from_path(&other).unwrap(), expected, "{other:?}");
        }
        assert!(Location::from_path(&real.join("round")).is_err());
    }

    #[test]
    fn what_a_database_made_beside_itself_is_told_from_the_files_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let at = Location::from_path(&dir.path().join("a.db")).unwrap();
        assert!(at.traces().unwrap().is_empty());
        for name in
            ["a.db", "a.db-wal", "a.db.default.lock", "a.db.default.owner.json", "b.db", "a.db.bak"]
        {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let expected = ["a.db", "a.db-wal", "a.db.default.lock", "a.db.default.owner.json"];
        assert_eq!(at.traces().unwrap(), expected);
        let nowhere = Location::from_path(&dir.path().join("none/a.db")).unwrap();
        assert!(nowhere.traces().unwrap().is_empty());
    }

    #[test]
    fn a_directory_and_a_path_below_a_file_are_no_database() {
        let dir = tempfile::tempdir().unwrap();
        let error = Location::from_path(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::IsDirectory { .. }), "{error}");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(Location::from_path(&file.join("a.db")).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_no_database() {
        let error = Location::from_path(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
    }
}
