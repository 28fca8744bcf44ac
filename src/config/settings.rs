//! The resolved settings: what everything else runs on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{InstanceIdPattern, NodeName, Port, PortRange, RegistryUrl};
use crate::text::{Lang, Message};

/// How results are written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// For a person.
    #[default]
    Table,
    /// One JSON document, or JSON Lines where results keep coming.
    Json,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal that has it, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged: this and everything graver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// What needs a look.
    Warn,
    /// The life of the server.
    #[default]
    Info,
    /// One line a request.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word it is written as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What a start does about a service whose port somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The service is failed, with the holder named.
    #[default]
    Fail,
    /// The server is not ready before the port is free.
    Wait,
    /// Holders that an unclean server of this database left are ended; for others as `Fail`.
    KillResidue,
}

/// What is done about a server that stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHang {
    /// The log says so.
    #[default]
    Log,
    /// The process ends, so that its guardian cleans up and its supervisor starts it again.
    Exit,
}

/// The log of `pmctl serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// How its lines are written.
    pub format: LogFormat,
    /// The file it goes to, absolute; standard error where `None`.
    pub file: Option<PathBuf>,
    /// What it has.
    pub level: LogLevel,
}

/// Bounds of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Receiving the head of a request, from its first byte: 10 s, bounds 100 ms to 1 h.
    pub header_timeout: Duration,
    /// Connecting to a target, TLS included: 5 s, bounds 10 ms to 1 h.
    pub connect_timeout: Duration,
    /// The first byte of a target's answer: 60 s, bounds 10 ms to 24 h.
    pub first_byte_timeout: Duration,
    /// A client connection without a request: 75 s, bounds 100 ms to 24 h.
    pub idle_timeout: Duration,
    /// Client connections of one service at once: 10,000, bounds 1 to 1,000,000.
    pub max_connections: usize,
    /// Bytes of a request's head: 64 KiB, bounds 1 KiB to 1 MiB.
    pub max_head_bytes: usize,
}

/// The registry in which services are announced, for the server and for those who ask about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EurekaSettings {
    /// Base URLs of its servers, each once, in the order written; empty: there is no registry.
    pub urls: Vec<RegistryUrl>,
    /// Between two renewals: 30 s, whole seconds from 1 s to 1 h.
    pub interval: Duration,
    /// Between two looks at the instances of an application that a target names: 1 s to 1 h.
    pub fetch_interval: Duration,
    /// How long a lease lasts without one, as the registry is told: 90 s, at least three intervals
    /// where only those are configured; whole seconds from the interval to 24 h.
    pub lease_duration: Duration,
    /// Host name or address that consumers are told; `None`: that of the interface that routes to
    /// the registry.
    pub advertise: Option<String>,
    /// How instance ids are made.
    pub instance_id: InstanceIdPattern,
    /// What else consumers are told.
    pub metadata: BTreeMap<String, String>,
    /// Port that consumers may use with TLS, as something before pmctl offers it.
    pub secure_port: Option<Port>,
    /// PEM file of the authorities that the registry's certificate is checked against, absolute;
    /// those of the system where `None`.
    pub ca_file: Option<PathBuf>,
}

impl EurekaSettings {
    /// Whether there is a registry.
    pub fn is_configured(&self) -> bool {
        !self.urls.is_empty()
    }
}

/// Who may call the control plane, beside who always may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// Members of this group may, without a token.
    pub control_group: Option<String>,
    /// Names, beside the address and `localhost`, that a request may be addressed to.
    pub control_names: Vec<String>,
    /// Certificate chain and private key, both PEM files with absolute paths; in the clear where
    /// `None`, which an address that is not loopback never is.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// `/metrics` is for everybody.
    pub open_metrics: bool,
}

/// What `pmctl serve` runs on, beside the [`Settings`] of every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeSettings {
    /// Address of the control plane; port 0 is any free one.
    pub listen: SocketAddr,
    /// Who may call it.
    pub access: AccessSettings,
    /// Bound of the whole shutdown: 30 s, bounds 100 ms to 24 h.
    pub shutdown_timeout: Duration,
    /// Bound of one service's drain: 10 s, bounds 0 to 24 h.
    pub service_timeout: Duration,
    /// Bound of one call to the registry during a stop, and of all of them: 5 s, bounds 100 ms to
    /// 1 h.
    pub heartbeat_timeout: Duration,
    /// How long a stop waits between leaving the registry and draining: none, bounds 0 to 1 h.
    pub lame_duck: Duration,
    /// Between two passes of the status synchronisation: 10 s, bounds 1 s to 1 h.
    pub sync_interval: Duration,
    /// What is done about a taken port.
    pub on_conflict: OnConflict,
    /// What is done if it stands still.
    pub on_hang: OnHang,
    /// A process beside it that cleans up if it is killed.
    pub guardian: bool,
    /// Threads of the data plane: the number of CPUs, bounds 1 to 1,024.
    pub workers: usize,
    /// Bounds of the data plane.
    pub limits: LimitSettings,
    /// The log.
    pub log: LogSettings,
}

/// Everything that was configured, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The database, `sqlite://…`.
    pub database_url: String,
    /// A flag, the environment or the file named the database; else it is the default one.
    pub database_is_named: bool,
    /// The server to ask, `http://host:port` or `https://host:port`; to be looked up in the database where `None`.
    pub server_url: Option<String>,
    /// File of the control plane's token, absolute; the one beside the database where `None`.
    pub token_file: Option<PathBuf>,
    /// PEM file of authorities to trust for an `https://` server beside the system's, absolute.
    pub ca_file: Option<PathBuf>,
    /// Never ask the server.
    pub direct: bool,
    /// Never go to the database.
    pub no_fallback: bool,
    /// Bound of one control call, on streams of silence: 5 s, bounds 1 ms to 24 h.
    pub timeout: Duration,
    /// How results are written.
    pub output: OutputFormat,
    /// Language of what a person reads.
    pub lang: Lang,
    /// When colour is used.
    pub color: ColorChoice,
    /// 0 is usual, -1 only failures, 1 and 2 more.
    pub verbosity: i8,
    /// Name of the node whose services the command is about.
    pub node_name: NodeName,
    /// Where `--port auto` looks: 20000-29999.
    pub port_range: PortRange,
    /// The user that called `sudo` and whose default database is used.
    pub sudo_user: Option<String>,
    /// Directory of state; `None` where no home is known.
    pub state_dir: Option<PathBuf>,
    /// The configuration file that was read.
    pub config_file: Option<PathBuf>,
    /// What the caller should be told, on standard error: a file passed over, whose database.
    pub notes: Vec<Message>,
    /// The registry.
    pub eureka: EurekaSettings,
    /// What `pmctl serve` runs on.
    pub serve: ServeSettings,
}
