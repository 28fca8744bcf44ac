//! What a container's runtime or a unit's manager grants a stop.

use std::path::Path;
use std::time::Duration;

use crate::host::grace::{StopGrace, Stopper};

use super::keeper::own_unit;

/// `docker stop`, `podman stop`: ten seconds unless told otherwise.
const CONTAINER: Duration = Duration::from_secs(10);

/// `terminationGracePeriodSeconds` of a pod, unless it says otherwise.
const POD: Duration = Duration::from_secs(30);

/// `DefaultTimeoutStopSec` of systemd.
const UNIT: Duration = Duration::from_secs(90);

pub(in crate::host) fn stop_grace() -> Option<StopGrace> {
    let env = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if crate::host::manager::can_be_told() {
        // It is told how much longer it takes.
        return None;
    }
    if let Some(grace) = of_container(Path::new("/"), &env) {
        return Some(grace);
    }
    // Only a process that the unit started: a shell in a user's session is in a unit, too.
    let unit = env("INVOCATION_ID").then(own_unit).flatten()?;
    let grace = unit.stop_timeout().map_or(Some(UNIT), |written| span(&written));
    Some(StopGrace { by: Stopper::Unit(unit.name), grace: grace? })
}

/// By the files that runtimes leave in a container (its control group does not show it from inside).
fn of_container(root: &Path, env: &dyn Fn(&str) -> bool) -> Option<StopGrace> {
    let of = |name, grace| Some(StopGrace { by: Stopper::Container(name), grace });
    if env("KUBERNETES_SERVICE_HOST") {
        return of("kubernetes", POD);
    }
    if root.join(".dockerenv").exists() {
        return of("docker", CONTAINER);
    }
    if root.join("run/.containerenv").exists() {
        return of("podman", CONTAINER);
    }
    None
}

/// A time span of systemd (systemd.time(7)): `90`, `1min 30s`; `None` for `infinity`, and for what
/// cannot be read, which grants who knows what.
fn span(written: &str) -> Option<Duration> {
    let written = written.trim();
    match written.parse::<u64>() {
        // Zero is no bound.
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(written).ok().filter(|span| !span.is_zero()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_what_its_runtime_leaves_in_it() {
        let found = |file: &str, variable: &str| {
            let root = tempfile::tempdir().unwrap();
            if !file.is_empty() {
                let file = root.path().join(file);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, "").unwrap();
            }
            let grace = of_container(root.path(), &|name| name == variable)?;
            let Stopper::Container(name) = grace.by else { panic!("{grace:?}") };
            Some((name, grace.grace.as_secs()))
        };
        assert_eq!(found("", ""), None);
        assert_eq!(found(".dockerenv", ""), Some(("docker", 10)));
        assert_eq!(found("run/.containerenv", ""), Some(("podman", 10)));
        assert_eq!(found(".dockerenv", "KUBERNETES_SERVICE_HOST"), Some(("kubernetes", 30)));
    }

    #[test]
    fn a_span_is_read_as_systemd_reads_it() {
        let secs = |written| span(written).map(|span| span.as_secs());
        assert_eq!(secs("5"), Some(5));
        assert_eq!(secs("1min 30s"), Some(90));
        assert_eq!(secs(" 2min"), Some(120));
        for unbounded in ["infinity", "0", "", "soon"] {
            assert_eq!(secs(unbounded), None, "{unbounded:?}");
        }
    }
}
