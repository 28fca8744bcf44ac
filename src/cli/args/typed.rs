//! The grammar. No text stands here: `cli::help` sets it by the name of the command and argument,
//! in the reader's language, and a test fails for one that has none.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, Parser, Subcommand, ValueHint};

/// The `--ca` of every command, which names the authority of the server's certificate.
pub(crate) const SERVER_CA: &str = "server_ca";

/// `command` with [`SERVER_CA`] on each of its commands that has no `--ca` of its own, as clap's
/// global options are but for that exception: `service add` takes it before the command's words.
pub(crate) fn with_server_ca(command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| {
            let has_one = below.get_arguments().any(|arg| arg.get_long() == Some("ca"));
            let below = with_server_ca(below);
            if has_one {
                return below;
            }
            let file = clap::builder::OsStringValueParser::new();
            let arg = Arg::new(SERVER_CA).long("ca").value_name("FILE").value_parser(file);
            below.arg(arg.value_hint(ValueHint::FilePath))
        })
    })
}

/// The last value of [`SERVER_CA`] that was typed, before the command or behind it.
pub(super) fn server_ca(matches: &ArgMatches) -> Option<OsString> {
    let below = matches.subcommand().and_then(|(_, below)| server_ca(below));
    let here = || matches.try_get_one::<OsString>(SERVER_CA).ok().flatten().cloned();
    below.or_else(here)
}

use super::eureka::EurekaArgs;
use super::selftest::SelftestArgs;

