//! What the command line asks for, each value already parsed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::eureka::EurekaCommand;
use crate::config::Settings;
use crate::model::{
    CleanupRequest, KillRequest, NewService, NewTarget, Port, Selection, SelftestRequest,
    ServiceName, ServicePatch, TargetName,
};

/// A wait that is over at once still looks once.
const SHORTEST_CALL: Duration = Duration::from_millis(250);

/// A command of pmctl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `serve`; everything else about it stands in the settings.
    Serve {
        /// With a database, upstreams and services of its own.
        demo: bool,
    },
    /// `service …`.
    Service(ServiceCommand),
    /// `ports …`.
    Ports(PortsCommand),
    /// `heartbeat …`.
    Heartbeat(HeartbeatCommand),
    /// `cleanup`.
    Cleanup(CleanupRequest),
    /// `verify`.
    Verify,
    /// `selftest`.
    Selftest(SelftestRequest),
    /// `eureka …`.
    Eureka(EurekaCommand),
    /// `events`.
    Events {
        /// How many of the newest, at least 1.
        limit: u32,
        /// Then wait for more.
        follow: bool,
    },
    /// `status`.
    Status {
        /// Not before the server is so.
        wait: Option<Wait<WaitForServer>>,
    },
    /// `shutdown`.
    Shutdown {
        /// Show each step and end as the server does.
        wait: bool,
    },
    /// `completions`.
    Completions(clap_complete::Shell),
    /// `man`.
    Man {
        /// A page for each command into this directory; the main page on standard output if `None`.
        dir: Option<PathBuf>,
    },
}

/// A command of the registry of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceCommand {
    /// `service add`.
    Add(NewService),
    /// `service list`.
    List(Selection),
    /// `service show`; at least one name.
    Show(Vec<ServiceName>),
    /// `service start`.
    Start(Selection),
    /// `service stop`.
    Stop(Selection),
    /// `service restart`.
    Restart(Selection),
    /// `service remove`; at least one name.
    Remove(Vec<ServiceName>),
    /// `service set`; the patch changes something.
    Set(ServiceName, ServicePatch),
    /// `service target add`.
    TargetAdd {
        /// Whose target.
        service: ServiceName,
        /// What it is called.
        name: TargetName,
        /// Where it is.
        target: NewTarget,
    },
    /// `service target remove`.
    TargetRemove {
        /// Whose target.
        service: ServiceName,
        /// What it is called.
        name: TargetName,
    },
    /// `service switch`.
    Switch {
        /// Of which service.
        service: ServiceName,
        /// The target that becomes active.
        target: TargetName,
    },
    /// `service drain`.
    Drain {
        /// Which service.
        name: ServiceName,
        /// It is stopped after this at the latest.
        max: Duration,
    },
}

/// A command about leases in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatCommand {
    /// `heartbeat status`.
    Status {
        /// Whose.
        which: Selection,
        /// Again and again.
        watch: bool,
    },
    /// `heartbeat history`.
    History {
        /// Whose.
        name: ServiceName,
        /// How many of the newest calls, at least 1.
        limit: u32,
    },
}

/// A command about ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortsCommand {
    /// `ports status`.
    Status {
        /// Which; `None` is every registered one.
        ports: Option<BTreeSet<Port>>,
        /// Again and again.
        watch: bool,
    },
    /// `ports kill`.
    Kill(KillRequest),
    /// `ports wait`.
    Wait {
        /// All of them must come to be so; at least one.
        ports: BTreeSet<Port>,
        /// How, and for how long.
        wait: Wait<WaitForPorts>,
    },
}

/// Something to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait<T> {
    /// What.
    pub until: T,
    /// Given up after this: `--timeout`, else 30 s. Each control call in between has the bound of
    /// the settings, but no longer one than this.
    pub timeout: Duration,
}

impl<T> Wait<T> {
    /// The settings of the control calls in between.
    pub fn settings(&self, settings: &Settings) -> Settings {
        let timeout = settings.timeout.min(self.timeout.max(SHORTEST_CALL));
        Settings { timeout, ..settings.clone() }
    }
}

/// What `status --wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitForServer {
    /// A server that is ready.
    Ready,
    /// No server.
    Stopped,
}

/// What `ports wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitForPorts {
    /// Nobody listens.
    Free,
    /// Somebody listens.
    Listening,
}
