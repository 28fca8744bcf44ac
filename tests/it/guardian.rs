//! A server that is killed leaves nothing: its guardian cleans up, and is in nobody's way.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::{Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::{
    Pmctl, Script, Server, Upstream, Wire, announced, anonymous_memory, assert_all_stopped,
    events_by, free_port, guardian, guardian_of, is_listening, is_there, wait_gone, wait_status,
    wait_until,
};

#[test]
fn after_sigkill_of_the_server_its_guardian_leaves_no_row_and_no_instance_and_goes() {
    let (pmctl, registry, _upstream, port, own) = announced();
    let server = pmctl.serve();
    wait_status(&registry, &own, 200);
    let guardian = guardian(&server);
    server.kill_hard();
    wait_gone(guardian);
    assert_eq!(registry.ask("GET", &own, "").status, 404);
    assert_all_stopped(&pmctl);
    assert!(!is_listening(port));
    let events = events_by(&pmctl, "guardian");
    assert!(events.contains(&"repaired".into()), "{events:?}");
    assert!(events.contains(&"lease-removed".into()), "{events:?}");
    let nothing = pmctl.json(&["cleanup"]);
    assert_eq!(nothing["message"], "nothing to clean up", "{nothing:#}");
    // What is wanted is as it was: the next server serves.
    let server = pmctl.serve();
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    server.stop();
}

#[test]
fn a_guardian_holds_nothing_of_its_server_and_is_small() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    // More than the standard streams is open in the server from its start.
    let inherited = ["sh", "-c", "exec 7>inherited \"$@\"", "sh"];
    let mut server = Server::spawn(&pmctl, &inherited, &[]);
    server.wait_ready();
    let _open = Wire::to(port).get("/");
    let pid = guardian(&server);
    let number = pid.as_raw_nonzero();
    let links = || -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{number}/fd")).expect("its descriptors");
        let link = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
        let links = entries.flatten().filter_map(link);
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    };
    wait_until("a guardian that watches", || {
        let links = links();
        let only = links.iter().all(|link| {
            link.starts_with("pipe:") || link == "/dev/null" || link == "anon_inode:[pidfd]"
        });
        match only && links.len() == 4 {
            true => Ok(()),
            false => Err(format!("{links:?}")),
        }
    });
    assert_eq!(fs::read_link(format!("/proc/{number}/cwd")).expect("cwd").to_str(), Some("/"));
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).expect("stat");
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    assert_eq!(session, Some(number.to_string().as_str()), "its own session");
    assert_eq!(fs::read_dir(format!("/proc/{number}/task")).expect("threads").count(), 1);
    assert!(anonymous_memory(u32::try_from(number.get()).expect("a pid")) < 8 << 20);
    server.stop();
    wait_gone(pid);
}

#[test]
fn a_guardian_ends_with_the_goodbye_and_is_not_seen_in_the_events() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let pid = guardian(&server);
    let status = pmctl.json(&["status"]);
    assert_eq!(status["guardian"]["state"], "watching", "{status:#}");
    assert_eq!(status["guardian"]["pid"], pid.as_raw_nonzero().get(), "{status:#}");
    server.stop();
    wait_gone(pid);
    assert_eq!(events_by(&pmctl, "guardian"), Vec::<String>::new());
    assert_eq!(pmctl.json(&["status"])["guardian"], Value::Null);
}

#[test]
fn without_a_guardian_nobody_cleans_up() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("web", free_port(), &upstream.url());
    let server = pmctl.serve_alone();
    assert_eq!(server.guardian(), None);
    let status = pmctl.json(&["status"]);
    assert_eq!(status["guardian"]["state"], "off", "{status:#}");
    assert_eq!(status["guardian"]["pid"], Value::Null);
    server.kill_hard();
    assert_eq!(pmctl.rows()["web"].1, "running");
}

