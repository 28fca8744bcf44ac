//! The owner's lock: one live owner for each database and node name.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::model::{NodeName, Phase, ProcessIdentity};

use super::lock_file::{Attempt, LockFile, node_part, owner_lock_path};
use super::{HolderKind, Location, LockHolder, StoreError};

/// Between two tries while somebody is only asking, and how many.
const PAUSE: Duration = Duration::from_millis(2);
const TRIES: usize = 250;

/// How long a new holder may take to write down who it is.
const INTRODUCTION: Duration = Duration::from_millis(20);

/// The owner's lock of a database and node name, held. Dropping it removes the file that says who
/// holds it and releases the lock; so does the end of the process, except for that file.
#[derive(Debug)]
pub struct OwnerLock {
    location: Location,
    holder: LockHolder,
    holder_path: PathBuf,
    _lock: LockFile,
}

/// What came of trying to get the owner's lock.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Lock(OwnerLock),
    /// Somebody has it; who, where that can be read.
    Held(Option<LockHolder>),
}

/// Whether somebody holds an owner's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Free,
    /// Somebody; who, where that can be read.
    Held(Option<LockHolder>),
}

/// Whether somebody holds the owner's lock of `node`. Makes no file, and does not get in the way of
/// whoever wants the lock. `alive` says whether a process is known to live (`host::is_alive`).
///
/// # Errors
/// `Permission` where this user may not ask, `Io`.
pub fn owner(
    location: &Location,
    node: &NodeName,
    alive: impl Fn(&ProcessIdentity) -> bool,
) -> Result<Owner, StoreError> {
    let holder_path = holder_path(location, node);
    if LockFile::is_held(&owner_lock_path(location, node))? {
        return Ok(Owner::Held(introduced(&holder_path, &alive)));
    }
    Ok(match survivor(&holder_path, &alive) {
        Some(holder) => Owner::Held(Some(holder)),
        None => Owner::Free,
    })
}

impl OwnerLock {
    /// Tries to get the lock of `holder.node`, and says in the file beside it that it is `holder`'s.
    /// Makes the directory (mode 0700) if it is missing. Blocks for half a second at most, and only
    /// while somebody is asking about the lock. `alive` as for [`owner`]: whoever removed the lock
    /// file under a living owner does not get a second lock.
    ///
    /// # Errors
    /// `Permission`, `ReadOnly`, `DiskFull`, `Io`.
    pub fn try_acquire(
        location: &Location,
        holder: LockHolder,
        alive: impl Fn(&ProcessIdentity) -> bool,
    ) -> Result<Acquired, StoreError> {
        let path = owner_lock_path(location, &holder.node);
        let holder_path = holder_path(location, &holder.node);
        for _ in 0..TRIES {
            match LockFile::try_lock(&path)? {
                Attempt::Locked(lock) => {
                    if let Some(other) = survivor(&holder_path, &alive) {
                        return Ok(Acquired::Held(Some(other)));
                    }
                    match holder.write(&holder_path) {
                        // It frees ports and the registry, also on a disk that is full; whoever
                        // finds the lock held knows no name then.
                        Err(error) if holder.kind == HolderKind::Repair => {
                            tracing::warn!(%error, "the holder of the lock is not written down");
                        }
                        written => written?,
                    }
                    let location = location.clone();
                    return Ok(Acquired::Lock(Self { location, holder, holder_path, _lock: lock }));
                }
                Attempt::Held => break,
                Attempt::Asked => thread::sleep(PAUSE),
            }
        }
        Ok(Acquired::Held(introduced(&holder_path, &alive)))
    }

    /// Who the file beside the lock says we are.
    pub fn holder(&self) -> &LockHolder {
        &self.holder
    }

    /// The database it is the lock of.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Tells whoever finds the lock held where our control plane is.
    pub fn set_url(&mut self, url: &str) -> Result<(), StoreError> {
        self.holder.url = Some(url.to_owned());
        self.holder.write(&self.holder_path)
    }

    /// Tells whoever finds the lock held how far we are.
    pub fn set_phase(&mut self, phase: Phase) -> Result<(), StoreError> {
        self.holder.phase = Some(phase);
        self.holder.write(&self.holder_path)
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // Before the lock goes, or it could be the next holder's. If it stays as it is, it names a
        // process that will be dead, which counts as nobody.
        LockHolder::remove(&self.holder_path);
    }
}

fn holder_path(location: &Location, node: &NodeName) -> PathBuf {
    location.beside(&format!(".{}.owner.json", node_part(node)))
}

/// Who says to hold a lock that is held, with a moment for a new holder to say so.
fn introduced(path: &Path, alive: &impl Fn(&ProcessIdentity) -> bool) -> Option<LockHolder> {
    let first = LockHolder::read(path);
    if first.as_ref().is_some_and(|holder| alive(&holder.identity)) {
        return first;
    }
    // Not there yet, or left by an earlier holder who died; it may also be one that we cannot see
    // (another pid namespace), so what still stands there then is told.
    thread::sleep(INTRODUCTION);
    LockHolder::read(path)
}

