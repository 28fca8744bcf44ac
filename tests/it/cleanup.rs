//! What an unclean end leaves is put right, nobody else is touched, and a healthy server is never
//! taken for a hung one.

use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Database, Holder, Listen, Pmctl, Server, Upstream, connections_to, free_port, free_ports,
    is_listening, wait_until,
};

const TERM: Option<i32> = Some(15);

/// A sandbox with one service `web`, wanted running, whose server was killed.
fn left_by_a_dead_server(upstream: &Upstream) -> (Pmctl, u16) {
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &upstream.url());
    pmctl.serve_alone().kill_hard();
    assert_eq!(actual(&pmctl, "web"), "running", "the row of a killed server");
    (pmctl, port)
}

fn actual(pmctl: &Pmctl, name: &str) -> String {
    pmctl.rows().remove(name).unwrap_or_else(|| panic!("no row of {name}")).1
}

/// `cleanup` with `-o json`; it must exit `code`.
#[track_caller]
fn cleanup(pmctl: &Pmctl, code: i32, args: &[&str]) -> Value {
    let ran = pmctl.run(&[&["-o", "json", "cleanup"], args].concat()).expect(code);
    let document = ran.json();
    assert_eq!(document["success"], true, "{document:#}");
    document
}

#[track_caller]
fn item<'a>(document: &'a Value, service: &str) -> &'a Value {
    let mut items = document["services"].as_array().expect("services").iter();
    items.find(|item| item["service"] == service).unwrap_or_else(|| panic!("{document:#}"))
}

#[track_caller]
fn assert_nothing(document: &Value) {
    assert_eq!(document["message"], "nothing to clean up", "{document:#}");
    assert_eq!(document["nodes"], Value::Array(Vec::new()), "{document:#}");
    for item in document["services"].as_array().expect("services") {
        assert_eq!(item["action"], "nothing", "{document:#}");
    }
}

/// Actions and subjects of the recorded events, oldest first.
fn events(pmctl: &Pmctl) -> Vec<(String, String, String)> {
    let document = pmctl.json(&["--direct", "events", "-n", "1000"]);
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let events = document["events"].as_array().expect("events").iter();
    events.map(|e| (word(e, "action"), word(e, "subject"), word(e, "detail"))).collect()
}

#[test]
fn rows_of_a_killed_server_are_put_right_once_and_then_there_is_nothing_to_do() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = left_by_a_dead_server(&upstream);
    let status = pmctl.json(&["status"]);
    assert_eq!(status["server"]["state"], "down");
    assert_eq!(status["counts"]["running"], 0, "{status:#}");
    let attention = status["attention"].to_string();
    assert!(attention.contains("1 services were left") && attention.contains("pmctl cleanup"));

    let dry = cleanup(&pmctl, 0, &["--dry-run"]);
    assert_eq!(item(&dry, "web")["action"], "row-repaired", "{dry:#}");
    assert_eq!((&dry["dryRun"], actual(&pmctl, "web").as_str()), (&true.into(), "running"));

    let first = cleanup(&pmctl, 0, &[]);
    let web = item(&first, "web");
    assert_eq!((&web["before"], &web["after"]), (&"running".into(), &"stopped".into()));
    assert_eq!((&web["found"], &web["action"]), (&"free".into(), &"row-repaired".into()));
    assert_eq!(first["nodes"].as_array().map(Vec::len), Some(1), "{first:#}");
    assert_eq!(pmctl.rows()["web"], ("running".to_owned(), "stopped".to_owned()));
    let repaired = events(&pmctl).into_iter().filter(|(action, ..)| action == "repaired");
    let subjects: Vec<_> = repaired.map(|(_, subject, _)| subject).collect();
    assert_eq!(subjects, ["web", "default"]);

    assert_nothing(&cleanup(&pmctl, 0, &[]));
    assert_nothing(&cleanup(&pmctl, 0, &["--force"]));
    let server = pmctl.serve();
    assert!(is_listening(port));
    server.stop();
}

