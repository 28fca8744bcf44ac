//! Why the store could not do it.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{NodeName, Port, ServiceId, ServiceName, TargetName};

/// Every way in which the store fails. Texts are technical fragments; the sentences a person reads
/// are made by `ops` from the variant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database URL cannot be read. Never quotes the URL, which may hold a password.
    #[error("database URL: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The URL asks for PostgreSQL, which is not supported.
    #[error("PostgreSQL databases are not supported")]
    Postgres,
    /// The URL has a scheme that names no supported database.
    #[error("database URL scheme `{scheme}` is not `sqlite`")]
    Scheme {
        /// The scheme as written.
        scheme: String,
    },
    /// The path names a directory.
    #[error("{} is a directory", path.display())]
    IsDirectory {
        /// The path.
        path: PathBuf,
    },
    /// The path names neither a file nor nothing: a device, a pipe, a socket.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// File locks and shared memory cannot be relied on there.
    #[error("{} lies on a network file system ({kind})", path.display())]
    NetworkFileSystem {
        /// The path.
        path: PathBuf,
        /// Name of the file system.
        kind: &'static str,
    },
    /// A write was asked for and there is no database yet: take the owner's lock and open as owner.
    #[error("no database at {}", path.display())]
    NoDatabase {
        /// The path.
        path: PathBuf,
    },
    /// The file is a SQLite database of another program.
    #[error("{} is a SQLite database of another program", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
    },
    /// Damaged, or no SQLite database at all.
    #[error("{} is damaged or not a SQLite database", path.display())]
    Corrupt {
        /// The path.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// The operating system does not let this user at it.
    #[error("no permission to {doing} {}", path.display())]
    Permission {
        /// The operation, to be read before the path.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// What the operating system says, where it said anything.
        #[source]
        source: Option<io::Error>,
    },
    /// The file or its file system takes no writes.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
    /// Reading needs files beside the database that do not exist and cannot be made here: the
    /// directory is not writable and the database was not closed in order.
    #[error("{} was not closed in order and its directory is not writable", path.display())]
    Unclosed {
        /// The path.
        path: PathBuf,
    },
    /// The file was removed or replaced while it was open: what were written now would be lost.
    #[error("{} was removed or replaced", path.display())]
    Moved {
        /// The path.
        path: PathBuf,
    },
    /// No space left.
    #[error("no space left to write {}", path.display())]
    DiskFull {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else was writing for longer than the wait.
    #[error("{} stayed locked by another writer", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// Written by a newer pmctl.
    #[error("schema {found} is newer than {known}, the newest this build knows")]
    SchemaNewer {
        /// Version of the database.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// Written by an older pmctl: the owner's lock is needed to bring it up to date.
    #[error("schema {found} is older than {known}, which this build works with")]
    SchemaOld {
        /// Version of the database.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// Bringing the schema up to date failed.
    #[error("cannot migrate {}", path.display())]
    Migration {
        /// The path.
        path: PathBuf,
        /// What sqlx says.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The lock that was shown belongs to another database.
    #[error("the owner's lock of node {node} is not one of {}", path.display())]
    WrongLock {
        /// Whose lock it is.
        node: NodeName,
        /// The database that was to be opened.
        path: PathBuf,
    },
    /// A service of that name exists.
    #[error("a service named `{name}` exists")]
    NameTaken {
        /// The name.
        name: ServiceName,
    },
    /// A service with that port exists.
    #[error("port {port} belongs to the service `{by}`")]
    PortTaken {
        /// The port.
        port: Port,
        /// Who has it.
        by: ServiceName,
    },
    /// The service was removed meanwhile.
    #[error("no service has the id {}", id.0)]
    ServiceGone {
        /// The id.
        id: ServiceId,
    },
    /// The service has no target of that name.
    #[error("no target named `{target}`")]
    TargetMissing {
        /// The name.
        target: TargetName,
    },
    /// The active target cannot be removed.
    #[error("the target `{target}` is the active one")]
    TargetActive {
        /// The name.
        target: TargetName,
    },
    /// This store was opened for reading.
    #[error("{} was opened for reading", path.display())]
    OpenedForReading {
        /// The path.
        path: PathBuf,
    },
    /// A stored value is none that this build can read.
    #[error("{table} row {id}: {column} `{value}` cannot be read")]
    BadValue {
        /// Table.
        table: &'static str,
        /// Its key.
        id: i64,
        /// Column.
        column: &'static str,
        /// What stands there (never a secret).
        value: String,
    },
    /// The operating system failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The operation, to be read before the path.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// SQLite failed in a way that has no variant of its own.
    #[error("cannot {doing} in {}", path.display())]
    Sql {
        /// The operation.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// What sqlx says.
        #[source]
        source: sqlx::Error,
    },
}

/// What a primary result code of SQLite (<https://www.sqlite.org/rescode.html>) means to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Permission,
    Busy,
    ReadOnly,
    Corrupt,
    Full,
    Other,
}

fn classify(extended: i32) -> Code {
    /// SQLITE_IOERR_SHMSIZE: the index of the log cannot be made as large as it has to be.
    const NO_ROOM_FOR_INDEX: i32 = 4874;
    match extended & 0xff {
        _ if extended == NO_ROOM_FOR_INDEX => Code::Full,
        3 | 14 | 23 => Code::Permission,
        5 | 6 => Code::Busy,
        8 => Code::ReadOnly,
        11 | 26 => Code::Corrupt,
        13 => Code::Full,
        _ => Code::Other,
    }
}

impl StoreError {
    /// From a failed file operation, `doing` read before the path: "open", "lock".
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Self::Permission { doing, path, source: Some(source) }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::IsADirectory => Self::IsDirectory { path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// From a failed statement, `doing` in the infinitive: "list services".
    pub(super) fn sql(doing: &'static str, path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match &source {
            sqlx::Error::PoolTimedOut => Self::Busy { path },
            sqlx::Error::Database(error) => {
                let code = error.code().and_then(|c| c.parse().ok()).unwrap_or(1);
                match classify(code) {
                    Code::Permission => Self::Permission { doing, path, source: None },
                    Code::Busy => Self::Busy { path },
                    Code::ReadOnly => Self::ReadOnly { path },
                    Code::Corrupt => Self::Corrupt { path, source },
                    Code::Full => Self::DiskFull { path },
                    Code::Other => Self::Sql { doing, path, source },
                }
            }
            _ => Self::Sql { doing, path, source },
        }
    }
}
