//! Freeing ports: what is asked, what would be done, what was done.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::report::fault_or_null;
use super::state::words;
use super::{Fault, HolderView, Port, ServiceName, Source, Success};
use crate::text::{self, Message};

/// What a process is asked to end with, before `KILL`. On Windows there is one way to end a process,
/// so none of these can be asked for there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndSignal {
    /// `SIGTERM`: the usual one.
    Term,
    /// `SIGINT`, as Ctrl-C sends it.
    Int,
    /// `SIGHUP`.
    Hup,
    /// `SIGQUIT`.
    Quit,
    /// `SIGKILL`: at once, without a grace.
    Kill,
}

impl EndSignal {
    /// Every one.
    pub const ALL: &[Self] = &[Self::Term, Self::Int, Self::Hup, Self::Quit, Self::Kill];

    /// The name `kill` knows it by, without `SIG`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Hup => "HUP",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
        }
    }
}

impl fmt::Display for EndSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for EndSignal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for EndSignal {
    type Err = Message;

    /// `TERM`, `SIGTERM`, `term` or the number POSIX gives it.
    fn from_str(text: &str) -> Result<Self, Message> {
        let upper = text.to_ascii_uppercase();
        let word = upper.strip_prefix("SIG").unwrap_or(&upper);
        let numbered = match word {
            "1" => Some(Self::Hup),
            "2" => Some(Self::Int),
            "3" => Some(Self::Quit),
            "9" => Some(Self::Kill),
            "15" => Some(Self::Term),
            _ => Self::ALL.iter().copied().find(|signal| signal.as_str() == word),
        };
        numbered.ok_or_else(|| text::model::signal_unknown(text))
    }
}

/// What `ports kill` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillRequest {
    /// Which; at least one.
    pub ports: BTreeSet<Port>,
    /// What comes before `KILL`; `None`: `TERM`, or the one way Windows has.
    pub signal: Option<EndSignal>,
    /// How long a process may take to end by itself, and a service of the live server to drain.
    pub grace: Duration,
    /// Say what would be done and do nothing.
    pub dry_run: bool,
    /// Include what is left alone without it, where that is allowed at all.
    pub force: bool,
}

impl KillRequest {
    /// The grace where none is asked for.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);
    /// The longest grace that can be asked for.
    pub const MAX_GRACE: Duration = Duration::from_secs(3600);
    /// More ports than this at a time need `force`.
    pub const MANY_PORTS: usize = 64;
    /// More holders of unregistered ports than this at a time need `force`.
    pub const MANY_HOLDERS: usize = 5;
}

words! {
    /// What was done for a port; in a dry run, what would be.
    PortAction {
        /// It was served by the live server: the service was stopped, in order.
        Stopped = "stopped",
        /// Its holders ended only by `KILL`.
        Killed = "killed",
        /// Its holders ended when asked to (Windows: they were ended).
        Terminated = "terminated",
        /// Nobody listened on it.
        AlreadyFree = "already-free",
        /// Somebody still listens on it, or does so unseen.
        Left = "left",
    }
}

/// Whether an address of the port can be bound. Never turns "free" into a failure: what lingers of
/// old connections, or an outgoing connection with that local port, is no listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bindable {
    /// It binds.
    Yes,
    /// It does not, and why.
    No(Message),
    /// It was not tried or cannot be told, and why.
    Unknown(Message),
}

impl Bindable {
    /// The word it is shown as.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No(_) => "no",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Why it is not `yes`.
    pub fn reason(&self) -> Option<&Message> {
        match self {
            Self::Yes => None,
            Self::No(reason) | Self::Unknown(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Bindable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Bindable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What became of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KillItem {
    /// Which.
    pub port: Port,
    /// Its registered service.
    pub service: Option<ServiceName>,
    /// What was done, or would be in a dry run.
    pub action: PortAction,
    /// Who listened when it was planned, with everything that is known of them.
    pub holders: Vec<HolderView>,
    /// The last signal it took; null where none was sent.
    pub signal: Option<EndSignal>,
    /// From the first step to the proof that nobody listens, in milliseconds; 0 in a dry run.
    pub duration_ms: u64,
    /// Whether it can be bound now.
    pub bindable: Bindable,
    /// One sentence: what was done or would be, or why it was left.
    pub message: Message,
    /// What else a person should know: what restarts the holder, the command that undoes this.
    pub notes: Vec<Message>,
    /// Why it was left; null where it was not.
    #[serde(serialize_with = "fault_or_null")]
    pub fault: Option<Fault>,
}

/// `ports kill`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KillReport {
    /// Always true: every port was dealt with; see each item's `fault`.
    pub success: Success,
    /// Who did it.
    pub source: Source,
    /// Nothing was done.
    pub dry_run: bool,
    /// One sentence about all of them.
    pub message: Message,
    /// One for each port, ascending.
    pub ports: Vec<KillItem>,
}

/// What is known of a holder beyond who it is. Everything that could not be seen is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderDetails {
    /// Its program's file.
    pub executable: Option<PathBuf>,
    /// Its working directory.
    pub directory: Option<PathBuf>,
    /// Its parent first, then that one's, to the first ancestor that can be seen.
    pub parents: Vec<ParentView>,
    /// Other ports it listens on.
    pub other_ports: BTreeSet<Port>,
    /// Who starts it again, or publishes the port.
    pub keeper: Option<Keeper>,
}

/// An ancestor of a holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentView {
    /// Process id.
    pub pid: u32,
    /// Its program's name.
    pub name: Option<String>,
}

/// Who keeps a process running, or stands behind a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Keeper {
    /// A unit of systemd.
    Unit {
        /// Such as `nginx.service`.
        name: String,
        /// Of the user's own manager, not the system's.
        user: bool,
        /// Whether its manager starts it again after an ordinary end; null where its file could
        /// not be read.
        restarts: Option<bool>,
    },
    /// A container that the process runs in.
    Container {
        /// Such as `docker` or `podman`; `container` where it is not known.
        runtime: String,
        /// Its id, shortened to 12 characters as the runtimes show it.
        id: String,
    },
    /// The process only forwards the port for a container runtime.
    Forwarder {
        /// Such as `docker` or `podman`.
        runtime: String,
    },
}

/// Progress of `ports kill`: an item each time a port is dealt with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KillProgress {
    /// Ports dealt with so far.
    pub done: u64,
    /// Ports in all.
    pub total: u64,
    /// Under way now.
    pub message: Message,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_named_as_kill_takes_it() {
        for (text, signal) in [
            ("TERM", EndSignal::Term),
            ("SIGTERM", EndSignal::Term),
            ("sigint", EndSignal::Int),
            ("9", EndSignal::Kill),
            ("hup", EndSignal::Hup),
        ] {
            assert_eq!(text.parse(), Ok(signal), "{text}");
        }
        for bad in ["", "SIG", "USR1", "0", "-9", "TERM "] {
            let code = bad.parse::<EndSignal>().map_err(|message| message.code());
            assert_eq!(code, Err("signal-unknown"), "{bad:?}");
        }
    }
}
