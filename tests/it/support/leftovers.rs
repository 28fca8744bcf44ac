//! What a server that did not end in order may leave, and who takes it away.

use std::fs;

use rustix::process::Pid;

use super::{Pmctl, Registry, Server, Upstream, free_port, wait_until};

/// The guardian of a ready server.
#[track_caller]
pub fn guardian(server: &Server) -> Pid {
    wait_until("a guardian", || server.guardian().ok_or_else(|| format!("none\n{server}")))
}

pub fn is_there(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // Nobody waits for an orphan at once: a zombie is gone.
    stat.is_ok_and(|stat| {
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
    })
}

#[track_caller]
pub fn wait_gone(pid: Pid) {
    wait_until("the guardian's end", || match is_there(pid) {
        true => Err(format!("{pid:?} is there")),
        false => Ok(()),
    });
}

/// The events of `actor`, as actions.
pub fn events_by(pmctl: &Pmctl, actor: &str) -> Vec<String> {
    let document = pmctl.json(&["--direct", "events", "-n", "1000"]);
    let events = document["events"].as_array().expect("events").iter();
    let own = events.filter(|event| event["actor"] == actor);
    own.map(|event| event["action"].as_str().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
pub fn assert_all_stopped(pmctl: &Pmctl) {
    for (name, (_, actual)) in pmctl.rows() {
        assert_eq!(actual, "stopped", "{name}");
    }
}

/// A sandbox with a registry and one announced service, and its instance's path.
pub fn announced() -> (Pmctl, Registry, Upstream, u16, String) {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    let registry = Registry::start(&pmctl, &[]);
    let pmctl =
        pmctl.with("PMCTL_EUREKA_URL", &registry.url()).with("PMCTL_ADVERTISE", "127.0.0.1");
    pmctl.add("shop", port, &upstream.url());
    let own = format!("/apps/SHOP/127.0.0.1:shop:{port}");
    (pmctl, registry, upstream, port, own)
}

#[track_caller]
pub fn wait_status(registry: &Registry, path: &str, status: u16) {
    wait_until(&format!("{status} for {path}"), || match registry.ask("GET", path, "").status {
        found if found == status => Ok(()),
        other => Err(other.to_string()),
    });
}
