//! A server starts what is wanted, stops on every stop signal with nothing left, and the next one
//! finds everything as it was.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::Signal;

use crate::support::{
    Pmctl, Script, Server, Upstream, Wire, assert_in_order, chinese_steps, free_port, free_ports,
    get, is_listening, sentence_like, wait_until,
};

/// A sandbox with one service `web`, wanted running.
fn one_service(upstream: &Upstream) -> (Pmctl, u16) {
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &upstream.url());
    (pmctl, port)
}

fn row(pmctl: &Pmctl, name: &str) -> (String, String) {
    pmctl.rows().remove(name).unwrap_or_else(|| panic!("no row of {name}"))
}

fn states(desired: &str, actual: &str) -> (String, String) {
    (desired.to_owned(), actual.to_owned())
}

#[test]
fn the_demo_prints_commands_that_work_when_pasted() {
    // The demo keeps everything in the sandbox's own temporary folder.
    let pmctl = Pmctl::new().without("PMCTL_DATABASE_URL");
    let mut server = Server::spawn(&pmctl, &[], &["--demo"]);
    server.wait_ready();
    let commands = wait_until("the commands to try", || {
        let printed = format!("{}\n{}", server.stdout(), server.stderr());
        let commands = pasted(&printed);
        let has = |word: &str| commands.iter().any(|c| c.contains(word));
        let whole = has("curl ") && has(" status") && has("ports status") && has("service switch");
        if whole { Ok(commands) } else { Err(printed) }
    });
    for command in &commands {
        let is_ours = !command.starts_with("curl ");
        let is_told = command.contains("--server") || command.contains("--eureka-url");
        assert!(!is_ours || is_told, "no --server: {command}");
        let ran = pmctl.shell(command).expect(0);
        let silent = ran.stdout.trim().is_empty();
        assert!(!silent || command.contains("shutdown"), "nothing to see\n{ran}");
    }
    if !commands.iter().any(|c| c.contains(" shutdown")) {
        server.signal(Signal::INT);
    }
    assert_eq!(server.wait_exit(), 0, "{server}");
    let left: Vec<_> = std::fs::read_dir(pmctl.dir().join("tmp")).expect("its tmp").collect();
    assert!(left.is_empty(), "the demo left {left:?}");
    assert!(!pmctl.default_database().exists(), "the demo touched the default database");
}

/// The printed lines that are commands; those that would run for ever are left out, a shutdown is
/// put last.
fn pasted(printed: &str) -> Vec<String> {
    let line = |line: &str| {
        let line = line.trim().trim_start_matches("$ ").to_owned();
        let first = line.split_whitespace().next().unwrap_or_default().to_owned();
        let program = first.rsplit('/').next().unwrap_or_default().to_owned();
        let endless = line.contains(" -f") || line.contains("--watch");
        (matches!(program.as_str(), "curl" | "pmctl") && !endless).then_some(line)
    };
    let mut commands: Vec<String> = printed.lines().filter_map(line).collect();
    commands.sort_by_key(|command| command.contains(" shutdown"));
    commands
}

#[test]
fn the_demo_takes_the_next_free_port_for_a_taken_one_and_says_who_holds_it() {
    let held: Vec<_> = [27_721, 8_080]
        .iter()
        // Whoever else holds it does as well.
        .filter_map(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).ok())
        .collect();
    let pmctl = Pmctl::new().without("PMCTL_DATABASE_URL");
    let server = pmctl.serve_with(&["--demo"]);
    let list = pmctl.json(&["--server", &server.url(), "service", "list"]);
    let services = list["services"].as_array().expect("services");
    let names: Vec<_> = services.iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["admin-meta-api", "dspapi"], "{list:#}");
    for service in services {
        let port = service["port"].as_u64().expect("a port");
        assert!(port != 27_721 && port != 8_080, "{list:#}");
        assert_eq!(service["actual"], "running", "{list:#}");
    }
    let said = format!("{}{}", server.stdout(), server.stderr());
    for taken in ["27721", "8080"] {
        assert!(said.contains(taken), "{taken} is not mentioned in:\n{said}");
    }
    drop(held);
    server.stop();
}

