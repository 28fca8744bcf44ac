//! `cleanup`: what an unclean end left is put right, and nothing else is touched.
//!
//! Residue is proved by the row of the server that left it (its identity), never by a name or a
//! port. Whoever else has a port is foreign: named, left alone, and ended only with force, and only
//! where the row of a dead server claims the port.

mod conflict;
mod direct;
mod ender;
mod facts;
mod hung;
mod inside;
mod judge;
mod repair;
mod report;

use tokio::sync::mpsc;

use crate::model::{Actor, CleanupProgress, CleanupReport, CleanupRequest, Fault};
use crate::ops::context::Ops;
use crate::text::Message;

pub(super) use facts::{Ports, rules, views};
pub use hung::HungServer;
pub(super) use judge::Rules;
pub use repair::repair_rows;

impl Ops {
    /// Reconciles the registered services with the world and removes what an unclean server left.
    ///
    /// Inside a live server: heals its services and rows, and goes on to its end if the caller hangs
    /// up. Directly: the caller holds the owner's lock (not needed for a dry run), so that every
    /// unfinished server of this node name is dead. `hear` learns how far it is.
    ///
    /// # Errors
    /// What the store or this machine say; what concerns one service alone stands in its item.
    pub async fn cleanup(
        &self,
        request: &CleanupRequest,
        by: &Actor,
        hear: &(dyn Fn(CleanupProgress) + Send + Sync),
    ) -> Result<CleanupReport, Fault> {
        let (ops, request, by) = (self.clone(), request.clone(), by.clone());
        self.to_its_end_heard(hear, |tell| async move {
            let tell = Tell(tell);
            match ops.live().cloned() {
                Some(live) => inside::clean(&ops, live.as_ref(), &request, &by, &tell).await,
                None => direct::clean(&ops, &request, &by, &tell).await,
            }
        })
        .await
    }
}

/// Tells how far a cleanup is.
struct Tell(mpsc::UnboundedSender<CleanupProgress>);

impl Tell {
    fn say(&self, done: u64, total: u64, message: Message) {
        // Nobody listens any more: the work goes on.
        self.0.send(CleanupProgress { done, total, message }).ok();
    }
}
