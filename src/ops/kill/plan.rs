//! What would be done to free ports, before anything is.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::judge::{Judge, unseen};
use super::proof;
use crate::host::{Holder, Holding, HostError};
use crate::model::{
    Bindable, Fault, FaultKind, HolderDetails, HolderView, Keeper, KillItem, KillReport,
    KillRequest, Port, PortAction, Service, Source, Success,
};
use crate::ops::holders;
use crate::ops::machine::Machine;
use crate::text::{self, Message};

/// What would be done to free ports; nothing has been done yet.
pub struct KillPlan {
    pub(super) source: Source,
    /// Ascending by port.
    pub(super) ports: Vec<PlannedPort>,
}

pub(super) struct PlannedPort {
    pub(super) port: Port,
    pub(super) service: Option<Service>,
    pub(super) holders: Vec<HolderView>,
    /// Whether it can be bound before anything is done.
    pub(super) bindable: Bindable,
    pub(super) step: Step,
    /// True of the plan and of what becomes of it.
    pub(super) notes: Vec<Message>,
    /// What a person wants to know before consenting.
    pub(super) warnings: Vec<Message>,
}

/// What is to be done about one port.
pub(super) enum Step {
    /// Nobody listens.
    Nothing,
    /// The live server serves it: its service is stopped.
    Stop(Box<Service>),
    /// Its holders are ended, all of them or none.
    End(Vec<Target>),
    /// It is left alone.
    Leave { fault: Fault, holders: Vec<Holder> },
}

/// A process to be ended.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) holder: Holder,
    pub(super) keeper: Option<Keeper>,
}

/// A port that is asked for, with what the server knows of it.
pub(super) struct Asked {
    pub(super) service: Option<Service>,
    /// The server that carries the request out has a proxy for the service.
    pub(super) is_served: bool,
    /// That server is about to listen on it.
    pub(super) is_wanted: bool,
}

/// Looks who has the ports and judges each. Blocks.
pub(super) fn plan(
    machine: &dyn Machine,
    judge: &Judge,
    asked: BTreeMap<Port, Asked>,
    source: Source,
) -> Result<KillPlan, HostError> {
    let ports: BTreeSet<Port> = asked.keys().copied().collect();
    // Nobody is asked first: who shares a socket has to be found too.
    let mut held = machine.holders(&ports, &[])?;
    let details = holders::details_of(machine, &held);
    let clients = machine.connections(&ports).unwrap_or_default();
    let ports = asked
        .into_iter()
        .map(|(port, asked)| {
            let sight = Sight {
                port,
                holding: held.remove(&port).unwrap_or(Holding::Free),
                details: &details,
                clients: clients.get(&port).copied().unwrap_or(0),
            };
            sight.judged(machine, judge, asked)
        })
        .collect();
    Ok(KillPlan { source, ports })
}

/// A port as it was found.
struct Sight<'a> {
    port: Port,
    holding: Holding,
    details: &'a BTreeMap<u32, HolderDetails>,
    clients: u64,
}

impl Sight<'_> {
    fn judged(self, machine: &dyn Machine, judge: &Judge, asked: Asked) -> PlannedPort {
        let port = self.port;
        let bindable = match self.holding {
            Holding::Free => proof::bindable(machine, port),
            Holding::Held(_) | Holding::HeldUnseen { .. } => Bindable::No(text::kill::bind_held()),
        };
        let seen = self.holding.seen();
        let views = seen.iter().map(|holder| holders::view(holder, self.details_of(holder)));
        let views = views.collect();
        let (mut notes, mut warnings) = (Vec::new(), Vec::new());
        let step = self.step(machine, judge, &asked, seen, &mut notes);
        match &step {
            Step::Stop(service) => notes.push(text::kill::note_undo(&service.name)),
            Step::End(_) => {
                if let (true, Some(service)) = (asked.is_wanted, &asked.service) {
                    notes.push(text::kill::note_server_takes_it(&service.name, port));
                }
                warnings.extend(seen.iter().filter_map(|holder| self.other_ports(holder)));
            }
            Step::Nothing | Step::Leave { .. } => {}
        }
        if self.clients > 0 && matches!(step, Step::Stop(_) | Step::End(_)) {
            warnings.push(text::kill::note_clients(port, self.clients));
        }
        let service = asked.service;
        PlannedPort { port, service, holders: views, bindable, step, notes, warnings }
    }

    fn step(
        &self,
        machine: &dyn Machine,
        judge: &Judge,
        asked: &Asked,
        seen: &[Holder],
        notes: &mut Vec<Message>,
    ) -> Step {
        let port = self.port;
        let leave = |fault| Step::Leave { fault, holders: seen.to_vec() };
        if judge.control_port == Some(port) {
            return leave(Fault::new(FaultKind::LeftAlone, text::kill::port_control(port)));
        }
        if judge.in_server && asked.service.is_none() && !judge.force {
            return leave(Fault::new(FaultKind::Denied, text::kill::port_unregistered(port)));
        }
        if let Some(service) = &asked.service
            && asked.is_served
            && judge.is_here(seen)
        {
            return Step::Stop(Box::new(service.clone()));
        }
        match &self.holding {
            Holding::Free => Step::Nothing,
            Holding::HeldUnseen { uid, .. } => leave(unseen(port, *uid)),
            Holding::Held(_) => match self.targets(machine, judge, seen, notes) {
                Ok(targets) => Step::End(targets),
                Err(fault) => leave(fault),
            },
        }
    }

    /// All of the holders, if every one may be ended: to end only some would free nothing. What
    /// nobody may do comes before what somebody else may.
    fn targets(
        &self,
        machine: &dyn Machine,
        judge: &Judge,
        seen: &[Holder],
        notes: &mut Vec<Message>,
    ) -> Result<Vec<Target>, Fault> {
        let (mut targets, mut faults) = (Vec::with_capacity(seen.len()), Vec::new());
        for holder in seen {
            let pid = holder.identity.pid;
            let keeper = self.details_of(holder).and_then(|details| details.keeper);
            match judge.may_end(machine, self.port, holder, keeper.as_ref()) {
                Ok(has_window) => {
                    notes.extend(keeper.as_ref().and_then(|k| keeper_note(k, pid, self.port)));
                    notes.extend(has_window.then(|| text::kill::note_window(pid)));
                    targets.push(Target { holder: holder.clone(), keeper });
                }
                Err(fault) => faults.push(fault),
            }
        }
        let is_final = |fault: &Fault| fault.message.code() != "port-holder-other-user";
        let at = faults.iter().position(is_final).unwrap_or(0);
        match faults.is_empty() {
            true => Ok(targets),
            false => Err(faults.swap_remove(at)),
        }
    }

    fn details_of(&self, holder: &Holder) -> Option<HolderDetails> {
        let details = self.details.get(&holder.identity.pid)?;
        Some(holders::beside(self.port, details))
    }

    fn other_ports(&self, holder: &Holder) -> Option<Message> {
        let others = self.details_of(holder)?.other_ports;
        let others: Vec<String> = others.iter().map(Port::to_string).collect();
        let pid = holder.identity.pid;
        (!others.is_empty()).then(|| text::kill::note_other_ports(pid, others.join(", ")))
    }
}

