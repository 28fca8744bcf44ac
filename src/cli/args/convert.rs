//! Words into values of the model. Every mistake is collected; none hides another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::command::{Command, PortsCommand, ServiceCommand, Wait, WaitForPorts, WaitForServer};
use super::eureka;
use super::typed::{
    AddArgs, CommandArgs, EventsArgs, PortsArgs, PortsKillArgs, PortsStatusArgs, PortsWaitArgs,
    SelectionArgs, ServiceArgs, SetArgs, StatusArgs, TargetAddArgs, TargetArgs,
};
use crate::config::{Flags, Key, duration_within};
use crate::model::{
    CleanupRequest, KillRequest, NewService, NewTarget, Port, Selection, ServiceName, ServicePatch,
    TargetName, TargetUrl, UpstreamTls, parse_ports, parse_tags,
};
use crate::text::{self, Message};

/// How many events are shown where `-n` is not given.
const DEFAULT_EVENTS: u32 = 20;

/// Most events at once.
const MAX_EVENTS: u32 = 100_000;

/// How long is waited where `--timeout` is not given.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Longest wait: a week.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Collects mistakes on the way. A value that is wrong is `None` and among the mistakes.
pub(super) struct Convert<'a> {
    pub(super) working_dir: &'a Path,
    pub(super) mistakes: Vec<Message>,
}

/// The command that was typed; `None` if it can't be made, with at least one mistake collected.
/// Takes `--timeout` from `flags` for the commands that wait.
pub(super) fn command(
    args: CommandArgs,
    flags: &mut Flags,
    convert: &mut Convert<'_>,
) -> Option<Command> {
    Some(match args {
        CommandArgs::Serve(args) => {
            // The demo makes a database of its own.
            if args.demo && flags.get(Key::DatabaseUrl).is_some() {
                let both = text::config::settings_exclude_each_other("--demo", "--database-url");
                convert.mistakes.push(both);
            }
            Command::Serve { demo: args.demo }
        }
        CommandArgs::Service(args) => Command::Service(convert.service(args)?),
        CommandArgs::Ports(PortsArgs::Status(args)) => Command::Ports(convert.ports_status(&args)?),
        CommandArgs::Ports(PortsArgs::Kill(args)) => Command::Ports(convert.ports_kill(&args)?),
        CommandArgs::Ports(PortsArgs::Wait(args)) => {
            let timeout = convert.wait_timeout(flags);
            Command::Ports(convert.ports_wait(&args, timeout)?)
        }
        CommandArgs::Heartbeat(args) => Command::Heartbeat(convert.heartbeat(&args)?),
        CommandArgs::Cleanup(args) => Command::Cleanup(CleanupRequest {
            dry_run: args.dry_run,
            force: args.force,
            grace: convert.grace(args.grace.as_deref())?,
        }),
        CommandArgs::Verify => Command::Verify,
        CommandArgs::Selftest(args) => Command::Selftest(convert.selftest(&args)?),
        CommandArgs::Eureka(args) => {
            let command = eureka::command(&args, convert.working_dir, &mut convert.mistakes);
            Command::Eureka(command?)
        }
        CommandArgs::Status(args) => {
            let timeout = args.wait.is_some().then(|| convert.wait_timeout(flags)).flatten();
            convert.status(&args, timeout)?
        }
        CommandArgs::Events(args) => convert.events(&args)?,
        CommandArgs::Shutdown(args) => Command::Shutdown { wait: args.wait },
        CommandArgs::Completions(args) => Command::Completions(args.shell),
        CommandArgs::Man(args) => {
            Command::Man { dir: args.dir.map(|dir| convert.working_dir.join(dir)) }
        }
        // Answered before anything is converted.
        CommandArgs::Help(args) => {
            convert.mistakes.push(text::cli::argument_no_such_command(args.command.join(" ")));
            return None;
        }
    })
}

