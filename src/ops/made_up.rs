//! A machine made up for tests: processes that end as they are told to, users one is not, pids that
//! become another process' between two looks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::machine::{Machine, PinnedProcess};
use crate::host::{BindFailure, Holder, Holding, HostError, Liveness, PinError};
use crate::model::{EndSignal, HolderDetails, Port, ProcessIdentity, Timestamp};

/// The machine; clones are the same one.
#[derive(Clone)]
pub(super) struct MadeUp(Arc<Mutex<World>>);

/// What there is on it.
pub(super) struct World {
    /// By pid.
    pub(super) processes: BTreeMap<u32, MadeUpProcess>,
    /// Ports whose holder cannot be seen, and the uid of the socket.
    pub(super) unseen: BTreeMap<Port, u32>,
    /// Clients of ports.
    pub(super) clients: BTreeMap<Port, u64>,
    /// Ports that do not bind although nobody listens.
    pub(super) unbindable: BTreeSet<Port>,
    /// Pids of the caller's ancestors.
    pub(super) ancestors: BTreeSet<u32>,
    /// Processes that count in another pid namespace, and who they are here.
    pub(super) elsewhere: HashMap<ProcessIdentity, ProcessIdentity>,
    /// The caller's user.
    pub(super) own_uid: u32,
    /// The caller may signal everybody.
    pub(super) may_end_any: bool,
    /// Every signal that was sent, in order.
    pub(super) signals: Vec<(u32, Option<EndSignal>)>,
}

/// How a process takes a signal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// It ends on any.
    Polite,
    /// It ends on `KILL` alone.
    Stubborn,
    /// It gives its ports up and runs on.
    LetsGo,
}

type Successor = Box<dyn FnOnce(&mut World) + Send>;

/// A process.
pub(super) struct MadeUpProcess {
    pub(super) holder: Holder,
    pub(super) ports: BTreeSet<Port>,
    pub(super) details: HolderDetails,
    pub(super) nature: Nature,
    /// What happens when it ends.
    pub(super) then: Option<Successor>,
}

pub(super) const OWN_PID: u32 = 500;
pub(super) const OWN_UID: u32 = 1000;

pub(super) fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

pub(super) fn identity(pid: u32, start_time: u64) -> ProcessIdentity {
    ProcessIdentity { boot_id: "boot".into(), pid_namespace: 1, pid, start_time }
}

/// A polite process of the caller's user on `ports`.
pub(super) fn process(pid: u32, ports: &[u16]) -> MadeUpProcess {
    MadeUpProcess {
        holder: Holder {
            identity: identity(pid, 1),
            uid: Some(OWN_UID),
            user: Some("ann".into()),
            command: Some(format!("app{pid} --token s3cret")),
            started_at: Some(Timestamp::from_millis(1)),
        },
        ports: ports.iter().map(|number| port(*number)).collect(),
        details: HolderDetails::default(),
        nature: Nature::Polite,
        then: None,
    }
}

impl MadeUpProcess {
    pub(super) fn of_user(mut self, uid: u32) -> Self {
        self.holder.uid = Some(uid);
        self.holder.user = Some("bob".into());
        self
    }

    pub(super) fn started_at(mut self, start_time: u64) -> Self {
        self.holder.identity.start_time = start_time;
        self
    }

    pub(super) fn that(mut self, nature: Nature) -> Self {
        self.nature = nature;
        self
    }
}

impl MadeUp {
    /// With the caller, pid 500 of uid 1000, and `processes`.
    pub(super) fn with(processes: impl IntoIterator<Item = MadeUpProcess>) -> Self {
        let all = processes.into_iter().chain([process(OWN_PID, &[])]);
        Self(Arc::new(Mutex::new(World {
            processes: all.map(|process| (process.holder.identity.pid, process)).collect(),
            unseen: BTreeMap::new(),
            clients: BTreeMap::new(),
            unbindable: BTreeSet::new(),
            ancestors: BTreeSet::new(),
            elsewhere: HashMap::new(),
            own_uid: OWN_UID,
            may_end_any: false,
            signals: Vec::new(),
        })))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn signals(&self) -> Vec<(u32, Option<EndSignal>)> {
        self.world().signals.clone()
    }

    pub(super) fn lives(&self, pid: u32) -> bool {
        self.world().processes.contains_key(&pid)
    }
}

impl World {
    pub(super) fn add(&mut self, process: MadeUpProcess) {
        self.processes.insert(process.holder.identity.pid, process);
    }