/// What starts the process again, and what to stop instead.
fn keeper_note(keeper: &Keeper, pid: u32, port: Port) -> Option<Message> {
    let command = holders::keeper_command(keeper, port);
    match keeper {
        Keeper::Unit { name, restarts: Some(true), .. } => {
            Some(text::kill::note_unit_restarts(name, pid, command))
        }
        Keeper::Unit { name, restarts: None, .. } => {
            Some(text::kill::note_unit_may_restart(name, pid, command))
        }
        Keeper::Container { runtime, .. } => {
            Some(text::kill::note_container(pid, runtime, command))
        }
        Keeper::Unit { restarts: Some(false), .. } | Keeper::Forwarder { .. } => None,
    }
}

impl KillPlan {
    /// Refuses what is too much to be done unforced.
    ///
    /// # Errors
    /// `LeftAlone` with both numbers.
    pub(super) fn check_size(&self, force: bool) -> Result<(), Fault> {
        let strangers: HashSet<_> = self
            .ports
            .iter()
            .filter(|planned| planned.service.is_none())
            .filter_map(|planned| match &planned.step {
                Step::End(targets) => Some(targets),
                Step::Nothing | Step::Stop(_) | Step::Leave { .. } => None,
            })
            .flatten()
            .map(|target| &target.holder.identity)
            .collect();
        if force || strangers.len() <= KillRequest::MANY_HOLDERS {
            return Ok(());
        }
        let message = text::kill::too_many_holders(strangers.len(), KillRequest::MANY_HOLDERS);
        Err(Fault::new(FaultKind::LeftAlone, message))
    }

    /// The plan as a report of what would be done.
    pub fn report(self) -> KillReport {
        let items: Vec<KillItem> = self.ports.into_iter().map(PlannedPort::item).collect();
        report(self.source, true, items)
    }
}

impl PlannedPort {
    /// The port's line in the plan's report.
    pub(super) fn item(self) -> KillItem {
        let port = self.port;
        let mut notes = self.notes;
        notes.extend(self.warnings);
        let (action, message, fault) = match self.step {
            Step::Nothing => (PortAction::AlreadyFree, text::kill::kill_already_free(port), None),
            Step::Stop(service) => {
                (PortAction::Stopped, text::kill::kill_would_stop(port, service.name), None)
            }
            Step::End(targets) => {
                let names = holders::names(targets.iter().map(|target| &target.holder));
                (PortAction::Terminated, text::kill::kill_would_end(port, names), None)
            }
            Step::Leave { fault, .. } => (PortAction::Left, fault.message.clone(), Some(fault)),
        };
        KillItem {
            port,
            service: self.service.map(|service| service.name),
            action,
            holders: self.holders,
            signal: None,
            duration_ms: 0,
            bindable: self.bindable,
            message,
            notes,
            fault,
        }
    }
}

/// The report of all ports.
pub(super) fn report(source: Source, dry_run: bool, ports: Vec<KillItem>) -> KillReport {
    let count =
        |wanted: &[PortAction]| ports.iter().filter(|item| wanted.contains(&item.action)).count();
    let free = count(&[PortAction::AlreadyFree]);
    let left = count(&[PortAction::Left]);
    let freed = ports.len() - free - left;
    let message = match (&ports[..], dry_run) {
        ([only], _) => only.message.clone(),
        (_, true) => text::kill::kill_summary_dry(freed, ports.len(), free, left),
        (_, false) => text::kill::kill_summary(freed, ports.len(), free, left),
    };
    KillReport { success: Success, source, dry_run, message, ports }
}
