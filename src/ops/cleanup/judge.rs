//! What may be done about a service's row and about whoever has its port: pure rules over what was
//! found.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::{Holder, Holding};
use crate::model::{Actual, Fault, FaultKind, Port, PortState, ProcessIdentity, Service};
use crate::ops::holders;
use crate::text::{self, Message};

/// Code of the reason by which a stopped row remembers who was left on its port.
const LEFT_TO: &str = "port-left-to";

/// What the rules rest on.
#[derive(Debug, Default)]
pub(in crate::ops) struct Rules {
    /// Foreign holders are ended too, where that is allowed at all.
    pub(super) force: bool,
    /// Servers of this node that never said goodbye.
    pub(super) unclean: Vec<ProcessIdentity>,
    /// Servers that are not to be touched: those of other nodes, and this one.
    pub(super) servers: Vec<ProcessIdentity>,
    /// Pids of this process and its ancestors.
    pub(super) own_line: BTreeSet<u32>,
    /// Pids that nobody may end.
    pub(super) untouchable: BTreeSet<u32>,
    /// Pids of processes that only forward a port for a container runtime, with its name.
    pub(super) forwarders: BTreeMap<u32, String>,
    /// The user processes are ended as.
    pub(super) own_uid: Option<u32>,
    /// Whether that user may end those of others.
    pub(super) may_end_any: bool,
}

/// What is to be done for one service.
#[derive(Debug)]
pub(in crate::ops) struct Verdict {
    /// Who has the port.
    pub(in crate::ops) found: PortState,
    /// The row says otherwise than the world: it becomes stopped, and remembers who is left.
    pub(super) repairs: bool,
    /// Who is to be ended.
    pub(super) ends: Vec<Holder>,
    /// Who is left although they are in the way, and why.
    pub(super) left: Vec<ProcessIdentity>,
    /// Why somebody is left.
    pub(in crate::ops) fault: Option<Fault>,
}

impl Rules {
    /// What is to be done for a service of a server that is gone.
    pub(in crate::ops) fn judge(&self, service: &Service, holding: &Holding) -> Verdict {
        let found = self.state(holding);
        let is_unclean = service.actual != Actual::Stopped;
        let remembered = remembered(service);
        let nothing =
            Verdict { found, repairs: false, ends: Vec::new(), left: Vec::new(), fault: None };
        if !is_unclean && remembered.is_none() {
            return nothing;
        }
        if matches!(holding, Holding::Free) {
            return Verdict { repairs: true, ..nothing };
        }
        let unseen = self.unseen(service.port, holding);
        let is_meant = |holder: &&Holder| {
            is_unclean || remembered.is_some_and(|names| is_among(service, names, holder))
        };
        let meant: Vec<&Holder> = holding.seen().iter().filter(is_meant).collect();
        let (mut ends, mut left, mut worst) = (Vec::new(), Vec::new(), None);
        for holder in &meant {
            match self.may_end(service.port, holder) {
                // A stranger's end would not free the port.
                Ok(()) if unseen.is_some() && !self.is_residue(holder) => {
                    left.push(holder.identity.clone());
                }
                Ok(()) => ends.push((*holder).clone()),
                Err(fault) => {
                    left.push(holder.identity.clone());
                    worst = worse(worst, fault);
                }
            }
        }
        // What is remembered already needs no second note.
        let repairs = is_unclean || (meant.is_empty() && unseen.is_none());
        let worst = match unseen {
            Some(unseen) => worse(worst, unseen),
            None => worst,
        };
        Verdict { found, repairs, ends, left, fault: worst }
    }

    /// Whether `holder` of a port that an unclean row claims may be ended.
    pub(super) fn may_end(&self, port: Port, holder: &Holder) -> Result<(), Fault> {
        let left = |message| Err(Fault::new(FaultKind::LeftAlone, message));
        let (pid, name) = (holder.identity.pid, holders::name(holder));
        if self.untouchable.contains(&pid) {
            return left(text::cleanup::cleanup_left_system(port, name));
        }
        if self.own_line.contains(&pid) {
            return left(text::cleanup::cleanup_left_own_line(port, name));
        }
        if self.servers.contains(&holder.identity) {
            return left(text::cleanup::cleanup_left_server(port, name));
        }
        if !self.force && !self.is_residue(holder) {
            return left(text::cleanup::cleanup_left_foreign(port, name, port));
        }
        if let Some(runtime) = self.forwarders.get(&pid) {
            return left(text::cleanup::cleanup_left_forwarder(port, runtime, name, runtime, port));
        }
        let is_others = holder.uid.is_some() && holder.uid != self.own_uid;
        if is_others && !self.may_end_any {
            let message = text::cleanup::cleanup_left_other_user(port, name);
            return Err(Fault::new(FaultKind::Denied, message));
        }
        Ok(())
    }

