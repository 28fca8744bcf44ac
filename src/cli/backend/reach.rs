//! Finding whom to work with.

use std::time::{Duration, Instant};

use super::direct::{Direct, facts};
use super::faults::client_fault;
use super::verbs::Backend;
use crate::config::Settings;
use crate::host;
use crate::model::{Fault, FaultKind, Phase, ServerState};
use crate::ops::{DirectFacts, store_fault};
use crate::rpc::{Client, ClientError, ServerTrust};
use crate::store::{HolderKind, Location, LockHolder, Owner, Store, control_certificate, owner};
use crate::text::{self, Message};

/// Where a server listens that nobody told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:3000";

/// Between two tries to reach a server that is starting or leaving.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// What the command is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Need {
    Read,
    Write,
}

/// Whom to work with, and what to tell the caller about it.
pub(in crate::cli) struct Reached {
    pub(in crate::cli) backend: Backend,
    pub(in crate::cli) notes: Vec<Message>,
}

/// Where the URL to try came from: how much it proves hangs on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `--server`.
    Named,
    /// The holder of the owner's lock wrote it down.
    Recorded,
    /// Nobody said anything.
    Default,
}

/// What a look for the server found.
pub(in crate::cli) enum Found {
    /// It answers.
    Server(Box<Client>),
    /// There is none for this database.
    Nobody(Nobody),
    /// Somebody holds the lock, and does not answer (yet, or no longer).
    Busy(ServerState, Message),
    /// Somebody listens where a server was said to be, and says nothing. Whose it is is not known.
    Silent(Message),
}

/// What is thought of a server that answered.
pub(super) enum Judged {
    /// It is the one to work with; whether its database was seen to be the right one.
    Ours(Box<Client>, bool),
    /// It is not.
    Other(Found),
}

/// Why there is no server to work with.
#[derive(Clone)]
pub(in crate::cli) enum Nobody {
    /// Nobody owns this database, and nobody listens at the default address.
    Here,
    /// Nobody listens where `--server` says.
    At(String),
    /// Somebody else listens there.
    NotPmctl { url: String, what: Message },
    /// The server at this URL has another database.
    OtherDatabase(String),
}

impl Nobody {
    /// What the caller is told whose command works on the database.
    pub(in crate::cli) fn falling_back(self) -> Message {
        match self {
            Self::Here => text::backend::no_server_here(),
            Self::At(url) => text::backend::no_server_at(url),
            Self::NotPmctl { url, what } => text::backend::listener_not_pmctl(url, what),
            Self::OtherDatabase(url) => text::backend::listener_of_other_database(url),
        }
    }

    /// What the caller is told who forbade that.
    pub(in crate::cli) fn refusal(self, database: &Location) -> Message {
        match self {
            Self::Here => text::backend::no_server(),
            Self::At(url) => text::backend::server_absent(url),
            Self::NotPmctl { url, .. } if url == DEFAULT_URL => text::backend::no_server(),
            Self::NotPmctl { url, what } => text::backend::server_not_pmctl(url, what),
            Self::OtherDatabase(url) => {
                text::backend::server_of_other_database(url, database.url())
            }
        }
    }

    /// What the caller is told whose command needs a server; `needed` says so where none was named.
    fn lacking(self, database: &Location, needed: Message) -> Message {
        match self {
            Self::Here => needed,
            Self::NotPmctl { url, .. } if url == DEFAULT_URL => needed,
            named => named.refusal(database),
        }
    }
}

/// The settings, seen as ways to a server.
pub(in crate::cli) struct Reach<'a> {
    pub(super) settings: &'a Settings,
    pub(super) location: Location,
}

impl<'a> Reach<'a> {
    pub(in crate::cli) fn new(settings: &'a Settings) -> Result<Self, Fault> {
        let location = Location::from_url(&settings.database_url).map_err(store_fault)?;
        Ok(Self { settings, location })
    }

