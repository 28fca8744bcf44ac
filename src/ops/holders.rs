//! Holders of ports as every operation looks them up, shows them and names them in a sentence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::faults::{host_fault, stopped_fault};
use super::machine::Machine;
use crate::host::{Holder, Holding};
use crate::model::{Fault, HolderDetails, HolderView, Keeper, Port, masked};

/// Asks the machine something on a blocking thread: it reads files and netlink.
pub(super) async fn ask<T: Send + 'static>(
    machine: &Arc<dyn Machine>,
    question: impl FnOnce(&dyn Machine) -> T + Send + 'static,
) -> Result<T, Fault> {
    let machine = machine.clone();
    let answer = tokio::task::spawn_blocking(move || question(machine.as_ref())).await;
    answer.map_err(|_| stopped_fault())
}

/// Who listens on each of `ports`; see [`Machine::holders`] for `known`.
pub(super) async fn look(
    machine: &Arc<dyn Machine>,
    ports: BTreeSet<Port>,
    known: Vec<u32>,
) -> Result<BTreeMap<Port, Holding>, Fault> {
    ask(machine, move |machine| machine.holders(&ports, &known)).await?.map_err(host_fault)
}

/// More about every holder, by pid, each asked for once. Blocks.
pub(super) fn details_of(
    machine: &dyn Machine,
    held: &BTreeMap<Port, Holding>,
) -> BTreeMap<u32, HolderDetails> {
    let mut seen: BTreeMap<u32, &Holder> = BTreeMap::new();
    for holding in held.values() {
        seen.extend(holding.seen().iter().map(|holder| (holder.identity.pid, holder)));
    }
    let holders: Vec<Holder> = seen.into_values().cloned().collect();
    let details = machine.details(&holders);
    holders.iter().map(|holder| holder.identity.pid).zip(details).collect()
}

/// The details of a holder of `port`, beside which its other ports are told.
pub(super) fn beside(port: Port, details: &HolderDetails) -> HolderDetails {
    let mut details = details.clone();
    details.other_ports.remove(&port);
    details
}

/// The holder as reports show it.
pub(super) fn view(holder: &Holder, details: Option<HolderDetails>) -> HolderView {
    HolderView {
        pid: holder.identity.pid,
        user: holder.user.clone(),
        command: holder.command.as_deref().map(masked),
        start_time: holder.started_at,
        details,
    }
}

/// `node server.js (pid 4242, user ann)`; the command line is cut, it may be very long, and kept on
/// one line, because it is anybody's and ends up in the log.
pub(super) fn name(holder: &Holder) -> String {
    let user = holder.user.as_deref().unwrap_or("?");
    format!("{} (pid {}, user {user})", short_command(holder), holder.identity.pid)
}

/// [`name`] with what tells the process apart from every other one.
pub(super) fn full_name(holder: &Holder) -> String {
    let user = holder.user.as_deref().unwrap_or("?");
    let identity = &holder.identity;
    format!("{} ({identity}, user {user})", short_command(holder))
}

/// The names of all of them.
pub(super) fn names<'a>(holders: impl IntoIterator<Item = &'a Holder>) -> String {
    holders.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

fn short_command(holder: &Holder) -> String {
    const LONGEST: usize = 60;
    let command = masked(holder.command.as_deref().unwrap_or("?"));
    let mut shown = String::new();
    for c in command.chars().take(LONGEST) {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    if command.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The command that really frees a port of what `keeper` keeps.
pub(super) fn keeper_command(keeper: &Keeper, port: Port) -> String {
    match keeper {
        Keeper::Unit { name, user: true, .. } => format!("systemctl --user stop {name}"),
        Keeper::Unit { name, user: false, .. } => format!("systemctl stop {name}"),
        Keeper::Container { runtime, id } => match runtime.as_str() {
            "podman" => format!("podman stop {id}"),
            "lxc" => format!("lxc-stop -n {id}"),
            "kubernetes" | "containerd" | "cri-o" | "crio" => format!("crictl stop {id}"),
            _ => format!("docker stop {id}"),
        },
        Keeper::Forwarder { runtime } => match runtime.as_str() {
            "podman" => "podman port --all".to_owned(),
            "wsl" => format!("wsl -- ss -ltnp sport = :{port}"),
            _ => format!("docker ps --filter publish={port}"),
        },
    }
}

/// The command that frees a port of whoever has it, for a caller with the rights to.
pub(super) fn with_rights(port: Port) -> String {
    match cfg!(unix) {
        true => format!("sudo pmctl ports kill {port} --force"),
        false => format!("pmctl ports kill {port} --force"),
    }
}

/// The command of the system itself that shows who has a port, for a caller with the rights to see
/// it.
pub(super) fn by_hand(port: Port) -> String {
    if cfg!(windows) {
        format!("netstat -ano | findstr :{port}")
    } else {
        format!("sudo lsof -nP -iTCP:{port} -sTCP:LISTEN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProcessIdentity, Timestamp};

    #[test]
    fn a_command_line_that_would_forge_lines_of_a_log_is_named_on_one() {
        let identity =
            ProcessIdentity { boot_id: "b".into(), pid_namespace: 1, pid: 7, start_time: 1 };
        let holder = |command: &str| Holder {
            identity: identity.clone(),
            uid: None,
            user: Some("ann".into()),
            command: Some(command.to_owned()),
            started_at: Some(Timestamp::from_millis(0)),
        };
        let named = name(&holder("evil\n\u{1b}[31m"));
        assert_eq!(named, "evil\\n\\u{1b}[31m (pid 7, user ann)");
        assert!(name(&holder(&"订".repeat(61))).starts_with(&"订".repeat(60)));
        let named = full_name(&holder("app --token abc"));
        assert_eq!(named, "app --token *** (pid 7 (started 1), user ann)");
    }
}
