//! Freeing ports: who holds one is ended, nobody else is, and what was not done is said.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Holder, Listen, Pmctl, Ran, Server, Upstream, free_port, free_ports, is_listening, is_root,
    wait_until,
};

const TERM: Option<i32> = Some(15);
const KILL: Option<i32> = Some(9);

/// `ports kill` with `-o json`; it must exit `code` and report on each port.
#[track_caller]
fn kill(pmctl: &Pmctl, code: i32, args: &[&str]) -> Value {
    let document = run(pmctl, args).expect(code).json();
    assert_eq!(document["success"], true, "{document:#}");
    document
}

#[track_caller]
fn run(pmctl: &Pmctl, args: &[&str]) -> Ran {
    pmctl.run(&[&["-o", "json", "ports", "kill"], args].concat())
}

/// What became of `port`.
#[track_caller]
fn item(document: &Value, port: u16) -> &Value {
    let mut items = document["ports"].as_array().expect("ports").iter();
    items.find(|item| item["port"] == port).unwrap_or_else(|| panic!("no {port}: {document:#}"))
}

/// pids of the holders of `port` in a report, ascending.
#[track_caller]
fn pids(item: &Value) -> Vec<u64> {
    let holders = item["holders"].as_array().expect("holders").iter();
    let mut pids: Vec<u64> = holders.filter_map(|holder| holder["pid"].as_u64()).collect();
    pids.sort_unstable();
    pids
}

/// The newest event of that action and subject: its outcome and its detail.
#[track_caller]
fn event(pmctl: &Pmctl, action: &str, subject: u16) -> Value {
    let (events, subject) = (pmctl.json(&["events", "-n", "1000"]), subject.to_string());
    let mut newest_first = events["events"].as_array().expect("events").iter().rev();
    newest_first
        .find(|event| event["action"] == action && event["subject"].as_str() == Some(&subject))
        .unwrap_or_else(|| panic!("no {action} of {subject}: {events:#}"))
        .clone()
}

