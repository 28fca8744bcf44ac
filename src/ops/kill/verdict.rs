//! What became of a port: what was tried, held against who listens now.

use super::judge::unseen;
use super::plan::Target;
use crate::host::{Holder, Holding};
use crate::model::{EndSignal, Fault, FaultKind, Keeper, Port, PortAction, ProcessIdentity};
use crate::ops::ending::{EndFailure, Ended};
use crate::ops::holders;
use crate::text::{self, Message};

use FaultKind::{Denied, Internal, LeftAlone, Timeout};

/// A process that was to be ended, and how that went.
pub(super) struct Tried<'a> {
    pub(super) target: &'a Target,
    pub(super) end: &'a Result<Ended, EndFailure>,
}

impl Tried<'_> {
    /// Whether it was sent a signal at all.
    fn was_signalled(&self) -> bool {
        matches!(self.end, Ok(_) | Err(EndFailure::LetGo { after: Some(_) } | EndFailure::Survived))
    }

    /// Whether somebody may have it up again in a moment.
    pub(super) fn may_be_restarted(&self) -> bool {
        self.was_signalled()
            && match &self.target.keeper {
                Some(Keeper::Unit { restarts, .. }) => *restarts != Some(false),
                Some(Keeper::Container { .. }) => true,
                Some(Keeper::Forwarder { .. }) | None => false,
            }
    }

    fn pid(&self) -> u32 {
        self.target.holder.identity.pid
    }
}

/// Who listens now.
pub(super) enum Found<'a> {
    Free,
    /// Somebody who cannot be seen.
    Unseen(Fault),
    /// The server of this database, and nobody else.
    Own,
    Held(&'a [Holder]),
}

impl<'a> Found<'a> {
    /// `own` is the server that may have the port again.
    pub(super) fn of(port: Port, holding: &'a Holding, own: Option<&ProcessIdentity>) -> Self {
        match holding {
            Holding::Free => Self::Free,
            Holding::HeldUnseen { uid, .. } => Self::Unseen(unseen(port, *uid)),
            Holding::Held(holders) => {
                match holders.iter().all(|holder| Some(&holder.identity) == own) {
                    true => Self::Own,
                    false => Self::Held(holders),
                }
            }
        }
    }
}

/// What the report says of a port.
pub(super) struct Verdict {
    pub(super) action: PortAction,
    pub(super) signal: Option<EndSignal>,
    pub(super) message: Message,
    pub(super) notes: Vec<Message>,
    /// Why it was left, if it was.
    pub(super) fault: Option<Fault>,
}

impl Verdict {
    pub(super) fn freed(action: PortAction, signal: Option<EndSignal>, message: Message) -> Self {
        Self { action, signal, message, notes: Vec::new(), fault: None }
    }

    pub(super) fn left(fault: Fault) -> Self {
        let message = fault.message.clone();
        let fault = Some(fault);
        Self { action: PortAction::Left, signal: None, message, notes: Vec::new(), fault }
    }

    /// What became of `port`, whose holders were `tried` and which is `found` now; `keepers` keep
    /// those that were found.
    pub(super) fn of(port: Port, tried: &[Tried], found: &Found, keepers: &[Keeper]) -> Self {
        match found {
            Found::Free => Self::free(port, tried),
            Found::Own => {
                let mut verdict = Self::free(port, tried);
                verdict.notes.push(text::kill::note_served_again(port));
                verdict
            }
            Found::Unseen(fault) => Self::left(fault.clone()),
            Found::Held(holders) => Self::left(held(port, tried, holders, keepers)),
        }
    }

    fn free(port: Port, tried: &[Tried]) -> Self {
        let signalled: Vec<&Tried> = tried.iter().filter(|t| t.was_signalled()).collect();
        let names = |of: &[&Tried]| holders::names(of.iter().map(|t| &t.target.holder));
        if signalled.is_empty() {
            let all: Vec<&Tried> = tried.iter().collect();
            let message = text::kill::kill_freed_itself(port, names(&all));
            return Self::freed(PortAction::AlreadyFree, None, message);
        }
        let last = |tried: &&Tried| match tried.end {
            Ok(ended) => ended.signal,
            Err(EndFailure::LetGo { after }) => *after,
            Err(EndFailure::Survived) => Some(EndSignal::Kill),
            Err(_) => None,
        };
        let signals: Vec<EndSignal> = signalled.iter().filter_map(last).collect();
        let is_killed = signals.contains(&EndSignal::Kill);
        let names = names(&signalled);
        let mut verdict = match signals.first() {
            _ if is_killed => Self::freed(
                PortAction::Killed,
                Some(EndSignal::Kill),
                text::kill::kill_killed(port, names),
            ),
            Some(signal) => Self::freed(
                PortAction::Terminated,
                Some(*signal),
                text::kill::kill_ended_on(port, names, signal),
            ),
            None => Self::freed(PortAction::Terminated, None, text::kill::kill_ended(port, names)),
        };
        let runs_on = |t: &&Tried| matches!(t.end, Err(EndFailure::LetGo { .. }));
        let note = |t: &Tried| text::kill::note_still_runs(t.pid(), port);
        verdict.notes.extend(tried.iter().filter(runs_on).map(note));
        verdict
    }
}

/// Why the port is still held.
fn held(port: Port, tried: &[Tried], found: &[Holder], keepers: &[Keeper]) -> Fault {
    let is_there = |t: &&Tried| found.iter().any(|h| h.identity == t.target.holder.identity);
    if let Some(stayed) = tried.iter().find(is_there) {
        let name = holders::name(&stayed.target.holder);
        let not_ended = || text::kill::port_holder_not_ended(port, &name);
        return match stayed.end {
            Err(EndFailure::Denied) => {
                let command = holders::with_rights(port);
                Fault::new(Denied, text::kill::port_holder_denied(port, name, command))
            }
            Err(EndFailure::Survived) => {
                Fault::new(Timeout, text::kill::port_holder_survived(port, name))
            }
            Err(EndFailure::Unsupported(error)) => {
                Fault::caused(Internal, text::kill::port_holder_unpinnable(port, name), error)
            }
            Err(error @ (EndFailure::Other(_) | EndFailure::CutShort)) => {
                Fault::caused(Internal, not_ended(), error)
            }
            // It had let go of the port and listens on it once more.
            Ok(_) | Err(EndFailure::Gone | EndFailure::LetGo { .. }) => {
                Fault::new(LeftAlone, text::kill::port_held_again(port, name))
            }
        };
    }
    let names = holders::names(found);
    if !tried.iter().any(Tried::was_signalled) {
        return Fault::new(LeftAlone, text::kill::port_holder_changed(port, names));
    }
    let message = match keepers.first() {
        Some(keeper) => {
            let command = holders::keeper_command(keeper, port);
            text::kill::port_held_again_kept(port, names, keeper_name(keeper), command)
        }
        None => text::kill::port_held_again(port, names),
    };
    Fault::new(LeftAlone, message)
}

fn keeper_name(keeper: &Keeper) -> Message {
    match keeper {
        Keeper::Unit { name, .. } => text::kill::keeper_unit(name),
        Keeper::Container { runtime, .. } | Keeper::Forwarder { runtime } => {
            text::kill::keeper_container(runtime)
        }
    }
}
