//! What earlier servers of this node left in the registry, taken out in the background.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lifecycle::StopWatch;
use crate::model::{Actor, CleanupInstance, InstanceAction};
use crate::ops::Ops;

/// The first pause while a registry does not answer; it doubles up to the longest.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Looks until nothing is left or a stop was asked for.
pub(super) async fn run(ops: Ops, bound: Duration, mut stop: StopWatch) {
    let (mut pause, mut said) = (FIRST, BTreeMap::new());
    loop {
        let look = tokio::select! {
            biased;
            () = stop.stopping() => return,
            look = ops.cancel_residue(bound, &Actor::Server) => look,
        };
        let is_left = match look {
            Ok(items) => {
                // Each once, not with every look at a registry that is away.
                for item in items.iter().filter(|i| is_news(&mut said, i)) {
                    let (service, instance) = (&item.service, &item.instance_id);
                    tracing::info!(%service, %instance, action = ?item.action, "residue in the registry");
                }
                let is_left = |action: &InstanceAction| {
                    matches!(action, InstanceAction::Unreachable | InstanceAction::Pending)
                };
                items.iter().any(|item| is_left(&item.action))
            }
            Err(error) => {
                tracing::warn!(%error, "what earlier servers left in the registry is not known");
                true
            }
        };
        if !is_left {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST),
            () = stop.stopping() => return,
        }
    }
}

/// Whether something else becomes of an instance than before.
fn is_news(said: &mut BTreeMap<String, InstanceAction>, item: &CleanupInstance) -> bool {
    said.insert(item.instance_id.clone(), item.action) != Some(item.action)
}