#[test]
fn sigterm_and_sigint_end_in_exit_0_with_every_step_in_order_in_both_languages() {
    let upstream = Upstream::saying("hello");
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let (pmctl, port) = one_service(&upstream);
        let chinese = chinese_steps(name, port);
        let english: Vec<Vec<String>> = chinese.iter().map(|line| sentence_like(line)).collect();
        let chinese: Vec<Vec<String>> = chinese.into_iter().map(|line| vec![line]).collect();
        for (lang, steps) in [("zh-CN", &chinese), ("en", &english)] {
            let mut server = pmctl.serve_with(&["--lang", lang]);
            assert_eq!(Wire::to(port).get("/").text(), "hello");
            server.signal(signal);
            assert_eq!(server.wait_exit(), 0, "{server}");
            let log = server.stderr();
            assert_in_order(&log, steps);
            assert!(log.contains(name), "the signal is not named:\n{log}");
            assert!(has_duration(&log), "no step has a duration:\n{log}");
            assert!(!is_listening(port), "the proxy still listens");
            assert_eq!(row(&pmctl, "web"), states("running", "stopped"));
        }
    }
}

/// A number followed by a unit of time, or a field of that name.
fn has_duration(log: &str) -> bool {
    let words = log.split(|c: char| !(c.is_alphanumeric() || c == '.' || c == 'µ'));
    let is_time = |word: &str| {
        ["ms", "µs", "us", "s"]
            .iter()
            .any(|unit| word.strip_suffix(unit).is_some_and(|number| number.parse::<f64>().is_ok()))
    };
    log.contains("duration") || words.into_iter().any(is_time)
}

#[test]
fn sighup_and_sigquit_stop_a_server_in_order_too() {
    let upstream = Upstream::saying("hello");
    for (signal, name) in [(Signal::HUP, "HUP"), (Signal::QUIT, "QUIT")] {
        let (pmctl, _) = one_service(&upstream);
        // Whoever runs the tests may ignore the signal, which a child would inherit.
        let default = format!("--default-signal={name}");
        let mut server = Server::spawn(&pmctl, &["env", &default], &[]);
        server.wait_ready();
        server.signal(signal);
        assert_eq!(server.wait_exit(), 0, "SIG{name}: {server}");
        assert_eq!(row(&pmctl, "web"), states("running", "stopped"));
    }
}

#[test]
fn a_server_started_under_nohup_outlives_the_end_of_its_terminal() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = one_service(&upstream);
    let nohup = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let mut server = Server::spawn(&pmctl, &nohup, &[]);
    server.wait_ready();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("status");
    let ignored = status.lines().find_map(|l| l.strip_prefix("SigIgn:")).expect("SigIgn");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    assert_eq!(ignored & 1, 1, "SIGHUP is number 1 and no longer ignored: {ignored:x}");
    server.signal(Signal::HUP);
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(), 0, "{server}");
    assert!(!server.stderr().contains("SIGHUP"), "{server}");
}

