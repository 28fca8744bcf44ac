//! What the files of a unit of systemd say: whether it is started again after an ordinary end, how
//! long it may take to stop (systemd.unit(5),
//! systemd.service(5)). No manager is asked: it might not answer, and needs no telling that we look.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the units of the system stand, the most important place first.
pub(super) fn system_roots() -> Vec<PathBuf> {
    [
        "/etc/systemd/system.control",
        "/run/systemd/system.control",
        "/run/systemd/transient",
        "/run/systemd/generator.early",
        "/etc/systemd/system",
        "/run/systemd/system",
        "/run/systemd/generator",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/run/systemd/generator.late",
    ]
    .map(PathBuf::from)
    .to_vec()
}

/// Where the units of a user's own manager stand, the most important place first.
pub(super) fn user_roots(uid: u32, home: Option<&Path>) -> Vec<PathBuf> {
    let in_home = |path: &str| home.map(|home| home.join(path));
    let runtime = |path: &str| Some(PathBuf::from(format!("/run/user/{uid}/systemd/{path}")));
    let system = |path: &str| Some(PathBuf::from(path));
    let roots = [
        in_home(".config/systemd/user.control"),
        runtime("user.control"),
        runtime("transient"),
        runtime("generator.early"),
        in_home(".config/systemd/user"),
        system("/etc/systemd/user"),
        runtime("user"),
        system("/run/systemd/user"),
        runtime("generator"),
        in_home(".local/share/systemd/user"),
        system("/usr/local/share/systemd/user"),
        system("/usr/share/systemd/user"),
        system("/usr/local/lib/systemd/user"),
        system("/usr/lib/systemd/user"),
        system("/lib/systemd/user"),
        runtime("generator.late"),
    ];
    roots.into_iter().flatten().collect()
}

/// Whether the unit is started again after it ended by `TERM`, which counts as a success; `None`
/// where none of `roots` has a file of it that can be read.
pub(super) fn restarts(name: &str, roots: &[PathBuf]) -> Option<bool> {
    let restart = setting(name, roots, &["Restart"])?;
    Some(matches!(restart.as_deref(), Some("always" | "on-success")))
}

/// How long the unit may take to stop, as written; the inner `None` where its files do not say, the
/// outer one where there are none that can be read.
pub(super) fn stop_timeout(name: &str, roots: &[PathBuf]) -> Option<Option<String>> {
    setting(name, roots, &["TimeoutStopSec", "TimeoutSec"])
}

/// The last setting of any of these names in the section `[Service]` of the unit.
fn setting(name: &str, roots: &[PathBuf], keys: &[&str]) -> Option<Option<String>> {
    let names = names(name);
    let main = names
        .iter()
        .find_map(|name| roots.iter().find_map(|root| fs::read_to_string(root.join(name)).ok()))?;
    let mut value = value_of(&main, keys);
    for file in drop_ins(&names, roots).values() {
        match fs::read_to_string(file) {
            Ok(text) => value = value_of(&text, keys).or(value),
            // It may say anything.
            Err(_) => return None,
        }
    }
    Some(value)
}

/// The file of `a@b.service` may be that of `a@.service`.
fn names(name: &str) -> Vec<String> {
    let template = name.split_once('@').and_then(|(before, after)| {
        let (_, kind) = after.rsplit_once('.')?;
        Some(format!("{before}@.{kind}"))
    });
    [name.to_owned()].into_iter().chain(template).collect()
}

/// The files that add to a unit, by name: of several with the same name the most important counts,
/// and later names overrule earlier ones.
fn drop_ins(names: &[String], roots: &[PathBuf]) -> BTreeMap<std::ffi::OsString, PathBuf> {
    let mut files = BTreeMap::new();
    let general = ["service".to_owned()];
    for root in roots {
        for name in names.iter().chain(&general) {
            let entries = fs::read_dir(root.join(format!("{name}.d")));
            for entry in entries.into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "conf") {
                    files.entry(entry.file_name()).or_insert(path);
                }
            }
        }
    }
    files
}

/// The last such line of the section `[Service]`; an empty one takes back what stood before.
fn value_of(text: &str, keys: &[&str]) -> Option<String> {
    let mut is_service = false;
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_service = line == "[Service]";
        } else if is_service
            && let Some((key, value)) = line.split_once('=')
            && keys.contains(&key.trim_end())
        {
            last = Some(value.trim().to_owned());
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Roots(tempfile::TempDir);

    impl Roots {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, path: &str, text: &str) -> &Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn restarts(&self, name: &str) -> Option<bool> {
            restarts(name, &[self.0.path().join("etc"), self.0.path().join("usr")])
        }
    }

    #[test]
    fn only_what_follows_a_success_restarts() {
        for (value, restarts) in [
            ("always", true),
            (" on-success ", true),
            ("on-failure", false),
            ("no", false),
            ("", false),
        ] {
            let roots = Roots::new();
            roots.write("usr/a.service", &format!("[Service]\nExecStart=x\nRestart={value}\n"));
            assert_eq!(roots.restarts("a.service"), Some(restarts), "{value}");
        }
        let roots = Roots::new();
        roots.write("usr/a.service", "[Unit]\nRestart=always\n#Restart=always\n[Service]\n");
        assert_eq!(roots.restarts("a.service"), Some(false), "no such line of the section");
        assert_eq!(roots.restarts("b.service"), None, "no file");
    }

    #[test]
    fn the_more_important_file_counts_and_drop_ins_overrule_it() {
        let roots = Roots::new();
        roots.write("usr/a.service", "[Service]\nRestart=no\n");
        roots.write("etc/a.service", "[Service]\nRestart=no\nRestart=always\n");
        assert_eq!(roots.restarts("a.service"), Some(true));
        roots.write("usr/a.service.d/20-no.conf", "[Service]\nRestart=no\n");
        assert_eq!(roots.restarts("a.service"), Some(false));
        roots.write("etc/a.service.d/10-early.conf", "[Service]\nRestart=always\n");
        assert_eq!(roots.restarts("a.service"), Some(false), "a later name overrules");
        roots.write("etc/a.service.d/20-no.conf", "[Service]\n# nothing any more\n");
        assert_eq!(roots.restarts("a.service"), Some(true), "the same name hides");
        roots.write("etc/a.service.d/30.conf", "[Service]\nRestart=\n");
        assert_eq!(roots.restarts("a.service"), Some(false), "an empty one takes it back");
        roots.write("etc/a.service.d/40.txt", "[Service]\nRestart=always\n");
        assert_eq!(roots.restarts("a.service"), Some(false), "no drop-in");
    }

    #[test]
    fn the_bound_of_a_stop_is_the_last_that_is_written() {
        let roots = Roots::new();
        let of = |name: &str| stop_timeout(name, &[roots.0.path().join("usr")]);
        roots.write("usr/a.service", "[Service]\nTimeoutStopSec=5\nTimeoutSec=1min\n");
        assert_eq!(of("a.service"), Some(Some("1min".into())));
        roots.write("usr/b.service", "[Service]\nTimeoutStartSec=5\n");
        assert_eq!((of("b.service"), of("c.service")), (Some(None), None));
    }

    #[test]
    fn an_instance_follows_its_template() {
        let roots = Roots::new();
        roots.write("usr/web@.service", "[Service]\nRestart=always\n");
        assert_eq!(roots.restarts("web@eu.1.service"), Some(true));
        roots.write("etc/web@eu.1.service.d/a.conf", "[Service]\nRestart=no\n");
        assert_eq!(roots.restarts("web@eu.1.service"), Some(false));
        assert_eq!(roots.restarts("web@us.service"), Some(true));
    }
}
