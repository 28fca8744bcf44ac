//! Status synchronisation: what is wanted, what stands in the rows and what really runs are
//! compared on a beat, and put right.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::StopWatch;
use crate::model::{Actor, Phase};
use crate::ops::{Live, Ops};

use super::server::Server;

/// Events kept; older ones are dropped.
const EVENTS_KEPT: u32 = 10_000;

/// Runs a pass every `beat` until a stop was asked for. Each is idempotent and takes no input: the
/// beat is the retry. A pass reads one table; at 1,000 services it costs a few milliseconds.
pub(super) async fn run(ops: Ops, server: Arc<Server>, beat: Duration, mut stop: StopWatch) {
    let mut was_failing = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(beat) => {}
            () = stop.stopping() => return,
        }
        if server.phase() != Phase::Ready {
            continue;
        }
        let pass = async {
            let healed = ops.heal_services(&Actor::Server).await?;
            ops.heal_leases().await?;
            server.heartbeats.synchronise().await;
            ops.prune_events(EVENTS_KEPT).await?;
            // A direct writer's events are followed too.
            ops.events_appended().await;
            // Last: what can be done without it is done.
            ops.check_database().await?;
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
