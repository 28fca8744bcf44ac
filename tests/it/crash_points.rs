//! A step that fails, or a kill, in the middle of a change: nothing is said to be done that is not, the
//! database is whole, and the server, the next start or `cleanup` puts the rest right.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{
    Database, Holder, Listen, Pmctl, Upstream, free_ports, get, is_listening, wait_until,
};

/// Seeds of the moments of the kills; a failure names its own.
const SEEDS: std::ops::Range<u64> = 0..8;

/// Lets SQLite refuse a statement from now on: a step of a change that fails after others went well.
fn refuse(pmctl: &Pmctl, name: &str, when: &str) {
    pmctl.sql(&format!(
        "CREATE TRIGGER {name} BEFORE {when} BEGIN SELECT RAISE(ABORT, 'refused by a test'); END"
    ));
}

fn allow(pmctl: &Pmctl, name: &str) {
    pmctl.sql(&format!("DROP TRIGGER {name}"));
}

#[track_caller]
fn assert_whole(pmctl: &Pmctl, context: &str) {
    let mut database = Database::open(pmctl);
    let found = [
        database.text("PRAGMA integrity_check"),
        database.text("SELECT CAST(count(*) AS TEXT) FROM pragma_foreign_key_check"),
    ];
    database.close();
    assert_eq!(found, ["ok", "0"], "{context}");
}

struct Kit {
    pmctl: Pmctl,
    upstream: Upstream,
    ports: Vec<u16>,
}

impl Kit {
    fn new() -> Self {
        let kit =
            Self { pmctl: Pmctl::new(), upstream: Upstream::saying("hello"), ports: free_ports(3) };
        kit.pmctl.write_config("[server]\nsync_interval = \"1s\"\n");
        kit.pmctl.add("shop", kit.ports[0], &kit.upstream.url());
        kit
    }

