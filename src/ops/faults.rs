//! What a failure of the store or of this machine means to the person who asked: a sentence that
//! says what happened, to what, and what to do.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::host::{self, BindFailure, Holder, Holding, HostError};
use crate::model::{Fault, FaultKind, Port, masked};
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

/// The fault of a port that somebody has, with the holder named where it is visible.
pub async fn taken_port_fault(port: Port) -> Fault {
    let message = match holder_of(port).await {
        Seen::Named(holders) => text::ops::port_taken(port, holders),
        Seen::OtherUser(uid) => text::ops::port_taken_unseen(port, uid),
        Seen::Nobody => text::ops::port_taken_unknown(port),
    };
    Fault::new(Precondition, message)
}

/// The fault of a control address that somebody has.
pub async fn taken_address_fault(address: SocketAddr) -> Fault {
    let holder = match Port::new(address.port()) {
        Some(port) => holder_of(port).await,
        None => Seen::Nobody,
    };
    let message = match holder {
        Seen::Named(holders) => text::serve::control_address_taken(address, holders),
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
        TokenFileError::NoToken { path } => {
            text::access::token_unusable(path.display(), LEAST_TOKEN)
        }
        TokenFileError::Unwritable { path, .. } => text::access::token_unwritable(path.display()),
    };
    Fault::caused(Usage, message, error)
}

/// What could be learnt about who listens on a port.
enum Seen {
    Named(String),
    OtherUser(String),
    Nobody,
}

async fn holder_of(port: Port) -> Seen {
    let look = tokio::task::spawn_blocking(move || host::holders(&BTreeSet::from([port]), &[]));
    let holding = match look.await {
        Ok(Ok(mut held)) => held.remove(&port),
        // The sentence below is true without the holder's name.
        Ok(Err(_)) | Err(_) => None,
    };
    match holding {
        Some(Holding::Held(holders)) if !holders.is_empty() => {
            let names: Vec<String> = holders.iter().map(holder_name).collect();
            Seen::Named(names.join(", "))
        }
        Some(Holding::HeldUnseen { uid }) => {
            Seen::OtherUser(uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string()))
        }
        _ => Seen::Nobody,
    }
}

/// `node server.js (pid 4242, user ann)`; the command line is cut, it may be very long, and kept on
/// one line, because it is anybody's and ends up in the log.
fn holder_name(holder: &Holder) -> String {
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
    let user = holder.user.as_deref().unwrap_or("?");
    format!("{shown} (pid {}, user {user})", holder.identity.pid)
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
        let name = holder_name(&holder("evil\n\u{1b}[31m"));
        assert_eq!(name, "evil\\n\\u{1b}[31m (pid 7, user ann)");
        let secret = holder_name(&holder("app --password s3cret http://ann:s3cret@h/"));
        assert_eq!(secret, "app --password *** http://***@h/ (pid 7, user ann)");
        assert!(holder_name(&holder(&"订".repeat(61))).starts_with(&"订".repeat(60)));
    }
}
