//! Telling a hung server from a slow one.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::reach::{Judged, Origin, Reach};
use crate::host;
use crate::model::{Fault, Phase};
use crate::ops::HungServer;
use crate::rpc::{Client, ClientError};
use crate::store::{HolderKind, LockHolder, Owner};

/// How long a first question may stay without an answer before more are asked. `--timeout` never
/// shortens it.
pub(in crate::cli) const PATIENCE: Duration = Duration::from_secs(5);

/// When the second and the third question are asked, and when nothing is expected any more, all
/// from the first one on. Each answer is waited for until then, so that a server which is only slow
/// has the longest time to give one.
const SECOND: Duration = Duration::from_millis(4_500);
const THIRD: Duration = Duration::from_secs(8);
pub(in crate::cli) const VERDICT: Duration = Duration::from_secs(12);

/// What became of the questions.
pub(in crate::cli) enum Examined {
    /// It answered one.
    Answers(Box<Client>),
    /// It answered none of three, holds the lock and lives.
    Hung(HungServer),
    /// It is not the one any more that was asked, or it is starting or leaving: look again.
    Changed,
}

impl Reach<'_> {
    /// Whether `holder`, who was asked `since` and has not answered yet, is hung.
    ///
    /// # Errors
    /// A refusal: it lives and answers.
    pub(in crate::cli) async fn examine(
        &self,
        holder: &LockHolder,
        since: Instant,
    ) -> Result<Examined, Fault> {
        let Some(url) = holder.url.as_deref() else { return Ok(Examined::Changed) };
        let ends = since + VERDICT;
        let ask = async |after: Duration| {
            tokio::time::sleep_until((since + after).into()).await;
            self.connect(url, ends.saturating_duration_since(Instant::now())).await
        };
        let mut questions: FuturesUnordered<_> = [SECOND, THIRD].into_iter().map(ask).collect();
        while let Some(answer) = questions.next().await {
            match answer {
                Ok(client) => {
                    let owner = Owner::Held(Some(holder.clone()));
                    let judged = self.judge(client, url, Origin::Recorded, &owner).await?;
                    // Another program has its address: that is no answer of this one.
                    if let Judged::Ours(client, is_same) = judged {
                        return match self.introduced(client, url, is_same).await {
                            Ok(client) => Ok(Examined::Answers(client)),
                            Err(ClientError::Fault(fault)) => Err(fault),
                            // It answered just now.
                            Err(_) => Ok(Examined::Changed),
                        };
                    }
                }
                Err(ClientError::Fault(fault)) => return Err(fault),
                // It took the call and broke off: it does something.
                Err(ClientError::GoingAway) => return Ok(Examined::Changed),
                Err(
                    ClientError::Absent
                    | ClientError::NotPmctl { .. }
                    | ClientError::Unresponsive { .. },
                ) => {}
            }
        }
        tokio::time::sleep_until(ends.into()).await;
        let is_same = match self.owner()? {
            Owner::Held(Some(now)) => {
                now.identity == holder.identity
                    && now.kind == HolderKind::Serve
                    && now.phase == Some(Phase::Ready)
            }
            Owner::Held(None) | Owner::Free => false,
        };
        if !is_same || !host::is_alive(&holder.identity) {
            return Ok(Examined::Changed);
        }
        Ok(Examined::Hung(HungServer {
            identity: holder.identity.clone(),
            silent_for: since.elapsed(),
            shutdown_timeout: holder.shutdown_timeout,
        }))
    }
}
