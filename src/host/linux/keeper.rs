//! Who starts a process again or stands behind its port: a unit of systemd, a container, or a
//! container runtime whose forwarder it is. Told by control group and program name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::forwarder::forwards_for;
use crate::host::user::UserNames;
use crate::model::Keeper;

use super::unit;

/// How runtimes name the scope (`docker-ID.scope`) of a container.
const SCOPES: &[(&str, &str)] = &[
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "nerdctl"),
    ("crio-", "cri-o"),
];

/// An id in full has 64 digits, and never fewer than are shown.
const SHOWN_ID: usize = 12;

pub(super) struct Keepers {
    /// Where this process is itself: what it shares with a holder does not set that one apart.
    own: Place,
    users: UserNames,
}

impl Keepers {
    pub(super) fn of_this_machine() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self { own: Place::of(&own), users: UserNames::read() }
    }

    pub(super) fn of(&self, pid: u32, executable: Option<&Path>, name: &str) -> Option<Keeper> {
        if let Some(runtime) = forwards_for(executable, name) {
            return Some(Keeper::Forwarder { runtime: runtime.to_owned() });
        }
        let place = Place::of(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?);
        self.of_place(place, |name, user| unit::restarts(name, &roots(&self.users, user)))
    }

    fn of_place(
        &self,
        place: Place,
        restarts: impl Fn(&str, Option<u32>) -> Option<bool>,
    ) -> Option<Keeper> {
        if let Some(Container { runtime, id }) = &place.container
            && place.container != self.own.container
        {
            let id = if is_hex(id) { id.get(..SHOWN_ID).unwrap_or(id) } else { id };
            let (runtime, id) = ((*runtime).to_owned(), id.to_owned());
            return Some(Keeper::Container { runtime, id });
        }
        let unit = place.unit.filter(|unit| Some(unit) != self.own.unit.as_ref())?;
        let restarts = restarts(&unit.name, unit.user);
        Some(Keeper::Unit { name: unit.name, user: unit.user.is_some(), restarts })
    }
}

fn roots(users: &UserNames, user: Option<u32>) -> Vec<PathBuf> {
    match user {
        None => unit::system_roots(),
        Some(uid) => unit::user_roots(uid, users.home_of(uid).as_deref()),
    }
}

/// The unit that this process is of.
pub(super) struct OwnUnit {
    pub(super) name: String,
    user: Option<u32>,
}

pub(super) fn own_unit() -> Option<OwnUnit> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let Unit { name, user } = Place::of(&own).unit?;
    Some(OwnUnit { name, user })
}

impl OwnUnit {
    /// How long it may take to stop, as its files say.
    pub(super) fn stop_timeout(&self) -> Option<String> {
        unit::stop_timeout(&self.name, &roots(&UserNames::read(), self.user)).flatten()
    }
}

/// Where a process is, as its control groups show it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    container: Option<Container>,
    unit: Option<Unit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Container {
    runtime: &'static str,
    id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    name: String,
    /// Of this user's own manager.
    user: Option<u32>,
}

impl Place {
    /// From lines of a number, controllers and a path (cgroups(7)). A container may show in any of
    /// them; a unit shows in the hierarchy of systemd itself or in the unified one.
    fn of(cgroup: &str) -> Self {
        let lines = || {
            cgroup.lines().filter_map(|line| {
                let (_, rest) = line.split_once(':')?;
                rest.split_once(':')
            })
        };
        let of_manager = |(controllers, _): &(&str, &str)| {
            matches!(*controllers, "" | "name=systemd" | "name=elogind")
        };
        Self {
            container: lines().find_map(|(_, path)| container(path)),
            unit: lines().filter(of_manager).find_map(|(_, path)| unit_of(path)),
        }
    }
}

/// The outermost container of a path: that one's runtime is the one of this machine.
fn container(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.iter().enumerate().find_map(|(at, part)| {
        let before = at.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or_default();
        let of = |runtime, id: &str| Some(Container { runtime, id: id.to_owned() });
        let bare = part.strip_suffix(".scope").unwrap_or(part);
        for (prefix, runtime) in SCOPES {
            if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_hex(id)) {
                return of(runtime, id);
            }
        }
        if let Some(name) = part.strip_prefix("lxc.payload.") {
            return of("lxc", name);
        }
        match before {
            "docker" if is_hex(part) => of("docker", part),
            "lxc" => of("lxc", part),
            // The pods of Kubernetes without systemd.
            _ if is_hex(part) && part.len() == 64 && parts.first() == Some(&"kubepods") => {
                of("container", part)
            }
            _ => None,
        }
    })
}

