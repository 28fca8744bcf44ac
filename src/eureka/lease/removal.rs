//! Taking an instance out that may be somebody else's by now: every server of the registry is looked
//! at, and it goes only where it still has its owner's mark.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

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

/// Takes the instance `id` out of every server of `registry` that has it, where `is_ours` says that it
/// is; each server gets as long as `bound`.
///
/// Taken out of one server counts, and nobody is waited for after it: servers of a registry tell each
/// other (`eureka-core`, `PeerAwareInstanceRegistryImpl.java`). That it is not there has to be the word of each of them,
/// because one that was restarted, or is cut off, may lack what another has.
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
    let is_ours = &is_ours;
    let servers = registry.servers();
    let one = async |server: &str| {
        let look = async {
            match registry.instance_at(server, app, id).await? {
                None => Ok(Removal::Gone),
                Some(found) if !is_ours(&found) => Ok(Removal::Foreign),
                Some(_) => {
                    if consent == Consent::Remove {
                        registry.cancel_at(server, app, id).await?;
                    }
                    Ok(Removal::Cancelled)
                }
            }
        };
        let silent = CallError::Silent { url: server.to_owned() };
        tokio::time::timeout(bound, look).await.unwrap_or(Err(silent))
    };
    let mut asked: FuturesUnordered<_> = servers.iter().map(|server| one(server)).collect();
    let mut answers = Vec::with_capacity(servers.len());
    while let Some(answer) = asked.next().await {
        if answer == Ok(Removal::Cancelled) {
            return answer;
        }
        answers.push(answer);
    }
    together(answers)
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
