//! Who holds an owner's lock, in a file beside the lock that anybody may read.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{NodeName, Phase, ProcessIdentity};

use super::StoreError;
#[cfg(not(windows))]
use super::file_system::create_file;
use super::file_system::private_file;

/// Larger than any file of ours.
const MAX_BYTES: u64 = 64 * 1024;

/// What the holder of an owner's lock is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HolderKind {
    /// It is a server.
    Serve,
    /// It removes what an unclean end left.
    Repair,
    /// It brings the schema up to date, or makes the database.
    Migration,
}

impl HolderKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Serve, Self::Repair, Self::Migration];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Repair => "repair",
            Self::Migration => "migration",
        }
    }
}

/// Who holds an owner's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// What it does.
    pub kind: HolderKind,
    /// Who it is.
    pub identity: ProcessIdentity,
    /// For which node name.
    pub node: NodeName,
    /// Its control URL, once there is one.
    pub url: Option<String>,
    /// How far a server is, as it last said.
    pub phase: Option<Phase>,
    /// The bound of a server's whole shutdown: how long it may take to end once it is asked to.
    pub shutdown_timeout: Option<Duration>,
}

/// The document. Fields are only ever added, and read as absent where they are.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    kind: String,
    boot_id: String,
    pid_namespace: u64,
    pid: u32,
    start_time: u64,
    node: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    shutdown_timeout_ms: Option<u64>,
}

impl LockHolder {
    /// Writes the file. `path` is written by the lock's holder alone.
    pub(super) fn write(&self, path: &Path) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("write", path, error);
        let document = Document {
            kind: self.kind.as_str().to_owned(),
            boot_id: self.identity.boot_id.clone(),
            pid_namespace: self.identity.pid_namespace,
            pid: self.identity.pid,
            start_time: self.identity.start_time,
            node: self.node.to_string(),
            url: self.url.clone(),
            phase: self.phase.map(|phase| phase.as_str().to_owned()),
            shutdown_timeout_ms: self
                .shutdown_timeout
                .map(|bound| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
        };
        let mut text = serde_json::to_vec(&document).map_err(|e| failed(io::Error::other(e)))?;
        text.push(b'\n');
        replace(path, &text).map_err(failed)
    }

    /// Takes the file away, or what it says. `path` is written by the lock's holder alone.
    pub(super) fn remove(path: &Path) {
        if cfg!(windows) {
            // As in `replace`.
            let _ = private_file().write(true).truncate(true).open(path);
        } else {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Reads the file. `None` if there is none, or none that this build understands.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let file = private_file().read(true).open(path).ok()?;
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
        let document: Document = serde_json::from_str(&text).ok()?;
        Some(Self {
            kind: *HolderKind::ALL.iter().find(|kind| kind.as_str() == document.kind)?,
            identity: ProcessIdentity {
                boot_id: document.boot_id,
                pid_namespace: document.pid_namespace,
                pid: document.pid,
                start_time: document.start_time,
            },
            node: document.node.parse().ok()?,
            url: document.url,
            phase: document.phase.as_deref().and_then(Phase::from_word),
            shutdown_timeout: document.shutdown_timeout_ms.map(Duration::from_millis),
        })
    }
}

/// Writes `text` to the file at `path`, whole or not at all.
#[cfg(not(windows))]
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut options = private_file();
    // Nothing in it is a secret, and who shares the database may ask who owns it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    // One that a holder left who died just then.
    let _ = std::fs::remove_file(&temporary);
    let mut file = create_file(options.write(true), Path::new(&temporary))?;
    file.write_all(text)?;
    drop(file);
    std::fs::rename(&temporary, path)
}

/// Writes `text` to the file at `path`, in place: a file that somebody reads just then cannot always be
/// replaced there, and one that is removed keeps its name and its text until that one closes it. Who
/// reads in between finds no document; whoever asks about a lock that is held has a second look then.
#[cfg(windows)]
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = private_file().write(true).create(true).truncate(false).open(path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::store) fn holder(node: &str) -> LockHolder {
        LockHolder {
            kind: HolderKind::Serve,
            identity: ProcessIdentity {
                boot_id: "boot".into(),
                pid_namespace: u64::MAX,
                pid: 42,
                start_time: u64::MAX,
            },
            node: node.parse().unwrap(),
            url: None,
            phase: None,
            shutdown_timeout: None,
        }
    }

    #[test]
    fn a_holder_is_read_as_it_was_written_and_garbage_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.json");
        assert_eq!(LockHolder::read(&path), None);
        for kind in HolderKind::ALL {
            let url = Some("http://127.0.0.1:3000".into());
            let written =
                LockHolder { kind: *kind, url, phase: Some(Phase::Ready), ..holder("节点") };
            let written = LockHolder { shutdown_timeout: Some(Duration::from_secs(30)), ..written };
            written.write(&path).unwrap();
            assert_eq!(LockHolder::read(&path), Some(written));
        }
        for garbage in ["", "{}", "\0\0", r#"{"kind":"serve"}"#, "[1]"] {
            std::fs::write(&path, garbage).unwrap();
            assert_eq!(LockHolder::read(&path), None, "{garbage}");
        }
    }

    #[test]
    fn a_field_of_a_newer_version_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.json");
        let text = r#"{"kind":"serve","bootId":"b","pidNamespace":1,"pid":2,"startTime":3,
            "node":"default","phase":"pondering","colour":"red"}"#;
        std::fs::write(&path, text).unwrap();
        let read = LockHolder::read(&path).unwrap();
        assert_eq!((read.identity.pid, read.phase, read.url), (2, None, None));
        assert_eq!(read.shutdown_timeout, None);
    }
}
