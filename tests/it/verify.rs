//! The receipt: nothing left is proved, and whatever is left, or cannot be told, is named.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    FakeEureka, Fault, Grpc, Holder, Listen, Pmctl, Server, Upstream, free_port, wait_until,
};

/// A sandbox with a registry, one announced service `shop`, and its server.
struct Kit {
    pmctl: Pmctl,
    eureka: FakeEureka,
    port: u16,
    instance: String,
    _upstream: Upstream,
}

impl Kit {
    fn new() -> Self {
        let (pmctl, eureka) = (Pmctl::new(), FakeEureka::start());
        let pmctl =
            pmctl.with("PMCTL_EUREKA_URL", &eureka.url()).with("PMCTL_ADVERTISE", "127.0.0.1");
        let (upstream, port) = (Upstream::saying("hello"), free_port());
        pmctl.add("shop", port, &upstream.url());
        let instance = format!("127.0.0.1:shop:{port}");
        Self { pmctl, eureka, port, instance, _upstream: upstream }
    }

    /// Without a guardian: what it leaves when it is killed stays.
    #[track_caller]
    fn serve_announced(&self) -> Server {
        let server = self.pmctl.serve_alone();
        let key = format!("SHOP/{}", self.instance);
        wait_until("the instance", || {
            let statuses = self.eureka.statuses();
            statuses.contains_key(&key).then_some(()).ok_or_else(|| format!("{statuses:?}"))
        });
        server
    }
}

/// The receipt; `verify` must exit `code`, and `success` must say the same.
#[track_caller]
fn verify(pmctl: &Pmctl, code: i32, args: &[&str]) -> Value {
    let ran = pmctl.run(&[args, &["-o", "json", "verify"]].concat()).expect(code);
    let receipt = ran.json();
    assert_eq!(receipt["success"], code == 0, "{receipt:#}");
    receipt
}

/// What stands against the proof or is in use elsewhere: (subject, name) → finding.
fn found(receipt: &Value) -> BTreeMap<(String, String), String> {
    let word = |item: &Value, key: &str| item[key].as_str().expect("a word").to_owned();
    let items = receipt["items"].as_array().expect("items").iter();
    let said = items.filter(|item| item["finding"] != "clean");
    said.map(|item| ((word(item, "subject"), word(item, "name")), word(item, "finding"))).collect()
}

fn at<'a>(receipt: &'a Value, subject: &str) -> &'a Value {
    let mut counts = receipt["counts"].as_array().expect("counts").iter();
    counts.find(|count| count["subject"] == subject).unwrap_or_else(|| panic!("{receipt:#}"))
}

