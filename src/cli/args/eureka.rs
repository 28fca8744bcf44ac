//! `eureka …`: typed, and what it asks for.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Subcommand, ValueHint};

use crate::config::duration_within;
use crate::eureka::RegistrySettings;
use crate::text::{self, Message};

/// Where a Eureka registry listens when nobody says otherwise.
const PORT: u16 = 8761;

const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug, Subcommand)]
pub(super) enum EurekaArgs {
    Serve(RegistryServeArgs),
    Apps(RegistryAppsArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RegistryServeArgs {
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[arg(long)]
    no_self_preservation: bool,
    #[arg(long, value_name = "DURATION")]
    eviction_interval: Option<String>,
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    user_file: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RegistryAppsArgs {
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, value_delimiter = ',')]
    pub(super) eureka_url: Vec<String>,
}

/// A command about registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EurekaCommand {
    /// `eureka serve`.
    Serve(RegistryServe),
    /// `eureka apps`.
    Apps {
        /// In capitals; empty is every one.
        names: Vec<String>,
    },
}

/// What `eureka serve` runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryServe {
    /// Port 0 is any free one; beyond loopback only with a user file.
    pub listen: SocketAddr,
    /// How it behaves.
    pub settings: RegistrySettings,
    /// Who may call; everybody on this machine if `None`.
    pub user_file: Option<PathBuf>,
}

/// The command that was typed; `None` with at least one mistake collected.
pub(super) fn command(
    args: &EurekaArgs,
    working_dir: &Path,
    mistakes: &mut Vec<Message>,
) -> Option<EurekaCommand> {
    let before = mistakes.len();
    let command = match args {
        EurekaArgs::Serve(args) => EurekaCommand::Serve(serve(args, working_dir, mistakes)),
        EurekaArgs::Apps(args) => EurekaCommand::Apps {
            names: args.names.iter().map(|name| name.to_uppercase()).collect(),
        },
    };
    (mistakes.len() == before).then_some(command)
}

fn serve(
    args: &RegistryServeArgs,
    working_dir: &Path,
    mistakes: &mut Vec<Message>,
) -> RegistryServe {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let listen = args.listen.as_deref().map_or(Some(default), |written| {
        let named = written.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        let local = named.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listen = local.or_else(|| written.parse().ok());
        if listen.is_none() {
            mistakes.push(text::eureka::registry_listen_invalid(written.escape_debug()));
        }
        listen
    });
    let listen = listen.unwrap_or(default);
    let user_file = args.user_file.as_ref().map(|file| working_dir.join(file));
    if !listen.ip().to_canonical().is_loopback() && user_file.is_none() {
        mistakes.push(text::eureka::registry_users_required(listen));
    }
    let mut settings = RegistrySettings {
        self_preservation: !args.no_self_preservation,
        ..RegistrySettings::default()
    };
    if let Some(written) = &args.eviction_interval {
        let flag = "--eviction-interval";
        match duration_within(written, flag, SHORTEST_INTERVAL, LONGEST_INTERVAL) {
            Ok(interval) => settings.eviction_interval = interval,
            Err(mistake) => mistakes.push(mistake),
        }
    }
    RegistryServe { listen, settings, user_file }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        args: EurekaArgs,
    }

    fn of(line: &str) -> Result<EurekaCommand, Vec<&'static str>> {
        let words = std::iter::once("eureka").chain(line.split(' '));
        let args = Line::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).args;
        let mut mistakes = Vec::new();
        command(&args, Path::new("/somewhere"), &mut mistakes)
            .ok_or_else(|| mistakes.iter().map(Message::code).collect())
    }

    fn served(line: &str) -> RegistryServe {
        match of(line) {
            Ok(EurekaCommand::Serve(serve)) => serve,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_registry_is_on_loopback_and_behaves_as_netflix_does_unless_told_otherwise() {
        let plain = served("serve");
        assert_eq!(plain.listen.to_string(), "127.0.0.1:8761");
        assert_eq!((plain.settings, plain.user_file), (RegistrySettings::default(), None));
        let told =
            served("serve --listen localhost:0 --no-self-preservation --eviction-interval 1s");
        assert_eq!(told.listen.to_string(), "127.0.0.1:0");
        assert!(!told.settings.self_preservation);
        assert_eq!(told.settings.eviction_interval, Duration::from_secs(1));
    }

    #[test]
    fn beyond_this_machine_a_registry_needs_users() {
        for listen in ["0.0.0.0:8761", "[::]:8761", "192.0.2.1:8761"] {
            let line = format!("serve --listen {listen}");
            assert_eq!(of(&line), Err(vec!["registry-users-required"]), "{listen}");
            let with = served(&format!("{line} --user-file users"));
            assert_eq!(with.user_file.as_deref(), Some(Path::new("/somewhere/users")));
        }
        for listen in ["[::1]:8761", "127.0.0.2:8761", "[::ffff:127.0.0.1]:8761"] {
            assert!(of(&format!("serve --listen {listen}")).is_ok(), "{listen}");
        }
    }

    #[test]
    fn every_mistake_is_reported() {
        let line = "serve --listen here --eviction-interval 1ms";
        assert_eq!(of(line), Err(vec!["registry-listen-invalid", "duration-out-of-bounds"]));
    }
}
