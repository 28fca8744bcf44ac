//! A server that is hard to recognise is still a server: however a command finds or does not find it,
//! freeing a port never ends it.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Pmctl, Server, Upstream, free_port, is_listening, is_root};

/// `ports kill --force` by `args` with `-o json`, which must leave every port with `code`.
#[track_caller]
fn assert_left(pmctl: &Pmctl, code: i32, args: &[&str], fault: &str) {
    let args = [&["-o", "json", "ports", "kill", "--force"], args].concat();
    let document = pmctl.run(&args).expect(code).json();
    let items: &Vec<Value> = document["ports"].as_array().expect("ports");
    for item in items {
        assert_eq!(item["action"], "left", "{document:#}");
        assert_eq!(item["fault"]["code"], fault, "{document:#}");
    }
}

#[test]
fn a_hung_server_that_is_only_named_is_left_with_its_control_port() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let port = free_port();
    pmctl.add("shop", port, &upstream.url());
    let server = pmctl.serve();
    server.signal(Signal::STOP);
    // Its database is not known to the one who asks, and so neither its lock.
    let other = Pmctl::with_default_database();
    let (url, port_, control) =
        (server.url(), port.to_string(), server.control().port().to_string());
    let named = ["--server", &url, "--timeout", "1s", "--grace", "0s"];
    assert_left(&other, 3, &[&named[..], &[&port_]].concat(), "port-held-by-hung");
    assert_left(&other, 3, &[&named[..], &[&control]].concat(), "port-control");
    server.signal(Signal::CONT);
    assert!(is_listening(port));
    server.stop();
}

#[test]
fn a_server_of_another_database_that_turns_the_caller_away_is_left() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let port = free_port();
    pmctl.add("shop", port, &upstream.url());
    let server = pmctl.serve();
    let other = Pmctl::with_default_database();
    let token = other.work().join("token");
    std::fs::write(&token, "no-token-of-this-server".repeat(4)).expect("a token file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&token, mode).expect("its mode");
    let token = token.to_string_lossy();
    let named = ["--server", &server.url(), "--token-file", &token, &port.to_string()];
    let ran = other.run(&[&["-o", "json", "ports", "kill", "--force"], &named[..]].concat());
    let document = ran.expect(5).json();
    assert_eq!(document["ports"][0]["action"], json!("left"), "{document:#}");
    assert!(is_listening(port));
    server.stop();
}

#[test]
#[ignore = "needs root: the server runs in a pid namespace of its own; .ci/run runs it as root"]
fn a_live_server_in_another_pid_namespace_is_left_and_asked_to_free_its_port() {
    assert!(is_root(), "run it as root");
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let port = free_port();
    pmctl.add("shop", port, &upstream.url());
    // It is pid 1 there.
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut server = Server::spawn(&pmctl, &unshare, &[]);
    server.wait_ready();
    let port_ = port.to_string();
    assert_left(&pmctl, 3, &["--direct", &port_], "port-served");
    let status = pmctl.json(&["--direct", "ports", "status"]);
    assert_eq!(status["ports"][&port_]["state"], "serving", "{status:#}");
    let freed = pmctl.json(&["ports", "kill", &port_]);
    assert_eq!(freed["ports"][0]["action"], "stopped", "{freed:#}");
    assert_eq!(server.get("/readyz").status, 200);
    pmctl.ok(&["shutdown", "--wait"]);
    server.wait_exit();
}
