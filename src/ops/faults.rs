//! What a failure of the store or of this machine means to the person who asked: a sentence that
//! says what happened, to what, and what to do.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::holders;
use super::machine::{Machine, ThisMachine};
use crate::host::{BindFailure, Holder, Holding, HostError};
use crate::model::{Fault, FaultKind, Keeper, Port};
use crate::store::{LEAST_TOKEN, StoreError, TokenFileError};
use crate::text::{self, Message};

use FaultKind::{Denied, Exists, Internal, NotFound, Precondition, Unavailable, Usage};

/// The fault of a failed store operation.
pub fn store_fault(error: StoreError) -> Fault {
    let (kind, message) = store_sentence(&error);
    // The sentences about services and ports say it all; what the operating system or SQLite said
    // belongs below the others.
    match error {
        StoreError::NameTaken { .. }
        | StoreError::PortTaken { .. }
        | StoreError::Postgres
        | StoreError::TargetActive { .. } => Fault::new(kind, message),
        _ => Fault::caused(kind, message, &error),
    }
}

fn store_sentence(error: &StoreError) -> (FaultKind, Message) {
    let shown = |path: &Path| path.display().to_string();
    match error {
        StoreError::Url { .. } => (Usage, text::ops::database_url_scheme("…")),
        StoreError::Postgres => (Usage, text::ops::database_url_postgres()),
        StoreError::Scheme { scheme } => {
            (Usage, text::ops::database_url_scheme(format!("{scheme}:")))
        }
        StoreError::IsDirectory { path } => (Usage, text::ops::database_is_directory(shown(path))),
        StoreError::NotAFile { path } | StoreError::Corrupt { path, .. } => {
            (Internal, text::ops::database_corrupt(shown(path)))
        }
        StoreError::NetworkFileSystem { path, .. } => {
            (Usage, text::ops::database_network(shown(path)))
        }
        StoreError::NoDatabase { .. } => (Unavailable, text::ops::no_database()),
        StoreError::NotOurs { path } => (Precondition, text::ops::database_foreign(shown(path))),
        StoreError::Permission { path, .. } | StoreError::Unclosed { path } => {
            (Denied, text::ops::database_no_access(shown(path)))
        }
        StoreError::ReadOnly { path } => (Denied, text::ops::database_read_only(shown(path))),
        StoreError::DiskFull { .. } => (Internal, text::ops::database_full()),
        StoreError::Moved { path } => (Internal, text::ops::database_moved(shown(path))),
        StoreError::Busy { .. } => (Unavailable, text::ops::database_busy()),
        StoreError::SchemaNewer { found, known } => {
            (Precondition, text::ops::database_newer(found, known))
        }
        StoreError::SchemaOld { found, known } => {
            (Precondition, text::ops::database_older(found, known))
        }
        StoreError::NameTaken { name } => (Exists, text::ops::service_exists(name)),
        StoreError::PortTaken { port, by } => (Exists, text::ops::port_registered(port, by)),
        StoreError::ServiceGone { id } => {
            (NotFound, text::model::service_not_found(format!("#{}", id.0)))
        }
        StoreError::TargetMissing { target } => {
            (NotFound, text::ops::target_unusable(target, "it does not exist"))
        }
        StoreError::TargetActive { target } => {
            (Precondition, text::ops::target_is_active(target, "?"))
        }
        StoreError::Migration { path, .. }
        | StoreError::WrongLock { path, .. }
        | StoreError::OpenedForReading { path }
        | StoreError::Io { path, .. }
        | StoreError::Sql { path, .. } => (Internal, text::ops::database_failed(shown(path))),
        StoreError::BadValue { table, .. } => (Internal, text::ops::database_failed(table)),
    }
}

/// The fault of a failed look at this machine's sockets.
pub(super) fn host_fault(error: HostError) -> Fault {
    Fault::caused(Internal, text::ops::processes_unreadable(), &error)
}

/// The fault of an answer that the end of the server cut short.
pub(super) fn stopped_fault() -> Fault {
    Fault::new(Unavailable, text::ops::server_stopped_meanwhile())
}

/// The fault of a port that could not be bound for another reason than being taken.
pub fn bind_fault(bind: Option<IpAddr>, port: Port, failure: BindFailure) -> Fault {
    match failure {
        BindFailure::InUse => Fault::new(Precondition, text::ops::port_taken_unknown(port)),
        BindFailure::Privileged => Fault::new(Denied, text::ops::port_privileged(port)),
        BindFailure::AddressNotHere => {
            let address = bind.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
            Fault::new(Usage, text::ops::address_not_here(address))
        }
        BindFailure::Other(error) => Fault::new(Internal, text::ops::port_bind_failed(port, error)),
    }
}

/// The fault of a port that somebody has, with the holder named where it is visible, and the one
/// command that helps.
pub async fn taken_port_fault(port: Port) -> Fault {
    let machine: Arc<dyn Machine> = Arc::new(ThisMachine);
    Fault::new(Precondition, taken_port(&machine, port).await)
}

async fn taken_port(machine: &Arc<dyn Machine>, port: Port) -> Message {
    match holder_of(machine, port).await {
        Seen::Server(pid) => text::ops::port_taken_by_server(port, pid),
        Seen::Named(taken) => {
            text::ops::port_taken(port, holders::names(&taken.holders), taken.command)
        }
        Seen::OtherUser(uid) => text::ops::port_taken_unseen(port, uid, holders::by_hand(port)),
        Seen::Nobody => text::ops::port_taken_unknown(port),
    }
}

