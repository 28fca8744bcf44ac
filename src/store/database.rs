//! Opening and closing a database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, Transaction};

use super::file_system::{create_file, is_readable, is_writable, private_file};
use super::place::Place;
#[cfg(test)]
use super::tests::at_most;
use super::trouble::Trouble;
use super::{Location, OwnerLock, StoreError, schema};

/// How long SQLite waits for another writer, and a caller here for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const POOL_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows that SQLite's thread may be ahead of us: one change of threads for many of them.
const ROW_BUFFER: usize = 1024;

/// Page cache of a connection that reads, and of the one that writes, in the words of SQLite: negative
/// are KiB. Its own default is 2 MiB for each, which fill up over hours as events come and go; the
/// kernel caches the file anyway.
const READ_CACHE: &str = "-64";
const WRITE_CACHE: &str = "-256";

/// Readers at the same time; more wait their turn.
const READERS: u32 = 4;

/// An open database. Cheap to clone; all clones share one writing and a few reading connections.
#[derive(Clone, Debug)]
pub struct Store {
    location: Location,
    uuid: Arc<str>,
    /// `None` where it was opened for reading.
    writer: Option<SqlitePool>,
    reader: SqlitePool,
    /// The file that is written to; `None` where it cannot be told.
    place: Option<Place>,
    pub(super) trouble: Trouble,
}

/// What a database says of itself, whatever its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// Made with the database, never changed.
    pub uuid: String,
    /// Version of its schema.
    pub schema: i64,
}

impl Store {
    /// The UUID and schema of the database, `None` where there is none yet. Needs no right to write
    /// and reads the schema of any version of pmctl.
    ///
    /// # Errors
    /// As [`Store::open_for_reading`], but for `SchemaOld` and `SchemaNewer`.
    pub async fn identify(location: &Location) -> Result<Option<Identification>, StoreError> {
        let Some((reader, schema)) = open_reader(location).await? else { return Ok(None) };
        let store = Self::assemble(location, None, reader).await?;
        let uuid = store.uuid().to_owned();
        store.close().await?;
        Ok(Some(Identification { uuid, schema }))
    }

    /// Opens the database for its owner: makes it (mode 0600) if there is none and brings its schema
    /// up to date. The lock must outlive the store.
    ///
    /// # Errors
    /// `WrongLock` if `lock` is that of another database; `SchemaNewer`; `NotOurs`, `Corrupt`,
    /// `Permission`, `ReadOnly`, `DiskFull`, `Busy`, `Migration`, `Io`, `Sql`.
    pub async fn open_as_owner(location: &Location, lock: &OwnerLock) -> Result<Self, StoreError> {
        let path = location.path();
        if lock.location() != location {
            let node = lock.holder().node.clone();
            return Err(StoreError::WrongLock { node, path: path.to_owned() });
        }
        create(path)?;
        if !is_writable(path) {
            return Err(StoreError::ReadOnly { path: path.to_owned() });
        }
        let failed = |error| StoreError::sql("open the database", path, error);
        // Not yet the pool's: WAL mode is set only once the database is known to be ours.
        let mut connection = write_options(path).connect().await.map_err(failed)?;
        let version = schema::version(&mut connection, path).await?;
        if version <= schema::KNOWN {
            let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL")
                .fetch_one(&mut connection)
                .await
                .map_err(failed)?;
            tracing::debug!(path = %path.display(), version, mode, "database opened by its owner");
        }
        schema::migrate(&mut connection, path).await?;
        connection.close().await.map_err(failed)?;
        let readers = readers(read_options(path));
        let store = Self::assemble(location, Some(write_options(path)), readers).await?;
        // All of them now: one that is opened later would read whatever lies there by then.
        let mut opened = Vec::new();
        for _ in 0..READERS {
            opened.push(store.reader.acquire().await.map_err(failed)?);
        }
        Ok(store)
    }

