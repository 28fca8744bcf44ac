//! Which setting is called what: as a flag, in the environment, in `pmctl.toml`.

/// A setting that can be given in more than one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The configuration file.
    Config,
    /// The server to ask.
    Server,
    /// The database.
    DatabaseUrl,
    /// File of the control plane's token.
    TokenFile,
    /// Authority of the server's certificate.
    Ca,
    /// Table or JSON.
    Output,
    /// Bound of one control call.
    Timeout,
    /// Never ask the server.
    Direct,
    /// Never go to the database.
    NoFallback,
    /// Language of what a person reads.
    Lang,
    /// Colour.
    Color,
    /// Say more; a count.
    Verbose,
    /// Say only failures.
    Quiet,
    /// Address of the control plane.
    Listen,
    /// Group whose members may call.
    ControlGroup,
    /// Further names of the control plane.
    ControlNames,
    /// Certificate of the control plane.
    TlsCert,
    /// Private key of that certificate.
    TlsKey,
    /// Metrics for everybody.
    OpenMetrics,
    /// Name of the node.
    NodeName,
    /// Bound of the whole shutdown.
    ShutdownTimeout,
    /// Bound of one service's drain.
    ServiceTimeout,
    /// What a start does about a taken port.
    OnConflict,
    /// What is done about a server that stands still.
    OnHang,
    /// No process that cleans up after a kill.
    NoGuardian,
    /// Range of `--port auto`.
    PortRange,
    /// Threads of the data plane.
    Workers,
    /// Bound of receiving a request's head.
    HeaderTimeout,
    /// Bound of connecting to a target.
    ConnectTimeout,
    /// Bound of waiting for the first byte of a target's answer.
    FirstByteTimeout,
    /// Bound of an idle client connection.
    IdleTimeout,
    /// Client connections of one service.
    MaxConnections,
    /// Bytes of a request's head.
    MaxHeadBytes,
    /// Bound of one call to the registry while the server stops.
    HeartbeatTimeout,
    /// How long a stop waits between leaving the registry and draining.
    LameDuck,
    /// Between two passes of the status synchronisation.
    SyncInterval,
    /// Base URLs of the registry's servers; a list.
    EurekaUrls,
    /// Between two renewals.
    EurekaInterval,
    /// Between two looks at the instances of an application.
    EurekaFetchInterval,
    /// How long a lease lasts without one.
    EurekaLeaseDuration,
    /// Host that consumers are told.
    Advertise,
    /// How instance ids are made.
    EurekaInstanceId,
    /// What else consumers are told; a table.
    EurekaMetadata,
    /// Port that consumers may use with TLS.
    EurekaSecurePort,
    /// Authorities that the registry's certificate is checked against.
    EurekaCa,
    /// Format of the log.
    LogFormat,
    /// File of the log.
    LogFile,
    /// What is logged.
    LogLevel,
}

/// How a setting is written in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A TOML string.
    Text,
    /// A TOML integer.
    Number,
    /// A TOML array of strings; on the command line a repeated flag, in the environment one value
    /// with commas.
    Texts,
    /// A TOML table of strings; in the environment `NAME=VALUE` with commas.
    Named,
    /// A TOML boolean.
    Switch,
}

/// The table of `pmctl.toml` a setting stands in (empty: the top), its name there, its type.
pub(super) type InFile = (&'static str, &'static str, Kind);

impl Key {
    /// Every setting, in the order they are documented in.
    pub const ALL: &[Self] = &[
        Self::Config,
        Self::Server,
        Self::DatabaseUrl,
        Self::TokenFile,
        Self::Ca,
        Self::Output,
        Self::Timeout,
        Self::Direct,
        Self::NoFallback,
        Self::Lang,
        Self::Color,
        Self::Verbose,
        Self::Quiet,
        Self::Listen,
        Self::ControlGroup,
        Self::ControlNames,
        Self::TlsCert,
        Self::TlsKey,
        Self::OpenMetrics,
        Self::NodeName,
        Self::ShutdownTimeout,
        Self::ServiceTimeout,
        Self::OnConflict,
        Self::OnHang,
        Self::NoGuardian,
        Self::PortRange,
        Self::Workers,
        Self::HeaderTimeout,
        Self::ConnectTimeout,
        Self::FirstByteTimeout,
        Self::IdleTimeout,
        Self::MaxConnections,
        Self::MaxHeadBytes,
        Self::HeartbeatTimeout,
        Self::LameDuck,
        Self::SyncInterval,
        Self::EurekaUrls,
        Self::EurekaInterval,
        Self::EurekaFetchInterval,
        Self::EurekaLeaseDuration,
        Self::Advertise,
        Self::EurekaInstanceId,
        Self::EurekaMetadata,
        Self::EurekaSecurePort,
        Self::EurekaCa,
        Self::LogFormat,
        Self::LogFile,
        Self::LogLevel,
    ];

