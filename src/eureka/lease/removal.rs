//! Taking an instance out that may be somebody else's by now: every server of the registry is looked
//! at, and it goes only where it still has its owner's mark.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesOrdered, StreamExt};

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
    let servers = registry.servers();
    // One that is silent leaves the others time.
    let for_a_look = if servers.len() > 1 { bound / 2 } else { bound };
    let is_ours = &is_ours;
    let one = async |server: &str| {
        let look = look(registry, server, (app, id), is_ours);
        within(for_a_look, server, look).await
    };
    let mut looks: FuturesOrdered<_> = servers.iter().map(|server| one(server)).collect();
    let mut answers = Vec::with_capacity(servers.len());
    let mut asked = servers.iter();
    while let (Some(found), Some(server)) = (looks.next().await, asked.next()) {
        let answer = match found {
            Ok(Found::Ours) if consent == Consent::Look => return Ok(Removal::Cancelled),
            Ok(Found::Ours) => {
                let left = deadline.saturating_duration_since(Instant::now());
                match within(left, server, registry.cancel_at(server, app, id)).await {
                    Ok(()) => return Ok(Removal::Cancelled),
                    Err(error) => Err(error),
                }
            }
            Ok(Found::Theirs) => Ok(Removal::Foreign),
            Ok(Found::Nothing) => Ok(Removal::Gone),
            Err(error) => Err(error),
        };
        answers.push(answer);
    }
    together(answers)
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
mod tests {
    use super::*;

    fn outcome(answers: &[Option<Removal>]) -> Option<Removal> {
        let silent = CallError::Silent { url: "u".into() };
        together(answers.iter().map(|answer| answer.ok_or(silent.clone())).collect()).ok()
    }

    #[test]
    fn an_instance_is_gone_only_if_every_server_says_so() {
        let (gone, foreign) = (Some(Removal::Gone), Some(Removal::Foreign));
        assert_eq!(outcome(&[gone, gone]), gone);
        assert_eq!(outcome(&[gone, None]), None, "the silent one may have it");
        assert_eq!(outcome(&[foreign, None]), None);
        assert_eq!(outcome(&[gone, foreign]), foreign);
        assert_eq!(outcome(&[]), None, "nobody was asked");
    }
}