#[test]
fn after_a_stop_nothing_is_left_and_the_receipt_says_what_was_checked() {
    let kit = Kit::new();
    kit.serve_announced().stop();
    let before = std::fs::read(kit.pmctl.database()).expect("the database");
    let receipt = verify(&kit.pmctl, 0, &[]);
    assert_eq!(found(&receipt), BTreeMap::new(), "{receipt:#}");
    assert_eq!(receipt["message"], "nothing is left");
    for (subject, checked) in [("process", 1), ("node", 1), ("service", 1), ("port", 1)] {
        assert_eq!(at(&receipt, subject)["checked"], checked, "{subject}: {receipt:#}");
    }
    assert_eq!(at(&receipt, "instance")["checked"], 1, "the registry was asked: {receipt:#}");
    let status = kit.pmctl.json(&["status"]);
    assert_eq!(receipt["databaseUuid"], status["server"]["databaseUuid"]);
    assert_eq!((&receipt["source"], &receipt["node"]), (&"database".into(), &"default".into()));
    assert!(receipt["checkedAt"].as_str().is_some_and(|at| at.contains('T')), "{receipt:#}");
    assert_eq!(receipt.get("error"), None, "{receipt:#}");
    let after = std::fs::read(kit.pmctl.database()).expect("the database");
    assert!(before == after, "verify changed the database");
    let table = kit.pmctl.ok(&["verify"]).stdout;
    for part in ["NOT PROVED", "rows of services", "nothing is left"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
}

#[test]
fn what_a_killed_server_leaves_is_named_until_cleanup_has_put_it_right() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let pid = server.pid().to_string();
    server.kill_hard();
    let receipt = verify(&kit.pmctl, 1, &[]);
    let left = |subject: &str, name: &str| ((subject.to_owned(), name.to_owned()), "left".into());
    let expected = BTreeMap::from([
        left("node", &pid),
        left("service", "shop"),
        left("registration", &kit.instance),
        left("instance", &kit.instance),
    ]);
    assert_eq!(found(&receipt), expected, "{receipt:#}");
    assert_eq!(
        (at(&receipt, "port")["left"].as_u64(), &receipt["code"]),
        (Some(0), &"verify-left".into())
    );
    let said = kit.pmctl.run(&["verify"]).expect(1).stdout;
    for part in ["shop", &pid, &kit.instance, "pmctl cleanup"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    kit.pmctl.ok(&["cleanup"]);
    assert_eq!(found(&verify(&kit.pmctl, 0, &[])), BTreeMap::new());
}

#[test]
fn a_live_server_stands_against_the_proof_whoever_is_asked() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let mut receipts = vec![verify(&kit.pmctl, 1, &[]), verify(&kit.pmctl, 1, &["--direct"])];
    let answer = server.get("/api/verify");
    assert_eq!(answer.status, 409, "{answer:?}");
    receipts.push(answer.json());
    let live = |subject: &str, name: &str| ((subject.to_owned(), name.to_owned()), "live".into());
    let expected = BTreeMap::from([
        live("process", &server.pid().to_string()),
        live("service", "shop"),
        live("port", &kit.port.to_string()),
        live("registration", &kit.instance),
    ]);
    for receipt in &receipts {
        assert_eq!(found(receipt), expected, "{receipt:#}");
        assert_eq!(receipt["code"], "verify-live", "{receipt:#}");
        assert_eq!(receipt["counts"], receipts[0]["counts"]);
    }
    assert_eq!(
        (&receipts[0]["source"], &receipts[1]["source"]),
        (&"server".into(), &"database".into())
    );
    let grpc = Grpc::connect(server.control()).call("/pmctl.v1.Control/Verify", &[]);
    assert_eq!((grpc.status, grpc.messages.len()), (0, 1), "{grpc:?}");
    server.stop();
    verify(&kit.pmctl, 0, &[]);
}

#[test]
fn a_server_that_stands_still_is_said_to_live() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("shop", free_port(), &upstream.url());
    let server = pmctl.serve();
    server.signal(Signal::STOP);
    let receipt = verify(&pmctl, 1, &["--timeout", "200ms"]);
    let key = ("process".to_owned(), server.pid().to_string());
    assert_eq!(found(&receipt).get(&key).map(String::as_str), Some("live"), "{receipt:#}");
    assert!(receipt.to_string().contains("cleanup --force"), "{receipt:#}");
    server.signal(Signal::CONT);
    server.stop();
}

#[test]
fn a_stranger_on_the_port_of_a_stopped_service_is_no_leftover() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("shop", port, &upstream.url());
    pmctl.serve().stop();
    let holder = Holder::on(&[port], Listen::V4);
    let receipt = verify(&pmctl, 0, &[]);
    let key = ("port".to_owned(), port.to_string());
    assert_eq!(found(&receipt), BTreeMap::from([(key, "elsewhere".to_owned())]), "{receipt:#}");
    let items = receipt["items"].as_array().expect("items");
    assert!(items.iter().any(|item| item["holders"][0]["pid"] == holder.pid()), "{receipt:#}");
    assert_eq!(at(&receipt, "port")["elsewhere"], 1);
}

#[test]
fn a_stranger_on_the_port_that_a_dead_server_claims_is_left_as_cleanup_says() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("hello"), free_port());
    pmctl.add("shop", port, &upstream.url());
    pmctl.serve_alone().kill_hard();
    let holder = Holder::on(&[port], Listen::V4);
    let key = ("port".to_owned(), port.to_string());
    let claimed = Some("left".to_owned());
    assert_eq!(found(&verify(&pmctl, 1, &[])).remove(&key), claimed);
    pmctl.run(&["cleanup"]).expect(3);
    let receipt = verify(&pmctl, 1, &[]);
    assert_eq!(found(&receipt), BTreeMap::from([(key, "left".to_owned())]), "{receipt:#}");
    drop(holder);
    verify(&pmctl, 0, &[]);
}