    fn find(&self, identity: &ProcessIdentity) -> Option<&MadeUpProcess> {
        self.processes.get(&identity.pid).filter(|process| process.holder.identity == *identity)
    }
}

impl Machine for MadeUp {
    fn holders(
        &self,
        ports: &BTreeSet<Port>,
        _known: &[u32],
    ) -> Result<BTreeMap<Port, Holding>, HostError> {
        let world = self.world();
        let holding = |port: &Port| {
            let holders: Vec<Holder> = world
                .processes
                .values()
                .filter(|process| process.ports.contains(port))
                .map(|process| process.holder.clone())
                .collect();
            match (holders.is_empty(), world.unseen.get(port)) {
                (_, Some(uid)) => Holding::HeldUnseen { uid: Some(*uid), seen: holders },
                (false, None) => Holding::Held(holders),
                (true, None) => Holding::Free,
            }
        };
        Ok(ports.iter().map(|port| (*port, holding(port))).collect())
    }

    fn details(&self, holders: &[Holder]) -> Vec<HolderDetails> {
        let world = self.world();
        let details = |holder: &Holder| {
            let process = world.find(&holder.identity)?;
            let other_ports = process.ports.clone();
            Some(HolderDetails { other_ports, ..process.details.clone() })
        };
        holders.iter().map(|holder| details(holder).unwrap_or_default()).collect()
    }

    fn connections(&self, _ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
        Some(self.world().clients.clone())
    }

    fn liveness(&self, identity: &ProcessIdentity) -> Liveness {
        match self.world().find(identity) {
            Some(_) => Liveness::Alive,
            None => Liveness::Dead,
        }
    }

    fn own_identity(&self) -> Result<ProcessIdentity, HostError> {
        Ok(identity(OWN_PID, 1))
    }

    fn seen_here(&self, identity: &ProcessIdentity) -> Vec<ProcessIdentity> {
        let elsewhere = self.world().elsewhere.get(identity).cloned();
        vec![elsewhere.unwrap_or_else(|| identity.clone())]
    }

    fn own_line(&self) -> BTreeSet<u32> {
        self.world().ancestors.iter().copied().chain([OWN_PID]).collect()
    }

    fn is_untouchable(&self, pid: u32) -> bool {
        pid <= 1
    }

    fn own_uid(&self) -> Option<u32> {
        Some(self.world().own_uid)
    }

    fn may_end_any(&self) -> bool {
        self.world().may_end_any
    }

    fn try_bind(&self, _address: IpAddr, port: Port) -> Result<(), BindFailure> {
        match self.world().unbindable.contains(&port) {
            true => Err(BindFailure::InUse),
            false => Ok(()),
        }
    }

    fn pin(&self, identity: &ProcessIdentity) -> Result<Box<dyn PinnedProcess>, PinError> {
        match self.world().find(identity) {
            Some(_) => {
                Ok(Box::new(MadeUpPin { machine: self.clone(), identity: identity.clone() }))
            }
            None => Err(PinError::Gone),
        }
    }
}

struct MadeUpPin {
    machine: MadeUp,
    identity: ProcessIdentity,
}

impl PinnedProcess for MadeUpPin {
    fn may_signal(&self) -> bool {
        let world = self.machine.world();
        let uid = world.find(&self.identity).and_then(|process| process.holder.uid);
        world.may_end_any || uid == Some(world.own_uid)
    }

    fn listens_on(&self, port: Port) -> bool {
        let world = self.machine.world();
        world.find(&self.identity).is_some_and(|process| process.ports.contains(&port))
    }

    fn end(&self, signal: Option<EndSignal>) -> Result<(), PinError> {
        if !self.may_signal() {
            return Err(PinError::Denied);
        }
        let mut world = self.machine.world();
        let nature = world.find(&self.identity).ok_or(PinError::Gone)?.nature;
        let pid = self.identity.pid;
        world.signals.push((pid, signal));
        match (nature, signal) {
            (Nature::Polite, _) | (_, Some(EndSignal::Kill)) => {
                let ended = world.processes.remove(&pid);
                if let Some(then) = ended.and_then(|process| process.then) {
                    then(&mut world);
                }
            }
            (Nature::Stubborn, _) => {}
            (Nature::LetsGo, _) => {
                if let Some(process) = world.processes.get_mut(&pid) {
                    process.ports.clear();
                }
            }
        }
        Ok(())
    }

    fn resume(&self) -> Result<(), PinError> {
        Ok(())
    }

    fn has_window(&self) -> bool {
        false
    }

    fn wait(&self, at_most: Duration) -> bool {
        let has_ended = || self.machine.world().find(&self.identity).is_none();
        // Nothing ends by itself here while it is waited for.
        has_ended() || {
            std::thread::sleep(at_most);
            has_ended()
        }
    }
}
