//! A disk that is full, or a database that cannot be written, in the middle: traffic goes on, nothing
//! is said to be done that is not, and once there is room everything is as it should be by itself.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{
    Disk, FakeEureka, Holder, Immutable, Listen, Load, Pmctl, Upstream, free_ports, get, wait_until,
};

/// A sandbox with `shop` (targets blue and green, wanted) and `idle` (not wanted) on a disk of its own.
struct Kit {
    // Goes last: the server of the test has files open on it.
    pmctl: Pmctl,
    ports: Vec<u16>,
    blue: Upstream,
    _green: Upstream,
}

impl Kit {
    fn on(pmctl: Pmctl) -> Self {
        let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
        let ports = free_ports(3);
        let kit = Self { pmctl, ports, blue, _green: green };
        kit.pmctl.write_config("[server]\nsync_interval = \"1s\"\n");
        kit.pmctl.add("shop", kit.ports[0], &kit.blue.url());
        let green = format!("green={}", kit._green.url());
        kit.pmctl.ok(&["service", "target", "add", "shop", &green]);
        kit.pmctl.add("idle", kit.ports[1], &kit.blue.url());
        kit.pmctl.ok(&["service", "stop", "idle"]);
        kit
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }

    /// The command lines of everything that writes, each of which would succeed if it could.
    fn changes(&self) -> Vec<Vec<String>> {
        let (port, blue) = (self.ports[2].to_string(), self.blue.url());
        [
            format!("service add late --port {port} --bind 127.0.0.1 --target main={blue}"),
            format!("service add later --stopped --port {port} --target main={blue}"),
            "service start idle".to_owned(),
            "service stop shop".to_owned(),
            "service start --all".to_owned(),
            "service stop --all".to_owned(),
            format!("service set shop --port {port}"),
            "service set shop --tag web".to_owned(),
            "service switch shop green".to_owned(),
            format!("service target add shop red={blue}"),
            format!("service target add shop main={blue}/other"),
            "service target remove shop green".to_owned(),
            "service remove idle".to_owned(),
            "service remove shop".to_owned(),
        ]
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .to_vec()
    }

    /// Each change fails with one of `codes`, and nothing is otherwise than before, however often.
    #[track_caller]
    fn assert_every_change_is_refused(&self, before: &[&str], codes: &[&str]) {
        let registered = self.services();
        for change in self.changes() {
            let args: Vec<&str> =
                before.iter().copied().chain(change.iter().map(String::as_str)).collect();
            let ran = self.pmctl.run(&[&["-o", "json"], &args[..]].concat());
            let document = ran.json();
            assert!(ran.code() != 0 && document["success"] == false, "a false success:\n{ran}");
            let code = document["code"].as_str().unwrap_or_default();
            assert!(codes.contains(&code), "{code} is none of {codes:?}\n{ran}");
            assert_eq!(self.services(), registered, "changed by {change:?}\n{ran}");
        }
    }

    /// What is registered and wanted, without what changes by itself.
    fn services(&self) -> Vec<Value> {
        let list = self.pmctl.json(&["service", "list"]);
        let of = |service: &Value| {
            let mut of = service.clone();
            for volatile in ["counters", "since"] {
                of.as_object_mut().expect("a service").remove(volatile);
            }
            of
        };
        list["services"].as_array().expect("services").iter().map(of).collect()
    }

    #[track_caller]
    fn wait_attention(&self, part: &str, is_there: bool) {
        wait_until(&format!("attention {part:?}: {is_there}"), || {
            let attention = self.pmctl.json(&["status"])["attention"].to_string();
            if attention.contains(part) == is_there { Ok(()) } else { Err(attention) }
        });
    }
}

const FULL: &[&str] = &["database-full"];

#[test]
#[ignore = "needs root: mounts a small file system"]
fn on_a_full_disk_traffic_goes_on_and_no_change_is_said_to_be_done() {
    let pmctl = Pmctl::new();
    let disk = Disk::of(&pmctl);
    let kit = Kit::on(pmctl);
    let server = kit.pmctl.serve();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let load = Load::start(&[kit.address()], 4, request, |answer| match answer.text().as_str() {
        "blue" => Ok(()),
        other => Err(other.to_owned()),
    });
    kit.wait_attention("disk of the database is full", false);
    disk.fill();
    kit.assert_every_change_is_refused(&[], FULL);
    kit.wait_attention("disk of the database is full", true);
    let stranger = Holder::on(&[kit.ports[1]], Listen::V4);
    let served = kit.ports[0].to_string();
    kit.pmctl.run(&["ports", "kill", &served]).expect(1);
    kit.pmctl.run(&["cleanup"]).expect(0);
    let verified = kit.pmctl.run(&["-o", "json", "verify"]).expect(1).json();
    assert_eq!(verified["code"], "verify-live", "{verified:#}");
    drop(stranger);
    disk.free();
    kit.wait_attention("disk of the database is full", false);
    assert!(load.whole() > 0, "no traffic at all");
    load.finish().assert_all_answered(None, "");
    kit.pmctl.ok(&["service", "switch", "shop", "green"]);
    kit.pmctl.ok(&["service", "start", "idle"]);
    assert_eq!(get(kit.address(), "/").expect("an answer").text(), "green");
    server.stop();
    kit.pmctl.ok(&["verify"]);
}