#[test]
fn a_registry_that_does_not_answer_proves_nothing() {
    let kit = Kit::new();
    kit.serve_announced().stop();
    for fault in [Fault::Status(503), Fault::Garbage] {
        kit.eureka.set(fault);
        let receipt = verify(&kit.pmctl, 1, &[]);
        assert_eq!(receipt["code"], "verify-unproved", "{fault:?}: {receipt:#}");
        assert_eq!(at(&receipt, "instance")["unproved"], 1, "{fault:?}: {receipt:#}");
    }
    kit.eureka.set(Fault::None);
    let server = kit.serve_announced();
    kit.eureka.set(Fault::Silence);
    server.kill_hard();
    let receipt = verify(&kit.pmctl, 1, &[]);
    let key = ("instance".to_owned(), kit.instance.clone());
    assert_eq!(found(&receipt).get(&key).map(String::as_str), Some("unproved"), "{receipt:#}");
    kit.eureka.set(Fault::None);
    kit.pmctl.ok(&["cleanup"]);
    verify(&kit.pmctl, 0, &[]);
}

#[test]
fn every_server_of_a_registry_is_asked_what_it_lists() {
    let kit = Kit::new();
    let other = FakeEureka::start();
    let urls = format!("{},{}", kit.eureka.url(), other.url());
    let server = kit.serve_announced();
    let instance = kit.eureka.instance("SHOP").expect("the instance");
    server.stop();
    let pmctl = kit.pmctl.with("PMCTL_EUREKA_URL", &urls);
    verify(&pmctl, 0, &[]);
    // As after a renewal that the first passed on late.
    other.put("SHOP", &kit.instance, instance);
    let receipt = verify(&pmctl, 1, &[]);
    let key = ("instance".to_owned(), kit.instance.clone());
    assert_eq!(found(&receipt), BTreeMap::from([(key, "left".to_owned())]), "{receipt:#}");
    other.set(Fault::Status(503));
    let receipt = verify(&pmctl, 1, &[]);
    let key = ("instance".to_owned(), other.url());
    assert_eq!(found(&receipt), BTreeMap::from([(key, "unproved".to_owned())]), "{receipt:#}");
}

#[test]
fn a_silent_registry_that_many_are_left_in_takes_no_time_from_another() {
    let kit = Kit::new();
    kit.serve_announced().kill_hard();
    kit.eureka.set(Fault::Silence);
    // More than are asked for at once, one after the other in any order.
    kit.pmctl.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO registrations SELECT NULL, node_id, service_id, service, port, registries, app,
             instance_id || '-' || i, host, address, interval_s, duration_s, since
         FROM registrations, n",
    );
    let healthy = FakeEureka::start();
    let pmctl = kit.pmctl.with("PMCTL_EUREKA_URL", &healthy.url());
    let server = pmctl.serve_alone();
    let receipt = verify(&pmctl, 1, &[]);
    let items = receipt["items"].as_array().expect("items");
    let asked = items.iter().find(|item| item["name"] == healthy.url().as_str());
    assert_eq!(asked.map(|item| &item["finding"]), Some(&"clean".into()), "{receipt:#}");
    assert_eq!(at(&receipt, "instance")["unproved"], 302, "{receipt:#}");
    server.kill_hard();
}

#[test]
fn an_instance_with_the_mark_of_the_database_is_left_though_nothing_is_written_down() {
    let kit = Kit::new();
    kit.serve_announced().stop();
    let uuid = verify(&kit.pmctl, 0, &[])["databaseUuid"].as_str().expect("a UUID").to_owned();
    let put = |id: &str, mark: &str| {
        let instance = json!({
            "instanceId": id, "hostName": id, "ipAddr": "127.0.0.1", "app": "SHOP", "status": "UP",
            "port": {"$": 80, "@enabled": "true"}, "metadata": {"pmctl.node": mark},
            "dataCenterInfo": {"@class": "x", "name": "MyOwn"},
        });
        kit.eureka.put("SHOP", id, instance);
    };
    put("stranger", "another-database/default");
    verify(&kit.pmctl, 0, &[]);
    put("ghost", &format!("{uuid}/blue"));
    let receipt = verify(&kit.pmctl, 1, &[]);
    let key = ("instance".to_owned(), "ghost".to_owned());
    assert_eq!(found(&receipt), BTreeMap::from([(key, "left".to_owned())]), "{receipt:#}");
}