fn post(server: &Server, path: &str) -> (u16, Value) {
    let mut wire = server.connect();
    let host = server.control();
    wire.send(format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
    let response = wire.response();
    (response.status, response.json())
}

/// A port below 10000, that no test is given, and the one whose digits end in it.
fn port_within_another() -> (u16, u16) {
    let start = 5_000 + u16::try_from(std::process::id() % 3_000).expect("small");
    let free = |port: u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    let mut ports = (start..9_990).map(|port| (port, 20_000 + port));
    ports.find(|(port, longer)| free(*port) && free(*longer)).expect("two free ports")
}

#[test]
fn only_who_listens_on_exactly_that_port_is_ended() {
    let pmctl = Pmctl::new();
    let (port, longer) = port_within_another();
    let mut holder = Holder::on(&[port], Listen::V4);
    let mut neighbour = Holder::on(&[longer], Listen::V4);
    // A client of the port, and a process that has its number in its command line.
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    let mut namesake = std::process::Command::new("sh")
        .args(["-c", "read _", &format!("--port={port}")])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("a namesake");
    let document = kill(&pmctl, 0, &[&port.to_string()]);
    let item = item(&document, port);
    assert_eq!((&item["action"], &item["signal"]), (&json!("terminated"), &json!("TERM")));
    assert_eq!(pids(item), [u64::from(holder.pid())]);
    assert_eq!(holder.wait_signal(), TERM);
    assert!(!is_listening(port) && is_listening(longer));
    assert!(neighbour.is_alive());
    assert!(namesake.try_wait().expect("its status").is_none(), "the namesake was ended");
    drop(namesake.stdin.take());
    namesake.wait().expect("its end");
}

#[test]
fn listeners_of_every_family_are_found_and_ended() {
    let pmctl = Pmctl::new();
    for listen in [Listen::V6, Listen::Dual] {
        let port = free_port();
        let mut holder = Holder::on(&[port], listen);
        let document = kill(&pmctl, 0, &[&port.to_string()]);
        assert_eq!(item(&document, port)["action"], "terminated", "{listen:?}: {document:#}");
        assert_eq!(holder.wait_signal(), TERM, "{listen:?}");
        let free = pmctl.json(&["ports", "status", &port.to_string()]);
        assert_eq!(free["ports"][port.to_string()]["state"], "free", "{listen:?}: {free:#}");
    }
}

#[test]
fn all_who_share_a_port_are_ended() {
    let pmctl = Pmctl::new();
    let port = free_port();
    let mut reusing = [0; 3].map(|_| Holder::on(&[port], Listen::Reuse));
    let document = kill(&pmctl, 0, &[&port.to_string()]);
    let mut expected = reusing.each_ref().map(|holder| u64::from(holder.pid()));
    expected.sort_unstable();
    assert_eq!(pids(item(&document, port)), expected);
    for holder in &mut reusing {
        assert_eq!(holder.wait_signal(), TERM);
    }
    let port = free_port();
    let mut parent = Holder::on(&[port], Listen::Shared);
    let mut expected = [parent.pid(), parent.sharer()].map(u64::from);
    expected.sort_unstable();
    let document = kill(&pmctl, 0, &[&port.to_string()]);
    assert_eq!(pids(item(&document, port)), expected, "{document:#}");
    assert_eq!(parent.wait_signal(), TERM);
    assert!(!is_listening(port), "the sharer still listens");
}

#[test]
fn who_ignores_term_is_killed_after_the_grace_and_who_heeds_it_is_not() {
    let pmctl = Pmctl::new();
    let [stubborn, polite] = [free_port(), free_port()];
    let mut holders = [Holder::stubborn(stubborn), Holder::on(&[polite], Listen::V4)];
    let ports = format!("{stubborn},{polite}");
    let document = kill(&pmctl, 0, &[&ports, "--grace", "300ms"]);
    let of = |port| {
        let item = item(&document, port);
        (item["action"].clone(), item["signal"].clone())
    };
    assert_eq!(of(stubborn), (json!("killed"), json!("KILL")));
    assert_eq!(of(polite), (json!("terminated"), json!("TERM")));
    assert_eq!(holders.each_mut().map(Holder::wait_signal), [KILL, TERM]);
    assert!(item(&document, stubborn)["durationMs"].as_u64().is_some_and(|ms| ms >= 300));
}

#[test]
fn the_signal_asked_for_is_the_one_sent() {
    let pmctl = Pmctl::new();
    let port = free_port();
    let mut holder = Holder::attentive(port);
    let document = kill(&pmctl, 0, &[&port.to_string(), "--signal", "SIGINT"]);
    assert_eq!(item(&document, port)["signal"], "INT", "{document:#}");
    assert_eq!(holder.wait_signal(), Some(2));
}

#[test]
fn freeing_a_free_port_is_success_and_says_so() {
    let pmctl = Pmctl::new();
    let port = free_port();
    let document = kill(&pmctl, 0, &[&port.to_string()]);
    let item = item(&document, port);
    assert_eq!((&item["action"], &item["bindable"]), (&json!("already-free"), &json!("yes")));
    let ran = pmctl.ok(&["ports", "kill", &port.to_string()]);
    assert!(ran.stdout.contains("already free"), "{ran}");
    let ran = pmctl.ok(&["--lang", "zh-CN", "ports", "kill", &port.to_string()]);
    assert!(ran.stdout.contains("本已空闲"), "{ran}");
}

#[test]
fn a_wrong_port_among_good_ones_kills_nothing() {
    let pmctl = Pmctl::new();
    let port = free_port();
    let mut holder = Holder::on(&[port], Listen::V4);
    pmctl.fails(2, &["ports", "kill", &port.to_string(), "9090", "70000"]);
    let failure = pmctl.fails_json(2, &["ports", "kill", &port.to_string(), "70000"]);
    assert_eq!(failure["code"], "port-out-of-range");
    assert!(holder.is_alive() && is_listening(port));
}

#[test]
fn who_started_pmctl_is_left_even_by_force_and_the_rest_is_freed() {
    let pmctl = Pmctl::new();
    let [taken, own] = [free_port(), free_port()];
    let mut holder = Holder::on(&[taken], Listen::V4);
    // This process is an ancestor of the one that is to free its port.
    let _own = TcpListener::bind((Ipv4Addr::LOCALHOST, own)).expect("an own listener");
    let ports = [own, taken].map(|port| port.to_string());
    let document = kill(&pmctl, 3, &[&ports[0], &ports[1], "--force"]);
    assert_eq!(item(&document, own)["action"], "left", "{document:#}");
    assert!(item(&document, own)["fault"]["code"].is_string(), "{document:#}");
    assert_eq!(item(&document, taken)["action"], "terminated", "{document:#}");
    assert_eq!(holder.wait_signal(), TERM);
    assert!(is_listening(own));
    let ran = pmctl.run(&["ports", "kill", &ports[0], "--force"]).expect(3);
    assert!(ran.stderr.contains(&ports[0]), "the port is named on standard error: {ran}");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let pmctl = Pmctl::new();
    let [port, other] = [free_port(), free_port()];
    let mut holder = Holder::on(&[port, other], Listen::V4);
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    let document = kill(&pmctl, 0, &[&port.to_string(), "--dry-run"]);
    assert_eq!(document["dryRun"], true);
    let item = item(&document, port);
    let details = &item["holders"][0]["details"];
    assert_eq!(item["durationMs"], 0);
    assert_eq!(details["otherPorts"], json!([other]), "{document:#}");
    let own = details["parents"].as_array().expect("parents").iter();
    assert!(own.into_iter().any(|parent| parent["pid"] == std::process::id()), "{details:#}");
    let program = std::env::current_exe().expect("the test binary");
    assert_eq!(details["executable"], json!(program), "{details:#}");
    let ran = pmctl.ok(&["ports", "kill", &port.to_string(), "--dry-run"]);
    for part in [other.to_string(), holder.pid().to_string(), program.display().to_string()] {
        assert!(ran.stdout.contains(&part), "{part} in {ran}");
    }
    assert!(holder.is_alive() && is_listening(port));
    assert!(!pmctl.database().exists(), "a dry run made a database");
}

#[test]
fn named_ports_are_shown_with_all_that_is_known_of_their_holders() {
    let pmctl = Pmctl::new();
    let [port, other] = [free_port(), free_port()];
    let holder = Holder::on(&[port, other], Listen::V4);
    let status = pmctl.json(&["ports", "status", &port.to_string()]);
    let view = &status["ports"][port.to_string()]["holders"][0];
    assert_eq!(view["pid"], holder.pid());
    assert_eq!(view["details"]["otherPorts"], json!([other]), "{status:#}");
    let ran = pmctl.ok(&["ports", "status", &port.to_string()]);
    assert!(ran.stdout.contains(&format!("also listens on {other}")), "{ran}");
}

#[test]
fn many_holders_of_unregistered_ports_need_force() {
    let pmctl = Pmctl::new();
    let ports = free_ports(6);
    let mut holders: Vec<_> = ports.iter().map(|port| Holder::on(&[*port], Listen::V4)).collect();
    let list = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    pmctl.fails(3, &["ports", "kill", &list]);
    assert!(holders.iter_mut().all(Holder::is_alive));
    kill(&pmctl, 0, &[&list, "--force"]);
    assert!(holders.iter_mut().all(|holder| holder.wait_signal() == TERM));
}

#[test]
fn more_than_64_ports_need_force_even_where_they_are_free() {
    let pmctl = Pmctl::new();
    let list = free_ports(65).iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    pmctl.fails(3, &["ports", "kill", &list]);
    kill(&pmctl, 0, &[&list, "--force"]);
}

#[test]
fn a_request_that_is_refused_whole_is_an_event_with_a_server_too() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let served = free_port();
    pmctl.add("shop", served, &upstream.url());
    let server = pmctl.serve();
    let mut ports = free_ports(64);
    ports.push(served);
    let list = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    pmctl.fails(3, &["ports", "kill", &list]);
    assert!(is_listening(served));
    let events = pmctl.json(&["events", "-n", "1000"])["events"].to_string();
    assert!(events.contains("port-left") && events.contains("65 ports were named"), "{events}");
    server.stop();
}

