//! What is written down about registries, and what they themselves say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use super::findings::Findings;
use super::servers::Servers;
use crate::eureka::{
    CallError, Consent, Instance, NodeMark, Registries, RegistryCalls, Removal, take_out,
};
use crate::model::{Fault, Finding, Registration, VerifySubject};
use crate::ops::context::Ops;
use crate::ops::faults::store_fault;
use crate::store::{RegistrationRow, Store};
use crate::text::{self, Message};

/// For each call where a person waits for the answer alone.
const DIRECT: Duration = Duration::from_secs(5);

/// For each call inside a server, whose caller expects a sign of life within 5 s.
const IN_SERVER: Duration = Duration::from_secs(2);

/// For all calls of a look inside a server together, for the same reason.
const ALL_IN_SERVER: Duration = Duration::from_secs(4);

/// Calls at once.
const MOST_CALLS: usize = 64;

/// An instance by application and id.
type Key = (String, String);

/// Looks at everything that is written down, asks the registries for each of it, and for what else
/// carries the mark of the database.
pub(super) async fn look(
    ops: &Ops,
    store: &Store,
    servers: &Servers,
    findings: &mut Findings,
) -> Result<(), Fault> {
    let rows = store.all_registrations().await.map_err(store_fault)?;
    let known: BTreeSet<Key> = rows.iter().map(|row| key(&row.registration)).collect();
    let written: BTreeSet<_> = rows.iter().map(|row| row.registration.registries.clone()).collect();
    let (live, left): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| servers.is_live(row.node));
    for RegistrationRow { registration: of, .. } in &live {
        let message = text::verify::registration_live(&of.service, &of.instance_id);
        findings.add(VerifySubject::Registration, &of.instance_id, Finding::Live, message);
    }
    let Some(registries) = ops.registries() else {
        // Its authorities cannot be read, say; the log has it.
        let message = text::lease::registry_client_failed();
        findings.add(VerifySubject::Instance, "-", Finding::Unproved, message);
        return Ok(());
    };
    let (bound, until) = match ops.live() {
        Some(_) => (IN_SERVER, Some(Instant::now() + ALL_IN_SERVER)),
        None => (DIRECT, None),
    };
    // One for each list of servers: what is known of a server is known to all that ask it.
    let at = written.into_iter().map(|urls| (registries.at(&urls), urls));
    let at = at.map(|(registry, urls)| (urls, registry)).collect();
    let asker = Asker { registries: registries.as_ref(), at, uuid: store.uuid(), bound, until };
    // All at once: one registry that is silent takes no time from another, nor from the lists.
    let (looks, lists) = tokio::join!(asker.rows(left, servers), asker.lists(&known));
    for (of, there) in looks {
        let message = text::verify::registration_left(&of.service, &of.instance_id);
        findings.add(VerifySubject::Registration, &of.instance_id, Finding::Left, message);
        match there {
            Ok(true) => {
                let urls = of.registries.join(", ");
                let message = text::verify::instance_left(&of.instance_id, &of.service, urls);
                findings.add(VerifySubject::Instance, &of.instance_id, Finding::Left, message);
            }
            Ok(false) => {}
            Err(reason) => {
                let message = text::verify::instance_unknown(&of.instance_id, reason);
                findings.add(VerifySubject::Instance, &of.instance_id, Finding::Unproved, message);
            }
        }
    }
    // What one server was proved to have counts, whatever another says of it.
    let all = lists.iter().flat_map(|list| &list.strays);
    let left: BTreeSet<String> =
        all.filter(|stray| stray.finding == Finding::Left).map(|stray| stray.id.clone()).collect();
    let mut said = BTreeSet::new();
    for mut list in lists {
        list.strays.retain(|stray| stray.finding == Finding::Left || !left.contains(&stray.id));
        list.tell(&mut said, findings);
    }
    Ok(())
}

fn key(of: &Registration) -> Key {
    (of.app.clone(), of.instance_id.clone())
}

struct Asker<'a> {
    registries: &'a dyn Registries,
    /// Those that are written down, by their servers.
    at: BTreeMap<Vec<String>, Arc<dyn RegistryCalls>>,
    uuid: &'a str,
    /// For each call, and when all have to have ended.
    bound: Duration,
    until: Option<Instant>,
}

