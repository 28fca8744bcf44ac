//! The control plane's files beside the database: its token, and the certificate it shows. Both are
//! their user's alone, made anew at each start of a server and removed at its orderly end.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Location;
use super::file_system::{create_private_directory, private_file};
use super::lock_file::node_part;
use crate::model::NodeName;

/// Fewest characters of a token that somebody chose.
pub const LEAST_TOKEN: usize = 32;

/// Largest file taken for one that holds a token, in bytes.
const MOST_BYTES: u64 = 4096;

/// The same of a certificate in hexadecimal digits.
const MOST_CERTIFICATE: u64 = 256 * 1024;

/// Why a token file is of no use. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("read the token file {path}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its group or everybody may read or write it.
    #[error("trust the token file {path}: others may read it")]
    TooOpen {
        /// Which.
        path: PathBuf,
    },
    /// It is somebody else's, who knows what is in it.
    #[error("trust the token file {path}: it belongs to another user")]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("find a token in {path}")]
    NoToken {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("write the token file {path}")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where the server of `location` and `node` leaves its token: `control.token` in `state_dir` for
/// the default database and node name, else beside the database, so that no two servers ever
/// overwrite each other's.
pub fn control_token_path(
    location: &Location,
    node: &NodeName,
    state_dir: Option<&Path>,
) -> PathBuf {
    let is_default = |dir: &&Path| {
        Location::from_path(&dir.join("pmctl.db")).is_ok_and(|default| default == *location)
    };
    match state_dir.filter(is_default) {
        Some(dir) if *node == NodeName::default() => dir.join("control.token"),
        _ => location.beside(&format!(".{}.control.token", node_part(node))),
    }
}

/// Where that server leaves the certificate it shows, for clients that can read its token too.
pub fn control_certificate_path(token_path: &Path) -> PathBuf {
    token_path.with_extension("certificate")
}

/// `bytes` in hexadecimal digits, as these files hold them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate (DER) that the server of the token at `token_path` left for clients of its own
/// user; `None` where there is none to be read, or where somebody else may have put it there.
pub fn control_certificate(token_path: &Path) -> Option<Vec<u8>> {
    let mut text = String::new();
    let file = fs::File::open(control_certificate_path(token_path)).ok()?;
    if !is_of_the_house(&file.metadata().ok()?, token_path.parent()?) {
        return None;
    }
    file.take(MOST_CERTIFICATE).read_to_string(&mut text).ok()?;
    let digits = text.trim_ascii().as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

/// A file of this user alone that goes when this is dropped, unless somebody has put another in
/// its place.
#[derive(Debug)]
pub struct OwnFile {
    path: PathBuf,
    text: String,
}

impl OwnFile {
    /// Makes the file anew with `text` in it, whatever was there: whole, or not at all. It stays
    /// this process's user's, also under sudo: whoever can read it may do what this process may.
    ///
    /// # Errors
    /// [`TokenFileError::Unwritable`].
    pub fn replace(path: PathBuf, text: &str) -> Result<Self, TokenFileError> {
        let written = || {
            if let Some(directory) = path.parent() {
                create_private_directory(directory)?;
            }
            let mut new = path.clone().into_os_string();
            new.push(".new");
            let new = PathBuf::from(new);
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            create(&new, text)?;
            fs::rename(&new, &path)
        };
        match written() {
            Ok(()) => Ok(Self { path, text: text.to_owned() }),
            Err(source) => Err(TokenFileError::Unwritable { path, source }),
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a control file stays");
        }
    }
}

/// The token that somebody chose in the file at `path`, or `made` after writing it there if there
/// is no such file. What is written here stays.
///
/// # Errors
/// [`TokenFileError`]: the file must be its user's alone.
pub fn chosen_token(path: &Path, made: String) -> Result<String, TokenFileError> {
    match read(path, true) {
        Err(TokenFileError::Unreadable { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            let (path, text) = (path.to_owned(), format!("{made}\n"));
            match create(&path, &text) {
                Ok(()) => Ok(made),
                Err(source) => Err(TokenFileError::Unwritable { path, source }),
            }
        }
        other => other,
    }
}

/// The token in the file at `path`, for somebody who is to send it.
///
/// # Errors
/// [`TokenFileError`] but `TooOpen` and `Foreign`: how the server's user shares it is that user's affair.
pub fn read_token(path: &Path) -> Result<String, TokenFileError> {
    read(path, false)
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = private_file().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn read(path: &Path, must_be_private: bool) -> Result<String, TokenFileError> {
    let owned = || path.to_owned();
    let opened = || {
        // Asked before it is opened, because opening a named pipe waits for its writer.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok((metadata, bytes))
    };
    let (metadata, bytes) =
        opened().map_err(|source| TokenFileError::Unreadable { path: owned(), source })?;
    if must_be_private && is_open_to_others(&metadata) {
        return Err(TokenFileError::TooOpen { path: owned() });
    }
    if must_be_private && !is_own_or_of_root(&metadata) {
        return Err(TokenFileError::Foreign { path: owned() });
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    let token = text.trim_ascii();
    match token.len() >= LEAST_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token.to_owned()),
        false => Err(TokenFileError::NoToken { path: owned() }),
    }
}

#[cfg(unix)]
fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

/// Root may change every file anyway.
#[cfg(unix)]
fn is_own_or_of_root(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    [rustix::process::geteuid().as_raw(), 0].contains(&metadata.uid())
}

/// Whether nobody wrote that file but this user, root or whoever the directory belongs to, which is
/// not what it takes to write into the directory: everybody can put a file into a shared one.
#[cfg(unix)]
fn is_of_the_house(file: &fs::Metadata, directory: &Path) -> bool {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let is_of_directory = || fs::metadata(directory).is_ok_and(|it| it.uid() == file.uid());
    file.permissions().mode() & 0o022 == 0 && (is_own_or_of_root(file) || is_of_directory())
}

/// There is nothing to compare.
#[cfg(not(unix))]
fn is_own_or_of_root(_metadata: &fs::Metadata) -> bool {
    true
}

/// There is nothing to compare.
#[cfg(not(unix))]
fn is_of_the_house(_file: &fs::Metadata, _directory: &Path) -> bool {
    true
}

/// Never: the directories of a user are that user's there.
#[cfg(not(unix))]
fn is_open_to_others(_metadata: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_servers_share_a_token_file() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir = Location::from_path(&dir.path().join("pmctl.db")).unwrap();
        let state = in_dir.path().parent().unwrap();
        let at = |name: &str| Location::from_path(&state.join(name)).unwrap();
        let path = |location: &Location, node: &str| {
            control_token_path(location, &node.parse().unwrap(), Some(state))
        };
        let default = at("pmctl.db");
        assert_eq!(path(&default, "default"), state.join("control.token"));
        assert_eq!(path(&default, "b"), state.join("pmctl.db.b.control.token"));
        assert_eq!(path(&at("x.db"), "default"), state.join("x.db.default.control.token"));
        let elsewhere = control_token_path(&default, &NodeName::default(), None);
        assert_eq!(elsewhere, state.join("pmctl.db.default.control.token"));
        assert_eq!(control_certificate_path(&elsewhere).extension().unwrap(), "certificate");
        let der = [0, 1, 0xfe];
        let _file = OwnFile::replace(control_certificate_path(&elsewhere), &hex(&der)).unwrap();
        assert_eq!(control_certificate(&elsewhere).unwrap(), der);
    }

    #[test]
    #[cfg(unix)]
    fn a_token_file_is_its_users_alone_and_goes_with_its_server() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/control.token");
        let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o777;
        let first = OwnFile::replace(path.clone(), "one").unwrap();
        assert_eq!((mode(&path), mode(&dir.path().join("new"))), (0o600, 0o700));
        // Two servers of one file: the later one's stays when the earlier one goes.
        let second = OwnFile::replace(path.clone(), "two").unwrap();
        drop(first);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        drop(second);
        assert!(!path.exists());
    }

    /// Files of another user can only be made by root; whoever else runs this sees the rest of it.
    #[test]
    #[cfg(unix)]
    fn what_another_user_put_there_is_neither_a_token_nor_a_certificate() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("x.control.token");
        let certificate = control_certificate_path(&token);
        fs::write(&token, "m".repeat(64)).unwrap();
        fs::write(&certificate, "0001fe").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&token, 0o600);
        mode(&certificate, 0o622);
        assert_eq!(control_certificate(&token), None, "everybody may write it");
        mode(&certificate, 0o600);
        assert!(control_certificate(&token).is_some());
        if !rustix::process::geteuid().is_root() {
            return;
        }
        chown(&token, Some(65_533), None).unwrap();
        chown(&certificate, Some(65_533), None).unwrap();
        let error = chosen_token(&token, "x".repeat(64)).unwrap_err();
        assert!(matches!(error, TokenFileError::Foreign { .. }), "{error}");
        assert!(read_token(&token).is_ok(), "somebody who only sends it may have it from there");
        assert_eq!(control_certificate(&token), None, "in a directory of ours");
        chown(dir.path(), Some(65_533), None).unwrap();
        assert!(control_certificate(&token).is_some(), "in a directory of that user's");
    }

    #[test]
    #[cfg(unix)]
    fn a_chosen_token_must_be_private_and_long_enough() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let made = "m".repeat(64);
        assert_eq!(chosen_token(&path, made.clone()).unwrap(), made);
        assert_eq!(chosen_token(&path, "another".into()).unwrap(), made, "it is kept");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = chosen_token(&path, made.clone()).unwrap_err();
        assert!(matches!(open, TokenFileError::TooOpen { .. }), "{open}");
        assert_eq!(read_token(&path).unwrap(), made);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["short", "", &"a b".repeat(20), &"é".repeat(40)] {
            fs::write(&path, bad).unwrap();
            let error = chosen_token(&path, made.clone()).unwrap_err();
            assert!(matches!(error, TokenFileError::NoToken { .. }), "{bad}: {error}");
        }
    }
}