    /// Opens the database for a direct writer, who holds the writer's lock. Never migrates.
    ///
    /// # Errors
    /// `NoDatabase` and `SchemaOld`: take the owner's lock, [`Store::open_as_owner`], close, let go
    /// and open again. `SchemaNewer`, `NotOurs`, `Corrupt`, `Permission`, `ReadOnly`, `Busy`, `Sql`.
    pub async fn open_for_writing(location: &Location) -> Result<Self, StoreError> {
        let path = location.path();
        let Some((reader, version)) = open_reader(location).await? else {
            return Err(StoreError::NoDatabase { path: path.to_owned() });
        };
        schema::check(version)?;
        if !is_writable(path) {
            return Err(StoreError::ReadOnly { path: path.to_owned() });
        }
        Self::assemble(location, Some(write_options(path)), reader).await
    }

    /// Opens the database for reading, also while a server owns it. `None` where there is none yet.
    /// Leaves no file behind that was not there.
    ///
    /// # Errors
    /// `SchemaOld`, `SchemaNewer`, `NotOurs`, `Corrupt`, `Permission`, `Busy`, `Sql`; `Unclosed`
    /// where the directory is not writable and the last owner died.
    pub async fn open_for_reading(location: &Location) -> Result<Option<Self>, StoreError> {
        let Some((reader, version)) = open_reader(location).await? else { return Ok(None) };
        schema::check(version)?;
        Self::assemble(location, None, reader).await.map(Some)
    }

    async fn assemble(
        location: &Location,
        writer: Option<SqliteConnectOptions>,
        reader: SqlitePool,
    ) -> Result<Self, StoreError> {
        let path = location.path();
        let failed = |error| StoreError::sql("open the database", path, error);
        let mut connection = reader.acquire().await.map_err(failed)?;
        let uuid = schema::uuid(&mut connection, path).await?.into();
        drop(connection);
        let trouble = Trouble::default();
        let writer = writer.map(|options| pool(options, 1, trouble.clone()));
        let (location, place) = (location.clone(), Place::of(path));
        Ok(Self { location, uuid, writer, reader, place, trouble })
    }

    /// The UUID of the database.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Where it lies.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Waits for what is under way in every clone, moves the log into the database file and closes
    /// every connection. Whatever is asked of a clone after that fails.
    ///
    /// # Errors
    /// What SQLite says about the log; it is kept then, and nothing is lost.
    pub async fn close(self) -> Result<(), StoreError> {
        self.reader.close().await;
        let Some(writer) = &self.writer else { return Ok(()) };
        // Passive: it moves what no reader needs any more and waits for nobody, whatever another
        // process does with the database. The last one that closes it moves the rest.
        let done = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(writer).await;
        writer.close().await;
        match done {
            Ok(_) | Err(sqlx::Error::PoolClosed) => Ok(()),
            Err(error) => Err(self.failed("write the log back", error)),
        }
    }

    /// Whether the file that is open still is the database that everybody else finds.
    ///
    /// # Errors
    /// `Moved`.
    pub(super) fn check_place(&self) -> Result<(), StoreError> {
        let path = self.location.path();
        if !self.place.is_some_and(|place| place.is_left(path)) {
            return Ok(());
        }
        let error = StoreError::Moved { path: path.to_owned() };
        self.trouble.note(&error);
        Err(error)
    }

    /// A transaction that no other writer can come before.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let Some(writer) = &self.writer else {
            return Err(StoreError::OpenedForReading { path: self.location.path().to_owned() });
        };
        self.check_place()?;
        writer.begin_with("BEGIN IMMEDIATE").await.map_err(|e| self.unwritten("begin to write", e))
    }

    /// Ends a transaction of [`Store::begin`]; dropping it instead undoes everything.
    pub(super) async fn commit(&self, tx: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        tx.commit().await.map_err(|e| self.unwritten("commit", e))
    }

    /// A transaction that sees one state of the database throughout.
    pub(super) async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begun = self.reader.begin().await;
        // What SQLite says of a file that is not there any more is about permissions.
        begun.map_err(|e| {
            self.check_place().err().unwrap_or_else(|| self.failed("begin to read", e))
        })
    }

    pub(super) fn failed(&self, doing: &'static str, error: sqlx::Error) -> StoreError {
        StoreError::sql(doing, self.location.path(), error)
    }
}