    fn spec(self) -> (Option<&'static str>, &'static str, Option<InFile>) {
        use Kind::{Named, Number, Switch, Text, Texts};
        match self {
            Self::Config => (Some("--config"), "PMCTL_CONFIG", None),
            Self::Server => (Some("--server"), "PMCTL_SERVER", None),
            Self::DatabaseUrl => {
                (Some("--database-url"), "PMCTL_DATABASE_URL", Some(("", "database_url", Text)))
            }
            Self::TokenFile => {
                (Some("--token-file"), "PMCTL_TOKEN_FILE", Some(("", "token_file", Text)))
            }
            Self::Ca => (Some("--ca"), "PMCTL_CA", Some(("", "ca", Text))),
            Self::Output => (Some("--output"), "PMCTL_OUTPUT", None),
            Self::Timeout => (Some("--timeout"), "PMCTL_TIMEOUT", None),
            Self::Direct => (Some("--direct"), "PMCTL_DIRECT", None),
            Self::NoFallback => (Some("--no-fallback"), "PMCTL_NO_FALLBACK", None),
            Self::Lang => (Some("--lang"), "PMCTL_LANG", None),
            Self::Color => (Some("--color"), "PMCTL_COLOR", None),
            Self::Verbose => (Some("--verbose"), "PMCTL_VERBOSE", None),
            Self::Quiet => (Some("--quiet"), "PMCTL_QUIET", None),
            Self::Listen => (Some("--listen"), "PMCTL_LISTEN", Some(("server", "listen", Text))),
            Self::ControlGroup => (
                Some("--control-group"),
                "PMCTL_CONTROL_GROUP",
                Some(("server", "control_group", Text)),
            ),
            Self::ControlNames => {
                (None, "PMCTL_CONTROL_NAMES", Some(("server", "control_names", Texts)))
            }
            Self::TlsCert => {
                (Some("--tls-cert"), "PMCTL_TLS_CERT", Some(("server", "tls_cert", Text)))
            }
            Self::TlsKey => (Some("--tls-key"), "PMCTL_TLS_KEY", Some(("server", "tls_key", Text))),
            Self::OpenMetrics => (
                Some("--open-metrics"),
                "PMCTL_OPEN_METRICS",
                Some(("server", "open_metrics", Switch)),
            ),
            Self::NodeName => {
                (Some("--node-name"), "PMCTL_NODE_NAME", Some(("server", "node_name", Text)))
            }
            Self::ShutdownTimeout => (
                Some("--shutdown-timeout"),
                "PMCTL_SHUTDOWN_TIMEOUT",
                Some(("server", "shutdown_timeout", Text)),
            ),
            Self::ServiceTimeout => (
                Some("--service-timeout"),
                "PMCTL_SERVICE_TIMEOUT",
                Some(("server", "service_timeout", Text)),
            ),
            Self::OnConflict => {
                (Some("--on-conflict"), "PMCTL_ON_CONFLICT", Some(("server", "on_conflict", Text)))
            }
            Self::OnHang => (Some("--on-hang"), "PMCTL_ON_HANG", Some(("server", "on_hang", Text))),
            Self::NoGuardian => (
                Some("--no-guardian"),
                "PMCTL_NO_GUARDIAN",
                Some(("server", "no_guardian", Switch)),
            ),
            Self::PortRange => (None, "PMCTL_PORT_RANGE", Some(("server", "port_range", Text))),
            Self::Workers => (None, "PMCTL_WORKERS", Some(("server", "workers", Number))),
            Self::HeaderTimeout => {
                (None, "PMCTL_HEADER_TIMEOUT", Some(("limits", "header_timeout", Text)))
            }
            Self::ConnectTimeout => {
                (None, "PMCTL_CONNECT_TIMEOUT", Some(("limits", "connect_timeout", Text)))
            }
            Self::FirstByteTimeout => {
                (None, "PMCTL_FIRST_BYTE_TIMEOUT", Some(("limits", "first_byte_timeout", Text)))
            }
            Self::IdleTimeout => {
                (None, "PMCTL_IDLE_TIMEOUT", Some(("limits", "idle_timeout", Text)))
            }
            Self::MaxConnections => {
                (None, "PMCTL_MAX_CONNECTIONS", Some(("limits", "max_connections", Number)))
            }
            Self::MaxHeadBytes => {
                (None, "PMCTL_MAX_HEAD_BYTES", Some(("limits", "max_head_bytes", Number)))
            }
            Self::HeartbeatTimeout => (
                Some("--heartbeat-timeout"),
                "PMCTL_HEARTBEAT_TIMEOUT",
                Some(("server", "heartbeat_timeout", Text)),
            ),
            Self::LameDuck => {
                (Some("--lame-duck"), "PMCTL_LAME_DUCK", Some(("server", "lame_duck", Text)))
            }
            Self::SyncInterval => {
                (None, "PMCTL_SYNC_INTERVAL", Some(("server", "sync_interval", Text)))
            }
            Self::EurekaUrls => {
                (Some("--eureka-url"), "PMCTL_EUREKA_URL", Some(("eureka", "urls", Texts)))
            }
            Self::EurekaInterval => {
                (None, "PMCTL_EUREKA_INTERVAL", Some(("eureka", "interval", Text)))
            }
            Self::EurekaFetchInterval => {
                (None, "PMCTL_EUREKA_FETCH_INTERVAL", Some(("eureka", "fetch_interval", Text)))
            }
            Self::EurekaLeaseDuration => {
                (None, "PMCTL_EUREKA_LEASE_DURATION", Some(("eureka", "lease_duration", Text)))
            }
            Self::Advertise => {
                (Some("--advertise"), "PMCTL_ADVERTISE", Some(("eureka", "advertise", Text)))
            }
            Self::EurekaInstanceId => {
                (None, "PMCTL_EUREKA_INSTANCE_ID", Some(("eureka", "instance_id", Text)))
            }
            Self::EurekaMetadata => {
                (None, "PMCTL_EUREKA_METADATA", Some(("eureka", "metadata", Named)))
            }
            Self::EurekaSecurePort => {
                (None, "PMCTL_EUREKA_SECURE_PORT", Some(("eureka", "secure_port", Number)))
            }
            Self::EurekaCa => (None, "PMCTL_EUREKA_CA", Some(("eureka", "ca", Text))),
            Self::LogFormat => {
                (Some("--log-format"), "PMCTL_LOG_FORMAT", Some(("log", "format", Text)))
            }
            Self::LogFile => (Some("--log-file"), "PMCTL_LOG_FILE", Some(("log", "file", Text))),
            Self::LogLevel => (None, "PMCTL_LOG_LEVEL", Some(("log", "level", Text))),
        }
    }