    pub(super) fn is_residue(&self, holder: &Holder) -> bool {
        self.unclean.contains(&holder.identity)
    }

    pub(super) fn state(&self, holding: &Holding) -> PortState {
        match holding {
            Holding::Free => PortState::Free,
            _ if holding.seen().iter().any(|h| self.is_residue(h)) => PortState::Residue,
            Holding::HeldUnseen { .. } => PortState::Unknown,
            Holding::Held(_) => PortState::Foreign,
        }
    }

    /// Why somebody is left who cannot be seen, if there is such a one.
    pub(super) fn unseen(&self, port: Port, holding: &Holding) -> Option<Fault> {
        let Holding::HeldUnseen { uid, .. } = holding else { return None };
        let uid = uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string());
        let kind = if self.force { FaultKind::Denied } else { FaultKind::LeftAlone };
        Some(Fault::new(kind, text::cleanup::cleanup_left_unseen(port, uid)))
    }
}

/// The worse of two: what was not permitted says more than what was left.
pub(super) fn worse(one: Option<Fault>, other: Fault) -> Option<Fault> {
    match one {
        Some(first) if first.kind != FaultKind::LeftAlone => Some(first),
        Some(first) if other.kind == FaultKind::LeftAlone => Some(first),
        _ => Some(other),
    }
}

/// The reason by which a stopped row remembers exactly these processes.
pub(super) fn left_to(port: Port, left: &[ProcessIdentity]) -> Option<Message> {
    let names: Vec<String> = left.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| text::cleanup::port_left_to(port, names.join(NAMES)))
}

const NAMES: &str = ", ";

/// The processes that were left on the port when the row was put right.
fn remembered(service: &Service) -> Option<&str> {
    let reason = service.reason.as_ref().filter(|reason| reason.code() == LEFT_TO)?;
    reason.args().find(|(name, _)| *name == "holders").map(|(_, value)| value)
}

