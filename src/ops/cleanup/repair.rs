//! The rows of servers that never said goodbye.

use crate::model::{Actor, EventAction, Fault, NodeName, Timestamp};
use crate::ops::context::done;
use crate::ops::faults::store_fault;
use crate::store::{NewEvent, Node, Store};
use crate::text;

/// Sets every service of `node` to stopped and notes its unfinished servers as ended. The caller
/// holds the owner's lock, so they are dead, whoever has their pids now. Returns them as they stood
/// there, newest first. Cut short, it leaves what the next call finds and puts right.
///
/// # Errors
/// What the store says.
pub async fn repair_rows(
    store: &Store,
    node: &NodeName,
    by: &Actor,
    now: Timestamp,
) -> Result<Vec<Node>, Fault> {
    let dead = store.unfinished_nodes(node).await.map_err(store_fault)?;
    let events = events(node, &dead, by, now);
    store.stop_all(node, now, events).await.map_err(store_fault)?;
    finish(store, &dead, now).await?;
    Ok(dead)
}

/// Notes servers as ended that are dead, beside a live one whose rows are its own.
pub(super) async fn finish_dead(
    store: &Store,
    node: &NodeName,
    dead: &[Node],
    by: &Actor,
    now: Timestamp,
) -> Result<(), Fault> {
    store.append_events(events(node, dead, by, now)).await.map_err(store_fault)?;
    finish(store, dead, now).await
}

fn events(node: &NodeName, dead: &[Node], by: &Actor, now: Timestamp) -> Vec<NewEvent> {
    let event = |dead: &Node| {
        let detail = text::ops::event_repaired(dead.row.identity.pid);
        done(now, EventAction::Repaired, node, by, detail)
    };
    dead.iter().map(event).collect()
}

async fn finish(store: &Store, dead: &[Node], now: Timestamp) -> Result<(), Fault> {
    for dead in dead {
        store.finish_node(dead.id, now, "found dead").await.map_err(store_fault)?;
    }
    Ok(())
}