/// The fault of a control address that somebody has.
pub async fn taken_address_fault(address: SocketAddr) -> Fault {
    let machine: Arc<dyn Machine> = Arc::new(ThisMachine);
    let holder = match Port::new(address.port()) {
        Some(port) => holder_of(&machine, port).await,
        None => Seen::Nobody,
    };
    let message = match holder {
        Seen::Named(Taken { holders, .. }) => {
            text::serve::control_address_taken(address, holders::names(&holders))
        }
        Seen::Server(pid) => text::serve::control_address_taken(address, format!("pid {pid}")),
        Seen::OtherUser(uid) => text::serve::control_address_taken(address, format!("uid {uid}")),
        Seen::Nobody => text::serve::control_address_taken_unseen(address),
    };
    Fault::new(Precondition, message)
}

/// The fault of a token file that is of no use.
pub fn token_file_fault(error: &TokenFileError) -> Fault {
    let message = match error {
        TokenFileError::Unreadable { path, .. } => text::access::token_unreadable(path.display()),
        TokenFileError::TooOpen { path } => text::access::token_too_open(path.display()),
        TokenFileError::Foreign { path } => text::access::token_foreign(path.display()),
        TokenFileError::NoToken { path } => {
            text::access::token_unusable(path.display(), LEAST_TOKEN)
        }
        TokenFileError::Unwritable { path, .. } => text::access::token_unwritable(path.display()),
    };
    let kind = match error {
        // Nothing that the caller chose is wrong.
        TokenFileError::Unwritable { source, .. }
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
        {
            Internal
        }
        _ => Usage,
    };
    Fault::caused(kind, message, error)
}

/// What could be learnt about who listens on a port.
enum Seen {
    /// This very process.
    Server(u32),
    Named(Taken),
    OtherUser(String),
    Nobody,
}

struct Taken {
    holders: Vec<Holder>,
    /// What frees the port.
    command: String,
}

async fn holder_of(machine: &Arc<dyn Machine>, port: Port) -> Seen {
    let look = holders::ask(machine, move |machine| {
        let holding = machine.holders(&BTreeSet::from([port]), &[]).ok()?.remove(&port)?;
        Some(seen(machine, port, holding))
    });
    // The sentence is true without the holder's name.
    look.await.ok().flatten().unwrap_or(Seen::Nobody)
}

fn seen(machine: &dyn Machine, port: Port, holding: Holding) -> Seen {
    let holders = match holding {
        Holding::Free => return Seen::Nobody,
        Holding::HeldUnseen { uid, .. } => {
            return Seen::OtherUser(uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string()));
        }
        Holding::Held(holders) => holders,
    };
    if let Ok(own) = machine.own_identity()
        && holders.iter().any(|holder| holder.identity == own)
    {
        return Seen::Server(own.pid);
    }
    let kept = machine.details(&holders).into_iter().find_map(|details| details.keeper);
    let own_user = machine.own_uid();
    let command = match kept {
        // One that nobody starts again is ended like any other process.
        Some(keeper) if !matches!(keeper, Keeper::Unit { restarts: Some(false), .. }) => {
            holders::keeper_command(&keeper, port)
        }
        _ if own_user.is_none() || holders.iter().all(|holder| holder.uid == own_user) => {
            format!("pmctl ports kill {port}")
        }
        _ => holders::with_rights(port),
    };
    Seen::Named(Taken { holders, command })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::made_up::{MadeUp, OWN_PID, port, process};

    #[tokio::test]
    async fn a_taken_port_names_its_holder_and_the_one_command_that_helps() {
        let kept = |pid, number, keeper| {
            let mut process = process(pid, &[number]);
            process.details.keeper = Some(keeper);
            process
        };
        let unit = |name: &str, restarts| {
            let (name, user) = (name.to_owned(), false);
            Keeper::Unit { name, user, restarts }
        };
        let container = Keeper::Container { runtime: "podman".into(), id: "0123456789ab".into() };
        let made_up = MadeUp::with([
            process(10, &[81]),
            process(11, &[82]).of_user(0),
            kept(12, 83, unit("web.service", Some(true))),
            kept(13, 84, unit("once.service", Some(false))),
            kept(14, 85, container),
        ]);
        {
            let mut world = made_up.world();
            world.unseen.insert(port(86), 77);
            world.processes.get_mut(&OWN_PID).unwrap().ports = [port(87)].into();
        }
        let machine: Arc<dyn Machine> = Arc::new(made_up);
        for (number, code, part) in [
            (81, "port-taken", "`pmctl ports kill 81`".to_owned()),
            (82, "port-taken", format!("`{}`", holders::with_rights(port(82)))),
            (83, "port-taken", "`systemctl stop web.service`".to_owned()),
            (84, "port-taken", "`pmctl ports kill 84`".to_owned()),
            (85, "port-taken", "`podman stop 0123456789ab`".to_owned()),
            (
                86,
                "port-taken-unseen",
                format!("(uid 77); see which with `{}`", holders::by_hand(port(86))),
            ),
            (87, "port-taken-by-server", "pid 500".to_owned()),
            (88, "port-taken-unknown", "88".to_owned()),
        ] {
            let message = taken_port(&machine, port(number)).await;
            assert_eq!(message.code(), code, "{message}");
            assert!(message.to_string().contains(&part), "{message}");
        }
    }
}