impl Convert<'_> {
    pub(super) fn ok<T>(&mut self, result: Result<T, Message>) -> Option<T> {
        result.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    pub(super) fn parse<T: FromStr<Err = Message>>(&mut self, text: &str) -> Option<T> {
        self.ok(text.parse())
    }

    /// Each name once, in the order typed.
    pub(super) fn names(&mut self, names: &[String]) -> Option<Vec<ServiceName>> {
        let mut seen = BTreeSet::new();
        let parsed: Vec<Option<ServiceName>> = names.iter().map(|name| self.parse(name)).collect();
        let mut parsed = parsed.into_iter().collect::<Option<Vec<_>>>()?;
        parsed.retain(|name| seen.insert(name.clone()));
        Some(parsed)
    }

    fn selection(&mut self, args: &SelectionArgs) -> Option<Selection> {
        match args.all {
            true => Some(Selection::All),
            false => self.names(&args.names).map(Selection::Named),
        }
    }

    fn service(&mut self, args: ServiceArgs) -> Option<ServiceCommand> {
        Some(match args {
            ServiceArgs::Add(args) => ServiceCommand::Add(self.new_service(&args)?),
            ServiceArgs::List(args) => ServiceCommand::List(match args.names.is_empty() {
                true => Selection::All,
                false => Selection::Named(self.names(&args.names)?),
            }),
            ServiceArgs::Show(args) => ServiceCommand::Show(self.names(&args.names)?),
            ServiceArgs::Start(args) => ServiceCommand::Start(self.selection(&args)?),
            ServiceArgs::Stop(args) => ServiceCommand::Stop(self.selection(&args)?),
            ServiceArgs::Restart(args) => ServiceCommand::Restart(self.selection(&args)?),
            ServiceArgs::Remove(args) => ServiceCommand::Remove(self.names(&args.names)?),
            ServiceArgs::Set(args) => self.set(&args)?,
            ServiceArgs::Target(TargetArgs::Add(args)) => self.target_add(&args)?,
            ServiceArgs::Target(TargetArgs::Remove(args)) => {
                let (service, name) = (self.parse(&args.service), self.parse(&args.target));
                ServiceCommand::TargetRemove { service: service?, name: name? }
            }
            ServiceArgs::Switch(args) => {
                let (service, target) = (self.parse(&args.service), self.parse(&args.target));
                ServiceCommand::Switch { service: service?, target: target? }
            }
            ServiceArgs::Drain(args) => self.drain(&args)?,
        })
    }

    fn new_service(&mut self, args: &AddArgs) -> Option<NewService> {
        let name = self.parse(&args.name);
        let port = self.parse(&args.port);
        let bind = args.bind.as_deref().map_or(Some(None), |bind| self.bind(bind));
        let mut targets = BTreeMap::new();
        let mut first = None;
        for written in &args.target {
            let Some((name, target)) = self.target(written, UpstreamTls::default()) else {
                continue;
            };
            first.get_or_insert_with(|| name.clone());
            if targets.insert(name.clone(), target).is_some() {
                self.mistakes.push(text::cli::argument_target_twice(name));
            }
        }
        self.trust(args, &mut targets);
        let active = match &args.active {
            Some(active) => {
                let active: Option<TargetName> = self.parse(active);
                // Targets that could not be read would make this a mistake that is none.
                let is_known =
                    |name| targets.len() < args.target.len() || targets.contains_key(name);
                if let Some(name) = active.as_ref().filter(|name| !is_known(name)) {
                    self.mistakes.push(text::cli::argument_target_unknown("--active", name));
                }
                active
            }
            None => first,
        };
        let (tags, health) = (self.tags(&args.tag), self.new_health(&args.health));
        Some(NewService {
            name: name?,
            port: port?,
            bind: bind?,
            targets,
            active,
            tags: tags?,
            register: !args.no_register,
            health: health?,
            stopped: args.stopped,
        })
    }

    /// `--ca NAME=FILE` and `--insecure NAME` of `service add`.
    fn trust(&mut self, args: &AddArgs, targets: &mut BTreeMap<TargetName, NewTarget>) {
        let all_were_read = targets.len() == args.target.len();
        let mut named = Vec::new();
        for written in &args.ca {
            match written.split_once('=').filter(|(_, file)| !file.is_empty()) {
                Some((name, file)) => named.push(("--ca", name, Some(PathBuf::from(file)))),
                None => self.mistakes.push(text::cli::argument_ca_unreadable(written)),
            }
        }
        named.extend(args.insecure.iter().map(|name| ("--insecure", name.as_str(), None)));
        for (option, name, ca_file) in named {
            let Some(name) = self.parse::<TargetName>(name) else { continue };
            let Some(target) = targets.get_mut(&name) else {
                if all_were_read {
                    self.mistakes.push(text::cli::argument_target_unknown(option, &name));
                }
                continue;
            };
            match ca_file {
                Some(file) => target.tls.ca_file = Some(self.working_dir.join(file)),
                None => target.tls.insecure = true,
            }
        }
        for (name, target) in targets.iter() {
            self.check_trust(name, target);
        }
    }

    fn check_trust(&mut self, name: &TargetName, target: &NewTarget) {
        self.mistakes.extend(target.trust_mistakes(name));
    }

    fn target(&mut self, written: &str, tls: UpstreamTls) -> Option<(TargetName, NewTarget)> {
        // The `=` of NAME=URL comes before any that the URL itself may have.
        let Some((name, url)) = written.split_once('=').filter(|(name, _)| !name.contains("://"))
        else {
            let shown = written.rsplit_once('@').map_or(written, |(_, host)| host);
            self.mistakes.push(text::cli::argument_target_unreadable(shown));
            return None;
        };
        let name = self.parse(name);
        let (url, credentials) = self.ok(TargetUrl::parse_with_credentials(url))?;
        Some((name?, NewTarget { url, credentials, tls }))
    }

    fn target_add(&mut self, args: &TargetAddArgs) -> Option<ServiceCommand> {
        let service = self.parse(&args.service);
        let ca_file = args.ca.as_ref().map(|file| self.working_dir.join(file));
        let tls = UpstreamTls { ca_file, insecure: args.insecure };
        let (name, target) = self.target(&args.target, tls)?;
        self.check_trust(&name, &target);
        Some(ServiceCommand::TargetAdd { service: service?, name, target })
    }

    fn set(&mut self, args: &SetArgs) -> Option<ServiceCommand> {
        let service = self.parse(&args.service);
        let health = self.health_change(args);
        let patch = ServicePatch {
            name: args.new_name.as_deref().and_then(|name| self.parse(name)),
            port: args.port.as_deref().and_then(|port| self.parse(port)),
            bind: args.bind.as_deref().and_then(|bind| self.bind(bind)),
            tags: match (args.no_tags, args.tag.is_empty()) {
                (true, _) => Some(Vec::new()),
                (false, true) => None,
                (false, false) => self.tags(&args.tag),
            },
            register: match (args.register, args.no_register) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            health: health?,
        };
        Some(ServiceCommand::Set(service?, patch))
    }

    /// An IP address, or `any` for every address.
    fn bind(&mut self, text: &str) -> Option<Option<IpAddr>> {
        if text == "any" {
            return Some(None);
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let parsed = bare.parse().map(Some).map_err(|_| text::cli::argument_bind_invalid(text));
        self.ok(parsed)
    }

    fn tags(&mut self, tags: &[String]) -> Option<Vec<String>> {
        self.ok(parse_tags(tags))
    }

    fn ports(&mut self, written: &[String]) -> Option<BTreeSet<Port>> {
        let lists: Vec<_> = written.iter().map(|list| self.ok(parse_ports(list))).collect();
        lists.into_iter().try_fold(BTreeSet::new(), |mut all, ports| {
            all.extend(ports?);
            Some(all)
        })
    }

    fn ports_status(&mut self, args: &PortsStatusArgs) -> Option<PortsCommand> {
        let ports = match args.ports.is_empty() {
            true => None,
            false => Some(self.ports(&args.ports)?),
        };
        Some(PortsCommand::Status { ports, watch: args.watch })
    }

    fn ports_kill(&mut self, args: &PortsKillArgs) -> Option<PortsCommand> {
        let ports = self.ports(&args.ports);
        let signal = match &args.signal {
            None => Some(None),
            // There is one way to end a process there.
            Some(_) if cfg!(windows) => self.ok(Err(text::cli::argument_signal_on_windows())),
            Some(signal) => self.parse(signal).map(Some),
        };
        let grace = self.grace(args.grace.as_deref());
        Some(PortsCommand::Kill(KillRequest {
            ports: ports?,
            signal: signal?,
            grace: grace?,
            dry_run: args.dry_run,
            force: args.force,
        }))
    }

    /// `--grace`: how long a process may take to end by itself.
    fn grace(&mut self, written: Option<&str>) -> Option<Duration> {
        let Some(written) = written else { return Some(KillRequest::DEFAULT_GRACE) };
        self.ok(duration_within(written, "--grace", Duration::ZERO, KillRequest::MAX_GRACE))
    }

    fn ports_wait(
        &mut self,
        args: &PortsWaitArgs,
        timeout: Option<Duration>,
    ) -> Option<PortsCommand> {
        let ports = self.ports(&args.ports);
        let until = match args.free {
            true => WaitForPorts::Free,
            false => WaitForPorts::Listening,
        };
        Some(PortsCommand::Wait { ports: ports?, wait: Wait { until, timeout: timeout? } })
    }

    fn status(&mut self, args: &StatusArgs, timeout: Option<Duration>) -> Option<Command> {
        let until = match args.wait.as_deref() {
            None => return Some(Command::Status { wait: None }),
            Some("stopped") => WaitForServer::Stopped,
            Some(_) => WaitForServer::Ready,
        };
        Some(Command::Status { wait: Some(Wait { until, timeout: timeout? }) })
    }

    fn events(&mut self, args: &EventsArgs) -> Option<Command> {
        let limit = match args.lines.as_deref() {
            None => DEFAULT_EVENTS,
            Some(written) => {
                let number = written.parse().ok().filter(|n| (1..=MAX_EVENTS).contains(n));
                self.ok(number
                    .ok_or_else(|| text::config::number_invalid("-n", written, 1, MAX_EVENTS)))?
            }
        };
        Some(Command::Events { limit, follow: args.follow })
    }

    /// On a command that waits, a typed `--timeout` bounds the wait and not the control calls in
    /// between, so it is taken from the flags.
    fn wait_timeout(&mut self, flags: &mut Flags) -> Option<Duration> {
        let Some(written) = flags.take(Key::Timeout) else { return Some(DEFAULT_WAIT) };
        let written = written.to_string_lossy();
        self.ok(duration_within(&written, "--timeout", Duration::ZERO, MAX_WAIT))
    }
}
