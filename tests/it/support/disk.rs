//! A disk of its own for a sandbox's database, which fills up and empties as a test wants.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Pmctl, wait_until};

/// A small file system in memory, mounted where the database lies. Only root can do that.
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Of 4 MiB.
    #[track_caller]
    pub fn of(pmctl: &Pmctl) -> Self {
        let at = pmctl.database().parent().expect("its directory").to_owned();
        fs::create_dir_all(&at).expect("a directory");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"])
            .arg(&at));
        Self { at }
    }

    /// Not one byte is left.
    #[track_caller]
    pub fn fill(&self) {
        let ballast = self.at.join("ballast");
        let mut ballast = File::options().create(true).append(true).open(ballast).expect("ballast");
        // Large pieces first, then whatever still fits.
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![0; size];
            loop {
                match ballast.write(&piece) {
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// The same while no server has the database open: whoever closes it last gives back the room of its
    /// log, so that is done before.
    #[track_caller]
    pub fn fill_at_rest(&self, pmctl: &Pmctl) {
        wait_until("a database without a log", || {
            pmctl.ok(&["--direct", "status"]);
            match fs::metadata(self.at.join("pmctl.db-wal")).map(|log| log.len()) {
                Ok(0) | Err(_) => Ok(()),
                Ok(length) => Err(format!("{length} bytes")),
            }
        });
        self.fill();
    }

    /// There is room again.
    #[track_caller]
    pub fn free(&self) {
        fs::remove_file(self.at.join("ballast")).expect("the ballast");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server of a failed test may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// The files of a database that nobody may write, not even who has them open; back to how they were
/// by its drop. Only root can do that, and not every file system.
pub struct Immutable {
    files: Vec<PathBuf>,
}

impl Immutable {
    #[track_caller]
    pub fn database(database: &Path) -> Self {
        let of = |suffix| PathBuf::from(format!("{}{suffix}", database.display()));
        let files: Vec<_> = ["", "-wal"].map(of).into_iter().filter(|file| file.exists()).collect();
        run(Command::new("chattr").arg("+i").args(&files));
        Self { files }
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").args(&self.files).status();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("a program of the system");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