/// Whether `holder` is one of them. Start times count from the boot: a process that was started after
/// the row was written is another one, of a later boot.
fn is_among(service: &Service, names: &str, holder: &Holder) -> bool {
    let name = holder.identity.to_string();
    let was_there = holder.started_at.is_none_or(|started| started <= service.since);
    was_there && names.split(NAMES).any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Desired, ServiceId, Timestamp};

    const ME: u32 = 1000;

    fn identity(pid: u32) -> ProcessIdentity {
        ProcessIdentity { boot_id: "b".into(), pid_namespace: 1, pid, start_time: 7 }
    }

    fn holder(pid: u32) -> Holder {
        Holder {
            identity: identity(pid),
            uid: Some(ME),
            user: Some("ann".into()),
            command: Some("node app.js".into()),
            started_at: Some(Timestamp::from_millis(10)),
        }
    }

    fn service(actual: Actual, reason: Option<Message>) -> Service {
        Service {
            health: None,
            id: ServiceId(1),
            name: "orders".parse().unwrap(),
            port: Port::new(8080).unwrap(),
            bind: None,
            desired: Desired::Running,
            actual,
            reason,
            since: Timestamp::from_millis(50),
            active_target: "main".parse().unwrap(),
            targets: BTreeMap::new(),
            tags: Vec::new(),
            register: true,
            created_at: Timestamp::from_millis(0),
            updated_at: Timestamp::from_millis(0),
            revision: 1,
        }
    }

    fn rules(force: bool) -> Rules {
        Rules { force, own_uid: Some(ME), ..Rules::default() }
    }

    fn held(holders: &[Holder]) -> Holding {
        Holding::Held(holders.to_vec())
    }

    fn kind(verdict: &Verdict) -> Option<FaultKind> {
        verdict.fault.as_ref().map(|fault| fault.kind)
    }

    #[test]
    fn a_row_of_a_dead_server_with_a_free_port_is_only_put_right() {
        for actual in [Actual::Running, Actual::Starting, Actual::Draining, Actual::Failed] {
            let verdict = rules(true).judge(&service(actual, None), &Holding::Free);
            assert!(verdict.repairs && verdict.ends.is_empty() && verdict.fault.is_none());
        }
    }

    #[test]
    fn whoever_has_the_port_of_a_service_that_was_stopped_in_order_is_never_touched() {
        for force in [false, true] {
            let stopped = service(Actual::Stopped, None);
            for holding in
                [held(&[holder(5)]), Holding::HeldUnseen { uid: Some(0), seen: Vec::new() }]
            {
                let verdict = rules(force).judge(&stopped, &holding);
                assert!(!verdict.repairs && verdict.ends.is_empty(), "{verdict:?}");
                assert_eq!(kind(&verdict), None);
            }
        }
    }

    #[test]
    fn a_foreign_holder_of_an_unclean_row_is_left_and_ended_only_with_force() {
        let unclean = service(Actual::Running, None);
        let verdict = rules(false).judge(&unclean, &held(&[holder(5)]));
        assert_eq!((kind(&verdict), verdict.repairs), (Some(FaultKind::LeftAlone), true));
        assert_eq!(verdict.left, [identity(5)]);
        let verdict = rules(true).judge(&unclean, &held(&[holder(5)]));
        assert_eq!((kind(&verdict), verdict.ends), (None, vec![holder(5)]));
    }

    #[test]
    fn residue_is_ended_without_force_and_a_stranger_that_shares_its_port_is_left() {
        let rules = Rules { unclean: vec![identity(5)], ..rules(false) };
        let verdict = rules.judge(&service(Actual::Running, None), &held(&[holder(5), holder(6)]));
        assert_eq!(verdict.found, PortState::Residue);
        assert_eq!((verdict.ends, verdict.left), (vec![holder(5)], vec![identity(6)]));
    }

    #[test]
    fn nobody_ends_the_system_the_caller_a_server_or_a_forwarder_even_with_force() {
        let rules = Rules {
            untouchable: [1].into(),
            own_line: [2].into(),
            servers: vec![identity(3)],
            forwarders: [(4, "docker".into())].into(),
            may_end_any: true,
            // Not even if a row calls them residue.
            unclean: (1..=4).map(identity).collect(),
            ..rules(true)
        };
        for pid in 1..=4 {
            let verdict = rules.judge(&service(Actual::Running, None), &held(&[holder(pid)]));
            assert!(verdict.ends.is_empty(), "{pid}: {verdict:?}");
            assert_eq!(kind(&verdict), Some(FaultKind::LeftAlone), "{pid}");
        }
    }

    #[test]
    fn another_users_process_needs_rights_and_an_unseen_one_is_never_free() {
        let others = Holder { uid: Some(0), ..holder(5) };
        let unclean = service(Actual::Running, None);
        let verdict = rules(true).judge(&unclean, &held(std::slice::from_ref(&others)));
        assert_eq!(kind(&verdict), Some(FaultKind::Denied));
        let root = Rules { may_end_any: true, ..rules(true) };
        assert_eq!(root.judge(&unclean, &held(&[others])).ends.len(), 1);
        let unseen = Holding::HeldUnseen { uid: Some(0), seen: Vec::new() };
        let verdict = rules(false).judge(&unclean, &unseen);
        assert_eq!((kind(&verdict), verdict.repairs), (Some(FaultKind::LeftAlone), true));
        assert_eq!(kind(&rules(true).judge(&unclean, &unseen)), Some(FaultKind::Denied));
        // Beside one that can be: to end that one alone would free nothing, unless it is residue.
        let both = Holding::HeldUnseen { uid: Some(0), seen: vec![holder(5)] };
        let verdict = rules(true).judge(&unclean, &both);
        assert_eq!((kind(&verdict), verdict.ends), (Some(FaultKind::Denied), Vec::new()));
        assert_eq!(verdict.left, [identity(5)]);
        let rules = Rules { unclean: vec![identity(5)], ..rules(false) };
        let verdict = rules.judge(&unclean, &both);
        assert_eq!((kind(&verdict), verdict.ends.len()), (Some(FaultKind::LeftAlone), 1));
    }

    #[test]
    fn force_later_ends_exactly_the_process_that_was_left_and_nobody_else() {
        let reason = left_to(Port::new(8080).unwrap(), &[identity(5), identity(6)]);
        let stopped = service(Actual::Stopped, reason);
        let again = rules(false).judge(&stopped, &held(&[holder(6)]));
        assert_eq!((kind(&again), again.repairs), (Some(FaultKind::LeftAlone), false));
        let forced = rules(true).judge(&stopped, &held(&[holder(6), holder(9)]));
        assert_eq!(forced.ends, [holder(6)]);
        // Gone, or another process, or one of a later boot: forgotten.
        let mut reused = holder(6);
        reused.identity.start_time += 1;
        let rebooted = Holder { started_at: Some(Timestamp::from_millis(60)), ..holder(6) };
        for holding in [Holding::Free, held(&[holder(9)]), held(&[reused]), held(&[rebooted])] {
            let verdict = rules(true).judge(&stopped, &holding);
            assert!(verdict.ends.is_empty() && verdict.fault.is_none(), "{verdict:?}");
            assert!(verdict.repairs, "the reason is cleared");
        }
    }
}
