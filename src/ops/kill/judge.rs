//! Who may be ended for a port, and who never is.

use std::collections::BTreeSet;

use crate::host::{Holder, PinError};
use crate::model::{Fault, FaultKind, Keeper, Port, ProcessIdentity};
use crate::ops::holders;
use crate::ops::machine::Machine;
use crate::text;

use FaultKind::{Denied, Internal, LeftAlone};

/// A pmctl server of this database, as a judge knows it.
#[derive(Clone, Debug)]
pub(super) struct KnownServer {
    pub(super) identity: ProcessIdentity,
    pub(super) standing: Standing,
}

/// How a known server stands to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The one that carries the request out.
    Here,
    /// The owner of the database, which answers or is about to.
    Live,
    /// The owner of the database, which does not answer.
    Unresponsive,
    /// Another one, whose row says that it never stopped.
    Other,
}

/// What has to be known to tell who may be ended. The same for every port of a request.
pub(super) struct Judge {
    /// Never ended, not even by force.
    pub(super) servers: Vec<KnownServer>,
    /// Where the server of this database takes orders.
    pub(super) control_port: Option<Port>,
    /// The request is carried out by a server, for others.
    pub(super) in_server: bool,
    pub(super) force: bool,
    /// Pids of this process and its ancestors.
    pub(super) own_line: BTreeSet<u32>,
    pub(super) own_uid: Option<u32>,
    pub(super) may_end_any: bool,
}

impl Judge {
    /// Whether `holder` may be ended to free `port`; if so, whether its pin leaves a moment in
    /// which it could be mistaken. Pins it to find out, and lets go.
    ///
    /// # Errors
    /// Why it is left alone.
    pub(super) fn may_end(
        &self,
        machine: &dyn Machine,
        port: Port,
        holder: &Holder,
        keeper: Option<&Keeper>,
    ) -> Result<bool, Fault> {
        let left = |message| Err(Fault::new(LeftAlone, message));
        let (identity, name) = (&holder.identity, holders::name(holder));
        if let Some(server) = self.servers.iter().find(|server| server.identity == *identity) {
            return left(match server.standing {
                Standing::Here => text::kill::port_in_transition(port),
                Standing::Live => text::kill::port_served(port, identity.pid),
                Standing::Unresponsive => text::kill::port_held_by_hung(port, identity.pid),
                Standing::Other => text::kill::port_held_by_server(port, identity.pid),
            });
        }
        if machine.is_untouchable(identity.pid) {
            return left(text::kill::port_held_by_system(port, name));
        }
        if self.own_line.contains(&identity.pid) {
            return left(text::kill::port_held_by_caller(port, name));
        }
        if let Some(forwarder @ Keeper::Forwarder { runtime }) = keeper {
            let command = holders::keeper_command(forwarder, port);
            return left(text::kill::port_forwarded(port, runtime, name, command));
        }
        let denied = || {
            let command = holders::with_rights(port);
            Err(Fault::new(Denied, text::kill::port_holder_denied(port, &name, command)))
        };
        let is_own_users = self.is_own_users(holder);
        if !is_own_users && self.in_server {
            let command = holders::with_rights(port);
            let message = text::kill::port_holder_not_ours(port, &name, command);
            return Err(Fault::new(Denied, message));
        }
        let window = match machine.pin(identity) {
            Ok(pinned) if is_own_users || self.may_end_any || pinned.may_signal() => {
                if !pinned.may_signal() {
                    return denied();
                }
                pinned.has_window()
            }
            Ok(_) | Err(PinError::Denied) => return denied(),
            // It has ended since it was found: that is seen again before anything is done.
            Err(PinError::Gone) => false,
            Err(PinError::Unsupported(error) | PinError::Other(error)) => {
                let message = text::kill::port_holder_unpinnable(port, name);
                return Err(Fault::caused(Internal, message, &error));
            }
        };
        if !is_own_users && !self.force {
            return left(text::kill::port_holder_other_user(port, name));
        }
        Ok(window)
    }

    /// Whether the server that carries the request out is among them.
    pub(super) fn is_here(&self, holders: &[Holder]) -> bool {
        self.servers
            .iter()
            .filter(|server| server.standing == Standing::Here)
            .any(|server| holders.iter().any(|holder| holder.identity == server.identity))
    }

    /// Where the system knows no numbers of users, only this user's processes have one by name.
    fn is_own_users(&self, holder: &Holder) -> bool {
        match self.own_uid {
            Some(own) => holder.uid == Some(own),
            None => holder.user.is_some(),
        }
    }
}

/// Why a port is left whose holders cannot be seen.
pub(super) fn unseen(port: Port, uid: Option<u32>) -> Fault {
    let uid = uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string());
    Fault::new(Denied, text::kill::port_holder_unseen(port, uid, holders::by_hand(port)))
}
