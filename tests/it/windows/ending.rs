//! The five console events, and the lock of a server that lives.

use super::console::{EVENTS, deliver};
use crate::support::{
    Pmctl, Script, Server, Upstream, Wire, assert_in_order, chinese_steps, free_port, is_listening,
    sentence_like,
};

#[test]
fn each_console_event_ends_a_server_in_order() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &upstream.url());
    for (name, event) in EVENTS {
        let mut server = pmctl.serve();
        assert_eq!(Wire::to(port).get("/").text(), "hello");
        deliver(server.pid(), event);
        assert_eq!(server.wait_exit(), 0, "{name}\n{server}");
        let steps: Vec<Vec<String>> =
            chinese_steps(name, port).iter().map(|line| sentence_like(line)).collect();
        assert_in_order(&server.stderr(), &steps);
        assert!(server.stderr().contains(name), "the event is not named\n{server}");
        let stopped = ("running".to_owned(), "stopped".to_owned());
        assert_eq!(pmctl.rows()["web"], stopped, "{name}");
    }
}

/// A server with a download that takes half a minute, which its client has begun to read.
fn with_a_download(pmctl: &Pmctl, port: u16, script: &Script) -> (Server, Wire, Wire) {
    let server = pmctl.serve();
    let mut client = Wire::to(port);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut upstream = script.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n");
    upstream.send([b'x'; 1000]);
    client.head().expect("the head of the download");
    (server, client, upstream)
}

/// The bounds are the default ones, which are longer than the 4 s that the system may leave: past those the
/// watchdog ends the process with 1.
#[test]
fn an_event_after_which_the_system_ends_everybody_leaves_no_time_for_a_download() {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("slow", port, &script.url());
    for (name, event) in &EVENTS[2..] {
        let (mut server, _client, _upstream) = with_a_download(&pmctl, port, &script);
        deliver(server.pid(), *event);
        assert_eq!(server.wait_exit(), 0, "{name}\n{server}");
        assert!(server.stderr().contains("/slow"), "who was cut is not listed\n{server}");
        assert!(!is_listening(port));
        assert_eq!(pmctl.rows()["slow"].1, "stopped", "{name}");
    }
}

#[test]
fn a_second_event_ends_a_drain_at_once() {
    let (pmctl, script, port) = (Pmctl::new(), Script::start(), free_port());
    pmctl.add("slow", port, &script.url());
    let (mut server, _client, _upstream) = with_a_download(&pmctl, port, &script);
    deliver(server.pid(), EVENTS[0].1);
    crate::support::wait_until("the drain", || match is_listening(port) {
        true => Err(server.to_string()),
        false => Ok(()),
    });
    deliver(server.pid(), EVENTS[2].1);
    assert_eq!(server.wait_exit(), 1, "{server}");
    assert_eq!(pmctl.rows()["slow"].1, "stopped");
}

#[test]
fn a_second_server_is_refused_by_the_lock_and_told_who_has_it() {
    let pmctl = Pmctl::new();
    let first = pmctl.serve();
    let refused = pmctl.fails(1, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(refused.stderr.contains(&first.pid().to_string()), "{refused}");
    assert!(refused.stderr.contains(&first.url()), "{refused}");
}