#[test]
fn a_served_port_is_freed_by_stopping_its_service_and_a_start_undoes_it() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let [served, taken] = [free_port(), free_port()];
    pmctl.add("shop", served, &upstream.url());
    let server = pmctl.serve();
    let mut holder = Holder::on(&[taken], Listen::V4);
    let document = kill(&pmctl, 0, &[&format!("{served},{taken}")]);
    let stopped = item(&document, served);
    assert_eq!((&stopped["action"], &stopped["service"]), (&json!("stopped"), &json!("shop")));
    assert!(stopped["notes"].to_string().contains("pmctl service start shop"), "{stopped:#}");
    assert_eq!(item(&document, taken)["action"], "terminated");
    assert_eq!(holder.wait_signal(), TERM);
    assert!(!is_listening(served));
    let row = pmctl.rows().remove("shop").expect("its row");
    assert_eq!(row, ("stopped".to_owned(), "stopped".to_owned()));
    pmctl.ok(&["service", "start", "shop"]);
    assert!(is_listening(served));
    server.stop();
}

#[test]
fn a_live_server_and_its_control_port_are_left_even_by_force() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let port = free_port();
    pmctl.add("shop", port, &upstream.url());
    let server = pmctl.serve();
    let control = server.control().port().to_string();
    let document = kill(&pmctl, 3, &[&control, "--force"]);
    assert_eq!(document["ports"][0]["action"], "left", "{document:#}");
    let ran = run(&pmctl, &["--direct", &port.to_string(), "--force"]);
    assert!(matches!(ran.code(), 3 | 4), "{ran}");
    assert_eq!(item(&ran.json(), port)["action"], "left", "{ran}");
    assert_eq!(server.get("/readyz").status, 200);
    assert!(is_listening(port));
    server.stop();
}

