//! Taking an instance out that may be somebody else's by now: every server of the registry is looked
//! at, and it goes only where it still has its owner's mark.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::{CallError, RegistryCalls};
use crate::eureka::Instance;

/// What became of it, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It was there, and was taken out.
    Cancelled,
    /// No server has it.
    Gone,
    /// There is one of that id, but somebody else's.
    Foreign,
}

/// Whether what is found is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It goes.
    Remove,
    /// It is looked at alone: [`Removal::Cancelled`] says that it would go.
    Look,
}

/// What one server has under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Ours,
    Theirs,
    Nothing,
}

/// How long the servers before one that has it may still take: they are asked first to take it out.
const GRACE: Duration = Duration::from_millis(500);

/// Takes the instance `id` out of `registry` where `is_ours` says that it is, within `bound`.
///
/// All servers are looked at, and one of those that have it takes it out: it tells the others
/// (`eureka-core`, `PeerAwareInstanceRegistryImpl.java`). It has to be one alone, and the one that took
/// the last renewal if that is possible: a server passes renewals on up to 500 ms late, and to a peer
/// that answers such a one with 404, because it was told of the end before, it announces the instance
/// anew (`PeerEurekaNode.java`, `heartbeat`). One that cannot is followed by the next.
///
/// That it is not there has to be the word of each of them, because one that was restarted, or is cut
/// off, may lack what another has.
///
/// # Errors
/// Why a server could not be asked, where none took it out.
pub async fn take_out(
    registry: &dyn RegistryCalls,
    (app, id): (&str, &str),
    is_ours: impl Fn(&Instance) -> bool,
    consent: Consent,
    bound: Duration,
) -> Result<Removal, CallError> {
    let deadline = Instant::now() + bound;
    let (servers, is_ours) = (registry.servers(), &is_ours);
    let one = async |at: usize, server: &str| {
        let look = look(registry, server, (app, id), is_ours);
        (at, within(bound, server, look).await)
    };
    let mut looks: FuturesUnordered<_> =
        servers.iter().enumerate().map(|(at, server)| one(at, server)).collect();
    let mut found: Vec<Option<Result<Found, CallError>>> = vec![None; servers.len()];
    let mut grace = None;
    loop {
        let ours = found.iter().position(|found| *found == Some(Ok(Found::Ours)));
        let is_turn = |at: &usize| {
            found[..*at].iter().all(Option::is_some)
                || grace.is_some_and(|until| Instant::now() >= until)
        };
        if let Some(at) = ours.filter(is_turn) {
            if consent == Consent::Look {
                return Ok(Removal::Cancelled);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Another one that may have it gets its time as well.
            let may_have = |(n, found): (usize, &Option<_>)| {
                n != at && matches!(found, None | Some(Ok(Found::Ours)))
            };
            let has_others = found.iter().enumerate().any(may_have);
            let left = if has_others { left / 2 } else { left };
            let cancel = registry.cancel_at(servers[at], app, id);
            found[at] = Some(match within(left, servers[at], cancel).await {
                Ok(true) => return Ok(Removal::Cancelled),
                // Its list was of a moment ago: it tells nobody of what it did not do.
                Ok(false) => Ok(Found::Nothing),
                Err(error) => Err(error),
            });
            continue;
        }
        let until = grace.filter(|_| ours.is_some()).unwrap_or(deadline);
        match tokio::time::timeout_at(until, looks.next()).await {
            Ok(Some((at, look))) => {
                if look == Ok(Found::Ours) && grace.is_none() {
                    grace = Some((Instant::now() + GRACE).min(deadline));
                }
                found[at] = Some(look);
            }
            Err(_) if ours.is_some() => {}
            Ok(None) | Err(_) => break,
        }
    }
    let answer = |(found, server): (Option<_>, &&str)| match found {
        Some(Ok(Found::Theirs)) => Ok(Removal::Foreign),
        Some(Ok(Found::Nothing | Found::Ours)) => Ok(Removal::Gone),
        Some(Err(error)) => Err(error),
        None => Err(CallError::Silent { url: (*server).to_owned() }),
    };
    together(found.into_iter().zip(&servers).map(answer).collect())
}

/// The instance `id`, by the word of the first server that has it; `None` where one that is a registry
/// lacks it and no other has it.
///
/// # Errors
/// Why none of the servers could be asked.
pub async fn find(
    registry: &dyn RegistryCalls,
    app: &str,
    id: &str,
) -> Result<Option<Instance>, CallError> {
    let (mut lacks, mut failure) = (false, CallError::no_server());
    for server in registry.servers() {
        match registry.instance_at(server, app, id).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => lacks = true,
            Err(error) => failure = error,
        }
    }
    if lacks { Ok(None) } else { Err(failure) }
}

async fn look(
    registry: &dyn RegistryCalls,
    server: &str,
    (app, id): (&str, &str),
    is_ours: &impl Fn(&Instance) -> bool,
) -> Result<Found, CallError> {
    let found = match registry.instance_at(server, app, id).await? {
        Some(found) => Some(found),
        // An instance whose lease has expired is answered with 404, and is listed until it is evicted
        // (`AbstractInstanceRegistry.java`, `getInstanceByAppAndId`), which may be never.
        None => {
            let listed = registry.application_at(server, app).await?;
            listed.into_iter().find(|listed| listed.id() == id)
        }
    };
    Ok(found.map_or(Found::Nothing, |it| if is_ours(&it) { Found::Ours } else { Found::Theirs }))
}

async fn within<T>(
    bound: Duration,
    server: &str,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let silent = CallError::Silent { url: server.to_owned() };
    tokio::time::timeout(bound, call).await.unwrap_or(Err(silent))
}

/// What the answers of all servers amount to, where none took it out.
fn together(answers: Vec<Result<Removal, CallError>>) -> Result<Removal, CallError> {
    let is_foreign = answers.contains(&Ok(Removal::Foreign));
    let outcome = if is_foreign { Removal::Foreign } else { Removal::Gone };
    if answers.is_empty() {
        return Err(CallError::no_server());
    }
    answers.into_iter().find_map(Result::err).map_or(Ok(outcome), Err)
}

#[cfg(test)]
mod tests;