#[test]
fn without_a_database_there_is_nothing_to_clean_up_and_none_is_made() {
    let pmctl = Pmctl::new();
    for args in [&[][..], &["--force"], &["--dry-run"]] {
        assert_nothing(&cleanup(&pmctl, 0, args));
    }
    assert!(!pmctl.database().exists(), "a database was made");
    assert!(!pmctl.database().parent().expect("its directory").exists(), "so was its directory");
}

#[test]
fn a_foreign_process_on_the_port_of_a_killed_server_is_left_and_force_ends_exactly_it() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = left_by_a_dead_server(&upstream);
    let mut holder = Holder::on(&[port], Listen::V4);
    let first = cleanup(&pmctl, 3, &[]);
    let web = item(&first, "web");
    assert_eq!((&web["found"], &web["action"]), (&"foreign".into(), &"left".into()), "{first:#}");
    assert_eq!(web["holders"][0]["pid"], holder.pid(), "{first:#}");
    assert_eq!((&web["before"], &web["after"]), (&"running".into(), &"stopped".into()));
    assert_eq!(web["fault"]["code"], "cleanup-left-foreign", "{first:#}");
    let error = web["fault"]["error"].as_str().expect("a sentence");
    assert!(error.contains("pmctl cleanup --force"), "{error}");
    assert!(error.contains(&format!("pmctl ports kill {port}")), "{error}");
    assert_eq!(actual(&pmctl, "web"), "stopped");
    assert!(holder.is_alive());

    // Remembered: said again, and ended by force later; whoever comes after it is not.
    cleanup(&pmctl, 3, &[]);
    assert!(holder.is_alive());
    let dry = cleanup(&pmctl, 0, &["--force", "--dry-run"]);
    assert_eq!(item(&dry, "web")["action"], "holder-ended", "{dry:#}");
    assert!(holder.is_alive());
    let forced = cleanup(&pmctl, 0, &["--force"]);
    assert_eq!(item(&forced, "web")["action"], "holder-ended", "{forced:#}");
    assert_eq!(holder.wait_signal(), TERM);
    let mut next = Holder::on(&[port], Listen::V4);
    assert_nothing(&cleanup(&pmctl, 0, &["--force"]));
    assert!(next.is_alive());
    let events = events(&pmctl);
    let of_port = |action: &str| {
        events.iter().filter(|(a, s, _)| a == action && *s == port.to_string()).count()
    };
    assert_eq!((of_port("port-left"), of_port("port-killed")), (2, 1), "{events:#?}");
    let killed = events.iter().find(|(action, ..)| action == "port-killed").expect("the end");
    assert!(killed.2.contains(&format!("pid {}", holder.pid())), "{killed:?}");
}

#[test]
fn the_remembered_process_is_forgotten_once_it_is_gone() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = left_by_a_dead_server(&upstream);
    let holder = Holder::on(&[port], Listen::V4);
    cleanup(&pmctl, 3, &[]);
    drop(holder);
    cleanup(&pmctl, 0, &[]);
    assert_nothing(&cleanup(&pmctl, 0, &[]));
    let list = pmctl.json(&["service", "list"]);
    assert_eq!(list["services"][0]["reason"], Value::Null, "{list:#}");
}

#[test]
fn the_real_application_on_the_port_of_a_stopped_proxy_is_never_touched() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("orders", port, &upstream.url());
    let server = pmctl.serve();
    pmctl.ok(&["service", "stop", "orders"]);
    let mut application = Holder::on(&[port], Listen::V4);
    let elsewhere = |document: Value| {
        assert_nothing(&document);
        let orders = item(&document, "orders");
        assert_eq!((&orders["found"], &orders["fault"]), (&"foreign".into(), &Value::Null));
        let message = orders["message"].as_str().expect("a sentence");
        assert!(message.contains("in use elsewhere"), "{message}");
    };
    for args in [&[][..], &["--force"]] {
        elsewhere(cleanup(&pmctl, 0, args));
    }
    server.stop();
    for args in [&[][..], &["--force"]] {
        elsewhere(cleanup(&pmctl, 0, args));
    }
    assert!(application.is_alive());
}