impl Asker<'_> {
    /// For the next call.
    fn bound(&self) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(self.bound, |left| left.min(self.bound))
    }

    /// Whether the registry still has what a dead server wrote down, as that server's.
    async fn is_there(&self, row: &RegistrationRow, servers: &Servers) -> Result<bool, Message> {
        let of = &row.registration;
        let Some(registry) = self.at.get(&of.registries) else {
            return Err(text::lease::registry_client_failed());
        };
        let mark = servers.name_of(row.node).map(|name| NodeMark::new(self.uuid, name, row.node.0));
        let is_theirs = |found: &Instance| mark.as_ref().is_none_or(|mark| mark.is_on(found));
        let key = (of.app.as_str(), of.instance_id.as_str());
        let look = take_out(registry.as_ref(), key, is_theirs, Consent::Look, self.bound()).await;
        look.map(|would| would == Removal::Cancelled).map_err(|error| error.message())
    }

    /// Looks for each row in its registry.
    async fn rows(
        &self,
        rows: Vec<RegistrationRow>,
        servers: &Servers,
    ) -> Vec<(Registration, Result<bool, Message>)> {
        let mut by_registry: BTreeMap<Vec<String>, Vec<RegistrationRow>> = BTreeMap::new();
        for row in rows {
            by_registry.entry(row.registration.registries.clone()).or_default().push(row);
        }
        let looks = by_registry.into_values().map(|rows| self.rows_of_one(rows, servers).boxed());
        join_all(looks).await.into_iter().flatten().collect()
    }

    async fn rows_of_one(
        &self,
        rows: Vec<RegistrationRow>,
        servers: &Servers,
    ) -> Vec<(Registration, Result<bool, Message>)> {
        let look = move |row: RegistrationRow| async move {
            let there = self.is_there(&row, servers).await;
            (row.registration, there)
        };
        stream::iter(rows.into_iter().map(look)).buffered(MOST_CALLS).collect().await
    }

    /// Asks every server of the configured registry, and of those that are written down, what it lists:
    /// what one has may be unknown to another.
    async fn lists(&self, known: &BTreeSet<Key>) -> Vec<List> {
        let mut servers: BTreeMap<String, Arc<dyn RegistryCalls>> = BTreeMap::new();
        for registry in self.registries.configured().iter().chain(self.at.values()) {
            for server in registry.servers() {
                servers.entry(server.to_owned()).or_insert_with(|| registry.clone());
            }
        }
        let all = servers.into_iter();
        join_all(all.map(|(url, registry)| self.list(registry, url, known).boxed())).await
    }

    async fn list(
        &self,
        registry: Arc<dyn RegistryCalls>,
        url: String,
        known: &BTreeSet<Key>,
    ) -> List {
        let listed = match self.within(registry.applications_at(&url), &url).await {
            Ok(listed) => listed,
            Err(reason) => return List { url, total: Err(reason), strays: Vec::new() },
        };
        let is_stray = |of: &&Instance| {
            NodeMark::is_of_database(self.uuid, of)
                && !known.contains(&(of.app.clone(), of.id().to_owned()))
        };
        let strays: Vec<&Instance> = listed.instances().filter(is_stray).collect();
        let looks: Vec<_> =
            strays.into_iter().map(|of| self.stray(&registry, &url, of).boxed()).collect();
        let strays: Vec<_> = stream::iter(looks).buffered(MOST_CALLS).collect().await;
        let strays = strays.into_iter().flatten().collect();
        List { total: Ok(listed.instances().count()), url, strays }
    }

    /// An instance with the mark of the database that is not written down. Lists may be of a moment
    /// ago (a registry keeps them for up to 30 s), so it is asked for by itself.
    async fn stray(
        &self,
        registry: &Arc<dyn RegistryCalls>,
        url: &str,
        listed: &Instance,
    ) -> Option<Stray> {
        let (app, id) = (&listed.app, listed.id());
        let look = registry.instance_at(url, app, id);
        let (finding, message) = match self.within(look, url).await {
            Ok(Some(now)) if NodeMark::is_of_database(self.uuid, &now) => {
                (Finding::Left, text::verify::instance_stray(id, url, app))
            }
            Ok(_) => return None,
            Err(reason) => (Finding::Unproved, text::verify::instance_unknown(id, reason)),
        };
        Some(Stray { id: id.to_owned(), finding, message })
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>>,
        urls: &str,
    ) -> Result<T, Message> {
        match tokio::time::timeout(self.bound(), call).await {
            Ok(answer) => answer.map_err(|error| error.message()),
            Err(_) => Err(text::lease::lease_registry_silent(urls)),
        }
    }
}

/// What a server of a registry listed.
struct List {
    url: String,
    /// How many instances; `Err` says why it is not known.
    total: Result<usize, Message>,
    strays: Vec<Stray>,
}

/// An instance that carries the mark of the database and is not written down.
struct Stray {
    id: String,
    finding: Finding,
    message: Message,
}

impl List {
    /// Adds what was found. An instance that several servers have was `said` by the first.
    fn tell(self, said: &mut BTreeSet<String>, findings: &mut Findings) {
        const OF: VerifySubject = VerifySubject::Instance;
        let (finding, message) = match self.total {
            Ok(total) => (Finding::Clean, text::verify::registry_asked(&self.url, total)),
            Err(reason) => (Finding::Unproved, text::verify::registry_unknown(reason)),
        };
        findings.add(OF, &self.url, finding, message);
        for stray in self.strays {
            if said.insert(stray.id.clone()) {
                findings.add(OF, &stray.id, stray.finding, stray.message);
            }
        }
    }
}