#[test]
fn a_guardian_hears_no_stop_signal_and_is_started_again_when_it_is_killed() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let first = guardian(&server);
    // It watches, so its handlers stand.
    wait_until("its pidfd", || {
        let entries = fs::read_dir(format!("/proc/{}/fd", first.as_raw_nonzero()));
        match entries.map(Iterator::count).unwrap_or_default() {
            4 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        kill_process(first, signal).expect("a signal");
    }
    kill_process(first, Signal::KILL).expect("a signal");
    let second = wait_until("another guardian", || match server.guardian() {
        Some(other) if other != first => Ok(other),
        other => Err(format!("{other:?}")),
    });
    assert!(test_kill_process(first).is_err(), "the first one was waited for");
    // By KILL, so the four before it had no consequence.
    let log = server.stderr();
    assert!(log.contains("the guardian ended before its server (signal: 9"), "{log}");
    wait_until("a status without a complaint", || {
        let status = pmctl.json(&["status"]);
        match status["guardian"]["pid"] == second.as_raw_nonzero().get() {
            true => Ok(()),
            false => Err(format!("{status:#}")),
        }
    });
    server.kill_hard();
    wait_gone(second);
    assert!(events_by(&pmctl, "guardian").contains(&"repaired".into()));
}

#[test]
fn both_killed_cleanup_alone_restores_all() {
    let (pmctl, registry, _upstream, _, own) = announced();
    let server = pmctl.serve();
    wait_status(&registry, &own, 200);
    // Stopped first, so that it starts no other one.
    server.signal(Signal::STOP);
    kill_process(guardian(&server), Signal::KILL).expect("a signal");
    server.kill_hard();
    assert_eq!(pmctl.rows()["shop"].1, "running");
    pmctl.json(&["cleanup"]);
    assert_all_stopped(&pmctl);
    assert_eq!(registry.ask("GET", &own, "").status, 404);
}

#[test]
fn a_stopped_server_is_not_dead_and_cleanup_by_force_and_the_guardian_do_not_meet() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let mut server = pmctl.serve();
    let pid = guardian(&server);
    server.signal(Signal::STOP);
    let status = pmctl.json(&["--timeout", "200ms", "status"]);
    assert_eq!(status["server"]["state"], "unresponsive", "{status:#}");
    assert_eq!(pmctl.rows()["web"].1, "running");
    assert!(is_there(pid) && events_by(&pmctl, "guardian").is_empty());
    let ended = pmctl.json(&["--timeout", "200ms", "cleanup", "--force", "--grace", "1s"]);
    assert_eq!(ended["success"], true, "{ended:#}");
    server.wait_exit();
    wait_gone(pid);
    assert_all_stopped(&pmctl);
    assert!(!is_listening(port));
    let nothing = pmctl.json(&["cleanup"]);
    assert_eq!(nothing["message"], "nothing to clean up", "{nothing:#}");
}

#[test]
fn a_server_that_starts_at_once_after_a_kill_serves_and_the_guardian_leaves_it_alone() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let mut before = pmctl.serve();
    for _ in 0..5 {
        let pid = guardian(&before);
        before.signal(Signal::KILL);
        let next = pmctl.serve();
        before.wait_exit();
        wait_gone(pid);
        assert_eq!(pmctl.rows()["web"], ("running".into(), "running".into()));
        assert_eq!(Wire::to(port).get("/").text(), "hello");
        before = next;
    }
    before.stop();
}

#[test]
fn a_newer_schema_is_left_alone() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("web", free_port(), &upstream.url());
    let server = pmctl.serve();
    let pid = guardian(&server);
    let before = pmctl.rows();
    pmctl.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99999999999999, 'later', 1, x'00', 0)",
    );
    server.kill_hard();
    wait_gone(pid);
    pmctl.sql("DELETE FROM _sqlx_migrations WHERE version = 99999999999999");
    assert_eq!(pmctl.rows(), before);
}

#[test]
fn a_pipe_that_reads_the_server_ends_with_it_while_its_guardian_is_held_up() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("web", free_port(), &upstream.url());
    let mut command = pmctl.command(&["serve", "--listen", "127.0.0.1:0", "-o", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().expect("a server");
    let pid = server.id();
    let guardian = wait_until("a guardian", || guardian_of(pid).ok_or_else(|| "none".into()));
    wait_until("a server", || match pmctl.json(&["status"])["server"]["state"] == "ready" {
        true => Ok(()),
        false => Err("not ready".into()),
    });
    kill_process(guardian, Signal::STOP).expect("a signal");
    server.kill().expect("SIGKILL");
    // Both streams end although the guardian lives.
    let output = server.wait_with_output().expect("its output");
    assert_eq!(output.status.signal(), Some(9));
    assert!(is_there(guardian));
    kill_process(guardian, Signal::CONT).expect("a signal");
    wait_gone(guardian);
    assert_all_stopped(&pmctl);
}

#[test]
fn a_second_signal_in_a_drain_ends_it_and_leaves_nothing() {
    let (pmctl, registry, _, _, own) = announced();
    let (script, port) = (Script::start(), free_port());
    pmctl.add("slow", port, &script.url());
    let mut server = pmctl.serve_with(&["--service-timeout", "60s", "--shutdown-timeout", "90s"]);
    wait_status(&registry, &own, 200);
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    let guardian = guardian(&server);
    server.signal(Signal::TERM);
    wait_until("the drain", || match is_listening(port) {
        true => Err(format!("{server}")),
        false => Ok(()),
    });
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(), 1, "{server}");
    wait_gone(guardian);
    assert_all_stopped(&pmctl);
    assert_eq!(registry.ask("GET", &own, "").status, 404);
}

#[test]
fn every_process_of_a_killed_server_is_gone_with_its_log_in_the_file() {
    let pmctl = Pmctl::new();
    let log = pmctl.dir().join("log/serve.log");
    let server = pmctl.serve_with(&["--log-file", log.to_str().expect("a path")]);
    let pid = guardian(&server);
    server.kill_hard();
    wait_gone(pid);
    let text = fs::read_to_string(&log).expect("the log");
    let told: BTreeSet<bool> =
        text.lines().map(|line| line.contains("1 dead servers noted")).collect();
    assert!(told.contains(&true), "{text}");
}

#[test]
fn the_directory_of_a_demo_that_was_killed_goes_with_it() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve_with(&["--demo"]);
    let guardian = guardian(&server);
    let left = || fs::read_dir(pmctl.dir().join("tmp")).expect("a folder").flatten().count();
    assert_eq!(left(), 1);
    server.kill_hard();
    wait_gone(guardian);
    assert_eq!(left(), 0);
}