#[test]
fn the_live_server_cleans_up_itself_and_is_not_harmed_however_short_the_timeout() {
    let (pmctl, upstream, ports) = (Pmctl::new(), Upstream::saying("hello"), free_ports(2));
    pmctl.add("web", ports[0], &upstream.url());
    pmctl.add("blocked", ports[1], &upstream.url());
    let mut holder = Holder::on(&ports[1..], Listen::V4);
    let server = pmctl.serve();
    for args in [&["--timeout", "1ms"][..], &["--timeout", "1ms", "--force", "--dry-run"]] {
        let code = if args.contains(&"--force") { 0 } else { 3 };
        let document = cleanup(&pmctl, code, args);
        assert_eq!(document["source"], "server", "{document:#}");
        assert_eq!(item(&document, "web")["action"], "nothing", "{document:#}");
        assert_eq!(item(&document, "web")["found"], "serving", "{document:#}");
    }
    assert!(holder.is_alive());
    pmctl.fails(4, &["--direct", "cleanup"]);
    let forced = cleanup(&pmctl, 0, &["--timeout", "1ms", "--force"]);
    let blocked = item(&forced, "blocked");
    assert_eq!(blocked["action"], "holder-ended", "{forced:#}");
    assert_eq!((&blocked["before"], &blocked["after"]), (&"failed".into(), &"running".into()));
    assert_eq!(holder.wait_signal(), TERM);
    assert_nothing(&cleanup(&pmctl, 0, &["--force"]));
    let status = pmctl.json(&["status"]);
    assert_eq!(status["server"]["pid"], server.pid(), "{status:#}");
    assert_eq!(status["counts"]["running"], 2, "{status:#}");
    server.stop();
}

#[test]
fn a_hung_server_is_explained_and_left_and_ended_only_with_force() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let mut server = pmctl.serve();
    let _client = crate::support::Wire::to(port);
    server.signal(Signal::STOP);
    let explained = pmctl.run(&["--timeout", "1ms", "cleanup"]).expect(3);
    for said in [server.pid().to_string(), "cleanup --force".into(), "1 client conn".into()] {
        assert!(explained.all().contains(&said), "{said} is not in\n{explained}");
    }
    assert_eq!(server.try_exit(), None);
    let forced = cleanup(&pmctl, 0, &["--timeout", "1ms", "--force"]);
    assert_eq!(forced["nodes"][0]["pid"], server.pid(), "{forced:#}");
    server.wait_exit();
    assert!(!is_listening(port) && !is_listening(server.control().port()));
    assert_eq!(actual(&pmctl, "web"), "stopped");
    let ended = events(&pmctl).into_iter().any(|(action, ..)| action == "server-ended");
    assert!(ended, "{:#?}", events(&pmctl));
    assert_nothing(&cleanup(&pmctl, 0, &[]));
}

/// Waits until a server that stands still was asked `count` times, beside the `before` connections
/// that it had.
#[track_caller]
fn wait_for_questions(server: &Server, before: usize, count: usize) {
    wait_until(&format!("question {count}"), || match connections_to(server.control().port()) {
        now if now >= before + count => Ok(()),
        now => Err(format!("{now} connections, {before} before")),
    });
}

#[test]
fn a_server_that_stands_still_for_a_moment_is_not_hung() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    let server = pmctl.serve();
    server.signal(Signal::STOP);
    let before = connections_to(server.control().port());
    let mut command = pmctl.command(&["-o", "json", "cleanup", "--force"]);
    command.stdout(Stdio::piped());
    let child = command.spawn().expect("cleanup");
    // However late it goes on, only an answer may follow.
    wait_for_questions(&server, before, 1);
    server.signal(Signal::CONT);
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let document: Value = serde_json::from_str(&said).expect("one document");
    assert_eq!(document["source"], "server", "{document:#}");
    assert_eq!(pmctl.json(&["status"])["server"]["pid"], server.pid());
    server.stop();
}

