//! What the store needs of the file system: whether SQLite's locks and shared memory can be trusted
//! on it, and files and directories that are their user's alone.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The name of the network file system that `path` (which exists) lies on; `None` for a local one
/// and where it cannot be told. FUSE is taken for local: nothing tells a remote one apart.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn network_kind(path: &Path) -> Option<&'static str> {
    // Numbers of the kernel's uapi/linux/magic.h and of the file systems' own sources. The type of
    // the field differs between targets, the numbers are 32 bits wide.
    let kind = rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff;
    Some(match kind {
        0x6969 => "nfs",
        0x517b => "smb",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x5346_414f | 0x6b41_4653 => "afs",
        0x7375_7245 => "coda",
        0x00c3_6400 => "ceph",
        0x564c => "ncp",
        0x0bd0_0bd0 => "lustre",
        0x1661_2006 | 0x0116_1970 => "gfs2",
        0x7461_636f => "ocfs2",
        _ => return None,
    })
}

/// The name of the network file system that `path` (which exists) lies on; `None` for a local one
/// and where it cannot be told.
#[cfg(target_os = "macos")]
pub(super) fn network_kind(path: &Path) -> Option<&'static str> {
    const MNT_LOCAL: u32 = 0x1000;
    let is_local = rustix::fs::statfs(path).ok()?.f_flags & MNT_LOCAL != 0;
    (!is_local).then_some("not local")
}

/// The name of the network file system that `path` (canonical) lies on: a share shows as `\\?\UNC\`
/// even behind a drive letter.
#[cfg(windows)]
pub(super) fn network_kind(path: &Path) -> Option<&'static str> {
    use std::path::{Component, Prefix};
    match path.components().next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::UNC(..) | Prefix::VerbatimUNC(..) => Some("share"),
            _ => None,
        },
        _ => None,
    }
}

/// Unknown here, so taken for local.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
pub(super) fn network_kind(_path: &Path) -> Option<&'static str> {
    None
}

/// Bytes that this process may still write beside `path`; `None` where that is not known.
pub(super) fn room(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let of = rustix::fs::statvfs(path).ok()?;
        // A file system keeps a reserve for root.
        let is_root = rustix::process::geteuid().is_root();
        let blocks = if is_root { of.f_bfree } else { of.f_bavail };
        Some(blocks.saturating_mul(of.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Makes `directory` and what is missing above it, readable by its user alone; leaves one that
/// exists as it is.
pub(super) fn create_private_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_private_directory(parent)?;
    }
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix adds to it"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        // Somebody else made it meanwhile. If it is no directory, what follows will say so.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY;
        let flags = flags.bits().cast_signed();
        let made = fs::OpenOptions::new().read(true).custom_flags(flags).open(directory)?;
        hand_over(&made, directory)?;
    }
    Ok(())
}

/// Makes the file at `path`, which must not exist, as `options` say.
pub(super) fn create_file(options: &mut fs::OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.create_new(true).open(path)?;
    #[cfg(unix)]
    hand_over(&file, path)?;
    Ok(file)
}

/// Gives what root has just made at `path` to the owner of the directory it lies in: under sudo the
/// database is that of the user, who must be able to open it and its locks without sudo again. Only
/// for what did not exist before: else a user could have put another file of root's there.
#[cfg(unix)]
fn hand_over(made: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some(directory) = path.parent() else { return Ok(()) };
    let owner = fs::metadata(directory)?;
    match owner.uid() {
        0 => Ok(()),
        uid => std::os::unix::fs::fchown(made, Some(uid), Some(owner.gid())),
    }
}

/// Options that make a file of this user alone and never follow a symbolic link at its place.
pub(super) fn private_file() -> fs::OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix adds to it"))]
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options
}

/// As [`private_file`], for a lock: while it is open nobody can remove, rename or replace it, where
/// the system knows such a thing (Windows: no `FILE_SHARE_DELETE`).
pub(super) fn lock_file() -> fs::OpenOptions {
    #[cfg_attr(not(windows), expect(unused_mut, reason = "only Windows adds to it"))]
    let mut options = private_file();
    #[cfg(windows)]
    {
        const FILE_SHARE_READ: u32 = 1;
        const FILE_SHARE_WRITE: u32 = 2;
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE;
        std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, share);
    }
    options
}

/// Whether this process may write the file or directory that exists at `path`.
pub(super) fn is_writable(path: &Path) -> bool {
    // By question, not by opening: closing a second descriptor of a database would release the
    // locks that SQLite holds on it in this process.
    #[cfg(unix)]
    return rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    #[cfg(not(unix))]
    return fs::metadata(path).is_ok_and(|m| m.is_dir() || !m.permissions().readonly());
}

/// Whether this process may read the file that exists at `path`.
pub(super) fn is_readable(path: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok();
    #[cfg(not(unix))]
    return path.exists();
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_process_file_system_is_local_and_cannot_be_written() {
        assert_eq!(network_kind(Path::new("/proc")), None);
        assert_eq!(network_kind(Path::new("/no/such/place")), None);
    }
}
