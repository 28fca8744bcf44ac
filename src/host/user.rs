//! Names of users and of this machine.

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
    let name = sysinfo::System::host_name().unwrap_or_default();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The names of the users this machine knows itself. Users of a directory service have none here:
/// asking one could take seconds.
#[cfg(unix)]
pub(super) struct UserNames(std::collections::BTreeMap<u32, String>);

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
        Self(users.map(|user| (**user.id(), user.name().to_owned())).collect())
    }

    #[cfg(not(target_os = "macos"))]
    fn parse(passwd: &[u8]) -> Self {
        let mut names = std::collections::BTreeMap::new();
        for line in String::from_utf8_lossy(passwd).lines() {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next(), fields.nth(1));
            if let (Some(name), Some(Ok(uid))) = (name, uid.map(str::parse::<u32>)) {
                names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        Self(names)
    }

    pub(super) fn of(&self, uid: u32) -> Option<String> {
        self.0.get(&uid).cloned()
    }
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
    fn this_machine_and_this_user_have_names() {
        assert!(!hostname().is_empty());
        assert!(!current_user_name().is_empty());
    }
}
