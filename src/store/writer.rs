//! The short lock of direct writers, which queues them up before SQLite would turn them away.

use std::time::{Duration, Instant};

use super::lock_file::{Attempt, LockFile, writer_lock_path};
use super::{Location, StoreError};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// The writer's lock of a database, held; dropping it releases it.
#[derive(Debug)]
pub struct WriterLock {
    _lock: LockFile,
}

impl WriterLock {
    /// Waits for the lock at most `timeout`; tries once even if that is zero. Makes the directory
    /// (mode 0700) if it is missing.
    ///
    /// # Errors
    /// `Busy` when the time is up; `Permission`, `ReadOnly`, `DiskFull`, `Io`.
    pub async fn acquire(location: &Location, timeout: Duration) -> Result<Self, StoreError> {
        let path = writer_lock_path(location);
        let begun = Instant::now();
        loop {
            match LockFile::try_lock(&path)? {
                Attempt::Locked(lock) => return Ok(Self { _lock: lock }),
                Attempt::Held | Attempt::Asked => {}
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(StoreError::Busy { path: location.path().to_owned() });
            }
            tokio::time::sleep(PAUSE.min(left)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_waits_for_the_one_before_it_and_gives_up_in_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let at = Location::from_path(&dir.path().join("a.db")).unwrap();
        let first = WriterLock::acquire(&at, Duration::ZERO).await.unwrap();
        let error = WriterLock::acquire(&at, Duration::from_millis(30)).await.unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
        let waiting = WriterLock::acquire(&at, Duration::from_secs(10));
        let release = async { drop(first) };
        let (second, ()) = tokio::join!(waiting, release);
        second.unwrap();
    }
}
