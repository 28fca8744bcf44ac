//! The report as a whole.

use crate::model::{
    CleanupAction, CleanupInstance, CleanupItem, CleanupNode, CleanupReport, CleanupRequest,
    InstanceAction, Success,
};
use crate::ops::context::Ops;
use crate::text;

/// The report of what was found and done, with one sentence about all of it.
pub(super) fn of(
    ops: &Ops,
    request: &CleanupRequest,
    nodes: Vec<CleanupNode>,
    services: Vec<CleanupItem>,
    instances: Vec<CleanupInstance>,
) -> CleanupReport {
    let count = |is: &[CleanupAction]| services.iter().filter(|s| is.contains(&s.action)).count();
    let repaired = count(&[CleanupAction::RowRepaired, CleanupAction::Healed]);
    let ended = count(&[CleanupAction::HolderEnded]);
    let left = count(&[CleanupAction::Left]);
    let taken_out = |i: &&CleanupInstance| i.action == InstanceAction::Cancelled;
    let cancelled = instances.iter().filter(taken_out).count();
    let is_nothing = repaired + ended + left + nodes.len() + instances.len() == 0;
    let message = match (is_nothing, request.dry_run) {
        (true, _) => text::cleanup::cleanup_nothing(),
        (false, true) => {
            text::cleanup::cleanup_would(repaired, ended, left, nodes.len(), cancelled)
        }
        (false, false) => {
            text::cleanup::cleanup_done(repaired, ended, left, nodes.len(), cancelled)
        }
    };
    CleanupReport {
        success: Success,
        source: ops.source(),
        dry_run: request.dry_run,
        message,
        nodes,
        services,
        instances,
    }
}