    #[track_caller]
    fn wait_row(&self, desired: &str, actual: &str) {
        let expected = (desired.to_owned(), actual.to_owned());
        wait_until(&format!("{expected:?}"), || match self.pmctl.rows().remove("shop") {
            Some(row) if row == expected => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn answers(port: u16) -> bool {
    get(SocketAddr::from(([127, 0, 0, 1], port)), "/").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_stop_whose_outcome_could_not_be_written_is_no_success_and_is_written_later() {
    let kit = Kit::new();
    let server = kit.pmctl.serve();
    refuse(&kit.pmctl, "refuse", "UPDATE OF actual ON runtime WHEN NEW.actual = 'stopped'");
    let failed = kit.pmctl.fails_json(1, &["service", "stop", "shop"]);
    assert_eq!(failed["code"], "database-failed", "{failed:#}");
    assert!(!is_listening(kit.ports[0]), "the stop itself went on to its end");
    allow(&kit.pmctl, "refuse");
    kit.wait_row("stopped", "stopped");
    server.stop();
    kit.pmctl.ok(&["verify"]);
}

#[test]
fn a_service_whose_row_could_not_be_removed_comes_back() {
    let kit = Kit::new();
    let server = kit.pmctl.serve();
    refuse(&kit.pmctl, "refuse", "DELETE ON services");
    kit.pmctl.fails_json(1, &["service", "remove", "shop"]);
    kit.wait_row("running", "running");
    assert!(answers(kit.ports[0]));
    allow(&kit.pmctl, "refuse");
    kit.pmctl.ok(&["service", "remove", "shop"]);
    assert_eq!(kit.pmctl.rows().len(), 0);
    server.stop();
}

#[test]
fn an_add_that_could_neither_be_carried_out_nor_taken_back_says_so() {
    let kit = Kit::new();
    let server = kit.pmctl.serve();
    // Both the start of the new service and the removal of its row.
    refuse(&kit.pmctl, "refuse", "UPDATE OF actual ON runtime WHEN NEW.actual = 'starting'");
    refuse(&kit.pmctl, "keep", "DELETE ON services");
    let (port, target) = (kit.ports[1].to_string(), format!("main={}", kit.upstream.url()));
    let add =
        ["service", "add", "late", "--port", &port, "--bind", "127.0.0.1", "--target", &target];
    let failed = kit.pmctl.fails_json(1, &add);
    assert_eq!(failed["code"], "add-not-taken-back", "{failed:#}");
    assert!(failed["error"].as_str().is_some_and(|e| e.contains("pmctl service remove")));
    assert!(!is_listening(kit.ports[1]));
    for name in ["refuse", "keep"] {
        allow(&kit.pmctl, name);
    }
    // What is registered is wanted, and comes up.
    wait_until("the service", || match answers(kit.ports[1]) {
        true => Ok(()),
        false => Err(format!("{:?}", kit.pmctl.rows())),
    });
    server.stop();
    kit.pmctl.ok(&["verify"]);
}

#[test]
fn a_service_that_listens_elsewhere_than_its_row_says_moves_once_it_can() {
    let kit = Kit::new();
    let server = kit.pmctl.serve();
    // As a move leaves it that could neither be carried out nor undone.
    let stranger = Holder::on(&[kit.ports[1]], Listen::V4);
    kit.pmctl.sql(&format!("UPDATE services SET port = {}", kit.ports[1]));
    assert!(answers(kit.ports[0]), "it serves on where it was");
    drop(stranger);
    wait_until("the service at its new port", || {
        let (old, new) = (is_listening(kit.ports[0]), answers(kit.ports[1]));
        if new && !old { Ok(()) } else { Err(format!("old {old}, new {new}")) }
    });
    server.stop();
    kit.pmctl.ok(&["verify"]);
}

/// A moment between the start of a command that takes `about` so long and its end.
fn moment(seed: u64, about: Duration) -> Duration {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    state ^= state >> 31;
    state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state ^= state >> 29;
    about.mul_f64((state >> 11) as f64 / (1_u64 << 53) as f64)
}

fn spawn(pmctl: &Pmctl, args: &[&str]) -> Child {
    let mut command = pmctl.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a command")
}

/// Kills what `args` start at the moment of each seed, and lets `check` look at what is left. The
/// moment is the input of the test, not something it waits for.
fn killed_at_seeded_moments(pmctl: &Pmctl, args: &[&str], about: Duration, check: impl Fn(&str)) {
    for seed in SEEDS {
        let at = moment(seed, about);
        let mut child = spawn(pmctl, args);
        std::thread::sleep(at);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        let context = format!("seed {seed}: {args:?} killed after {at:?}");
        assert_whole(pmctl, &context);
        check(&context);
    }
}

#[test]
fn a_kill_while_the_database_is_made_leaves_one_that_opens() {
    for seed in SEEDS {
        let pmctl = Pmctl::new();
        let target = "main=http://127.0.0.1:9";
        let port = free_ports(1)[0].to_string();
        let add = ["service", "add", "shop", "--port", &port, "--target", target];
        let mut child = spawn(&pmctl, &add);
        std::thread::sleep(moment(seed, Duration::from_millis(60)));
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        let context = format!("seed {seed}");
        // All of it or nothing of it.
        let rows = pmctl.rows().len();
        if rows == 0 {
            pmctl.ok(&add);
        }
        assert_eq!(pmctl.rows().len(), 1, "{context}");
        assert_whole(&pmctl, &context);
    }
}

/// Takes a database back to the schema before the newest, which an earlier version of pmctl left.
fn make_older(pmctl: &Pmctl) {
    let mut database = Database::open(pmctl);
    database.run(
        "DROP TABLE registrations; DROP TABLE heartbeats; ALTER TABLE services DROP COLUMN health; \
         DELETE FROM _sqlx_migrations WHERE version = 2",
    );
    database.close();
}

#[test]
fn a_kill_while_an_older_database_is_brought_up_to_date_leaves_all_of_it_or_nothing() {
    for seed in SEEDS {
        let kit = Kit::new();
        make_older(&kit.pmctl);
        let looked = kit.pmctl.run(&["-o", "json", "--direct", "service", "list"]);
        assert_eq!(looked.json()["code"], "database-older", "{}", looked.stdout);
        let args = ["serve", "--no-guardian", "--listen", "127.0.0.1:0"];
        let mut child = spawn(&kit.pmctl, &args);
        let at = moment(seed, Duration::from_millis(120));
        std::thread::sleep(at);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        let context = format!("seed {seed}: killed after {at:?}");
        assert_whole(&kit.pmctl, &context);
        let mut database = Database::open(&kit.pmctl);
        let versions = database.text("SELECT CAST(max(version) AS TEXT) FROM _sqlx_migrations");
        let tables = database.text(
            "SELECT CAST(count(*) AS TEXT) FROM sqlite_master \
             WHERE name IN ('registrations', 'heartbeats')",
        );
        database.close();
        let found = (versions.as_str(), tables.as_str());
        assert!(found == ("1", "0") || found == ("2", "2"), "{found:?}: {context}");
        let server = kit.pmctl.serve();
        assert!(answers(kit.ports[0]), "{context}");
        server.stop();
    }
}

#[test]
fn a_kill_in_the_middle_of_changes_without_a_server_leaves_all_of_them_or_none() {
    let pmctl = Pmctl::new();
    let ports = free_ports(30);
    for (at, port) in ports.iter().enumerate() {
        pmctl.add(&format!("s{at:02}"), *port, "http://127.0.0.1:9");
    }
    let wanted =
        |pmctl: &Pmctl| pmctl.rows().values().filter(|(desired, _)| desired == "running").count();
    let about = Duration::from_millis(60);
    for verb in ["stop", "start"] {
        killed_at_seeded_moments(&pmctl, &["service", verb, "--all"], about, |context| {
            let running = wanted(&pmctl);
            assert!(running == 0 || running == 30, "{running}: {context}");
        });
    }
    killed_at_seeded_moments(&pmctl, &["service", "remove", "s00", "s01"], about, |context| {
        let left = pmctl.rows().len();
        assert!(left == 30 || left == 28, "{left}: {context}");
        if left == 28 {
            for (at, port) in ports.iter().enumerate().take(2) {
                pmctl.add(&format!("s{at:02}"), *port, "http://127.0.0.1:9");
            }
        }
    });
}

#[test]
fn a_server_that_is_killed_during_a_bulk_change_leaves_what_cleanup_and_the_next_start_put_right() {
    let kit = Kit::new();
    let ports = free_ports(30);
    for (at, port) in ports.iter().enumerate() {
        kit.pmctl.add(&format!("s{at:02}"), *port, &kit.upstream.url());
    }
    kit.pmctl.ok(&["service", "stop", "--all"]);
    let changes: [&[&str]; 3] = [
        &["service", "start", "--all"],
        &["service", "restart", "--all"],
        &["service", "remove", "s00", "s01", "s02"],
    ];
    for (seed, change) in SEEDS.zip(changes.into_iter().cycle()) {
        let at = moment(seed, Duration::from_millis(120));
        let context = format!("seed {seed}: server killed {at:?} after {change:?} began");
        let server = kit.pmctl.serve_alone();
        let mut child = spawn(&kit.pmctl, change);
        std::thread::sleep(at);
        server.kill_hard();
        child.wait().expect("its end");
        assert_whole(&kit.pmctl, &context);
        for port in &ports {
            assert!(!is_listening(*port), "{port}: {context}");
        }
        kit.pmctl.ok(&["cleanup"]);
        kit.pmctl.run(&["verify"]).expect(0);
    }
    // What is wanted comes up, however often it was killed.
    let server = kit.pmctl.serve();
    for (name, (desired, actual)) in kit.pmctl.rows() {
        assert_eq!(desired, actual, "{name}");
    }
    server.stop();
    kit.pmctl.ok(&["verify"]);
}

#[test]
fn a_cleanup_that_is_killed_leaves_what_the_next_one_puts_right() {
    let kit = Kit::new();
    for seed in SEEDS {
        kit.pmctl.serve_alone().kill_hard();
        let at = moment(seed, Duration::from_millis(80));
        let mut child = spawn(&kit.pmctl, &["cleanup"]);
        std::thread::sleep(at);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        let context = format!("seed {seed}: killed after {at:?}");
        assert_whole(&kit.pmctl, &context);
        kit.pmctl.ok(&["cleanup"]);
        kit.pmctl.ok(&["verify"]);
    }
}