/// What was typed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pmctl",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub struct Args {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: CommandArgs,
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// Options of every command. Each is also a setting, so all stay text here.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct GlobalArgs {
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<OsString>,
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(super) server: Option<String>,
    #[arg(long, global = true, value_name = "URL")]
    pub(super) database_url: Option<String>,
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(super) token_file: Option<OsString>,
    // `global` is not for it: some commands have a `--ca` of their own, see `with_server_ca`.
    #[arg(id = SERVER_CA, long = "ca", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) ca: Option<OsString>,
    #[arg(short, long, global = true, value_name = "FORMAT", value_parser = ["table", "json"])]
    pub(super) output: Option<String>,
    #[arg(long, global = true, value_name = "DURATION")]
    pub(super) timeout: Option<String>,
    #[arg(long, global = true)]
    pub(super) direct: bool,
    #[arg(long, global = true)]
    pub(super) no_fallback: bool,
    #[arg(long, global = true, value_name = "LANG", value_parser = ["en", "zh-CN"])]
    pub(super) lang: Option<String>,
    #[arg(long, global = true, value_name = "WHEN", value_parser = ["auto", "always", "never"])]
    pub(super) color: Option<String>,
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    #[arg(short = 'h', long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum CommandArgs {
    Serve(ServeArgs),
    #[command(subcommand)]
    Service(ServiceArgs),
    #[command(subcommand)]
    Ports(PortsArgs),
    #[command(subcommand)]
    Heartbeat(HeartbeatArgs),
    Cleanup(CleanupArgs),
    Verify,
    Selftest(SelftestArgs),
    #[command(subcommand)]
    Eureka(EurekaArgs),
    Status(StatusArgs),
    Events(EventsArgs),
    Shutdown(ShutdownArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Help(HelpArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
    #[arg(long, value_name = "GROUP")]
    pub(super) control_group: Option<String>,
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) tls_cert: Option<OsString>,
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) tls_key: Option<OsString>,
    #[arg(long)]
    pub(super) open_metrics: bool,
    #[arg(long)]
    pub(super) demo: bool,
    #[arg(long, value_name = "NAME")]
    pub(super) node_name: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) shutdown_timeout: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) service_timeout: Option<String>,
    #[arg(long, value_name = "WHAT", value_parser = ["fail", "wait", "kill-residue"])]
    pub(super) on_conflict: Option<String>,
    #[arg(long, value_name = "WHAT", value_parser = ["log", "exit"])]
    pub(super) on_hang: Option<String>,
    #[arg(long)]
    pub(super) no_guardian: bool,
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(super) eureka_url: Vec<String>,
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(super) advertise: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) heartbeat_timeout: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) lame_duck: Option<String>,
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub(super) log_format: Option<String>,
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(super) log_file: Option<OsString>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ServiceArgs {
    Add(AddArgs),
    List(ListArgs),
    Show(NamesArgs),
    Start(SelectionArgs),
    Stop(SelectionArgs),
    Restart(SelectionArgs),
    Remove(NamesArgs),
    Set(SetArgs),
    #[command(subcommand)]
    Target(TargetArgs),
    Switch(SwitchArgs),
    Drain(DrainArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct AddArgs {
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    #[arg(long, required = true, value_name = "PORT|auto")]
    pub(super) port: String,
    #[arg(long, required = true, value_name = "NAME=URL")]
    pub(super) target: Vec<String>,
    #[arg(long, value_name = "NAME")]
    pub(super) active: Option<String>,
    #[arg(long, value_name = "ADDR|any")]
    pub(super) bind: Option<String>,
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Vec<String>,
    #[arg(long, value_name = "NAME=FILE")]
    pub(super) ca: Vec<String>,
    #[arg(long, value_name = "NAME")]
    pub(super) insecure: Vec<String>,
    #[arg(long)]
    pub(super) no_register: bool,
    #[command(flatten)]
    pub(super) health: HealthArgs,
    #[arg(long)]
    pub(super) stopped: bool,
}

/// How the health of the active target is watched.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HealthArgs {
    #[arg(long, value_name = "PATH")]
    pub(super) health_path: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) health_interval: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) health_timeout: Option<String>,
    #[arg(long, value_name = "N")]
    pub(super) healthy_after: Option<String>,
    #[arg(long, value_name = "N")]
    pub(super) unhealthy_after: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ListArgs {
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct NamesArgs {
    #[arg(value_name = "NAME", required = true)]
    pub(super) names: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct SelectionArgs {
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub(super) names: Vec<String>,
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args([
    "new_name", "port", "bind", "tag", "no_tags", "register", "no_register", "health_path",
    "health_interval", "health_timeout", "healthy_after", "unhealthy_after", "no_health",
])))]
pub(super) struct SetArgs {
    #[arg(value_name = "NAME")]
    pub(super) service: String,
    #[arg(id = "new_name", long = "name", value_name = "NEW")]
    pub(super) new_name: Option<String>,
    #[arg(long, value_name = "PORT|auto")]
    pub(super) port: Option<String>,
    #[arg(long, value_name = "ADDR|any")]
    pub(super) bind: Option<String>,
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Vec<String>,
    #[arg(long, conflicts_with = "tag")]
    pub(super) no_tags: bool,
    #[arg(long, conflicts_with = "no_register")]
    pub(super) register: bool,
    #[arg(long)]
    pub(super) no_register: bool,
    #[command(flatten)]
    pub(super) health: HealthArgs,
    #[arg(long, conflicts_with_all = [
        "health_path", "health_interval", "health_timeout", "healthy_after", "unhealthy_after",
    ])]
    pub(super) no_health: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct DrainArgs {
    #[arg(value_name = "NAME")]
    pub(super) service: String,
    #[arg(long, value_name = "DURATION")]
    pub(super) max: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum HeartbeatArgs {
    Status(HeartbeatStatusArgs),
    History(HeartbeatHistoryArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct HeartbeatStatusArgs {
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    #[arg(long)]
    pub(super) watch: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct HeartbeatHistoryArgs {
    #[arg(value_name = "NAME")]
    pub(super) service: String,
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) lines: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum TargetArgs {
    Add(TargetAddArgs),
    Remove(TargetRemoveArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TargetAddArgs {
    #[arg(value_name = "NAME")]
    pub(super) service: String,
    #[arg(value_name = "TARGET=URL")]
    pub(super) target: String,
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) ca: Option<PathBuf>,
    #[arg(long)]
    pub(super) insecure: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TargetRemoveArgs {
    #[arg(value_name = "NAME")]
    pub(super) service: String,
    #[arg(value_name = "TARGET")]
    pub(super) target: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct SwitchArgs {
    #[arg(value_name = "NAME")]
    pub(super) service: String,
    #[arg(value_name = "TARGET")]
    pub(super) target: String,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PortsArgs {
    Status(PortsStatusArgs),
    Kill(PortsKillArgs),
    Wait(PortsWaitArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PortsStatusArgs {
    #[arg(value_name = "PORT")]
    pub(super) ports: Vec<String>,
    #[arg(long)]
    pub(super) watch: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PortsKillArgs {
    #[arg(value_name = "PORT", required = true)]
    pub(super) ports: Vec<String>,
    #[arg(long, value_name = "SIGNAL")]
    pub(super) signal: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) grace: Option<String>,
    #[arg(long)]
    pub(super) dry_run: bool,
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CleanupArgs {
    #[arg(long)]
    pub(super) dry_run: bool,
    #[arg(long)]
    pub(super) force: bool,
    #[arg(long, value_name = "DURATION")]
    pub(super) grace: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(group(ArgGroup::new("until").required(true).args(["free", "listening"])))]
pub(super) struct PortsWaitArgs {
    #[arg(value_name = "PORT", required = true)]
    pub(super) ports: Vec<String>,
    #[arg(long)]
    pub(super) free: bool,
    #[arg(long)]
    pub(super) listening: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[arg(long, value_name = "STATE", value_parser = ["ready", "stopped"])]
    pub(super) wait: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct EventsArgs {
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) lines: Option<String>,
    #[arg(short, long)]
    pub(super) follow: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShutdownArgs {
    #[arg(long)]
    pub(super) wait: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ManArgs {
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct HelpArgs {
    #[arg(value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}
