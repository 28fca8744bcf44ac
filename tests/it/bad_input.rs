//! Input that is wrong, and a world that does not allow what is asked: one clear sentence, the right
//! exit code, nothing changed.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::support::{Database, Pmctl, Ran, free_port, is_listening, noise};

const TARGET: &str = "main=http://127.0.0.1:9";

/// The failure is said for a person, not for a debugger.
#[track_caller]
fn assert_clear(ran: &Ran) {
    for inner in ["Os {", "Error(", "Err(", "SqliteError", "unwrap", "RUST_BACKTRACE", "None)"] {
        assert!(!ran.stderr.contains(inner), "{inner:?} is not for a person\n{ran}");
    }
    let lines = ran.stderr.trim().lines().filter(|line| !line.trim().is_empty()).count();
    assert!((1..=12).contains(&lines), "not one sentence\n{ran}");
}

/// Fails with `code`, for a person and as a document; both name every one of `named`.
#[track_caller]
fn refused(pmctl: &Pmctl, code: i32, args: &[&str], named: &[&str]) {
    let ran = pmctl.fails(code, args);
    assert_clear(&ran);
    let document = pmctl.fails_json(code, args);
    let sentence = document["error"].as_str().unwrap_or_default();
    for name in named {
        assert!(ran.stderr.contains(name), "{name:?} is not named\n{ran}");
        assert!(sentence.contains(name), "{name:?} is not named: {document}");
    }
}

/// Runs the same refusals directly and through a server, with one service there before and after.
fn both_ways(check: impl Fn(&Pmctl)) {
    for with_server in [false, true] {
        let pmctl = Pmctl::new();
        let server = with_server.then(|| pmctl.serve());
        pmctl.add("there", free_port(), "http://127.0.0.1:9");
        let before = pmctl.services();
        check(&pmctl);
        assert_eq!(pmctl.services(), before, "something was changed");
        if let Some(server) = server {
            server.stop();
        }
    }
}

#[test]
fn an_unknown_flag_or_command_is_a_usage_error_that_names_it() {
    let pmctl = Pmctl::new();
    refused(&pmctl, 2, &["service", "list", "--frobnicate"], &["--frobnicate"]);
    refused(&pmctl, 2, &["srevice", "list"], &["srevice"]);
    refused(&pmctl, 2, &["service", "add", "web", "--port", "auto"], &["--target"]);
    refused(&pmctl, 2, &["serve", "--shutdown-timeout", "5"], &["shutdown-timeout", "5"]);
    refused(&pmctl, 2, &["--timeout", "soon", "service", "list"], &["soon"]);
    refused(&pmctl, 2, &["--lang", "tlh", "service", "list"], &["tlh"]);
    assert!(!pmctl.database().exists(), "a database was made");
}

#[test]
fn help_and_version_are_results() {
    let pmctl = Pmctl::new();
    for args in [&["--help"][..], &["--version"], &["service", "--help"], &["help", "serve"]] {
        let ran = pmctl.ok(args);
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran}");
    }
    let version = pmctl.ok(&["--version"]);
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn what_is_no_port_is_refused() {
    both_ways(|pmctl| {
        for port in ["0", "70000", "65536", "-1", "8O", "", "80 81"] {
            let flag = format!("--port={port}");
            refused(pmctl, 2, &["service", "add", "new", &flag, "--target", TARGET], &[port]);
        }
    });
    let pmctl = Pmctl::new();
    refused(&pmctl, 2, &["ports", "status", "70000"], &["70000"]);
    refused(&pmctl, 2, &["ports", "wait", "0", "--free"], &["0"]);
    assert!(!pmctl.database().exists(), "a database was made");
}

#[test]
fn what_is_no_target_url_is_refused_with_the_way_to_write_it() {
    both_ways(|pmctl| {
        for (url, named) in [
            ("localhost:9001", "http://localhost:9001"),
            ("ftp://a", "ftp"),
            ("http://", "http://"),
            ("http://a?x=1", "http://a?x=1"),
            ("http://a:99999", "99999"),
        ] {
            let target = format!("main={url}");
            let add = ["service", "add", "new", "--port", "auto", "--target", &target];
            refused(pmctl, 2, &add, &[named]);
            let target = format!("more={url}");
            refused(pmctl, 2, &["service", "target", "add", "there", &target], &[named]);
        }
        let nameless = ["service", "add", "new", "--port", "auto", "--target", "http://a"];
        refused(pmctl, 2, &nameless, &["NAME=URL"]);
    });
}

#[test]
fn what_is_no_name_is_refused() {
    both_ways(|pmctl| {
        let long = "x".repeat(254);
        for name in ["", " padded", "a\u{7}b", "line\nbreak", &long] {
            refused(pmctl, 2, &["service", "add", name, "--port", "auto", "--target", TARGET], &[]);
        }
        let twice = [
            "service",
            "add",
            "new",
            "--port",
            "auto",
            "--target",
            "a=http://a",
            "--target",
            "a=http://b",
        ];
        refused(pmctl, 2, &twice, &["a"]);
        let ghost =
            ["service", "add", "new", "--port", "auto", "--target", TARGET, "--active", "ghost"];
        refused(pmctl, 2, &ghost, &["ghost"]);
    });
}

