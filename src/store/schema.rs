//! Which schema a database has, and bringing it up to date.

use std::borrow::Cow;
use std::path::Path;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, Row, SqlSafeStr, SqliteConnection};

use super::StoreError;

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// `PRAGMA application_id` of a database of pmctl: "pmct".
const APPLICATION_ID: i64 = 0x706d_6374;

/// The newest schema this build knows, the only one it works with.
pub(super) const KNOWN: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// The version of the schema of `connection`; 0 for an empty database, or one whose making was cut
/// short before its first migration.
///
/// # Errors
/// `NotOurs` for a database of another program; what [`StoreError::sql`] makes of SQLite's.
pub(super) async fn version(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<i64, StoreError> {
    let failed = |error| StoreError::sql("read the schema version", path, error);
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if application == APPLICATION_ID {
        return sqlx::query_scalar(
            "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success",
        )
        .fetch_one(connection)
        .await
        .map_err(failed);
    }
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name <> '_sqlx_migrations'",
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    match tables {
        0 => Ok(0),
        _ => Err(StoreError::NotOurs { path: path.to_owned() }),
    }
}

/// Refuses every schema but the known one.
pub(super) fn check(found: i64) -> Result<(), StoreError> {
    match found.cmp(&KNOWN) {
        std::cmp::Ordering::Less => Err(StoreError::SchemaOld { found, known: KNOWN }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::SchemaNewer { found, known: KNOWN }),
    }
}

/// Brings the schema up to date, all of it or nothing of it: a kill in the middle leaves the database
/// as it was. For the holder of the owner's lock.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    match check(version(connection, path).await?) {
        Ok(()) => return Ok(()),
        Err(StoreError::SchemaOld { .. }) => {}
        Err(error) => return Err(error),
    }
    let migrations = MIGRATIONS.iter().map(|(version, description, sql)| {
        let (description, kind) = (Cow::Borrowed(*description), MigrationType::Simple);
        Migration::new(*version, description, kind, sql.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    let failed = |error| StoreError::sql("migrate the schema", path, error);
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    migrator.run_direct(None, &mut *tx, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error)
        | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => failed(error),
        source => StoreError::Migration { path: path.to_owned(), source },
    })?;
    tx.commit().await.map_err(failed)
}

/// The UUID, made with the schema and never changed.
pub(super) async fn uuid(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<String, StoreError> {
    let failed = |error| StoreError::sql("read the UUID", path, error);
    sqlx::query("SELECT value FROM meta WHERE key = 'uuid'")
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)
}
