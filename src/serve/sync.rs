//! Status synchronisation: what is wanted, what stands in the rows and what really runs are
//! compared on a beat, and put right.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::StopWatch;
use crate::model::{Actor, Phase};
use crate::ops::{Live, Ops};

use super::server::Server;

/// How often. A pass reads one table; at 1,000 services it costs a few milliseconds.
const BEAT: Duration = Duration::from_secs(10);

/// Events kept; older ones are dropped.
const EVENTS_KEPT: u32 = 10_000;

/// Runs until a stop was asked for. Each pass is idempotent and takes no input: the beat is the
/// retry.
pub(super) async fn run(ops: Ops, server: Arc<Server>, mut stop: StopWatch) {
    let mut was_failing = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = stop.stopping() => return,
        }
        if server.phase() != Phase::Ready {
            continue;
        }
        let pass = async {
            let healed = ops.heal_services(&Actor::Server).await?;
            ops.prune_events(EVENTS_KEPT).await?;
            // A direct writer's events are followed too.
            ops.events_appended().await;
            Ok::<_, crate::model::Fault>(healed)
        };
        match pass.await {
            Ok(healed) => {
                was_failing = false;
                if healed > 0 {
                    tracing::info!(healed, "services brought to their desired state");
                }
            }
            // Said on its edge, not every ten seconds.
            Err(error) if !was_failing => {
                was_failing = true;
                tracing::warn!(%error, "status synchronisation failed; it is tried again");
            }
            Err(_) => {}
        }
    }
}
