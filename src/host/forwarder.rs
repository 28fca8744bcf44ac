//! Programs that only forward a port, for a container or a virtual machine that the process behind it
//! runs in.

use std::path::Path;

/// Each with the runtime it does it for. `conmon` is none: it watches a container and ends with it.
const FORWARDERS: &[(&str, &str)] = &[
    ("docker-proxy", "docker"),
    ("rootlesskit", "docker"),
    ("com.docker.backend", "docker"),
    ("vpnkit", "docker"),
    ("rootlessport", "podman"),
    ("rootlessport-child", "podman"),
    ("slirp4netns", "podman"),
    ("pasta", "podman"),
    ("passt", "podman"),
    ("gvproxy", "podman"),
    ("wslrelay", "wsl"),
];

/// Linux cuts the name of a process to this.
const NAME_BYTES: usize = 15;

/// The runtime that a program forwards ports for. The file's name is the better one: a process can
/// change its own.
pub(super) fn forwards_for(executable: Option<&Path>, name: &str) -> Option<&'static str> {
    let file = executable.and_then(Path::file_name).and_then(|name| name.to_str()).map(bare);
    let matches = |program: &str| match file {
        Some(file) => file == program,
        None => bare(name) == program || name == program.get(..NAME_BYTES).unwrap_or(program),
    };
    FORWARDERS.iter().find(|(program, _)| matches(program)).map(|(_, runtime)| *runtime)
}

/// Without what systems add: Linux to a file that is gone, Windows to every program; `.avx2` is one of
/// several builds for newer processors.
fn bare(file: &str) -> &str {
    [" (deleted)", ".exe", ".avx2"]
        .iter()
        .fold(file, |file, suffix| file.strip_suffix(suffix).unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarder_is_told_by_its_file_and_without_one_by_its_name() {
        let of =
            |file: &str, name| forwards_for((!file.is_empty()).then_some(Path::new(file)), name);
        assert_eq!(of("/usr/bin/docker-proxy", "x"), Some("docker"));
        assert_eq!(of("/usr/bin/passt.avx2", "pasta"), Some("podman"));
        assert_eq!(of("/usr/bin/docker-proxy (deleted)", "x"), Some("docker"));
        assert_eq!(of("/c/wslrelay.exe", "wslrelay.exe"), Some("wsl"));
        assert_eq!(of("", "com.docker.back"), Some("docker"));
        assert_eq!(of("", "com.docker.backend.exe"), Some("docker"));
        assert_eq!(of("", "docker-proxy"), Some("docker"));
        assert_eq!(of("/usr/bin/sleep", "docker-proxy"), None, "only called so");
        assert_eq!(of("/usr/bin/conmon", "conmon"), None);
    }
}