#[test]
fn over_http_an_unregistered_port_needs_force() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let [served, taken] = [free_port(), free_port()];
    pmctl.add("shop", served, &upstream.url());
    let server = pmctl.serve();
    let mut holder = Holder::on(&[taken], Listen::V4);
    let path = format!("/api/ports/{taken}/kill");
    let (status, refused) = post(&server, &path);
    assert_eq!((status, &refused["code"]), (403, &json!("port-unregistered")), "{refused:#}");
    assert_eq!(refused["success"], false);
    assert!(holder.is_alive());
    assert_eq!(event(&pmctl, "port-left", taken)["outcome"], "refused");
    let (status, done) = post(&server, &format!("{path}?force=true"));
    assert_eq!(status, 200, "{done:#}");
    assert_eq!(item(&done, taken)["action"], "terminated", "{done:#}");
    assert_eq!(holder.wait_signal(), TERM);
    let (status, done) = post(&server, &format!("/api/ports/{served}/kill"));
    assert_eq!((status, &item(&done, served)["action"]), (200, &json!("stopped")), "{done:#}");
    let (status, refused) = post(&server, &path);
    assert_eq!((status, &refused["code"]), (403, &json!("port-unregistered")), "{refused:#}");
    let (status, done) = post(&server, &format!("{path}?force=true"));
    assert_eq!((status, &item(&done, taken)["action"]), (200, &json!("already-free")), "{done:#}");
    let (status, refused) = post(&server, "/api/ports/70000/kill");
    assert_eq!((status, &refused["code"]), (400, &json!("port-out-of-range")));
    server.stop();
}

#[test]
fn the_server_of_another_machine_frees_the_ports_itself() {
    // The address looks like another machine's and leads here.
    let pmctl = Pmctl::new().with("PMCTL_CONTROL_NAMES", "0.0.0.0");
    let server = pmctl.serve();
    let url = format!("http://0.0.0.0:{}", server.control().port());
    let port = free_port();
    let mut holder = Holder::on(&[port], Listen::V4);
    let document = kill(&pmctl, 5, &["--server", &url, &port.to_string()]);
    assert_eq!(document["source"], "server");
    assert_eq!(item(&document, port)["fault"]["code"], "port-unregistered", "{document:#}");
    assert!(holder.is_alive());
    let document = kill(&pmctl, 0, &["--server", &url, &port.to_string(), "--force"]);
    assert_eq!((&document["source"], holder.wait_signal()), (&json!("server"), TERM));
    server.stop();
}

#[test]
fn every_kill_and_every_refusal_is_recorded() {
    let pmctl = Pmctl::new();
    let [taken, own] = [free_port(), free_port()];
    let holder = Holder::on(&[taken], Listen::V4);
    let _own = TcpListener::bind((Ipv4Addr::LOCALHOST, own)).expect("an own listener");
    kill(&pmctl, 3, &[&format!("{taken},{own}")]);
    let killed = event(&pmctl, "port-killed", taken);
    assert_eq!(killed["outcome"], "ok", "{killed:#}");
    assert!(killed["actor"].as_str().is_some_and(|actor| actor.starts_with("cli:")), "{killed:#}");
    assert!(killed["detail"].to_string().contains(&holder.pid().to_string()), "{killed:#}");
    assert_eq!(event(&pmctl, "port-left", own)["outcome"], "refused");
}

