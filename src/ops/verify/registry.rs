//! What is written down about registries, and what they themselves say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    let asker = &asker;
    let look = async move |row: RegistrationRow| {
        let there = asker.is_there(&row, servers).await;
        (row.registration, there)
    };
    let looks: Vec<_> =
        stream::iter(left.into_iter().map(look)).buffered(MOST_CALLS).collect().await;
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
    asker.list(&known, findings).await;
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

    /// Asks the configured registry and every one that is written down what it lists.
    async fn list(&self, known: &BTreeSet<Key>, findings: &mut Findings) {
        let written = self.at.iter().map(|(urls, registry)| (registry.clone(), urls.join(", ")));
        let configured = self.registries.configured().map(|registry| (registry, "-".to_owned()));
        let mut said = BTreeSet::new();
        for (registry, urls) in configured.into_iter().chain(written) {
            match self.within(registry.applications(), &urls).await {
                Ok((listed, by)) => {
                    // The configured one is mostly the one that is written down.
                    if !said.insert(by.registry.clone()) {
                        continue;
                    }
                    let marked = |of: &&Instance| {
                        NodeMark::is_of_database(self.uuid, of)
                            && !known.contains(&(of.app.clone(), of.id().to_owned()))
                    };
                    let total = listed.instances().count();
                    let message = text::verify::registry_asked(&by.registry, total);
                    findings.add(VerifySubject::Instance, &by.registry, Finding::Clean, message);
                    for instance in listed.instances().filter(marked) {
                        self.stray(&registry, &by.registry, instance, findings).await;
                    }
                }
                Err(reason) => {
                    if said.insert(reason.to_string()) {
                        let message = text::verify::registry_unknown(reason);
                        findings.add(VerifySubject::Instance, urls, Finding::Unproved, message);
                    }
                }
            }
        }
    }

    /// An instance with the mark of the database that is not written down. Lists may be of a moment
    /// ago (a registry keeps them for up to 30 s), so it is asked for by itself.
    async fn stray(
        &self,
        registry: &Arc<dyn RegistryCalls>,
        url: &str,
        listed: &Instance,
        findings: &mut Findings,
    ) {
        let (app, id) = (&listed.app, listed.id());
        match self.within(registry.instance(app, id), url).await {
            Ok(Some(now)) if NodeMark::is_of_database(self.uuid, &now) => {
                let message = text::verify::instance_stray(id, url, app);
                findings.add(VerifySubject::Instance, id, Finding::Left, message);
            }
            Ok(_) => {}
            Err(reason) => {
                let message = text::verify::instance_unknown(id, reason);
                findings.add(VerifySubject::Instance, id, Finding::Unproved, message);
            }
        }
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