#[test]
fn a_terminal_that_takes_no_more_lines_does_not_keep_a_stopped_server() {
    let pmctl = Pmctl::new();
    let stuck = pmctl.work().join("stuck");
    pmctl.shell("mkfifo stuck").expect(0);
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open");
    let mut open = File::options();
    let mut pipe = open.read(true).write(true).custom_flags(nonblocking).open(stuck).unwrap();
    let full = loop {
        if let Err(error) = pipe.write(b"x") {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let wrapper = ["sh", "-c", "exec \"$@\" 2>stuck", "sh"];
    let mut server = Server::spawn(&pmctl, &wrapper, &["-vv"]);
    server.wait_ready();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
fn a_stop_is_heard_while_a_start_waits_for_a_lock() {
    let pmctl = Pmctl::new();
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    for lock in ["default", "writer"] {
        let path = format!("{}.{lock}.lock", pmctl.database().display());
        let held = File::open(path).expect("the lock file");
        held.lock().expect("the lock");
        let mut server = Server::spawn(&pmctl, &[], &["--timeout", "2h"]);
        wait_until("the start", || match signals_are_heard(server.pid()) {
            true => Ok(()),
            false => Err(format!("{server}")),
        });
        server.signal(Signal::TERM);
        // Waiting to its end would be a failure, and for the writers' lock take two hours.
        assert_eq!(server.wait_exit(), 0, "{server}");
    }
}

/// Whether the process catches SIGTERM.
fn signals_are_heard(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}

#[test]
fn a_second_serve_is_refused_at_once_with_the_first_ones_pid_and_url() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = one_service(&upstream);
    let server = pmctl.serve();
    let listen = format!("127.0.0.1:{}", free_port());
    let second = pmctl.fails(1, &["serve", "--listen", &listen]);
    assert!(second.stderr.contains(&server.pid().to_string()), "no pid:\n{second}");
    assert!(second.stderr.contains(&server.url()), "no URL:\n{second}");
    // A repair would be waited for up to 15 s; a live server is not.
    assert!(second.took < Duration::from_secs(12), "not at once:\n{second}");
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    server.stop();
}

#[test]
fn another_node_name_on_the_same_database_is_another_server() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let first = pmctl.serve();
    let second = pmctl.serve_with(&["--node-name", "second"]);
    let port = free_port().to_string();
    let target = format!("main={}", upstream.url());
    let add = ["service", "add", "web", "--port", &port, "--target", &target];
    pmctl.ok(&[&["--server", &second.url()], &add[..]].concat());
    let list = first.json("/api/services");
    assert_eq!(list["services"].as_array().map(Vec::len), Some(0), "{list:#}");
    second.stop();
    first.stop();
}

#[test]
fn the_next_serve_starts_what_is_wanted_and_leaves_the_rest_stopped() {
    let upstream = Upstream::saying("hello");
    let (pmctl, ports) = (Pmctl::new(), free_ports(3));
    for (name, port) in ["a", "b", "c"].iter().zip(&ports) {
        pmctl.add(name, *port, &upstream.url());
    }
    let server = pmctl.serve();
    pmctl.ok(&["service", "stop", "b"]);
    assert!(!is_listening(ports[1]));
    server.stop();
    for (name, desired) in [("a", "running"), ("b", "stopped"), ("c", "running")] {
        assert_eq!(row(&pmctl, name), states(desired, "stopped"), "{name}");
    }
    assert!(ports.iter().all(|port| !is_listening(*port)), "a listener is left");
    let server = pmctl.serve();
    for (port, serves) in ports.iter().zip([true, false, true]) {
        assert_eq!(is_listening(*port), serves, "{port}");
    }
    assert_eq!(Wire::to(ports[0]).get("/").text(), "hello");
    server.stop();
}

/// A server with a request that its upstream does not answer, so that a drain has to wait.
fn with_a_request_held(args: &[&str]) -> (Pmctl, Server, Wire, Wire) {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("web", port, &script.url());
    let server = pmctl.serve_with(args);
    let mut client = Wire::to(port);
    client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    (pmctl, server, client, held)
}

/// Waits until a stop has been taken notice of: the control listener is closed first of all.
fn wait_draining(server: &mut Server) {
    wait_until("the control listener closed to new connections", || {
        let ended = server.try_exit().is_some();
        match get(server.control(), "/readyz") {
            Ok(response) if !ended => Err(format!("{} {}", response.status, response.text())),
            _ => Ok(()),
        }
    });
}

#[test]
fn a_second_signal_ends_the_server_by_force_with_exit_1_and_rows_stopped() {
    let (pmctl, mut server, mut client, _held) =
        with_a_request_held(&["--service-timeout", "10m", "--shutdown-timeout", "20m"]);
    server.signal(Signal::INT);
    wait_draining(&mut server);
    assert!(server.try_exit().is_none(), "it did not wait for the request\n{server}");
    server.signal(Signal::INT);
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert!(client.try_response().is_err(), "the connection outlived the server");
    assert_eq!(row(&pmctl, "web"), states("running", "stopped"));
}

#[test]
fn a_second_signal_counts_also_where_nothing_is_left_to_drain() {
    let pmctl = Pmctl::new();
    let mut server = pmctl.serve();
    // A stopped process takes both at once.
    server.signal(Signal::STOP);
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    server.signal(Signal::CONT);
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert!(server.stderr().contains("ended by force"), "{server}");
}

#[test]
fn a_shutdown_past_its_bound_is_forced_with_exit_1_and_rows_stopped() {
    let (pmctl, mut server, mut client, _held) =
        with_a_request_held(&["--service-timeout", "10m", "--shutdown-timeout", "1s"]);
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert!(client.try_response().is_err(), "the connection outlived the server");
    assert_eq!(row(&pmctl, "web"), states("running", "stopped"));
    let server = pmctl.serve();
    assert_eq!(row(&pmctl, "web"), states("running", "running"));
    server.stop();
}

#[test]
fn a_stop_waits_for_the_request_under_way_and_then_exits_0() {
    let (_pmctl, mut server, mut client, mut held) = with_a_request_held(&[]);
    server.signal(Signal::TERM);
    wait_draining(&mut server);
    assert!(server.try_exit().is_none(), "it did not wait for the request\n{server}");
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    let response = client.response();
    assert_eq!(response.text(), "late");
    assert!(client.try_response().is_err(), "the connection outlived its last answer");
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
fn shutdown_wait_shows_the_steps_and_exits_as_the_server_does() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = one_service(&upstream);
    let mut server = pmctl.serve();
    let chinese = pmctl.ok(&["--lang", "zh-CN", "shutdown", "--wait"]);
    assert_eq!(server.wait_exit(), 0, "{server}");
    for step in ["所有代理服务已停止", "数据库服务状态已更新"] {
        assert!(chinese.all().contains(step), "{step} is missing:\n{chinese}");
    }
    assert!(!is_listening(port));
    assert_eq!(row(&pmctl, "web"), states("running", "stopped"));

    let (pmctl, mut server, _client, _held) =
        with_a_request_held(&["--service-timeout", "10m", "--shutdown-timeout", "1s"]);
    pmctl.run(&["shutdown", "--wait"]).expect(1);
    assert_eq!(server.wait_exit(), 1, "{server}");
}

#[test]
fn shutdown_without_wait_only_asks() {
    let (pmctl, mut server, mut client, mut held) = with_a_request_held(&[]);
    pmctl.ok(&["shutdown"]);
    wait_draining(&mut server);
    assert!(server.try_exit().is_none(), "{server}");
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
fn shutdown_with_no_server_running_is_what_was_asked_for() {
    let pmctl = Pmctl::new();
    pmctl.ok(&["shutdown"]);
    pmctl.ok(&["shutdown", "--wait"]);
    assert!(!pmctl.database().exists(), "asking for a stop made a database");
}

#[test]
fn after_kill_9_the_next_serve_puts_the_rows_right_and_serves_again() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = one_service(&upstream);
    pmctl.serve_alone().kill_hard();
    assert!(!is_listening(port));
    let status = pmctl.json(&["status"]);
    assert_eq!(status["source"], "database", "{status:#}");
    assert_eq!(status["server"]["state"], "down", "{status:#}");
    let server = pmctl.serve();
    assert_eq!(row(&pmctl, "web"), states("running", "running"));
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    server.stop();
    assert_eq!(row(&pmctl, "web"), states("running", "stopped"));
}

#[test]
fn a_taken_port_is_a_failed_service_with_its_holder_named_and_not_a_failed_server() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = one_service(&upstream);
    let other = free_port();
    pmctl.add("other", other, &upstream.url());
    let holder = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let server = pmctl.serve();
    let show = pmctl.json(&["service", "show", "web"]);
    let web = &show["services"][0];
    assert_eq!(
        (&web["desired"], &web["actual"]),
        (&"running".into(), &"failed".into()),
        "{show:#}"
    );
    let reason = web["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(&std::process::id().to_string()), "the holder is not named: {reason}");
    assert_eq!(Wire::to(other).get("/").text(), "hello");
    drop(holder);
    pmctl.ok(&["service", "start", "web"]);
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    server.stop();
}
