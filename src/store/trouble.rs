//! Whether the database takes writes, as it was seen last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::file_system::{is_writable, room};
use super::{Store, StoreError};

/// A change with its log takes a few pages: with less than this it may fail.
const NO_ROOM: u64 = 64 * 1024;

/// With less than this it is tried whether one still goes through.
const LITTLE_ROOM: u64 = 1024 * 1024;

/// Why the database takes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteTrouble {
    /// No room is left on its disk.
    Full,
    /// Its file was removed or replaced.
    Moved,
    /// Another reason, in technical English.
    Other(String),
}

/// Remembers the last failure to write; shared by the clones of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    seen: Arc<Mutex<Option<WriteTrouble>>>,
    is_read_only: Arc<AtomicBool>,
}

impl Trouble {
    /// Whoever is turned away for a moment, or asks for what cannot be, says nothing about the disk.
    pub(super) fn note(&self, error: &StoreError) {
        let trouble = match error {
            StoreError::DiskFull { .. } => WriteTrouble::Full,
            StoreError::Moved { .. } => WriteTrouble::Moved,
            StoreError::ReadOnly { .. }
            | StoreError::Permission { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Io { .. }
            | StoreError::Sql { .. } => {
                let source = std::error::Error::source(error);
                let why = source.map_or_else(|| error.to_string(), |why| why.to_string());
                WriteTrouble::Other(why)
            }
            _ => return,
        };
        if matches!(error, StoreError::ReadOnly { .. }) {
            self.is_read_only.store(true, Ordering::Relaxed);
        }
        self.set(Some(trouble));
    }

    /// Whether the writing connection is to be opened anew: SQLite opens one for reading alone where
    /// the file cannot be written at that moment, and it stays so.
    pub(super) fn must_reopen(&self) -> bool {
        self.is_read_only.swap(false, Ordering::Relaxed)
    }

    fn set(&self, trouble: Option<WriteTrouble>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl Store {
    /// Why the last write failed, until [`Store::check_writable`] finds that one goes through.
    pub fn trouble(&self) -> Option<WriteTrouble> {
        self.trouble.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether something could be written now: writes what stands there already. Asked before what
    /// could not be undone if it were not recorded, and to find out whether the disk has room again.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `ReadOnly`, `Sql`.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let written = async {
            let mut tx = self.begin().await?;
            // Of the table that never changes. SQLite writes the page although it is the same.
            sqlx::query("UPDATE meta SET value = value WHERE key = 'uuid'")
                .execute(&mut *tx)
                .await
                .map_err(|e| self.failed("write to the database", e))?;
            self.commit(tx).await
        };
        match written.await {
            Ok(()) => {
                self.trouble.set(None);
                Ok(())
            }
            Err(error) => {
                self.trouble.note(&error);
                Err(error)
            }
        }
    }

    /// Whether the database takes writes, as far as there is doubt: something is written only where a
    /// write failed lately or little room is left, for an idle server leaves the disk alone. A disk
    /// with hardly any room counts as full although a small write may still fit into the log.
    ///
    /// # Errors
    /// As [`Store::check_writable`].
    pub async fn watch_writable(&self) -> Result<(), StoreError> {
        self.check_place()?;
        let path = self.location().path();
        let room = room(path).unwrap_or(u64::MAX);
        if room < NO_ROOM {
            let full = StoreError::DiskFull { path: path.to_owned() };
            self.trouble.note(&full);
            return Err(full);
        }
        match self.trouble().is_some() || room < LITTLE_ROOM || !is_writable(path) {
            true => self.check_writable().await,
            false => Ok(()),
        }
    }

    /// The error of a write that failed, remembered.
    pub(super) fn unwritten(&self, doing: &'static str, error: sqlx::Error) -> StoreError {
        let error = StoreError::sql(doing, self.location().path(), error);
        self.trouble.note(&error);
        error
    }
}
