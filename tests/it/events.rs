//! The record of what happened: who asked, in which order, live and afterwards.

use serde_json::Value;

use crate::support::{Pmctl, Upstream, Watcher, free_port, wait_until};

#[test]
fn what_happened_is_recorded_with_who_asked() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("direct", free_port(), &upstream.url());
    let server = pmctl.serve();
    pmctl.add("through", free_port(), &upstream.url());
    pmctl.ok(&["service", "stop", "direct"]);
    let events = pmctl.json(&["events", "-n", "1000"]);
    let events = events["events"].as_array().expect("events");
    let of = |action: &str, subject: &str| {
        events
            .iter()
            .find(|e| e["action"] == action && e["subject"] == subject)
            .unwrap_or_else(|| panic!("no {action} of {subject} in {events:#?}"))
    };
    let actor = |event: &Value| event["actor"].as_str().unwrap_or_default().to_owned();
    assert!(actor(of("service-added", "direct")).starts_with("cli:"));
    assert!(actor(of("service-added", "through")).starts_with("control:"));
    of("service-started", "through");
    assert_eq!(of("service-stopped", "direct")["outcome"], "ok");
    assert!(events.iter().any(|e| e["action"] == "server-started"), "{events:#?}");
    let ids: Vec<i64> = events.iter().filter_map(|e| e["id"].as_i64()).collect();
    assert!(ids.is_sorted() && ids.len() == events.len(), "{ids:?}");
    let last = pmctl.json(&["events", "-n", "2"]);
    let last = last["events"].as_array().expect("events");
    assert_eq!(last.len(), 2);
    server.stop();
    let after = pmctl.json(&["events", "-n", "1"]);
    assert_eq!(after["events"][0]["action"], "server-stopped", "{after:#}");
}

#[test]
fn an_event_stream_shows_a_change_as_it_happens() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let mut watcher = Watcher::start(&pmctl, &["-o", "json", "events", "-f", "-n", "1"]);
    assert_eq!(watcher.next()["action"], "server-started");
    pmctl.add("web", free_port(), "http://127.0.0.1:9");
    let added = loop {
        let event = watcher.next();
        if event["action"] == "service-added" {
            break event;
        }
    };
    assert_eq!(added["subject"], "web", "{added}");
    server.stop();
}

#[test]
fn a_stop_while_clients_watch_events_ends_their_streams_and_the_server() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let mut watcher = Watcher::start(&pmctl, &["-o", "json", "events", "-f", "-n", "1"]);
    assert!(watcher.next()["action"].is_string());
    server.stop();
    let code = watcher.wait_exit();
    assert!(matches!(code, 0 | 4), "a stream that its server ended: {code}");
}

#[test]
fn a_row_that_says_something_else_than_what_runs_is_corrected_and_said_once() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.write_config("[server]\nsync_interval = \"1s\"\n");
    pmctl.add("web", free_port(), &upstream.url());
    let server = pmctl.serve();
    pmctl.sql("UPDATE runtime SET actual = 'failed'");
    wait_until("the right row", || match pmctl.rows()["web"].1.as_str() {
        "running" => Ok(()),
        other => Err(other.to_owned()),
    });
    let events = pmctl.json(&["events", "-n", "100"]);
    let events = events["events"].as_array().expect("events");
    let of: Vec<&Value> = events.iter().filter(|e| e["action"] == "repaired").collect();
    assert_eq!((of.len(), &of[0]["subject"]), (1, &"web".into()), "{events:#?}");
    assert!(of[0]["detail"].as_str().is_some_and(|d| d.contains("said failed")), "{of:#?}");
    server.stop();
}
