//! A server that is the first process of a container: its guardian is its parent there.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Pmctl, Server, Upstream, Wire, announced, assert_all_stopped, events_by, free_port,
    wait_status, wait_until,
};

const CONTAINER: &[&str] = &["unshare", "--pid", "--fork", "--mount-proc"];

/// The children of a process, zombies too.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// The first process of the container, and the server that it runs, once they are the only ones.
#[track_caller]
fn processes(server: &Server) -> (Pid, Pid) {
    wait_until("a first process with a server", || {
        let first = children(server.pid());
        match (&first[..], first.first().map(|first| children(*first)).as_deref()) {
            (&[first], Some(&[server])) => {
                let pid = |number: u32| Pid::from_raw(i32::try_from(number).expect("a pid"));
                Ok((pid(first).expect("a pid"), pid(server).expect("a pid")))
            }
            other => Err(format!("{other:?}")),
        }
    })
}

#[test]
#[ignore = "needs root, to make a pid namespace"]
fn signals_reach_the_server_and_its_code_comes_out() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut server = Server::spawn(&pmctl, CONTAINER, &[]);
        server.wait_ready();
        assert_eq!(Wire::to(port).get("/").text(), "hello");
        let guardian = &server.json("/api/status")["guardian"];
        assert_eq!((&guardian["state"], &guardian["pid"]), (&"watching".into(), &1.into()));
        let (first, _) = processes(&server);
        kill_process(first, signal).expect("a signal");
        assert_eq!(server.wait_exit(), 0, "{signal:?}: {server}");
        assert_all_stopped(&pmctl);
    }
    assert_eq!(events_by(&pmctl, "guardian"), Vec::<String>::new());
}

#[test]
#[ignore = "needs root, to make a pid namespace"]
fn a_second_signal_is_passed_on_too() {
    let (pmctl, script, port) = (Pmctl::new(), crate::support::Script::start(), free_port());
    pmctl.add("slow", port, &script.url());
    let mut server = Server::spawn(&pmctl, CONTAINER, &["--service-timeout", "60s"]);
    server.wait_ready();
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    let (first, _) = processes(&server);
    kill_process(first, Signal::TERM).expect("a signal");
    wait_until("the drain", || match crate::support::is_listening(port) {
        true => Err(format!("{server}")),
        false => Ok(()),
    });
    kill_process(first, Signal::TERM).expect("a signal");
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert_all_stopped(&pmctl);
}

#[test]
#[ignore = "needs root, to make a pid namespace"]
fn a_server_that_is_killed_in_a_container_is_cleaned_up_after_and_orphans_are_waited_for() {
    let (pmctl, registry, _upstream, _, own) = announced();
    // An orphan: its parent is gone before the program begins.
    let orphan = [CONTAINER, &["sh", "-c", "(sleep 0.5 &); exec \"$@\"", "sh"]].concat();
    let mut server = Server::spawn(&pmctl, &orphan, &[]);
    server.wait_ready();
    wait_status(&registry, &own, 200);
    // Once the server is its only child, the orphan was waited for.
    let (_, child) = processes(&server);
    kill_process(child, Signal::KILL).expect("a signal");
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert!(server.stderr().contains("was ended by signal 9"), "{server}");
    assert_all_stopped(&pmctl);
    assert_eq!(registry.ask("GET", &own, "").status, 404);
    assert!(events_by(&pmctl, "guardian").contains(&"repaired".into()));
}

#[test]
#[ignore = "needs root, to make a pid namespace"]
fn a_server_that_the_keys_of_a_terminal_stop_goes_on_but_one_that_was_stopped_on_purpose_does_not()
{
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let mut server = Server::spawn(&pmctl, CONTAINER, &[]);
    server.wait_ready();
    let (first, child) = processes(&server);
    let stands = || {
        let pid = child.as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        status.lines().any(|line| line.starts_with("State:") && line.contains("stopped"))
    };
    kill_process(child, Signal::TSTP).expect("a signal");
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    wait_until(
        "a server that goes on",
        || if stands() { Err("stopped".to_owned()) } else { Ok(()) },
    );
    kill_process(child, Signal::STOP).expect("a signal");
    wait_until("a stopped server", || if stands() { Ok(()) } else { Err("goes on".to_owned()) });
    kill_process(child, Signal::CONT).expect("a signal");
    assert_eq!(Wire::to(port).get("/").text(), "hello");
    kill_process(first, Signal::TERM).expect("a signal");
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
#[ignore = "needs root, to make a pid namespace"]
fn without_a_guardian_the_first_process_is_the_server() {
    let pmctl = Pmctl::new();
    let mut server = Server::spawn(&pmctl, CONTAINER, &["--no-guardian"]);
    server.wait_ready();
    assert_eq!(server.json("/api/status")["guardian"]["state"], "off");
    let first = children(server.pid());
    assert_eq!(children(first[0]), Vec::<u32>::new());
    kill_process(
        Pid::from_raw(i32::try_from(first[0]).expect("a pid")).expect("a pid"),
        Signal::TERM,
    )
    .expect("a signal");
    assert_eq!(server.wait_exit(), 0, "{server}");
}

#[test]
#[ignore = "needs root, to make a pid namespace"]
fn a_demo_that_is_killed_in_a_container_leaves_no_directory_and_says_no_more_than_was_done() {
    let pmctl = Pmctl::new();
    let temporary = pmctl.dir().join("tmp");
    let mut server = Server::spawn(&pmctl, CONTAINER, &["--demo"]);
    server.wait_ready();
    let (_, child) = processes(&server);
    kill_process(child, Signal::KILL).expect("a signal");
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert!(server.stderr().contains("was ended by signal 9"), "{server}");
    assert!(!server.stderr().contains("put right"), "{server}");
    assert_eq!(fs::read_dir(&temporary).expect("the directory").count(), 0);
}