#[test]
fn a_name_or_port_that_is_registered_already_is_refused_by_its_owner() {
    both_ways(|pmctl| {
        let port = pmctl.services()[0]["port"].to_string();
        let free = free_port().to_string();
        refused(
            pmctl,
            1,
            &["service", "add", "there", "--port", &free, "--target", TARGET],
            &["there"],
        );
        refused(
            pmctl,
            1,
            &["service", "add", "new", "--port", &port, "--target", TARGET],
            &[&port, "there"],
        );
    });
}

#[test]
fn a_port_somebody_else_listens_on_is_refused_with_its_holder() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let held = TcpListener::bind(("127.0.0.1", free_port())).expect("a held port");
    let port = held.local_addr().expect("its address").port().to_string();
    let holder = std::process::id().to_string();
    let add = ["service", "add", "new", "--port", &port, "--target", TARGET];
    refused(&pmctl, 1, &add, &[&port, &holder]);
    assert!(pmctl.rows().is_empty(), "refused and yet there");
    server.stop();
    let listen = format!("127.0.0.1:{port}");
    let serve = pmctl.fails(1, &["serve", "--listen", &listen]);
    assert_clear(&serve);
    assert!(serve.stderr.contains(&port), "{serve}");
}

#[test]
fn a_privileged_port_without_rights_is_refused() {
    let pmctl = Pmctl::as_ordinary_user();
    let server = pmctl.serve();
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first_free: u16 = first_free.ok().and_then(|n| n.trim().parse().ok()).unwrap_or(1024);
    let port = (1..1024).rev().find(|port| !is_listening(*port)).expect("an unused low port");
    let text = port.to_string();
    let add = ["service", "add", "low", "--port", &text, "--target", TARGET];
    if port < first_free {
        let ran = pmctl.run(&add);
        assert!(matches!(ran.code(), 1 | 5), "{ran}");
        assert_clear(&ran);
        assert!(ran.stderr.contains(&text), "{ran}");
        assert!(pmctl.rows().is_empty(), "refused and yet there\n{ran}");
    } else {
        // This machine gives low ports to everybody, and then pmctl does too.
        pmctl.ok(&add);
    }
    server.stop();
}

#[test]
fn an_address_the_control_plane_may_not_have_is_refused() {
    let pmctl = Pmctl::new();
    for listen in ["0.0.0.0:3999", "192.0.2.1:3999", "127.0.0.1", "nonsense", "127.0.0.1:70000"] {
        refused(&pmctl, 2, &["serve", "--listen", listen], &[listen]);
    }
    let ran = pmctl.fails(2, &["serve", "--listen", "0.0.0.0:3999"]);
    assert!(ran.stderr.contains("--tls-cert"), "what is missing is not named\n{ran}");
    assert!(!pmctl.database().exists(), "a database was made");
}

#[test]
fn all_mistakes_of_the_configuration_are_said_at_once_with_their_places() {
    let pmctl = Pmctl::new();
    pmctl.write_config(
        "[server]\nservice_timeout = \"soon\"\nworkerz = 3\n[limits]\nmax_connections = 0\n",
    );
    let ran = pmctl.fails(2, &["service", "list"]);
    for named in ["service_timeout", "workerz", "max_connections", "2", "3", "5"] {
        assert!(ran.stderr.contains(named), "{named} is not named\n{ran}");
    }
    pmctl.write_config("[server\n");
    let ran = pmctl.fails(2, &["serve"]);
    assert!(ran.stderr.contains("pmctl.toml"), "{ran}");
    let missing = pmctl.fails(2, &["serve", "--config", "not-there.toml"]);
    assert!(missing.stderr.contains("not-there.toml"), "{missing}");
}

/// Every kind of command on a database that cannot be used: each fails by itself, none changes it.
fn every_command_refuses(pmctl: &Pmctl, codes: &[i32], named: &str) {
    let listen = format!("127.0.0.1:{}", free_port());
    for command in [
        &["service", "list"][..],
        &["ports", "status"],
        &["events"],
        &["service", "add", "new", "--port", "auto", "--target", TARGET],
        &["service", "stop", "there"],
        &["serve", "--listen", &listen],
    ] {
        let ran = pmctl.run(command);
        assert!(codes.contains(&ran.code()), "{ran}");
        assert!(ran.stdout.is_empty(), "{ran}");
        assert_clear(&ran);
        assert!(ran.stderr.contains(named), "{named:?} is not named\n{ran}");
    }
}

#[test]
fn a_database_that_is_a_directory_is_refused() {
    let pmctl = Pmctl::new();
    fs::create_dir_all(pmctl.database()).expect("a directory");
    every_command_refuses(&pmctl, &[1, 2], "pmctl.db");
    assert_eq!(fs::read_dir(pmctl.database()).expect("the directory").count(), 0);
}

