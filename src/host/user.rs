//! Names of users and of this machine.

#[cfg(unix)]
use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::path::PathBuf;

/// The name of the user this process runs as; the uid in digits where it has no name.
#[cfg(unix)]
pub fn current_user_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    UserNames::read().of(uid).unwrap_or_else(|| uid.to_string())
}

/// The name of the user this process runs as; `unknown` where the system does not say.
#[cfg(not(unix))]
pub fn current_user_name() -> String {
    std::env::var("USERNAME").unwrap_or_else(|_| "unknown".to_owned())
}

/// The name of this machine; `localhost` where it has none.
pub fn hostname() -> String {
    #[cfg(not(windows))]
    let name = sysinfo::System::host_name().unwrap_or_default();
    #[cfg(windows)]
    let name = super::platform::hostname();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The users this machine knows itself. Users of a directory service are not among them: asking one
/// could take seconds.
#[cfg(unix)]
pub(super) struct UserNames(BTreeMap<u32, User>);

#[cfg(unix)]
struct User {
    name: String,
    #[cfg(target_os = "linux")]
    gid: Option<u32>,
    #[cfg(target_os = "linux")]
    home: Option<PathBuf>,
}

#[cfg(unix)]
impl UserNames {
    /// From `/etc/passwd`; the first of several names of one uid counts, as it does for the system.
    #[cfg(not(target_os = "macos"))]
    pub(super) fn read() -> Self {
        Self::parse(&std::fs::read("/etc/passwd").unwrap_or_default())
    }

    /// From the system's directory.
    #[cfg(target_os = "macos")]
    pub(super) fn read() -> Self {
        let users = sysinfo::Users::new_with_refreshed_list().ok();
        let users = users.iter().flatten();
        Self(users.map(|user| (**user.id(), User { name: user.name().to_owned() })).collect())
    }

    /// Lines of name, password, uid, gid, a comment, home, shell.
    #[cfg(not(target_os = "macos"))]
    fn parse(passwd: &[u8]) -> Self {
        let mut users = BTreeMap::new();
        for line in String::from_utf8_lossy(passwd).lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let uid = fields.get(2).and_then(|uid| uid.parse::<u32>().ok());
            if let (Some(name), Some(uid)) = (fields.first(), uid) {
                users.entry(uid).or_insert_with(|| User {
                    name: (*name).to_owned(),
                    #[cfg(target_os = "linux")]
                    gid: fields.get(3).and_then(|gid| gid.parse().ok()),
                    #[cfg(target_os = "linux")]
                    home: fields.get(5).filter(|home| home.starts_with('/')).map(PathBuf::from),
                });
            }
        }
        Self(users)
    }

    pub(super) fn of(&self, uid: u32) -> Option<String> {
        self.0.get(&uid).map(|user| user.name.clone())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn home_of(&self, uid: u32) -> Option<PathBuf> {
        self.0.get(&uid)?.home.clone()
    }

    /// Whether that user is in group `name`, as these lines of name, password, gid and members
    /// say.
    #[cfg(target_os = "linux")]
    fn is_in_group(&self, uid: u32, name: &str, groups: &[u8]) -> Option<bool> {
        let groups = String::from_utf8_lossy(groups);
        let groups = || groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let gid = |fields: &[&str]| fields.get(2).and_then(|gid| gid.parse::<u32>().ok());
        let named = groups().find(|fields| fields.first() == Some(&name));
        let wanted = named.map_or_else(|| name.parse().ok(), |fields| gid(&fields))?;
        // Of a user that only a directory service knows it cannot be told.
        let user = self.0.get(&uid)?;
        let lists = |fields: Vec<&str>| {
            let members = fields.get(3).copied().unwrap_or_default();
            gid(&fields) == Some(wanted) && members.split(',').any(|m| m.trim() == user.name)
        };
        Some(user.gid == Some(wanted) || groups().any(lists))
    }
}

#[cfg(target_os = "linux")]
pub(super) fn is_in_group(uid: u32, name: &str) -> Option<bool> {
    UserNames::read().is_in_group(uid, name, &std::fs::read("/etc/group").ok()?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_in_group(_uid: u32, _name: &str) -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn names_are_read_from_lines_that_have_one() {
        let names = UserNames::parse(
            b"root:x:0:0::/root:/bin/sh\n#no\n\nmysql:x:99:1::/:/bin/false\ntoor:x:0:0::/:/\nq:x:a",
        );
        assert_eq!(names.of(0).as_deref(), Some("root"));
        assert_eq!(names.of(99).as_deref(), Some("mysql"));
        assert_eq!(names.of(1), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_member_is_one_by_primary_group_or_by_the_list() {
        let users = UserNames::parse(b"a:x:1:10:,,,:/home/a:/bin/sh\nb:x:2:20::/:\nc:x:3:30::x:");
        let groups = b"staff:x:10:b, c\n#\nempty:x:11:\n12:x:20:\nbroken:x:y:a\n";
        let is_in = |uid, name| users.is_in_group(uid, name, groups);
        assert_eq!(is_in(1, "staff"), Some(true), "primary");
        assert_eq!(is_in(2, "staff"), Some(true), "listed");
        assert_eq!(is_in(3, "10"), Some(true), "listed, asked by number");
        assert_eq!(is_in(1, "empty"), Some(false));
        assert_eq!(is_in(2, "12"), Some(true), "a name in digits comes before a number");
        assert_eq!(is_in(3, "30"), Some(true), "a primary group without a line");
        for (uid, name) in [(1, "none"), (1, ""), (9, "staff"), (1, "broken")] {
            assert_eq!(is_in(uid, name), None, "{uid} {name}");
        }
        assert_eq!(users.home_of(1).unwrap(), std::path::Path::new("/home/a"));
        assert_eq!(users.home_of(3), None);
    }

    #[test]
    fn this_machine_and_this_user_have_names() {
        assert!(!hostname().is_empty());
        assert!(!current_user_name().is_empty());
    }
}
