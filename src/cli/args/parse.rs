//! From the words of the command line to what they ask for.

use std::ffi::OsString;
use std::path::Path;

use clap::FromArgMatches;

use super::convert::{Convert, command};
use super::eureka::EurekaArgs;
use super::typed::{CommandArgs, server_ca};
use super::{Args, Command, Early};
use crate::cli::help;
use crate::config::{Flags, Key, Surroundings};
use crate::text::{self, Message};

/// A command line that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The settings among its flags.
    pub flags: Flags,
    /// What to do.
    pub command: Command,
}

/// Why nothing is to be done.
#[derive(Debug)]
pub enum Stop {
    /// The grammar was not kept; or `--help`, `--version`, which clap treats alike.
    Clap(Box<clap::Error>),
    /// `pmctl help COMMAND`: this page was asked for.
    Page(clap::builder::StyledStr),
    /// Values that are wrong, all of them; never empty.
    Wrong(Vec<Message>),
}

/// Understands `argv`, whose first word is the program's name.
pub fn parse(argv: &[OsString], early: Early, around: &Surroundings) -> Result<Invocation, Stop> {
    let clap = |error: clap::Error| Stop::Clap(Box::new(error));
    let grammar = help::command(early.lang);
    let mut matches = grammar.clone().try_get_matches_from(argv).map_err(clap)?;
    let ca = server_ca(&matches);
    let mut args = Args::from_arg_matches_mut(&mut matches).map_err(clap)?;
    args.global.ca = ca;
    if let CommandArgs::Help(help) = &args.command {
        return Err(page(grammar, &help.command));
    }
    resolve(args, &around.working_dir).map_err(Stop::Wrong)
}

fn page(mut grammar: clap::Command, path: &[String]) -> Stop {
    grammar.build();
    let mut at = &mut grammar;
    for name in path {
        at = match at.find_subcommand_mut(name) {
            Some(command) => command,
            None => return Stop::Wrong(vec![text::cli::argument_no_such_command(path.join(" "))]),
        };
    }
    Stop::Page(at.render_help())
}

/// What was typed, as flags and a command. `working_dir` is where relative paths start.
fn resolve(args: Args, working_dir: &Path) -> Result<Invocation, Vec<Message>> {
    let mut flags = flags(&args);
    let mut convert = Convert { working_dir, mistakes: Vec::new() };
    let command = command(args.command, &mut flags, &mut convert);
    match command {
        Some(command) if convert.mistakes.is_empty() => Ok(Invocation { flags, command }),
        _ => Err(convert.mistakes),
    }
}