    /// The flag, such as `--listen`; `None` for what no flag sets.
    pub fn flag(self) -> Option<&'static str> {
        self.spec().0
    }

    /// The environment variable.
    pub fn env(self) -> &'static str {
        self.spec().1
    }

    /// Where it stands in `pmctl.toml`, such as `server.listen`; `None` for what the file does not
    /// set.
    pub fn path(self) -> Option<String> {
        self.in_file().map(|(table, name, _)| match table {
            "" => name.to_owned(),
            _ => format!("{table}.{name}"),
        })
    }

    pub(super) fn kind(self) -> Kind {
        // What the file does not set is a single text wherever else it stands.
        self.in_file().map_or(Kind::Text, |(_, _, kind)| kind)
    }

    pub(super) fn in_file(self) -> Option<InFile> {
        self.spec().2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_settings_share_a_flag_a_variable_or_a_place_in_the_file() {
        let flags: Vec<_> = Key::ALL.iter().filter_map(|k| k.flag()).collect();
        let envs: Vec<_> = Key::ALL.iter().map(|k| k.env()).collect();
        let paths: Vec<_> = Key::ALL.iter().filter_map(|k| k.path()).collect();
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
        assert_eq!(envs.iter().collect::<BTreeSet<_>>().len(), envs.len());
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        assert!(envs.iter().all(|env| env.starts_with("PMCTL_")));
    }
}
