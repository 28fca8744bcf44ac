//! Where state and configuration live on each platform, and for whom.

use std::path::{Path, PathBuf};

use super::Surroundings;

/// The user that ran `sudo`, whose state and configuration are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invoker {
    pub(super) uid: u32,
    pub(super) name: String,
    pub(super) home: PathBuf,
}

/// Who called `sudo`, if this process runs as root through it and that user has a home.
pub(super) fn invoker(around: &Surroundings) -> Option<Invoker> {
    if around.user != Some(0) {
        return None;
    }
    let text = |name| around.var(name).and_then(|value| value.into_string().ok());
    let uid: u32 = text("SUDO_UID")?.parse().ok().filter(|uid| *uid != 0)?;
    let name = text("SUDO_USER").unwrap_or_else(|| uid.to_string());
    let home = (around.home_of)(uid).or_else(|| platform::home_of_name(&name))?;
    Some(Invoker { uid, name, home })
}

fn home(around: &Surroundings) -> Option<PathBuf> {
    around.dir("HOME").or_else(|| around.user.and_then(around.home_of))
}

/// The directory of the database and everything beside it; `None` where no home is known.
pub(super) fn state_dir(around: &Surroundings, invoker: Option<&Invoker>) -> Option<PathBuf> {
    let home = || invoker.map(|i| i.home.clone()).or_else(|| home(around));
    platform::state_dir(around, &home)
}

/// The directory of `pmctl.toml`; `None` where no home is known.
pub(super) fn config_dir(around: &Surroundings, invoker: Option<&Invoker>) -> Option<PathBuf> {
    let home = || invoker.map(|i| i.home.clone()).or_else(|| home(around));
    platform::config_dir(around, &home)
}

type Home<'a> = &'a dyn Fn() -> Option<PathBuf>;

#[cfg(not(any(target_os = "macos", windows)))]
mod platform {
    use super::{Home, PathBuf, Surroundings};

    pub(super) fn state_dir(around: &Surroundings, home: Home<'_>) -> Option<PathBuf> {
        let base = around.dir("XDG_STATE_HOME");
        base.or_else(|| home().map(|h| h.join(".local/state"))).map(|d| d.join("pmctl"))
    }

    pub(super) fn config_dir(around: &Surroundings, home: Home<'_>) -> Option<PathBuf> {
        let base = around.dir("XDG_CONFIG_HOME");
        base.or_else(|| home().map(|h| h.join(".config"))).map(|d| d.join("pmctl"))
    }

    pub(super) fn home_of_name(_name: &str) -> Option<PathBuf> {
        None
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use super::{Home, PathBuf, Surroundings};

    fn support(around: &Surroundings, name: &str, home: Home<'_>) -> Option<PathBuf> {
        let base = around.dir(name);
        base.or_else(|| home().map(|h| h.join("Library/Application Support")))
            .map(|d| d.join("pmctl"))
    }

    pub(super) fn state_dir(around: &Surroundings, home: Home<'_>) -> Option<PathBuf> {
        support(around, "XDG_STATE_HOME", home)
    }

    pub(super) fn config_dir(around: &Surroundings, home: Home<'_>) -> Option<PathBuf> {
        support(around, "XDG_CONFIG_HOME", home)
    }

    /// Users of macOS stand in the directory service and not in `/etc/passwd`; their homes are
    /// below `/Users`.
    pub(super) fn home_of_name(name: &str) -> Option<PathBuf> {
        let home = PathBuf::from("/Users").join(name);
        let is_plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "..";
        (is_plain && home.is_dir()).then_some(home)
    }
}

#[cfg(windows)]
mod platform {
    use super::{Home, PathBuf, Surroundings};

    fn app_data(around: &Surroundings, name: &str, below: &str) -> Option<PathBuf> {
        let base = around.dir(name);
        base.or_else(|| around.dir("USERPROFILE").map(|p| p.join("AppData").join(below)))
            .map(|d| d.join("pmctl"))
    }

    pub(super) fn state_dir(around: &Surroundings, _home: Home<'_>) -> Option<PathBuf> {
        app_data(around, "LOCALAPPDATA", "Local")
    }

    pub(super) fn config_dir(around: &Surroundings, _home: Home<'_>) -> Option<PathBuf> {
        app_data(around, "APPDATA", "Roaming")
    }

    pub(super) fn home_of_name(_name: &str) -> Option<PathBuf> {
        None
    }
}

/// The effective user id of this process.
#[cfg(unix)]
pub(super) fn effective_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// Windows has no user ids.
#[cfg(not(unix))]
pub(super) fn effective_user() -> Option<u32> {
    None
}

/// The home directory that `/etc/passwd` has for `uid`. Users of other sources (LDAP) are not
/// found there; then `$HOME` is all there is.
pub(super) fn home_of_user(uid: u32) -> Option<PathBuf> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    home_in_passwd(&passwd, uid)
}

fn home_in_passwd(passwd: &str, uid: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let is_user = fields.next()?.parse() == Ok(uid);
        let home = fields.nth(2)?;
        (is_user && home.starts_with('/')).then(|| PathBuf::from(home))
    })
}

/// The owner of a file; `None` where the platform has no user ids.
#[cfg(unix)]
pub(super) fn owner(metadata: &std::fs::Metadata) -> Option<u32> {
    Some(std::os::unix::fs::MetadataExt::uid(metadata))
}

/// The owner of a file; `None` where the platform has no user ids.
#[cfg(not(unix))]
pub(super) fn owner(_metadata: &std::fs::Metadata) -> Option<u32> {
    None
}

/// The database URL of `path`, which must be valid Unicode to stand in one.
pub(super) fn sqlite_url(path: &Path) -> Option<String> {
    path.to_str().map(|path| format!("sqlite://{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_read_from_the_line_of_its_user() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n#odd\nann:x:1000:1000:Ann,,,:/home/ann:/bin/zsh\nbad:x:7:7::rel:/x\n";
        assert_eq!(home_in_passwd(passwd, 1000), Some(PathBuf::from("/home/ann")));
        assert_eq!(home_in_passwd(passwd, 0), Some(PathBuf::from("/root")));
        assert_eq!(home_in_passwd(passwd, 7), None);
        assert_eq!(home_in_passwd(passwd, 100), None);
    }
}