/// Who says to hold a lock that is free and still lives: its lock file was removed or replaced.
fn survivor(path: &Path, alive: &impl Fn(&ProcessIdentity) -> bool) -> Option<LockHolder> {
    LockHolder::read(path).filter(|holder| alive(&holder.identity))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::holder::tests::holder;
    use super::*;

    fn location(dir: &tempfile::TempDir) -> Location {
        Location::from_path(&dir.path().join("state/a.db")).unwrap()
    }

    fn acquire(location: &Location, node: &str) -> Acquired {
        OwnerLock::try_acquire(location, holder(node), |_| true).unwrap()
    }

    fn lock(location: &Location, node: &str) -> OwnerLock {
        match acquire(location, node) {
            Acquired::Lock(lock) => lock,
            Acquired::Held(by) => panic!("held by {by:?}"),
        }
    }

    #[test]
    fn a_second_owner_is_refused_and_told_who_the_first_is_until_it_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = location(&dir);
        let mut first = lock(&at, "default");
        first.set_url("http://127.0.0.1:3000").unwrap();
        first.set_phase(Phase::Draining).unwrap();
        let Acquired::Held(Some(seen)) = acquire(&at, "default") else { panic!("not refused") };
        assert_eq!(&seen, first.holder());
        assert_eq!(seen.url.as_deref(), Some("http://127.0.0.1:3000"));
        let _other_node = lock(&at, "other");
        drop(first);
        let _second = lock(&at, "default");
    }

    #[test]
    fn a_question_tells_the_holder_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let at = location(&dir);
        let node: NodeName = "default".parse().unwrap();
        assert_eq!(owner(&at, &node, |_| true).unwrap(), Owner::Free);
        assert!(!dir.path().join("state").exists());
        let held = lock(&at, "default");
        let expected = Owner::Held(Some(held.holder().clone()));
        assert_eq!(owner(&at, &node, |_| true).unwrap(), expected);
        drop(held);
        assert_eq!(owner(&at, &node, |_| true).unwrap(), Owner::Free);
        // The lock file; on Windows the other one stays as well, with nothing in it.
        let left = if cfg!(windows) { 2 } else { 1 };
        assert_eq!(std::fs::read_dir(dir.path().join("state")).unwrap().count(), left);
    }

    #[test]
    fn removing_or_replacing_the_lock_file_grants_no_second_lock() {
        let dir = tempfile::tempdir().unwrap();
        let at = location(&dir);
        let node: NodeName = "default".parse().unwrap();
        let held = lock(&at, "default");
        let path = owner_lock_path(&at, &node);
        if cfg!(windows) {
            assert!(std::fs::remove_file(&path).is_err(), "the system protects it itself");
            return;
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(owner(&at, &node, |_| true).unwrap(), Owner::Held(Some(_))));
        assert!(matches!(acquire(&at, "default"), Acquired::Held(Some(_))));
        std::fs::write(dir.path().join("new"), "").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(matches!(acquire(&at, "default"), Acquired::Held(Some(_))));
        drop(held);
        let _next = lock(&at, "default");
    }

    #[test]
    fn what_a_dead_holder_left_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let at = location(&dir);
        std::fs::create_dir(dir.path().join("state")).unwrap();
        let node: NodeName = "default".parse().unwrap();
        holder("default").write(&holder_path(&at, &node)).unwrap();
        assert_eq!(owner(&at, &node, |_| false).unwrap(), Owner::Free);
        let got = OwnerLock::try_acquire(&at, holder("default"), |_| false).unwrap();
        assert!(matches!(got, Acquired::Lock(_)));
    }

    #[test]
    fn nobody_who_reads_who_it_is_gets_in_the_way_of_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let at = location(&dir);
        let node: NodeName = "default".parse().unwrap();
        let mut held = lock(&at, "default");
        let reading = std::fs::File::open(holder_path(&at, &node)).unwrap();
        held.set_url("http://127.0.0.1:3000").unwrap();
        held.set_phase(Phase::Ready).unwrap();
        assert_eq!(owner(&at, &node, |_| true).unwrap(), Owner::Held(Some(held.holder().clone())));
        drop(held);
        // The process lives on: only its file could say that it holds the lock still.
        assert_eq!(owner(&at, &node, |_| true).unwrap(), Owner::Free);
        let next = lock(&at, "default");
        drop(reading);
        assert_eq!(owner(&at, &node, |_| true).unwrap(), Owner::Held(Some(next.holder().clone())));
    }

    /// Ends what others do until then, also where an assertion fails.
    struct Done<'a>(&'a AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn questions_from_many_threads_never_keep_an_owner_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = location(&dir);
        let node: NodeName = "default".parse().unwrap();
        drop(lock(&at, "default"));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        owner(&at, &node, |_| false).unwrap();
                    }
                });
            }
            let _done = Done(&done);
            for _ in 0..50 {
                drop(lock(&at, "default"));
            }
        });
    }
}
