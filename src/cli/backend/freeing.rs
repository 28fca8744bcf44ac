//! Who frees which port: this process with its caller's rights, or the server the ports it serves.

use std::collections::BTreeSet;
use std::time::Instant;

use super::direct::Direct;
use super::reach::{Found, Nobody, RETRY, Reach};
use crate::host;
use crate::model::{Fault, FaultKind, KillRequest, Port, ProcessIdentity, ServerState};
use crate::ops::DirectFacts;
use crate::rpc::Client;
use crate::store::Owner;
use crate::text::Message;

/// Who frees the ports of a request.
pub(in crate::cli) enum Freeing {
    /// The server of another machine: all of them.
    There(Box<Client>),
    /// This process, but for those that the server of this machine serves.
    Here(Box<Here>),
}

/// Freeing ports of this machine.
pub(in crate::cli) struct Here {
    /// What this process frees them with.
    pub(in crate::cli) direct: Direct,
    /// Those of the request that a live server serves; empty where it is not to be asked.
    pub(in crate::cli) served: BTreeSet<Port>,
    /// That server, or why it cannot be asked; `None` where `served` is empty.
    pub(in crate::cli) server: Option<Result<Box<Client>, Fault>>,
    /// What there is to know about the choice.
    pub(in crate::cli) notes: Vec<Message>,
}

impl Reach<'_> {
    /// Who frees the ports of `request`. May wait up to `--timeout` for a server that is starting or
    /// leaving if it serves one of them.
    pub(in crate::cli) async fn freeing(&self, request: &KillRequest) -> Result<Freeing, Fault> {
        let deadline = Instant::now() + self.settings.timeout;
        if self.names_another_machine() {
            return match self.find().await? {
                Found::Server(client) => Ok(Freeing::There(client)),
                Found::Nobody(why) => Err(unavailable(why.refusal(&self.location))),
                Found::Busy(_, why) | Found::Silent(why) => Err(unavailable(why)),
            };
        }
        loop {
            let (facts, mut notes, server) = self.this_machine().await?;
            if self.settings.direct {
                // Nobody was asked, as was asked for.
                notes.clear();
            }
            let is_hung = facts.server.state == ServerState::Unresponsive;
            let direct = Direct::freer(self.settings, &self.location, facts, request.dry_run).await;
            // Left to the operation, which says what can be done: nobody answers for a hung server,
            // and `--direct` forbids to ask the other.
            if self.settings.direct || is_hung {
                let (served, server) = (BTreeSet::new(), None);
                return Ok(Freeing::Here(Box::new(Here { direct, served, server, notes })));
            }
            let served = direct.ops.served_ports(&request.ports).await?;
            let must_wait = !served.is_empty() && matches!(server, Server::Busy(_));
            if must_wait && Instant::now() < deadline {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let server = match server {
                _ if served.is_empty() => None,
                Server::Answers(client) => Some(Ok(client)),
                Server::Refuses(fault) => Some(Err(fault)),
                Server::Busy(why) => Some(Err(unavailable(why))),
                Server::None => None,
            };
            return Ok(Freeing::Here(Box::new(Here { direct, served, server, notes })));
        }
    }

    /// What is known of the server of this machine, what to say of it, and whether it can be asked.
    async fn this_machine(&self) -> Result<(DirectFacts, Vec<Message>, Server), Fault> {
        // Without a readable lock nothing is known of an owner; who asked is told of it below.
        let owner = self.owner().unwrap_or(Owner::Free);
        let facts = |state| self.facts(&owner, state);
        // Whoever listens where a server was said to be is protected as that server.
        let named = async |state| {
            let mut facts = facts(state);
            if let Some(url) = &self.settings.server_url
                && let Some(process) = process_at(url, None).await
            {
                facts.server.url = Some(url.clone());
                facts.server.pid = Some(process.pid);
                facts.owner = Some(process);
            }
            facts
        };
        Ok(match self.find().await {
            Ok(Found::Server(client)) => {
                let mut server = client.server().clone();
                server.state = client.phase().into();
                let owner = match facts(server.state).owner {
                    Some(owner) if Some(owner.pid) == server.pid => Some(owner),
                    _ => match server.url.as_deref() {
                        Some(url) => process_at(url, server.pid).await,
                        None => None,
                    },
                };
                (DirectFacts { server, owner }, Vec::new(), Server::Answers(client))
            }
            Ok(Found::Nobody(why)) if self.settings.no_fallback => {
                return Err(unavailable(why.refusal(&self.location)));
            }
            Ok(Found::Busy(_, why) | Found::Silent(why)) if self.settings.no_fallback => {
                return Err(unavailable(why));
            }
            // A server of another database is never changed, wherever it was met.
            Ok(Found::Nobody(Nobody::OtherDatabase(url))) => {
                let owner = process_at(&url, None).await;
                let why = Nobody::OtherDatabase(url);
                let notes = vec![why.clone().falling_back()];
                let facts = DirectFacts { owner, ..facts(ServerState::Ready) };
                (facts, notes, Server::Refuses(unavailable(why.refusal(&self.location))))
            }
            Ok(Found::Nobody(why)) => {
                (facts(ServerState::Down), vec![why.falling_back()], Server::None)
            }
            Ok(Found::Silent(why)) => {
                (named(ServerState::Unresponsive).await, vec![why], Server::None)
            }
            Ok(Found::Busy(state, why)) => (facts(state), vec![why.clone()], Server::Busy(why)),
            // Turned away by the server: its ports are not touched, and the others not its concern.
            Err(fault)
                if fault.kind == FaultKind::Denied
                    && (owner != Owner::Free || self.settings.server_url.is_some()) =>
            {
                (named(ServerState::Ready).await, Vec::new(), Server::Refuses(fault))
            }
            // And where it is not known which process it is, nothing is.
            Err(fault) if fault.kind == FaultKind::Denied => return Err(fault),
            Err(fault) if self.settings.server_url.is_some() => return Err(fault),
            // A database that cannot be had is no reason to leave a port taken.
            Err(fault) => {
                (facts(ServerState::Down), vec![fault.message.clone()], Server::Refuses(fault))
            }
        })
    }
}

enum Server {
    Answers(Box<Client>),
    Refuses(Fault),
    Busy(Message),
    None,
}

fn unavailable(why: Message) -> Fault {
    Fault::new(FaultKind::Unavailable, why)
}

/// The process of a server whose lock is not that of this database: the holder of its control port.
/// Of several the one with `pid`, if it has one in this pid namespace.
async fn process_at(url: &str, pid: Option<u32>) -> Option<ProcessIdentity> {
    let url = url::Url::parse(url).ok()?;
    let port = Port::new(url.port_or_known_default()?)?;
    let look = move || host::holders(&BTreeSet::from([port]), &[]);
    let mut held = tokio::task::spawn_blocking(look).await.ok()?.ok()?;
    let held = held.remove(&port)?;
    let holders = held.seen();
    let of_pid = holders.iter().find(|holder| Some(holder.identity.pid) == pid);
    of_pid.or(holders.first()).map(|holder| holder.identity.clone())
}