#[test]
fn a_server_that_dies_while_it_is_examined_is_cleaned_up_after() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("web", free_port(), &upstream.url());
    let server = pmctl.serve();
    server.signal(Signal::STOP);
    let before = connections_to(server.control().port());
    let mut command = pmctl.command(&["--timeout", "200ms", "-o", "json", "cleanup"]);
    let mut running = command.stdout(Stdio::piped()).spawn().expect("cleanup");
    // The second question is only asked of a server that is under suspicion.
    wait_for_questions(&server, before, 2);
    server.kill_hard();
    let status = running.wait().expect("its end");
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(actual(&pmctl, "web"), "stopped");
}

#[test]
fn a_cleanup_that_is_killed_leaves_what_the_next_one_puts_right() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = left_by_a_dead_server(&upstream);
    let mut holder = Holder::stubborn(port);
    // It waits for the end of one that pays no heed to TERM.
    let mut command = pmctl.command(&["cleanup", "--force", "--grace", "60s"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = command.spawn().expect("cleanup");
    holders_file_says(&pmctl, "repair");
    first.kill().expect("SIGKILL");
    first.wait().expect("its end");
    assert!(holder.is_alive());
    let next = cleanup(&pmctl, 0, &["--force", "--grace", "100ms"]);
    assert_eq!(item(&next, "web")["action"], "holder-ended", "{next:#}");
    assert_eq!(holder.wait_signal(), Some(9));
    assert_eq!(actual(&pmctl, "web"), "stopped");
    assert_nothing(&cleanup(&pmctl, 0, &[]));
}

#[test]
fn a_database_that_cannot_be_written_is_named() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = (Pmctl::as_ordinary_user(), free_port());
    pmctl.add("web", port, &upstream.url());
    pmctl.serve_alone().kill_hard();
    let before = pmctl.services();
    let database = pmctl.database();
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&database, std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    mode(0o400);
    let refused = pmctl.fails_json(5, &["cleanup"]);
    assert!(refused["error"].as_str().is_some_and(|e| e.contains("pmctl.db")), "{refused:#}");
    assert_eq!(pmctl.services(), before);
}

#[test]
fn nobody_is_ended_while_the_record_cannot_be_written() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = left_by_a_dead_server(&upstream);
    let mut holder = Holder::on(&[port], Listen::V4);
    let mut writer = Database::open(&pmctl);
    writer.run("BEGIN IMMEDIATE");
    let busy = pmctl.fails_json(4, &["cleanup", "--force"]);
    assert_eq!(busy["code"], "database-busy", "{busy:#}");
    assert!(holder.is_alive(), "ended, and nothing tells of it");
    writer.run("ROLLBACK");
    writer.close();
    let done = cleanup(&pmctl, 0, &["--force"]);
    assert_eq!(item(&done, "web")["action"], "holder-ended", "{done:#}");
    assert_eq!(holder.wait_signal(), TERM);
}