fn flags(args: &Args) -> Flags {
    let (mut flags, global) = (Flags::default(), &args.global);
    let texts = [
        (Key::Server, &global.server),
        (Key::DatabaseUrl, &global.database_url),
        (Key::Output, &global.output),
        (Key::Timeout, &global.timeout),
        (Key::Lang, &global.lang),
        (Key::Color, &global.color),
    ];
    let mut put = |key, value: Option<OsString>| {
        if let Some(value) = value {
            flags.set(key, value);
        }
    };
    for (key, value) in texts {
        put(key, value.clone().map(OsString::from));
    }
    put(Key::Config, global.config.clone());
    put(Key::TokenFile, global.token_file.clone());
    put(Key::Ca, global.ca.clone());
    put(Key::Verbose, (global.verbose > 0).then(|| global.verbose.min(9).to_string().into()));
    for (key, is_on) in [
        (Key::Direct, global.direct),
        (Key::NoFallback, global.no_fallback),
        (Key::Quiet, global.quiet),
    ] {
        put(key, is_on.then(|| "true".into()));
    }
    if let CommandArgs::Serve(serve) = &args.command {
        for (key, value) in [
            (Key::Listen, &serve.listen),
            (Key::ControlGroup, &serve.control_group),
            (Key::NodeName, &serve.node_name),
            (Key::ShutdownTimeout, &serve.shutdown_timeout),
            (Key::ServiceTimeout, &serve.service_timeout),
            (Key::OnConflict, &serve.on_conflict),
            (Key::OnHang, &serve.on_hang),
            (Key::Advertise, &serve.advertise),
            (Key::HeartbeatTimeout, &serve.heartbeat_timeout),
            (Key::LameDuck, &serve.lame_duck),
            (Key::LogFormat, &serve.log_format),
        ] {
            put(key, value.clone().map(OsString::from));
        }
        put(Key::LogFile, serve.log_file.clone());
        put(Key::TlsCert, serve.tls_cert.clone());
        put(Key::TlsKey, serve.tls_key.clone());
        put(Key::OpenMetrics, serve.open_metrics.then(|| "true".into()));
        put(Key::NoGuardian, serve.no_guardian.then(|| "true".into()));
        for url in &serve.eureka_url {
            flags.add(Key::EurekaUrls, url);
        }
    }
    if let CommandArgs::Eureka(EurekaArgs::Apps(apps)) = &args.command {
        for url in &apps.eureka_url {
            flags.add(Key::EurekaUrls, url);
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{
        HeartbeatCommand, PortsCommand, ServiceCommand, WaitForPorts, WaitForServer,
    };
    #[cfg(not(windows))]
    use crate::model::EndSignal;
    use crate::model::{HealthChange, HealthPatch, KillRequest, PortChoice, Selection};

    fn surroundings() -> Surroundings {
        Surroundings {
            env: Box::new(|_| None),
            working_dir: "/home/ann".into(),
            user: None,
            home_of: |_| None,
            cpus: 1,
        }
    }

    /// Words are set apart by one space.
    fn parsed(line: &str) -> Result<Invocation, Stop> {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        parse(&argv, Early::default(), &surroundings())
    }

    fn command(line: &str) -> Command {
        parsed(line).unwrap_or_else(|stop| panic!("{line}: {stop:?}")).command
    }

    /// Codes of the mistakes, or clap's kind of error.
    fn refusal(line: &str) -> Vec<String> {
        match parsed(line) {
            Err(Stop::Wrong(mistakes)) => mistakes.iter().map(|m| m.code().to_owned()).collect(),
            Err(Stop::Clap(error)) => vec![format!("{:?}", error.kind())],
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_service_to_be_added_has_its_first_target_active_unless_told_otherwise() {
        let base =
            "pmctl service add shop --port auto --target z=http://a:1 --target b=https://u:p@b/x";
        let Command::Service(ServiceCommand::Add(new)) = command(base) else { panic!() };
        assert_eq!((new.port, new.bind, new.stopped), (PortChoice::Auto, None, false));
        assert_eq!(new.active.as_ref().map(|a| a.as_str()), Some("z"));
        assert_eq!(new.targets.len(), 2);
        let more = "--active b --ca b=own.pem --bind [::1] --tag t --tag t --no-register --stopped";
        let Command::Service(ServiceCommand::Add(new)) = command(&format!("{base} {more}")) else {
            panic!()
        };
        assert_eq!(new.active.as_ref().map(|a| a.as_str()), Some("b"));
        let b = &new.targets[&"b".parse().unwrap()];
        assert_eq!(b.tls.ca_file.as_deref(), Some(Path::new("/home/ann/own.pem")));
        assert_eq!(b.credentials.as_ref().map(|c| c.username.as_str()), Some("u"));
        assert_eq!((new.tags.len(), new.register, new.stopped), (1, false, true));
    }

    #[test]
    fn every_mistake_of_a_service_is_reported_at_once() {
        let line = "pmctl service add \u{7} --port 70000 --target x --target a=ftp://b \
                    --target c=http://c --target c=http://d --bind here --ca c=f --insecure c \
                    --ca nothing --tag \u{1b}";
        let mut codes = refusal(line);
        codes.sort_unstable();
        assert_eq!(
            codes,
            [
                "argument-bind-invalid",
                "argument-ca-unreadable",
                "argument-target-twice",
                "argument-target-unreadable",
                "name-has-control",
                "port-out-of-range",
                "tag-invalid",
                "target-trust-twice",
                "target-url-scheme-unknown",
                "target-without-tls",
            ]
        );
        let unknown = "pmctl service add a --port 1 --target a=http://b --active x --insecure y";
        assert_eq!(refusal(unknown), ["argument-target-unknown"; 2]);
        for bad in ["0", "70000", "-1", "a", ""] {
            let line = format!("pmctl service add a --port={bad} --target a=http://b");
            assert_eq!(refusal(&line), ["port-out-of-range"], "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_target_that_is_refused_is_not_repeated() {
        for target in
            ["http://ann:s3cret@a", "a=ann:s3cret@b", "ann:s3cret@a", "x=ftp://ann:s3cret@b"]
        {
            let line = format!("pmctl service add a --port 1 --target {target}");
            let Err(Stop::Wrong(mistakes)) = parsed(&line) else { panic!("{target}") };
            assert!(!format!("{mistakes:?}").contains("s3cret"), "{mistakes:?}");
        }
    }

    #[test]
    fn start_stop_and_restart_take_names_or_all_but_not_both_and_not_nothing() {
        let named = Selection::Named(vec!["b".parse().unwrap(), "a".parse().unwrap()]);
        let stop = ServiceCommand::Stop(named);
        assert_eq!(command("pmctl service stop b a b"), Command::Service(stop));
        let all = ServiceCommand::Restart(Selection::All);
        assert_eq!(command("pmctl service restart --all"), Command::Service(all));
        let list = ServiceCommand::List(Selection::All);
        assert_eq!(command("pmctl service list"), Command::Service(list));
        assert_eq!(refusal("pmctl service start"), ["MissingRequiredArgument"]);
        assert_eq!(refusal("pmctl service start a --all"), ["ArgumentConflict"]);
        assert_eq!(refusal("pmctl service remove"), ["MissingRequiredArgument"]);
    }

    #[test]
    fn a_change_must_change_something_and_not_contradict_itself() {
        let Command::Service(ServiceCommand::Set(name, patch)) =
            command("pmctl service set a --name b --bind any --no-tags --no-register")
        else {
            panic!()
        };
        assert_eq!((name.as_str(), patch.bind, patch.register), ("a", Some(None), Some(false)));
        assert_eq!((patch.tags, patch.port), (Some(vec![]), None));
        assert_eq!(refusal("pmctl service set a"), ["MissingRequiredArgument"]);
        assert_eq!(refusal("pmctl service set a --tag x --no-tags"), ["ArgumentConflict"]);
        assert_eq!(refusal("pmctl service set a --register --no-register"), ["ArgumentConflict"]);
    }

    #[test]
    fn health_is_watched_with_what_was_asked_and_the_defaults_for_the_rest() {
        let base = "pmctl service add a --port 1 --target t=http://b";
        let health = |more: &str| match command(&format!("{base}{more}")) {
            Command::Service(ServiceCommand::Add(new)) => new.health,
            other => panic!("{other:?}"),
        };
        assert_eq!(health(""), None);
        let check = health(" --health-path /up --health-interval 1s --unhealthy-after 5").unwrap();
        assert_eq!(
            (check.path.as_str(), check.interval_ms, check.timeout_ms),
            ("/up", 1_000, 1_000)
        );
        assert_eq!((check.unhealthy_after, check.healthy_after), (5, 2));
        let wrong = " --health-interval soon --health-timeout 2h --healthy-after 0";
        let mut codes = refusal(&format!("{base}{wrong}"));
        codes.sort_unstable();
        assert_eq!(codes, ["duration-invalid", "duration-out-of-bounds", "number-invalid"]);
        for (more, code) in [
            (" --health-interval 5s", "health-path-missing"),
            (" --health-path up", "health-path-invalid"),
            (" --health-path /up --health-timeout 11s", "health-timeout-out-of-bounds"),
        ] {
            assert_eq!(refusal(&format!("{base}{more}")), [code], "{more}");
        }
    }

    #[test]
    fn a_change_of_health_changes_only_what_it_names_or_ends_it() {
        let health = |more: &str| match command(&format!("pmctl service set a {more}")) {
            Command::Service(ServiceCommand::Set(_, patch)) => patch.health,
            other => panic!("{other:?}"),
        };
        assert_eq!(health("--tag x"), None);
        assert_eq!(health("--no-health"), Some(HealthChange::Off));
        let patch = HealthPatch { interval_ms: Some(1_500), ..HealthPatch::default() };
        assert_eq!(health("--health-interval 1500ms"), Some(HealthChange::Set(patch)));
        assert_eq!(refusal("pmctl service set a --health-path x"), ["health-path-invalid"]);
        let both = "pmctl service set a --no-health --health-path /x";
        assert_eq!(refusal(both), ["ArgumentConflict"]);
    }

    #[test]
    fn heartbeats_are_asked_for_by_name_and_number_and_a_drain_has_a_bound() {
        let status = |line: &str| match command(line) {
            Command::Heartbeat(HeartbeatCommand::Status { which, watch }) => (which, watch),
            other => panic!("{other:?}"),
        };
        assert_eq!(status("pmctl heartbeat status"), (Selection::All, false));
        let named = Selection::Named(vec!["a".parse().unwrap()]);
        assert_eq!(status("pmctl heartbeat status a a --watch"), (named, true));
        let name = "a".parse().unwrap();
        let history = HeartbeatCommand::History { name, limit: 5 };
        assert_eq!(command("pmctl heartbeat history a -n 5"), Command::Heartbeat(history));
        assert_eq!(refusal("pmctl heartbeat history a -n 1001"), ["number-invalid"]);
        assert_eq!(refusal("pmctl heartbeat history"), ["MissingRequiredArgument"]);
        let drain = |line: &str| match command(line) {
            Command::Service(ServiceCommand::Drain { max, .. }) => max.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(drain("pmctl service drain a"), 120);
        assert_eq!(drain("pmctl service drain a --max 30s"), 30);
        assert_eq!(refusal("pmctl service drain a --max 2d"), ["duration-out-of-bounds"]);
    }

    #[test]
    fn a_server_may_be_given_several_registries() {
        let line = "pmctl serve --eureka-url http://a --eureka-url http://b --advertise h \
                    --heartbeat-timeout 1s --lame-duck 2s";
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let flags = parsed(&line).unwrap().flags;
        let mut expected = Flags::default();
        expected.add(Key::EurekaUrls, "http://a");
        expected.add(Key::EurekaUrls, "http://b");
        for (key, value) in
            [(Key::Advertise, "h"), (Key::HeartbeatTimeout, "1s"), (Key::LameDuck, "2s")]
        {
            expected.set(key, value);
        }
        assert_eq!(flags, expected);
    }

    #[test]
    fn ports_are_lists_and_ranges_and_a_wait_says_for_what() {
        let Command::Ports(PortsCommand::Status { ports, watch }) =
            command("pmctl ports status 3000,6000-6002 80 --watch")
        else {
            panic!()
        };
        assert_eq!((ports.map(|p| p.len()), watch), (Some(5), true));
        let line = "pmctl ports wait 80 --free --timeout 2m";
        let Command::Ports(PortsCommand::Wait { wait, .. }) = command(line) else { panic!() };
        assert_eq!((wait.until, wait.timeout.as_secs()), (WaitForPorts::Free, 120));
        assert_eq!(refusal("pmctl ports wait 80"), ["MissingRequiredArgument"]);
        assert_eq!(refusal("pmctl ports wait 80 --free --listening"), ["ArgumentConflict"]);
        assert_eq!(
            refusal("pmctl ports status 0 5-4"),
            ["port-out-of-range", "port-range-reversed"]
        );
    }

    #[test]
    fn ports_to_be_freed_are_all_read_before_any_is_touched() {
        let Command::Ports(PortsCommand::Kill(request)) =
            command("pmctl ports kill 3000,6000-6002")
        else {
            panic!()
        };
        assert_eq!((request.ports.len(), request.signal), (4, None));
        assert_eq!((request.grace, request.dry_run), (KillRequest::DEFAULT_GRACE, false));
        assert_eq!(refusal("pmctl ports kill 8080 9090 70000"), ["port-out-of-range"]);
        assert_eq!(refusal("pmctl ports kill"), ["MissingRequiredArgument"]);
        assert_eq!(refusal("pmctl ports kill 80 --grace 2h"), ["duration-out-of-bounds"]);
        let Command::Cleanup(cleanup) = command("pmctl cleanup --force --dry-run --grace 0s")
        else {
            panic!()
        };
        assert_eq!((cleanup.force, cleanup.dry_run, cleanup.grace.as_secs()), (true, true, 0));
    }

    #[test]
    #[cfg(not(windows))]
    fn the_signal_that_ends_a_holder_is_one_of_those_that_end() {
        let line = "pmctl ports kill 80 --signal sigint --force";
        let Command::Ports(PortsCommand::Kill(request)) = command(line) else { panic!() };
        assert_eq!((request.signal, request.force), (Some(EndSignal::Int), true));
        assert_eq!(refusal("pmctl ports kill 80 --signal USR1"), ["signal-unknown"]);
    }

    #[test]
    #[cfg(windows)]
    fn no_signal_can_be_chosen_on_windows() {
        let expected = ["argument-signal-on-windows"];
        assert_eq!(refusal("pmctl ports kill 80 --signal TERM"), expected);
    }

    #[test]
    fn the_timeout_of_a_command_that_waits_is_that_of_the_wait() {
        let waiting = parsed("pmctl --timeout 7s status --wait stopped").unwrap();
        assert_eq!(waiting.flags.get(Key::Timeout), None);
        let Command::Status { wait: Some(wait) } = waiting.command else { panic!() };
        assert_eq!((wait.until, wait.timeout.as_secs()), (WaitForServer::Stopped, 7));
        let plain = parsed("pmctl status --timeout 7s").unwrap();
        assert_eq!(plain.flags.get(Key::Timeout), Some(&"7s".into()));
        assert_eq!(refusal("pmctl status --wait ready --timeout soon"), ["duration-invalid"]);
    }

    #[test]
    fn options_of_every_command_are_taken_before_and_behind_it() {
        for line in [
            "pmctl -o json -v --server http://a serve --listen 127.0.0.1:1",
            "pmctl serve -ojson --verbose --server=http://a --listen=127.0.0.1:1",
        ] {
            let flags = parsed(line).unwrap().flags;
            let get = |key| flags.get(key).and_then(|v| v.to_str()).unwrap_or_default();
            assert_eq!((get(Key::Output), get(Key::Verbose)), ("json", "1"), "{line}");
            assert_eq!((get(Key::Server), get(Key::Listen)), ("http://a", "127.0.0.1:1"));
            assert_eq!(flags.get(Key::Direct), None);
        }
        assert_eq!(refusal("pmctl status -o xml"), ["InvalidValue"]);
        assert_eq!(refusal("pmctl status --nonsense"), ["UnknownArgument"]);
        let demo = "pmctl --database-url sqlite:x serve --demo";
        assert_eq!(refusal(demo), ["settings-exclude-each-other"]);
    }

    #[test]
    fn the_authority_of_the_server_is_named_before_or_behind_and_is_none_of_a_target() {
        let ca = |line: &str| {
            let flags = parsed(line).unwrap_or_else(|stop| panic!("{line}: {stop:?}")).flags;
            flags.get(Key::Ca).and_then(|ca| ca.to_str()).map(str::to_owned)
        };
        for line in ["pmctl --ca own.pem status", "pmctl status --ca own.pem"] {
            assert_eq!(ca(line).as_deref(), Some("own.pem"), "{line}");
        }
        assert_eq!(ca("pmctl service list --ca=b.pem").as_deref(), Some("b.pem"));
        assert_eq!(ca("pmctl status"), None);
        let target = "service target add a main=https://b --ca target.pem";
        assert_eq!(ca(&format!("pmctl {target}")), None);
        assert_eq!(ca(&format!("pmctl --ca own.pem {target}")).as_deref(), Some("own.pem"));
    }

    #[test]
    fn help_and_version_are_pages_and_an_unknown_command_is_named() {
        assert_eq!(refusal("pmctl"), ["DisplayHelpOnMissingArgumentOrSubcommand"]);
        assert_eq!(refusal("pmctl --version"), ["DisplayVersion"]);
        assert_eq!(refusal("pmctl service add -h"), ["DisplayHelp"]);
        assert_eq!(refusal("pmctl nonsense"), ["InvalidSubcommand"]);
        assert_eq!(refusal("pmctl help service nonsense"), ["argument-no-such-command"]);
        let Err(Stop::Page(page)) = parsed("pmctl help service add") else { panic!() };
        assert!(page.to_string().contains("Usage: pmctl service add"), "{page}");
    }

    #[test]
    fn as_many_events_as_asked_for_but_at_least_one() {
        assert_eq!(command("pmctl events"), Command::Events { limit: 20, follow: false });
        assert_eq!(command("pmctl events -fn 5"), Command::Events { limit: 5, follow: true });
        assert_eq!(refusal("pmctl events -n 0"), ["number-invalid"]);
        assert_eq!(refusal("pmctl events -n x"), ["number-invalid"]);
    }
}