fn is_hex(id: &str) -> bool {
    id.len() >= SHOWN_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The innermost service of a path; a manager of a user's units is none of them.
fn unit_of(path: &str) -> Option<Unit> {
    let user = path.split('/').find_map(manager_of);
    let name = path.split('/').rfind(|part| part.ends_with(".service"))?;
    let name = manager_of(name).is_none().then(|| unescaped(name))?;
    Some(Unit { name, user })
}

/// Of `user@UID.service`.
fn manager_of(part: &str) -> Option<u32> {
    part.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}

/// A name that would look like a file of the kernel's own has an underscore before it.
fn unescaped(part: &str) -> String {
    part.strip_prefix('_').unwrap_or(part).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4a5b6c7d8e9f001122334455667788990011223344556677889900aabbccdd";

    fn unit(cgroup: &str) -> Option<(String, Option<u32>)> {
        Place::of(cgroup).unit.map(|unit| (unit.name, unit.user))
    }

    #[test]
    fn a_service_is_told_from_a_session_and_from_a_users_manager() {
        let nginx = Some(("nginx.service".to_owned(), None));
        assert_eq!(unit("0::/system.slice/nginx.service\n"), nginx);
        assert_eq!(unit("0::/system.slice/nginx.service/workers\n"), nginx);
        let v1 = "4:memory:/system.slice/other.service\n1:name=systemd:/system.slice/nginx.service";
        assert_eq!(unit(v1), nginx);
        assert_eq!(unit("1:name=systemd:/\n0::/system.slice/nginx.service\n"), nginx);
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/api.service\n";
        assert_eq!(unit(own), Some(("api.service".to_owned(), Some(1000))));
        for none in [
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n",
            "0::/init.scope\n",
            "0::/\n",
            "nonsense",
            "",
        ] {
            assert_eq!(unit(none), None, "{none}");
        }
    }

    #[test]
    fn a_container_is_told_with_its_runtime() {
        for (path, runtime) in [
            ("/docker/ID", "docker"),
            ("/system.slice/docker-ID.scope", "docker"),
            ("/docker/ID/system.slice/nginx.service", "docker"),
            ("/machine.slice/libpod-ID.scope/container", "podman"),
            ("/user.slice/user-9.slice/user@9.service/user.slice/libpod-ID.scope", "podman"),
            ("/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope", "containerd"),
            ("/kubepods/burstable/pod1234/ID", "container"),
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", "cri-o"),
        ] {
            let line = format!("0::{}\n", path.replace("ID", ID));
            let expected = Container { runtime, id: ID.to_owned() };
            assert_eq!(Place::of(&line).container, Some(expected), "{line}");
            let with_others = format!("9:cpu:{}\n0::/\n", path.replace("ID", ID));
            assert!(Place::of(&with_others).container.is_some());
        }
        let lxc = Place::of("0::/lxc.payload.web/system.slice/x.service").container.unwrap();
        assert_eq!((lxc.runtime, lxc.id.as_str()), ("lxc", "web"));
        for none in ["/system.slice/docker.service", "/docker/buildkit", "/libpod-conmon-ID.scope"]
        {
            let line = format!("0::{}\n", none.replace("ID", ID));
            assert_eq!(Place::of(&line).container, None, "{line}");
        }
    }

    #[test]
    fn what_this_process_is_in_itself_is_no_keeper() {
        let there = |own: &str, cgroup: &str| {
            let keepers = Keepers { own: Place::of(own), users: UserNames::read() };
            keepers.of_place(Place::of(cgroup), |_, _| Some(true))
        };
        let docker = format!("0::/docker/{ID}\n");
        let expected = Keeper::Container { runtime: "docker".into(), id: ID[..12].into() };
        assert_eq!(there("0::/\n", &docker), Some(expected));
        assert_eq!(there(&docker, &docker), None);
        let inside = format!("0::/docker/{ID}/system.slice/nginx.service\n");
        let unit =
            |name: &str| Keeper::Unit { name: name.into(), user: false, restarts: Some(true) };
        assert_eq!(there(&docker, &inside), Some(unit("nginx.service")));
        let terminal = "0::/system.slice/terminal.service\n";
        assert_eq!(there(terminal, terminal), None);
        assert_eq!(there(&inside, terminal), Some(unit("terminal.service")));
    }
}
