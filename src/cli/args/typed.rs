//! The grammar. No text stands here: `cli::help` sets it by the name of the command and argument,
//! in the reader's language, and a test fails for one that has none.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Parser, Subcommand, ValueHint};

use super::eureka::EurekaArgs;

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
    #[arg(long)]
    pub(super) demo: bool,
    #[arg(long, value_name = "NAME")]
    pub(super) node_name: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) shutdown_timeout: Option<String>,
    #[arg(long, value_name = "DURATION")]
    pub(super) service_timeout: Option<String>,
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
    #[arg(long)]
    pub(super) stopped: bool,
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
    "new_name", "port", "bind", "tag", "no_tags", "register", "no_register",
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