#[test]
fn another_repair_is_waited_for_and_then_named() {
    let upstream = Upstream::saying("hello");
    let (pmctl, port) = left_by_a_dead_server(&upstream);
    let holder = Holder::stubborn(port);
    let mut command = pmctl.command(&["cleanup", "--force", "--grace", "60s"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = command.spawn().expect("cleanup");
    holders_file_says(&pmctl, "repair");
    let busy = pmctl.fails_json(4, &["--timeout", "10ms", "cleanup"]);
    assert_eq!(busy["code"], "repair-by", "{busy:#}");
    drop(holder);
    cleanup(&pmctl, 0, &[]);
    assert_eq!(first.wait().expect("its end").code(), Some(0));
}

#[test]
fn a_start_waits_for_a_taken_port_and_answers_meanwhile() {
    let (pmctl, upstream, ports) = (Pmctl::new(), Upstream::saying("hello"), free_ports(2));
    pmctl.add("blocked", ports[0], &upstream.url());
    pmctl.add("web", ports[1], &upstream.url());
    let holder = Holder::on(&ports[..1], Listen::V4);
    let mut server = Server::spawn(&pmctl, &[], &["--on-conflict", "wait"]);
    wait_until("the line that names the holder", || {
        let log = server.stderr();
        let is_said = log.contains("blocked waits for port") && {
            log.contains(&format!("pid {}", holder.pid()))
        };
        if is_said { Ok(()) } else { Err(log) }
    });
    assert!(is_listening(ports[1]), "other services serve meanwhile");
    wait_until("an answer that it is not ready", || {
        match crate::support::get(server.control(), "/readyz") {
            Ok(response) if response.status == 503 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let busy = pmctl.fails_json(4, &["--timeout", "1ms", "cleanup", "--force"]);
    assert_eq!(busy["code"], "server-comes-or-goes", "{busy:#}");
    drop(holder);
    server.wait_ready();
    assert!(is_listening(ports[0]));
    assert_eq!(server.stderr().matches("blocked waits for port").count(), 1, "{server}");
    server.stop();
}

#[test]
fn a_stop_signal_ends_the_wait_for_a_port() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("blocked", port, &upstream.url());
    let _holder = Holder::on(&[port], Listen::V4);
    let server = Server::spawn(&pmctl, &[], &["--on-conflict", "wait"]);
    wait_until("the wait", || {
        let log = server.stderr();
        if log.contains("waits for port") { Ok(()) } else { Err(log) }
    });
    server.stop();
    assert_nothing(&cleanup(&pmctl, 0, &[]));
}

#[test]
fn a_start_fails_on_a_taken_port_by_default_and_never_ends_a_stranger() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("web", port, &upstream.url());
    pmctl.serve_alone().kill_hard();
    let mut holder = Holder::on(&[port], Listen::V4);
    for args in [&[][..], &["--on-conflict", "fail"], &["--on-conflict", "kill-residue"]] {
        let server = pmctl.serve_with(args);
        let list = pmctl.json(&["service", "list"]);
        let web = &list["services"][0];
        assert_eq!(web["actual"], "failed", "{args:?}: {list:#}");
        let reason = web["reason"].as_str().expect("a reason");
        assert!(reason.contains(&format!("pid {}", holder.pid())), "{reason}");
        assert!(reason.contains(&format!("pmctl ports kill {port}")), "{reason}");
        server.stop();
    }
    assert!(holder.is_alive());
}

#[test]
fn residue_of_a_server_that_lost_its_lock_is_ended_by_the_next_start_that_may() {
    for by_cleanup in [false, true] {
        let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
        pmctl.add("web", port, &upstream.url());
        let mut first = pmctl.serve();
        lose_the_lock(&pmctl);
        if by_cleanup {
            let document = cleanup(&pmctl, 0, &["--server", &nobody()]);
            let web = item(&document, "web");
            assert_eq!(
                (&web["found"], &web["action"]),
                (&"residue".into(), &"holder-ended".into())
            );
            first.wait_exit();
            assert!(!is_listening(port));
            assert_nothing(&cleanup(&pmctl, 0, &[]));
        } else {
            let second = pmctl.serve_with(&["--on-conflict", "kill-residue"]);
            first.wait_exit();
            let ports = pmctl.json(&["ports", "status"]);
            assert_eq!(ports["ports"][port.to_string()]["pid"], second.pid(), "{ports:#}");
            second.stop();
        }
    }
}

/// Removes lock and holder's file under a living server, as a careless cleaning script does.
fn lose_the_lock(pmctl: &Pmctl) {
    // It writes the file once more when it has become ready.
    holders_file_says(pmctl, "ready");
    for file in std::fs::read_dir(pmctl.dir().join("state")).expect("its state").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".lock") || name.ends_with(".owner.json") {
            std::fs::remove_file(file.path()).expect("removed");
        }
    }
}

/// Waits until the file beside the owner's lock has that word.
#[track_caller]
fn holders_file_says(pmctl: &Pmctl, word: &str) {
    wait_until(&format!("`{word}` in the holder's file"), || {
        let files = std::fs::read_dir(pmctl.dir().join("state")).map_err(|e| e.to_string())?;
        let mut files = files.flatten().map(|file| file.path());
        let owner = files.find(|path| path.to_string_lossy().ends_with(".owner.json"));
        let text = owner.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        if text.contains(&format!("\"{word}\"")) { Ok(()) } else { Err(text) }
    });
}

/// The URL of a server that does not exist.
fn nobody() -> String {
    format!("http://{}", SocketAddr::from(([127, 0, 0, 1], free_port())))
}
