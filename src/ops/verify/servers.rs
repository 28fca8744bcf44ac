//! Servers of the database: the rows of their runs, and the processes those name.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::findings::Findings;
use crate::host::Liveness;
use crate::model::{Fault, Finding, NodeName, ProcessIdentity, ServerState, VerifySubject};
use crate::ops::context::Ops;
use crate::ops::faults::store_fault;
use crate::ops::holders::ask;
use crate::store::{Location, Node, NodeId, Store};
use crate::text;

/// A server notes its end, lets go of its lock and then ends: for so long that is no leftover.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Between two looks at a process that is about to end.
const LOOK: Duration = Duration::from_millis(50);

/// The runs of servers and which of them live.
pub(super) struct Servers {
    /// Every run, newest first.
    nodes: Vec<Node>,
    /// Those that live.
    live: BTreeSet<NodeId>,
    /// Those of another node name that may live, in another pid namespace.
    unknown: BTreeSet<NodeId>,
    /// The owner's lock of this node name is held.
    is_owned: bool,
}

impl Servers {
    pub(super) fn is_live(&self, id: NodeId) -> bool {
        self.live.contains(&id)
    }

    /// Whether the services of `name` may be served now.
    pub(super) fn serves(&self, name: &NodeName) -> bool {
        self.is_owned || self.nodes.iter().any(|n| n.row.name == *name && self.is_live(n.id))
    }

    /// Every other node name that a server ever had here.
    pub(super) fn others(&self, own: &NodeName) -> BTreeSet<&NodeName> {
        self.nodes.iter().map(|node| &node.row.name).filter(|name| *name != own).collect()
    }

    /// What is to be thought of services of that other node name that are not stopped.
    pub(super) fn other(&self, name: &NodeName) -> Finding {
        let of = |ids: &BTreeSet<NodeId>| {
            self.nodes.iter().any(|n| n.row.name == *name && ids.contains(&n.id))
        };
        match (of(&self.live), of(&self.unknown)) {
            (true, _) => Finding::Live,
            (false, true) => Finding::Unproved,
            (false, false) => Finding::Left,
        }
    }

    pub(super) fn name_of(&self, id: NodeId) -> Option<&NodeName> {
        self.nodes.iter().find(|node| node.id == id).map(|node| &node.row.name)
    }

    /// Servers of `name` that never noted their end and do not live.
    pub(super) fn unclean(&self, name: &NodeName) -> Vec<ProcessIdentity> {
        let is_one =
            |n: &&Node| n.row.name == *name && n.stopped_at.is_none() && !self.is_live(n.id);
        self.nodes.iter().filter(is_one).map(|node| node.row.identity.clone()).collect()
    }
}

/// Looks at every run that was written down, and at whoever owns the database.
pub(super) async fn look(
    ops: &Ops,
    store: &Store,
    findings: &mut Findings,
) -> Result<Servers, Fault> {
    let nodes = store.nodes().await.map_err(store_fault)?;
    let mut seen = liveness(ops, &nodes).await?;
    let deadline = Instant::now() + LAST_BREATH;
    let lingers = |seen: &[Liveness]| {
        let mut of = nodes.iter().zip(seen);
        of.any(|(n, seen)| n.stopped_at.is_some() && *seen == Liveness::Alive)
    };
    while lingers(&seen) && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
        seen = liveness(ops, &nodes).await?;
    }
    findings.checked(VerifySubject::Process, nodes.len());
    findings.checked(VerifySubject::Node, nodes.len());
    let owner = ops.direct_facts().and_then(|facts| facts.owner.clone());
    let own = ops.live().map(|live| live.node_id());
    let state = ops.server_view().state;
    let (mut live, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for (node, seen) in nodes.iter().zip(seen) {
        let (pid, name) = (node.row.identity.pid, &node.row.name);
        let is_owner = own == Some(node.id) || owner.as_ref() == Some(&node.row.identity);
        let process = VerifySubject::Process;
        match (node.stopped_at.is_some(), is_owner, seen) {
            (false, true, _) => {
                live.insert(node.id);
                let message = match state {
                    ServerState::Unresponsive => text::verify::server_unresponsive_now(pid),
                    state => text::verify::server_live(pid, state),
                };
                findings.noted(process, pid, Finding::Live, message);
            }
            (false, false, Liveness::Alive) => {
                live.insert(node.id);
                let message = text::verify::server_of_node_live(name, pid);
                findings.noted(process, pid, Finding::Live, message);
            }
            // Its lock is free, wherever it ran.
            (false, false, _) if name == ops.node() => {
                let message = text::verify::node_left(pid);
                findings.noted(VerifySubject::Node, pid, Finding::Left, message);
            }
            (false, false, Liveness::Dead) => {
                let message = text::verify::node_of_other_name_left(name, pid);
                findings.noted(VerifySubject::Node, pid, Finding::Left, message);
            }
            (false, false, Liveness::Unknown) => {
                unknown.insert(node.id);
                let message = text::verify::node_unknown(name, pid);
                findings.noted(VerifySubject::Node, pid, Finding::Unproved, message);
            }
            (true, _, Liveness::Alive) => {
                let message = text::verify::process_left(pid);
                findings.noted(process, pid, Finding::Left, message);
            }
            // It noted its end; that its process cannot be seen from here says nothing against it.
            (true, _, Liveness::Dead | Liveness::Unknown) => {}
        }
    }
    let is_known = |owner: &ProcessIdentity| nodes.iter().any(|n| n.row.identity == *owner);
    if !owner.as_ref().is_some_and(is_known) {
        look_at_owner(ops, findings);
    }
    let is_owned = own.is_some() || state != ServerState::Down;
    Ok(Servers { nodes, live, unknown, is_owned })
}

/// Whoever owns the database without a row in it: a server that starts has none yet, a repair or a
/// migration never has.
pub(super) fn look_at_owner(ops: &Ops, findings: &mut Findings) {
    let Some(facts) = ops.direct_facts() else { return };
    if facts.server.state == ServerState::Down {
        return;
    }
    let pid = facts.server.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let message = text::verify::owner_live(&pid);
    findings.add(VerifySubject::Process, pid, Finding::Live, message);
}

/// Where there is no database: whether there was one, whose servers nobody can ask for any more.
pub(super) fn look_for_traces(ops: &Ops, findings: &mut Findings) -> Result<(), Fault> {
    let database = ops.server_view().database;
    let location = Location::from_url(&database).map_err(store_fault)?;
    let traces = location.traces().map_err(store_fault)?;
    if !traces.is_empty() {
        let message = text::verify::database_gone(&database, traces.join(", "));
        findings.add(VerifySubject::Node, database, Finding::Unproved, message);
    }
    Ok(())
}

async fn liveness(ops: &Ops, nodes: &[Node]) -> Result<Vec<Liveness>, Fault> {
    let identities: Vec<_> = nodes.iter().map(|node| node.row.identity.clone()).collect();
    ask(ops.machine(), move |machine| {
        identities.iter().map(|identity| machine.liveness(identity)).collect()
    })
    .await
}
