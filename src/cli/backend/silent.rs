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

/// Between two looks whether it still holds the lock: one that dies meanwhile is not waited for.
const LOOK: Duration = Duration::from_millis(100);
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
        loop {
            let answer = tokio::select! {
                () = self.left(holder) => return Ok(Examined::Changed),
                answer = questions.next() => answer,
            };
            let Some(answer) = answer else { break };
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
        tokio::select! {
            () = self.left(holder) => return Ok(Examined::Changed),
            () = tokio::time::sleep_until(ends.into()) => {}
        }
        if !self.is_same(holder)? {
            return Ok(Examined::Changed);
        }
        Ok(Examined::Hung(HungServer {
            identity: holder.identity.clone(),
            silent_for: since.elapsed(),
            shutdown_timeout: holder.shutdown_timeout,
        }))
    }

    /// Ends once `holder` is not the ready owner of the database any more.
    async fn left(&self, holder: &LockHolder) {
        // What cannot be read now is read, and told, at the end of the examination.
        while self.is_same(holder).unwrap_or(true) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the database is still owned by `holder`, which lives and says that it is ready.
    fn is_same(&self, holder: &LockHolder) -> Result<bool, Fault> {
        let Owner::Held(Some(now)) = self.owner()? else { return Ok(false) };
        Ok(now.identity == holder.identity
            && now.kind == HolderKind::Serve
            && now.phase == Some(Phase::Ready)
            && host::is_alive(&holder.identity))
    }
}