    /// The server, and nobody else: `needed` says that one is. May wait up to `--timeout` for one that
    /// is starting or leaving.
    pub(in crate::cli) async fn server(&self, needed: Message) -> Result<Box<Client>, Fault> {
        let deadline = Instant::now() + self.settings.timeout;
        loop {
            let why = match self.find().await? {
                Found::Server(client) => return Ok(client),
                Found::Nobody(why) => {
                    let message = why.lacking(&self.location, needed);
                    return Err(Fault::new(FaultKind::Unavailable, message));
                }
                Found::Busy(_, why) | Found::Silent(why) => why,
            };
            if Instant::now() >= deadline {
                return Err(Fault::new(FaultKind::Unavailable, why));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whom to work with. May wait up to `--timeout` for a server that is starting or leaving if
    /// the command writes.
    pub(in crate::cli) async fn reach(&self, need: Need) -> Result<Reached, Fault> {
        if self.settings.direct {
            return self.only_direct(need).await;
        }
        let deadline = Instant::now() + self.settings.timeout;
        loop {
            let found = self.find().await?;
            let reached = match (found, need) {
                (Found::Server(client), _) => {
                    let backend = Backend::Server(client);
                    return Ok(Reached { backend, notes: Vec::new() });
                }
                (Found::Nobody(why), _) if self.settings.no_fallback => {
                    return Err(Fault::new(FaultKind::Unavailable, why.refusal(&self.location)));
                }
                (Found::Busy(_, why) | Found::Silent(why), Need::Read)
                    if self.settings.no_fallback =>
                {
                    return Err(Fault::new(FaultKind::Unavailable, why));
                }
                (Found::Nobody(why), Need::Read) => {
                    self.read(ServerState::Down, why.falling_back()).await?
                }
                (Found::Nobody(why), Need::Write) => {
                    self.write(why.falling_back(), deadline).await?
                }
                (Found::Busy(state, note), Need::Read) => self.read(state, note).await?,
                (Found::Silent(note), Need::Read) => self.read(ServerState::Down, note).await?,
                (Found::Busy(_, why) | Found::Silent(why), Need::Write) => {
                    if Instant::now() >= deadline {
                        return Err(Fault::new(FaultKind::Unavailable, why));
                    }
                    None
                }
            };
            match reached {
                Some(reached) => return Ok(reached),
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// `--direct`. A database that a server owns is only read; one that is being created, migrated
    /// or repaired is waited for.
    async fn only_direct(&self, need: Need) -> Result<Reached, Fault> {
        let deadline = Instant::now() + self.settings.timeout;
        let direct = loop {
            let owner = self.owner()?;
            if need == Need::Read {
                let state = match &owner {
                    Owner::Free => ServerState::Down,
                    Owner::Held(holder) => claimed_state(holder.as_ref()),
                };
                break Direct::reader(self.settings, &self.location, &owner, state).await?;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            if owner == Owner::Free
                && let Some(writer) = Direct::writer(self.settings, &self.location, wait).await?
            {
                break writer;
            }
            if let Owner::Held(Some(holder)) = &owner
                && holder.kind == HolderKind::Serve
            {
                let message = text::backend::direct_but_owned(holder.identity.pid);
                return Err(Fault::new(FaultKind::Unavailable, message));
            }
            if Instant::now() >= deadline {
                let message = text::backend::direct_but_owned("?");
                return Err(Fault::new(FaultKind::Unavailable, message));
            }
            tokio::time::sleep(RETRY).await;
        };
        Ok(Reached { backend: Backend::Direct(direct), notes: Vec::new() })
    }

    async fn read(&self, state: ServerState, note: Message) -> Result<Option<Reached>, Fault> {
        let owner = self.owner()?;
        let direct = Direct::reader(self.settings, &self.location, &owner, state).await?;
        Ok(Some(Reached { backend: Backend::Direct(direct), notes: vec![note] }))
    }

    async fn write(&self, note: Message, deadline: Instant) -> Result<Option<Reached>, Fault> {
        let wait = deadline.saturating_duration_since(Instant::now());
        let writer = Direct::writer(self.settings, &self.location, wait).await?;
        Ok(writer.map(|direct| Reached { backend: Backend::Direct(direct), notes: vec![note] }))
    }

    /// `--server` is the URL of another machine.
    pub(super) fn names_another_machine(&self) -> bool {
        self.settings.server_url.as_deref().is_some_and(|url| !is_loopback(url))
    }

    /// What is known of a server that is not asked.
    pub(super) fn facts(&self, owner: &Owner, state: ServerState) -> DirectFacts {
        facts(self.settings, &self.location, owner, state)
    }

    /// Who holds the owner's lock of the database.
    pub(in crate::cli) fn owner(&self) -> Result<Owner, Fault> {
        // Also where there is no database: it may have been removed under a server.
        owner(&self.location, &self.settings.node_name, host::is_alive).map_err(store_fault)
    }

    /// Where the database lies or would lie.
    pub(in crate::cli) fn location(&self) -> &Location {
        &self.location
    }

    /// Whether there is a database yet.
    pub(in crate::cli) async fn has_database(&self) -> Result<bool, Fault> {
        let known = Store::identify(&self.location).await.map_err(store_fault)?;
        Ok(known.is_some())
    }

    /// The operations on a database that is only read, whose server is in this `state`.
    pub(in crate::cli) async fn reader(&self, state: ServerState) -> Result<Direct, Fault> {
        Direct::reader(self.settings, &self.location, &self.owner()?, state).await
    }

    /// Looks for the server of this database once.
    pub(in crate::cli) async fn find(&self) -> Result<Found, Fault> {
        let owner = self.owner()?;
        if self.settings.direct {
            // No server is asked: the lock and what its holder wrote down is all there is.
            return Ok(match owner {
                Owner::Free => Found::Nobody(Nobody::Here),
                Owner::Held(holder) => {
                    let pid = pid(holder.as_ref());
                    let why = text::backend::direct_but_owned(pid);
                    Found::Busy(claimed_state(holder.as_ref()), why)
                }
            });
        }
        let (url, origin) = match (&self.settings.server_url, &owner) {
            (Some(url), _) => (url.clone(), Origin::Named),
            (None, Owner::Held(holder)) => {
                let holder = holder.as_ref();
                match holder.filter(|h| h.kind == HolderKind::Serve).and_then(|h| h.url.clone()) {
                    Some(url) => (url, Origin::Recorded),
                    None => return Ok(busy(holder, ServerState::Starting)),
                }
            }
            (None, Owner::Free) => (DEFAULT_URL.to_owned(), Origin::Default),
        };
        let error = match self.connect(&url, self.settings.timeout).await {
            Ok(client) => match self.judge(client, &url, origin, &owner).await? {
                Judged::Ours(client, is_same) => match self.introduced(client, &url, is_same).await
                {
                    Ok(client) => return Ok(Found::Server(client)),
                    Err(error) => error,
                },
                Judged::Other(found) => return Ok(found),
            },
            Err(error) => error,
        };
        if let ClientError::Fault(fault) = error {
            return Err(fault);
        }
        // The URL of another machine says nothing about this one.
        if origin == Origin::Named && !is_loopback(&url) {
            return Err(client_fault(&url, error));
        }
        if let Owner::Held(holder) = &owner {
            let claimed = claimed_state(holder.as_ref());
            // It may have ended between the look at the lock and the connection.
            if self.owner()? == Owner::Free {
                return Ok(Found::Nobody(Nobody::Here));
            }
            // The owner was not asked: what it says of itself stands.
            if let Some(why) = elsewhere(holder.as_ref(), &url, &error) {
                return Ok(Found::Busy(claimed, why));
            }
            let state = match (&error, claimed) {
                // It says ready, but nobody listens at its address.
                (ClientError::Unresponsive { .. }, _) | (_, ServerState::Ready) => {
                    ServerState::Unresponsive
                }
                (_, other) => other,
            };
            return Ok(busy(holder.as_ref(), state));
        }
        Ok(match error {
            ClientError::NotPmctl { what } => Found::Nobody(Nobody::NotPmctl { url, what }),
            // Nobody owns this database, so whoever is silent at the default address is no server
            // of it.
            ClientError::Unresponsive { .. } if origin == Origin::Default => {
                let what = text::backend::listener_silent();
                Found::Nobody(Nobody::NotPmctl { url, what })
            }
            ClientError::Unresponsive { after } => {
                let after = humantime::format_duration(after);
                Found::Silent(text::backend::server_silent(&url, after))
            }
            ClientError::Absent | ClientError::GoingAway | ClientError::Fault(_) => {
                Found::Nobody(match origin {
                    Origin::Named => Nobody::At(url),
                    Origin::Recorded | Origin::Default => Nobody::Here,
                })
            }
        })
    }

    /// The server at `url`, with `timeout` for each call.
    pub(super) async fn connect(
        &self,
        url: &str,
        timeout: Duration,
    ) -> Result<Client, ClientError> {
        let mut trust = ServerTrust::default();
        if url.starts_with("https:") {
            trust.ca_file = self.settings.ca_file.clone();
            trust.certificate = control_certificate(&self.token_path());
        }
        Client::connect_trusting(url, &trust, timeout).await
    }

    /// Whether the server that answered is the one of this database.
    pub(super) async fn judge(
        &self,
        client: Client,
        url: &str,
        origin: Origin,
        owner: &Owner,
    ) -> Result<Judged, Fault> {
        let known = Store::identify(&self.location).await;
        // A file that cannot be identified proves nothing; whoever opens it will say why.
        let known = known.ok().flatten().map(|identification| identification.uuid);
        let theirs = client.server().database_uuid.clone();
        let is_same = known.is_some() && known == theirs;
        let is_free_choice = !self.settings.database_is_named && known.is_none();
        match origin {
            Origin::Named if is_same || !self.settings.database_is_named => {
                Ok(Judged::Ours(Box::new(client), is_same))
            }
            Origin::Named => {
                let message = text::backend::server_of_other_database(url, self.location.url());
                Err(Fault::new(FaultKind::Unavailable, message))
            }
            Origin::Recorded | Origin::Default if is_same => {
                Ok(Judged::Ours(Box::new(client), true))
            }
            Origin::Default if is_free_choice => Ok(Judged::Ours(Box::new(client), false)),
            Origin::Default => {
                Ok(Judged::Other(Found::Nobody(Nobody::OtherDatabase(url.to_owned()))))
            }
            // The database was removed under it: by the file beside its lock it is the one.
            Origin::Recorded
                if known.is_none() && client.server().database == self.location.url() =>
            {
                Ok(Judged::Ours(Box::new(client), false))
            }
            Origin::Recorded => {
                let holder = match owner {
                    Owner::Held(holder) => holder.as_ref(),
                    Owner::Free => None,
                };
                Ok(Judged::Other(busy(holder, ServerState::Unresponsive)))
            }
        }
    }
}

/// How the holder's file says the server is.
fn claimed_state(holder: Option<&LockHolder>) -> ServerState {
    holder.and_then(|h| h.phase).map_or(ServerState::Starting, |phase: Phase| phase.into())
}

fn pid(holder: Option<&LockHolder>) -> String {
    holder.map_or_else(|| "?".to_owned(), |h| h.identity.pid.to_string())
}

/// The owner is well and answers, but not at the `url` that was asked.
fn elsewhere(holder: Option<&LockHolder>, url: &str, error: &ClientError) -> Option<Message> {
    let theirs = holder.filter(|h| h.kind == HolderKind::Serve)?.url.as_deref()?;
    let is_silent = matches!(error, ClientError::Unresponsive { .. });
    (!is_silent && theirs != url).then(|| text::backend::server_elsewhere(pid(holder), url, theirs))
}

fn busy(holder: Option<&LockHolder>, state: ServerState) -> Found {
    let pid = pid(holder);
    let note = match (state, holder.map(|h| h.kind)) {
        (_, Some(HolderKind::Repair)) => text::backend::repair_by(pid),
        (_, Some(HolderKind::Migration)) => text::backend::under_repair(pid),
        (ServerState::Unresponsive, _) => text::backend::server_unresponsive(pid),
        (state, _) => text::backend::server_busy(pid, state),
    };
    Found::Busy(state, note)
}

pub(super) fn is_loopback(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_urls_are_of_this_machine() {
        for url in
            ["http://127.0.0.1:3000", "http://127.8.0.1:1", "http://[::1]:1", "http://LocalHost"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://192.0.2.1:3000", "http://localhost.example", "nonsense"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