#[test]
fn a_database_of_another_kind_is_refused() {
    for url in ["postgres://localhost/pmctl", "mysql://localhost/pmctl", "pmctl.db"] {
        let pmctl = Pmctl::new().with("PMCTL_DATABASE_URL", url);
        let ran = pmctl.run(&["service", "list"]);
        assert!(matches!(ran.code(), 1 | 2), "{ran}");
        assert_clear(&ran);
    }
}

#[test]
fn a_corrupt_database_is_refused_and_left_as_it_is() {
    let pmctl = Pmctl::new();
    pmctl.add("there", free_port(), "http://127.0.0.1:9");
    let whole = fs::read(pmctl.database()).expect("the database");
    let header_only = [&whole[..16], &noise(20_000)].concat();
    for (what, bytes) in [
        ("noise", noise(20_000)),
        ("a header and noise", header_only),
        ("text", b"hello\n".repeat(900)),
    ] {
        remove_beside(&pmctl.database());
        fs::write(pmctl.database(), &bytes).expect("the corrupt file");
        every_command_refuses(&pmctl, &[1], "pmctl.db");
        assert!(fs::read(pmctl.database()).expect("the file") == bytes, "{what} was changed");
    }
}

/// Removes the write-ahead log and its index, which belong to the file as it was.
fn remove_beside(database: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", database.display()));
    }
}

/// Runs `sql` on the database file with SQLite itself.
fn with_sqlite(database: &Path, sql: &str) {
    let mut database = Database::at(database);
    database.run(sql);
    database.close();
}

#[test]
fn a_database_of_a_newer_schema_is_refused_with_both_numbers() {
    let pmctl = Pmctl::new();
    pmctl.add("there", free_port(), "http://127.0.0.1:9");
    with_sqlite(
        &pmctl.database(),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0); PRAGMA wal_checkpoint(TRUNCATE);",
    );
    let before = fs::read(pmctl.database()).expect("the database");
    let known = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite"))
        .expect("the migrations")
        .count();
    every_command_refuses(&pmctl, &[1], "9999");
    every_command_refuses(&pmctl, &[1], &known.to_string());
    assert!(fs::read(pmctl.database()).expect("the database") == before, "it was changed");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let pmctl = Pmctl::new();
    fs::create_dir_all(pmctl.database().parent().expect("a folder")).expect("the folder");
    with_sqlite(
        &pmctl.database(),
        "CREATE TABLE theirs (a TEXT); INSERT INTO theirs VALUES ('x');",
    );
    let before = fs::read(pmctl.database()).expect("the database");
    every_command_refuses(&pmctl, &[1], "pmctl.db");
    assert!(fs::read(pmctl.database()).expect("the database") == before, "it was changed");
}

#[test]
fn a_read_only_database_takes_no_write_and_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let pmctl = Pmctl::as_ordinary_user();
    pmctl.add("there", free_port(), "http://127.0.0.1:9");
    let (database, folder) = (pmctl.database(), pmctl.dir().join("state"));
    let before = fs::read(&database).expect("the database");
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    };
    allow(&database, 0o400);
    allow(&folder, 0o500);
    let listen = format!("127.0.0.1:{}", free_port());
    for write in [
        &["service", "add", "new", "--port", "auto", "--target", TARGET][..],
        &["service", "stop", "there"],
        &["serve", "--listen", &listen],
    ] {
        let ran = pmctl.run(write);
        assert!(matches!(ran.code(), 1 | 5), "{ran}");
        assert!(ran.stdout.is_empty(), "{ran}");
        assert_clear(&ran);
        assert!(ran.stderr.contains(&*folder.to_string_lossy()), "the path is not named\n{ran}");
    }
    let read = pmctl.run(&["service", "list"]);
    assert!(read.code() == 0 || !read.stderr.trim().is_empty(), "{read}");
    allow(&folder, 0o700);
    allow(&database, 0o600);
    assert!(fs::read(&database).expect("the database") == before, "it was changed");
    assert_eq!(pmctl.rows().len(), 1);
}

#[test]
fn a_serve_whose_control_address_is_taken_makes_no_database() {
    let pmctl = Pmctl::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("its address").to_string();
    let refused = pmctl.fails(1, &["serve", "--listen", &listen]);
    assert!(refused.stderr.contains(&listen), "{refused}");
    assert!(!pmctl.database().exists(), "a database was made");
}

#[test]
fn a_target_that_leads_back_to_its_own_service_is_refused() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let port = free_port();
    let (number, target) = (port.to_string(), format!("t=http://127.0.0.1:{port}/x"));
    let refused =
        pmctl.fails(2, &["service", "add", "loop", "--port", &number, "--target", &target]);
    assert!(refused.stderr.contains("`loop`"), "{refused}");
    assert!(pmctl.rows().is_empty(), "it was registered");
    server.stop();
}