#[test]
fn a_hung_server_is_left_with_the_way_to_end_it_and_other_ports_are_freed() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let [served, taken] = [free_port(), free_port()];
    pmctl.add("shop", served, &upstream.url());
    let mut server = pmctl.serve();
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, served)).expect("a connection");
    let mut holder = Holder::on(&[taken], Listen::V4);
    server.signal(Signal::STOP);
    let args = ["--timeout", "500ms", &format!("{served},{taken}"), "--force"];
    let document = kill(&pmctl, 3, &args);
    let left = item(&document, served);
    assert_eq!(left["action"], "left", "{document:#}");
    let why = left["fault"]["error"].as_str().unwrap_or_default();
    assert!(why.contains("pmctl cleanup --force"), "{left:#}");
    assert_eq!(item(&document, taken)["action"], "terminated", "{document:#}");
    assert_eq!(holder.wait_signal(), TERM);
    assert!(server.try_exit().is_none(), "the hung server was ended");
    server.signal(Signal::CONT);
    wait_until("the server again", || match server.get("/readyz").status {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
    server.stop();
}

#[test]
fn a_server_that_is_named_and_silent_is_left_whatever_its_database() {
    let (theirs, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    let [served, taken] = [free_port(), free_port()];
    theirs.add("shop", served, &upstream.url());
    let mut server = theirs.serve();
    let mut holder = Holder::on(&[taken], Listen::V4);
    server.signal(Signal::STOP);
    // The caller has named no database, and its default one is not the server's.
    let pmctl = Pmctl::with_default_database();
    let ports = format!("{served},{taken}");
    let args = ["--server", &server.url(), "--timeout", "300ms", &ports, "--force"];
    let document = kill(&pmctl, 3, &args);
    assert_eq!(item(&document, served)["action"], "left", "{document:#}");
    assert_eq!(item(&document, taken)["action"], "terminated", "{document:#}");
    assert_eq!(holder.wait_signal(), TERM);
    server.signal(Signal::CONT);
    wait_until("the server again", || match server.try_exit() {
        Some(status) => panic!("the server was ended: {status}"),
        None => match server.get("/readyz").status {
            200 => Ok(()),
            status => Err(status.to_string()),
        },
    });
    assert!(is_listening(served));
    server.stop();
}

#[test]
fn a_server_of_another_database_is_not_asked_and_nothing_is_killed() {
    let (theirs, pmctl) = (Pmctl::new(), Pmctl::new());
    let server = theirs.serve();
    pmctl.add("own", free_port(), "http://127.0.0.1:9");
    let port = free_port();
    let mut holder = Holder::on(&[port], Listen::V4);
    let args = ["--server", &server.url(), "ports", "kill", &port.to_string(), "--force"];
    assert_eq!(pmctl.fails_json(4, &args)["code"], "server-of-other-database");
    assert!(holder.is_alive());
    server.stop();
}

#[test]
fn a_database_that_cannot_be_had_keeps_no_port_taken() {
    let pmctl = Pmctl::new().with("PMCTL_DATABASE_URL", "sqlite:///proc/nowhere/pmctl.db");
    let port = free_port();
    let mut holder = Holder::on(&[port], Listen::V4);
    let document = kill(&pmctl, 0, &[&port.to_string()]);
    assert_eq!(item(&document, port)["action"], "terminated", "{document:#}");
    assert_eq!(holder.wait_signal(), TERM);
    let notes = item(&document, port)["notes"].as_array().map_or(0, Vec::len);
    assert!(notes > 0, "it does not say that nothing was recorded: {document:#}");
}

#[test]
#[ignore = "needs root: the holder is root's, and pmctl runs as nobody; .ci/run runs it as root"]
fn a_port_of_another_user_is_held_and_not_permitted_never_free() {
    assert!(is_root(), "run it as root");
    let pmctl = Pmctl::as_ordinary_user();
    let port = free_port();
    let mut holder = Holder::on(&[port], Listen::V4);
    for args in [vec![port.to_string()], vec![port.to_string(), "--force".to_owned()]] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let document = kill(&pmctl, 5, &args);
        let item = item(&document, port);
        assert_eq!(item["action"], "left", "{document:#}");
        assert_eq!(item["fault"]["code"], "port-holder-unseen", "{document:#}");
    }
    assert!(holder.is_alive() && is_listening(port));
    let status = pmctl.json(&["ports", "status", &port.to_string()]);
    assert_eq!(status["ports"][port.to_string()]["state"], "unknown", "{status:#}");
}