#[test]
#[ignore = "needs root: mounts a small file system"]
fn without_a_server_a_full_disk_refuses_every_change_and_answers_every_question() {
    let pmctl = Pmctl::new();
    let disk = Disk::of(&pmctl);
    let kit = Kit::on(pmctl);
    disk.fill_at_rest(&kit.pmctl);
    kit.assert_every_change_is_refused(&["--direct"], FULL);
    let refused = kit.pmctl.fails_json(1, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused["code"], "database-full", "{refused:#}");
    for question in [&["status"][..], &["ports", "status"], &["events"], &["verify"]] {
        kit.pmctl.ok(question);
    }
    disk.free();
    kit.pmctl.ok(&["service", "switch", "shop", "green"]);
    kit.pmctl.serve().stop();
}

#[test]
#[ignore = "needs root: mounts a small file system"]
fn a_server_that_stops_or_dies_on_a_full_disk_is_put_right_once_there_is_room() {
    let pmctl = Pmctl::new();
    let disk = Disk::of(&pmctl);
    let kit = Kit::on(pmctl);
    for is_killed in [false, true] {
        let mut server = kit.pmctl.serve_alone();
        disk.fill();
        if is_killed {
            server.kill_hard();
        } else {
            server.signal(rustix::process::Signal::TERM);
            assert_eq!(server.wait_exit(), 1, "the rows could not be written\n{server}");
            assert!(server.stderr().contains("could not be updated"), "{server}");
        }
        let left = kit.pmctl.run(&["-o", "json", "verify"]).expect(1).json();
        assert_eq!(left["code"], "verify-left", "{left:#}");
        disk.fill_at_rest(&kit.pmctl);
        let failed = kit.pmctl.fails_json(1, &["cleanup"]);
        assert_eq!(failed["code"], "database-full", "{failed:#}");
        disk.free();
        kit.pmctl.ok(&["cleanup"]);
        kit.pmctl.ok(&["verify"]);
    }
}

#[test]
#[ignore = "needs root: mounts a small file system"]
fn nobody_is_ended_on_a_full_disk_because_no_record_would_tell_of_it() {
    let pmctl = Pmctl::new();
    let disk = Disk::of(&pmctl);
    let kit = Kit::on(pmctl);
    kit.pmctl.serve_alone().kill_hard();
    let mut stranger = Holder::on(&kit.ports[..1], Listen::V4);
    disk.fill_at_rest(&kit.pmctl);
    let failed = kit.pmctl.fails_json(1, &["cleanup", "--force"]);
    assert_eq!(failed["code"], "database-full", "{failed:#}");
    assert!(stranger.is_alive());
    disk.free();
    kit.pmctl.ok(&["cleanup", "--force"]);
    assert_eq!(stranger.wait_signal(), Some(15));
}

#[test]
#[ignore = "needs root: mounts a small file system"]
fn a_service_is_announced_only_once_it_could_be_written_down() {
    let eureka = FakeEureka::start();
    let pmctl = Pmctl::new();
    let disk = Disk::of(&pmctl);
    let kit = Kit::on(pmctl);
    kit.pmctl.write_config(&format!(
        "[server]\nsync_interval = \"1s\"\n[eureka]\nurls = [\"{}\"]\ninterval = \"1s\"\n\
         lease_duration = \"3s\"\nadvertise = \"127.0.0.1\"\n",
        eureka.url()
    ));
    let server = kit.pmctl.serve();
    let shop = format!("SHOP/127.0.0.1:shop:{}", kit.ports[0]);
    let wait_listed = |what: &str, is_listed: bool| {
        wait_until(what, || {
            let statuses = eureka.statuses();
            if statuses.contains_key(&shop) == is_listed {
                Ok(())
            } else {
                Err(format!("{statuses:?}"))
            }
        });
    };
    wait_listed("the instance", true);
    disk.fill();
    // The lease goes on whatever the disk does.
    eureka.forget();
    wait_listed("the instance again", true);
    let refused = kit.pmctl.fails_json(1, &["service", "set", "shop", "--no-register"]);
    assert_eq!(refused["code"], "database-full", "{refused:#}");
    assert!(eureka.statuses().contains_key(&shop));
    disk.free();
    kit.pmctl.ok(&["service", "set", "shop", "--no-register"]);
    wait_listed("no instance", false);
    server.stop();
    kit.pmctl.ok(&["verify"]);
}

#[test]
#[ignore = "needs root and a file system with immutable files"]
fn a_database_that_comes_to_be_read_only_stops_no_traffic_and_takes_no_change() {
    let kit = Kit::on(Pmctl::new());
    let server = kit.pmctl.serve();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let load = Load::start(&[kit.address()], 4, request, |answer| match answer.status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    let read_only = Immutable::database(&kit.pmctl.database());
    kit.assert_every_change_is_refused(&[], &["database-failed", "database-read-only"]);
    kit.wait_attention("cannot be written", true);
    drop(read_only);
    kit.wait_attention("cannot be written", false);
    assert!(load.whole() > 0, "no traffic at all");
    load.finish().assert_all_answered(None, "");
    kit.pmctl.ok(&["service", "switch", "shop", "green"]);
    server.stop();
    let read_only = Immutable::database(&kit.pmctl.database());
    kit.assert_every_change_is_refused(
        &["--direct"],
        &["database-failed", "database-read-only", "database-no-access"],
    );
    drop(read_only);
    kit.pmctl.ok(&["verify"]);
}