/// A wait as it is; tests stretch it where the machine says that it is slow.
#[cfg(not(test))]
fn at_most(time: Duration) -> Duration {
    time
}

fn readers(options: SqliteConnectOptions) -> SqlitePool {
    pool(options, READERS, Trouble::default())
}

fn pool(options: SqliteConnectOptions, most: u32, trouble: Trouble) -> SqlitePool {
    // A connection to a file does not go stale: none is let go for age.
    PoolOptions::new()
        .before_acquire(move |connection, of| match trouble.must_reopen() {
            true => Box::pin(std::future::ready(Ok(false))),
            false => is_clean(connection, of),
        })
        .max_connections(most)
        .acquire_timeout(at_most(POOL_TIMEOUT))
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options)
}

/// Whether a connection may be used again. On a full or failing disk SQLite ends a transaction by
/// itself, sqlx's rollback then fails, and sqlx counts on as if one were open: such a connection
/// would refuse every transaction from then on.
fn is_clean(
    connection: &mut SqliteConnection,
    _: PoolConnectionMetadata,
) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
    Box::pin(async {
        // Answered only after a rollback that was left to be done.
        connection.ping().await?;
        Ok(!connection.is_in_transaction())
    })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(at_most(BUSY_TIMEOUT))
        .row_buffer_size(ROW_BUFFER)
        .disable_statement_logging()
}

fn write_options(path: &Path) -> SqliteConnectOptions {
    // A statement that writes many rows keeps notes of how to undo it; no file is made for them.
    options(path)
        .synchronous(SqliteSynchronous::Full)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", WRITE_CACHE)
}

/// Whoever may write opens for writing even to read, and forbids it to itself: only then does
/// SQLite remove the files beside the database when the last one closes it.
fn read_options(path: &Path) -> SqliteConnectOptions {
    let options = options(path).pragma("cache_size", READ_CACHE);
    match is_writable(path) && path.parent().is_some_and(is_writable) {
        true => options.pragma("query_only", "ON"),
        false => options.read_only(true),
    }
}

/// Reading connections and the version of the schema; `None` where there is no database, or one
/// whose making was cut short.
async fn open_reader(location: &Location) -> Result<Option<(SqlitePool, i64)>, StoreError> {
    let path = location.path();
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            return Err(StoreError::IsDirectory { path: path.to_owned() });
        }
        Ok(found) if found.len() == 0 && !has_log(location) => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("find", path, error)),
    }
    let mut reader = readers(read_options(path));
    let mut version = pool_version(&reader, path).await;
    if let Err(
        StoreError::Permission { .. } | StoreError::ReadOnly { .. } | StoreError::DiskFull { .. },
    ) = version
        && is_readable(path)
    {
        // A database in WAL mode is read through files beside it. They are missing, so nobody has
        // it open, and they cannot be made here: then the file itself does not change under us
        // either, and is all there is to read, unless its log holds more.
        reader.close().await;
        if has_log(location) {
            return Err(match version {
                Err(full @ StoreError::DiskFull { .. }) => full,
                _ => StoreError::Unclosed { path: path.to_owned() },
            });
        }
        reader = readers(options(path).read_only(true).immutable(true));
        version = pool_version(&reader, path).await;
    }
    match version {
        Ok(version) if version > 0 => Ok(Some((reader, version))),
        other => {
            reader.close().await;
            other.map(|_| None)
        }
    }
}

async fn pool_version(pool: &SqlitePool, path: &Path) -> Result<i64, StoreError> {
    let failed = |error| StoreError::sql("open the database", path, error);
    let mut connection = pool.acquire().await.map_err(failed)?;
    schema::version(&mut connection, path).await
}

/// Whether there is a write-ahead log with anything in it.
fn has_log(location: &Location) -> bool {
    location.beside("-wal").metadata().is_ok_and(|found| found.len() > 0)
}

/// Makes the empty file, readable by its user alone, so that SQLite does not make it otherwise.
fn create(path: &Path) -> Result<(), StoreError> {
    match create_file(private_file().write(true), path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::io("create", path, error)),
    }
}
