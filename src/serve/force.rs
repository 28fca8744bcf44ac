//! The last resort, on a thread of its own: close what is open, force the rows, so that nothing is
//! left when the process is ended from outside its runtime.

use std::time::Duration;

use super::server::Server;
use crate::host::clock;
use crate::model::{Actor, EventAction, NodeName, Outcome};
use crate::store::{Location, NewEvent, Store};
use crate::text;

/// For the rows; past it they are left to the guardian, or whoever repairs after a crash.
const ROWS: Duration = Duration::from_millis(800);

/// Closes every listener and connection, then sets the rows to stopped through a connection and a
/// runtime of its own, because the server's may be the very thing that hangs.
pub(super) fn last_resort(server: &Server, location: &Location, node: &NodeName) {
    let cut = server.cut_everything();
    tracing::error!(connections = cut.len(), "connections closed by force");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let forced = match runtime {
        Ok(runtime) => runtime.block_on(async {
            tokio::time::timeout(ROWS, force_rows(server, location, node)).await
        }),
        Err(error) => {
            tracing::error!(%error, "the rows could not be forced");
            return;
        }
    };
    match forced {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the rows could not be forced"),
        Err(_) => tracing::error!("the rows could not be forced in time"),
    }
}

async fn force_rows(
    server: &Server,
    location: &Location,
    node: &NodeName,
) -> Result<(), crate::store::StoreError> {
    let store = Store::open_for_writing(location).await?;
    let reason = "the bound of the shutdown had passed";
    let cause = server.stop.state().cause().map(|(cause, _)| format!("{cause:?}"));
    let event = NewEvent {
        at: clock::now(),
        action: EventAction::ServerForced,
        subject: node.to_string(),
        actor: Actor::Server,
        outcome: Outcome::Failed,
        detail: Some(text::ops::event_server_forced(cause.unwrap_or_default(), reason)),
    };
    store.stop_all(node, clock::now(), vec![event]).await?;
    store.finish_node(server.node_id, clock::now(), reason).await?;
    store.close().await
}