#[test]
fn without_a_database_nothing_was_ever_here_and_none_is_made() {
    let pmctl = Pmctl::new();
    let receipt = verify(&pmctl, 0, &[]);
    assert_eq!(receipt["databaseUuid"], Value::Null, "{receipt:#}");
    assert!(receipt["message"].as_str().is_some_and(|said| said.contains("no database")));
    assert!(!pmctl.database().exists(), "a database was made");
    pmctl.fails(4, &["--no-fallback", "verify"]);
}

#[test]
fn the_server_of_another_database_is_not_asked_and_does_not_count() {
    let (pmctl, other) = (Pmctl::new(), Pmctl::new());
    let upstream = Upstream::saying("hello");
    pmctl.add("shop", free_port(), &upstream.url());
    pmctl.serve().stop();
    other.add("shop", free_port(), &upstream.url());
    let server = other.serve();
    verify(&pmctl, 0, &[]);
    let receipt = pmctl.fails_json(4, &["--server", &server.url(), "verify"]);
    assert_eq!(receipt["code"], "server-of-other-database", "{receipt:#}");
    server.stop();
}

#[test]
fn a_dead_server_of_another_node_name_is_left_too() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("shop", free_port(), &upstream.url());
    let server = pmctl.serve_with(&["--no-guardian", "--node-name", "blue"]);
    let pid = server.pid().to_string();
    let receipt = verify(&pmctl, 1, &["--direct"]);
    let process = ("process".to_owned(), pid.clone());
    assert_eq!(found(&receipt), BTreeMap::from([(process, "live".to_owned())]), "{receipt:#}");
    server.kill_hard();
    let receipt = verify(&pmctl, 1, &[]);
    let node = ("node".to_owned(), pid);
    assert_eq!(found(&receipt), BTreeMap::from([(node, "left".to_owned())]), "{receipt:#}");
    assert!(receipt.to_string().contains("PMCTL_NODE_NAME=blue pmctl cleanup"), "{receipt:#}");
    pmctl.shell("PMCTL_NODE_NAME=blue pmctl cleanup").expect(0);
    verify(&pmctl, 0, &[]);
}

#[test]
fn a_process_that_outlives_its_own_goodbye_is_left() {
    let (pmctl, upstream) = (Pmctl::new(), Upstream::saying("hello"));
    pmctl.add("shop", free_port(), &upstream.url());
    let server = pmctl.serve();
    // As one whose rows were forced while it hung, and whose lock is gone.
    server.signal(Signal::STOP);
    pmctl.sql("UPDATE nodes SET stopped_at = 1; UPDATE runtime SET actual = 'stopped'");
    let receipt = verify(&pmctl, 1, &["--direct"]);
    let key = ("process".to_owned(), server.pid().to_string());
    assert_eq!(found(&receipt).get(&key).map(String::as_str), Some("left"), "{receipt:#}");
}

#[test]
fn a_database_that_was_removed_proves_nothing() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", kit.pmctl.database().display())).ok();
    }
    // The server itself cannot read it any more.
    for args in [&[][..], &["--direct"]] {
        let receipt = verify(&kit.pmctl, 1, args);
        assert_eq!(receipt["code"], "verify-live-unproved", "{receipt:#}");
    }
    server.kill_hard();
    let receipt = verify(&kit.pmctl, 1, &[]);
    assert_eq!(receipt["code"], "verify-unproved", "{receipt:#}");
    assert!(receipt.to_string().contains("there is no database at"), "{receipt:#}");
}

#[test]
fn a_database_that_is_moved_away_takes_no_change_until_it_is_back() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let (database, aside) = (kit.pmctl.database(), kit.pmctl.dir().join("aside.db"));
    std::fs::rename(&database, &aside).expect("a move");
    let refused = kit.pmctl.fails_json(1, &["service", "stop", "--all"]);
    assert_eq!(refused["code"], "database-moved", "{refused:#}");
    let attention = || server.json("/api/status")["attention"].to_string();
    assert!(attention().contains("removed or replaced"), "{}", attention());
    std::fs::rename(&aside, &database).expect("a move");
    kit.pmctl.ok(&["service", "stop", "--all"]);
    wait_until("nothing that needs attention", || match attention() {
        said if said.contains("removed or replaced") => Err(said),
        _ => Ok(()),
    });
    server.stop();
    kit.pmctl.ok(&["verify"]);
}
