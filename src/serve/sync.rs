//! Status synchronisation: what is wanted, what stands in the rows and what really runs are
//! compared on a beat, and put right.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::StopWatch;
use crate::model::{Actor, Phase};
use crate::ops::{Live, Ops};

use super::server::Server;

/// Events kept; older ones are dropped, but for those of ended processes.
const EVENTS_KEPT: u32 = 10_000;

/// Runs a pass every `beat` until a stop was asked for. Each is idempotent and takes no input: the
/// beat is the retry. A pass reads one table; at 1,000 services it costs a few milliseconds. The
/// registry has a beat of its own: one that does not answer holds up nothing else.
pub(super) async fn run(ops: Ops, server: Arc<Server>, beat: Duration, stop: StopWatch) {
    tokio::join!(
        compare_services(ops, Arc::clone(&server), beat, stop.clone()),
        compare_registry(server, beat, stop),
    );
}

async fn compare_registry(server: Arc<Server>, beat: Duration, mut stop: StopWatch) {
    while passes(&server, beat, &mut stop).await {
        tokio::select! {
            () = server.heartbeats.synchronise() => {}
            () = stop.stopping() => return,
        }
    }
}

/// Waits for the next pass; false: there is none, because a stop was asked for.
async fn passes(server: &Server, beat: Duration, stop: &mut StopWatch) -> bool {
    loop {
        tokio::select! {
            () = tokio::time::sleep(beat) => {}
            () = stop.stopping() => return false,
        }
        if server.phase() == Phase::Ready {
            return true;
        }
    }
}

async fn compare_services(ops: Ops, server: Arc<Server>, beat: Duration, mut stop: StopWatch) {
    let mut was_failing = false;
    while passes(&server, beat, &mut stop).await {
        let pass = async {
            let healed = ops.heal_services(&Actor::Server).await?;
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
