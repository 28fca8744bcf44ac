//! The registry of services: the same verbs, answers and refusals through a server and without one.

use std::thread;

use serde_json::{Value, json};

use crate::support::{Pmctl, Upstream, Wire, free_port, free_ports, is_listening};

/// The document without what differs from run to run.
fn timeless(mut document: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for gone in ["since", "createdAt", "updatedAt", "counters"] {
                    map.remove(gone);
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut document);
    document
}

fn one(document: &Value) -> &Value {
    let services = document["services"].as_array().expect("services");
    assert_eq!(services.len(), 1, "{document:#}");
    &services[0]
}

#[test]
fn a_service_is_shown_as_it_was_added() {
    let (pmctl, port) = (Pmctl::new(), free_port());
    let added = pmctl.json(&[
        "service",
        "add",
        "订单 orders",
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--target",
        "blue=HTTP://LocalHost:80/base/",
        "--target",
        "green=h2c://[::1]:9002",
        "--active",
        "green",
        "--tag",
        "team=a",
        "--tag",
        "β",
        "--no-register",
        "--stopped",
    ]);
    assert_eq!((&added["source"], &added["applied"]), (&"database".into(), &"desired".into()));
    let show = pmctl.json(&["service", "show", "订单 orders"]);
    assert_eq!(show["source"], "database");
    let service = one(&show);
    assert_eq!(added["services"][0]["service"], *service, "{added:#}");
    let expected = json!({
        "name": "订单 orders", "port": port, "bind": "127.0.0.1", "desired": "stopped",
        "actual": "stopped", "reason": null, "activeTarget": "green",
        "targets": {
            "blue": {
                "url": "http://localhost/base", "hasCredentials": false, "caFile": null,
                "insecure": false,
            },
            "green": {
                "url": "h2c://[::1]:9002", "hasCredentials": false, "caFile": null,
                "insecure": false,
            },
        },
        "tags": ["team=a", "β"], "register": false, "health": null, "instances": null,
        "revision": 1,
    });
    assert_eq!(timeless(service.clone()), expected);
    let table = pmctl.ok(&["service", "list"]);
    assert!(table.stdout.contains("订单 orders"), "{table}");
}

#[test]
fn every_name_the_rules_allow_works_in_every_command() {
    let pmctl = Pmctl::new();
    let server = pmctl.serve();
    let long = "x".repeat(253);
    for name in ["🦀", "a/b?c#d", "..", "%2e", "x=y", "-- dashes", "\"quoted\"", &*long] {
        let port = free_port().to_string();
        let add =
            ["service", "add", "--port", &port, "--target", "t=http://127.0.0.1:9", "--", name];
        pmctl.ok(&add);
        assert_eq!(one(&pmctl.json(&["service", "show", "--", name]))["name"], name);
        pmctl.ok(&["service", "stop", "--", name]);
        let row = pmctl.rows().remove(name);
        assert_eq!(row, Some(("stopped".to_owned(), "stopped".to_owned())), "{name}");
        pmctl.ok(&["service", "remove", "--", name]);
    }
    assert!(pmctl.rows().is_empty());
    server.stop();
}

/// The same commands in one sandbox, with what each of them answered.
fn a_life(pmctl: &Pmctl, ports: &[u16], extra: &[&str]) -> Vec<Value> {
    let (first, second) = (ports[0].to_string(), ports[1].to_string());
    let commands: &[&[&str]] = &[
        &["service", "add", "web", "--port", &first, "--target", "a=http://127.0.0.1:9"],
        &["service", "target", "add", "web", "b=http://127.0.0.1:19/base"],
        &["service", "switch", "web", "b"],
        &["service", "target", "remove", "web", "a"],
        &[
            "service",
            "add",
            "api",
            "--port",
            &second,
            "--target",
            "a=http://127.0.0.1:9",
            "--stopped",
        ],
        &["service", "set", "api", "--tag", "x"],
        &["service", "list"],
        &["service", "show", "api"],
        &["service", "start", "api"],
        &["service", "stop", "--all"],
        &["service", "restart", "web"],
        &["service", "remove", "api", "web"],
        &["service", "list"],
    ];
    commands.iter().map(|command| pmctl.json(&[extra, command].concat())).collect()
}

#[test]
fn through_a_server_and_without_one_the_documents_have_the_same_shape_and_content() {
    let ports = free_ports(2);
    let without = Pmctl::new();
    let direct = a_life(&without, &ports, &[]);
    let with = Pmctl::new();
    let server = with.serve();
    let through = a_life(&with, &ports, &["--no-fallback"]);
    server.stop();
    for (direct, through) in direct.into_iter().zip(through) {
        assert_eq!((&direct["source"], &through["source"]), (&"database".into(), &"server".into()));
        if through.get("applied").is_some() {
            assert_eq!(
                (&direct["applied"], &through["applied"]),
                (&"desired".into(), &"live".into())
            );
        }
        assert_eq!(comparable(direct), comparable(through));
    }
}

/// What must not depend on the way: everything but source, actual state and the sentences.
fn comparable(document: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for gone in ["source", "applied", "actual", "reason", "message"] {
                    if map.contains_key(gone) {
                        map.insert(gone.to_owned(), Value::Null);
                    }
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut document = timeless(document);
    strip(&mut document);
    document
}

#[test]
fn through_a_server_every_change_is_in_force_when_the_command_returns() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let (pmctl, ports) = (Pmctl::new(), free_ports(2));
    let server = pmctl.serve();
    pmctl.add("web", ports[0], &blue.url());
    assert_eq!(Wire::to(ports[0]).get("/").text(), "blue");
    pmctl.ok(&["service", "target", "add", "web", &format!("green={}", green.url())]);
    pmctl.ok(&["service", "switch", "web", "green"]);
    assert_eq!(Wire::to(ports[0]).get("/").text(), "green");
    pmctl.ok(&["service", "stop", "web"]);
    assert!(!is_listening(ports[0]));
    assert_eq!(pmctl.rows()["web"], ("stopped".to_owned(), "stopped".to_owned()));
    pmctl.ok(&["service", "stop", "web"]);
    pmctl.ok(&["service", "start", "web"]);
    pmctl.ok(&["service", "start", "web"]);
    assert_eq!(Wire::to(ports[0]).get("/").text(), "green");
    assert_eq!(pmctl.rows()["web"], ("running".to_owned(), "running".to_owned()));
    pmctl.ok(&["service", "set", "web", "--port", &ports[1].to_string()]);
    assert!(!is_listening(ports[0]));
    assert_eq!(Wire::to(ports[1]).get("/").text(), "green");
    pmctl.ok(&["service", "restart", "--all"]);
    assert_eq!(Wire::to(ports[1]).get("/").text(), "green");
    pmctl.ok(&["service", "remove", "web"]);
    assert!(!is_listening(ports[1]));
    server.stop();
}

#[test]
fn without_a_server_only_what_is_wanted_changes_and_the_answer_says_so() {
    let (pmctl, port, upstream) = (Pmctl::new(), free_port(), Upstream::saying("hello"));
    pmctl.add("web", port, &upstream.url());
    assert_eq!(pmctl.rows()["web"], ("running".to_owned(), "stopped".to_owned()));
    let stopped = pmctl.json(&["service", "stop", "web"]);
    assert_eq!(stopped["applied"], "desired", "{stopped:#}");
    assert_eq!(pmctl.rows()["web"], ("stopped".to_owned(), "stopped".to_owned()));
    let said = pmctl.ok(&["service", "start", "web"]);
    assert!(!said.stderr.trim().is_empty(), "nothing said of the missing server\n{said}");
    assert_eq!(pmctl.rows()["web"], ("running".to_owned(), "stopped".to_owned()));
    assert!(!is_listening(port));
}

#[test]
fn twenty_adds_at_once_all_succeed_through_a_server_and_without_one() {
    for with_server in [true, false] {
        let pmctl = Pmctl::new();
        let server = with_server.then(|| pmctl.serve());
        let way: &[&str] = if with_server { &["--no-fallback"] } else { &["--direct"] };
        let ports = free_ports(20);
        thread::scope(|scope| {
            for (n, port) in ports.iter().enumerate() {
                let pmctl = &pmctl;
                scope.spawn(move || {
                    let (name, port) = (format!("service {n}"), port.to_string());
                    let add = [
                        "service",
                        "add",
                        &name,
                        "--port",
                        &port,
                        "--target",
                        "t=http://127.0.0.1:9",
                    ];
                    pmctl.ok(&[way, &["--timeout", "30s"], &add].concat());
                });
            }
        });
        let rows = pmctl.rows();
        assert_eq!(rows.len(), 20, "{rows:?}");
        for port in &ports {
            assert_eq!(is_listening(*port), with_server, "{port}");
        }
        if let Some(server) = server {
            server.stop();
        }
    }
}

#[test]
fn twenty_automatic_ports_at_once_are_twenty_different_ones() {
    for with_server in [true, false] {
        let pmctl = Pmctl::new();
        let server = with_server.then(|| pmctl.serve());
        thread::scope(|scope| {
            for n in 0..20 {
                let pmctl = &pmctl;
                scope.spawn(move || {
                    let name = format!("service {n}");
                    let add = [
                        "service",
                        "add",
                        &name,
                        "--port",
                        "auto",
                        "--target",
                        "t=http://127.0.0.1:9",
                    ];
                    pmctl.ok(&[&["--timeout", "30s"], &add[..]].concat());
                });
            }
        });
        let services = pmctl.services();
        let mut ports: Vec<u64> =
            services.as_array().into_iter().flatten().filter_map(|s| s["port"].as_u64()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20, "{services:#}");
        if let Some(server) = server {
            server.stop();
        }
    }
}

#[test]
fn an_automatic_port_is_the_lowest_free_one_of_the_configured_range() {
    let pmctl = Pmctl::new();
    // Any three that follow one another and are ours.
    let first = loop {
        let ports = free_ports(3);
        if ports[2] == ports[0] + 2 {
            break ports[0];
        }
    };
    pmctl.write_config(&format!("[server]\nport_range = \"{first}-{}\"\n", first + 2));
    let held = std::net::TcpListener::bind(("127.0.0.1", first)).expect("the first port");
    let server = pmctl.serve();
    let add = |name: &str| {
        pmctl.run(&["service", "add", name, "--port", "auto", "--target", "t=http://127.0.0.1:9"])
    };
    for (name, port) in [("a", first + 1), ("b", first + 2)] {
        add(name).expect(0);
        assert_eq!(one(&pmctl.json(&["service", "show", name]))["port"], port);
    }
    let full = add("c").expect(1);
    assert!(full.stderr.contains(&first.to_string()), "the range is not named\n{full}");
    assert_eq!(pmctl.rows().len(), 2);
    drop(held);
    add("c").expect(0);
    assert_eq!(one(&pmctl.json(&["service", "show", "c"]))["port"], first);
    server.stop();
}

#[test]
fn editing_keeps_the_rules_of_targets() {
    for with_server in [true, false] {
        let (pmctl, port) = (Pmctl::new(), free_port());
        let server = with_server.then(|| pmctl.serve());
        pmctl.add("web", port, "http://127.0.0.1:9");
        pmctl.ok(&["service", "target", "add", "web", "spare=http://127.0.0.1:19"]);
        let before = pmctl.services();
        // The active one stays; one that does not exist cannot become active or go.
        pmctl.fails_json(1, &["service", "target", "remove", "web", "main"]);
        let missing = pmctl.fails_json(1, &["service", "switch", "web", "nowhere"]);
        assert!(missing["error"].as_str().is_some_and(|e| e.contains("nowhere")), "{missing}");
        pmctl.fails_json(1, &["service", "target", "remove", "web", "nowhere"]);
        assert_eq!(pmctl.services(), before);
        pmctl.ok(&["service", "switch", "web", "spare"]);
        pmctl.ok(&["service", "target", "remove", "web", "main"]);
        let show = pmctl.json(&["service", "show", "web"]);
        assert_eq!(one(&show)["targets"].as_object().map(|t| t.len()), Some(1), "{show:#}");
        assert!(one(&show)["revision"].as_i64() > before[0]["revision"].as_i64(), "{show:#}");
        if let Some(server) = server {
            server.stop();
        }
    }
}

#[test]
fn a_move_to_the_port_of_another_service_names_that_service_and_not_the_server() {
    let (pmctl, ports) = (Pmctl::new(), free_ports(2));
    pmctl.add("web", ports[0], "http://127.0.0.1:9");
    pmctl.add("chat", ports[1], "http://127.0.0.1:9");
    let server = pmctl.serve();
    let document = pmctl.fails_json(1, &["service", "set", "web", "--port", &ports[1].to_string()]);
    assert_eq!(document["code"], "port-registered", "{document:#}");
    assert!(document["error"].as_str().is_some_and(|e| e.contains("chat")), "{document:#}");
    assert!(ports.iter().all(|port| is_listening(*port)), "{server}");
    server.stop();
}

#[test]
fn one_unknown_name_among_several_changes_nothing_and_is_named() {
    for with_server in [true, false] {
        let pmctl = Pmctl::new();
        let server = with_server.then(|| pmctl.serve());
        for name in ["a", "b"] {
            pmctl.add(name, free_port(), "http://127.0.0.1:9");
        }
        for verb in ["start", "stop", "restart", "remove", "show"] {
            let failed = pmctl.fails_json(1, &["service", verb, "a", "ghost", "b"]);
            assert_eq!(failed["code"], "service-not-found", "{verb}: {failed}");
            assert!(failed["error"].as_str().is_some_and(|e| e.contains("ghost")), "{failed}");
        }
        let rows = pmctl.rows();
        assert!(
            rows.len() == 2 && rows.values().all(|(desired, _)| desired == "running"),
            "{rows:?}"
        );
        if let Some(server) = server {
            server.stop();
        }
    }
}

#[test]
fn credentials_of_a_target_are_shown_nowhere() {
    let (upstream, secret) = (Upstream::saying("hello"), "s3cr3t-w0rd");
    let url = upstream.url().replace("http://", &format!("http://ann:{secret}@"));
    for with_server in [true, false] {
        let (pmctl, port) = (Pmctl::new(), free_port());
        let quiet = pmctl.with("PMCTL_LOG_LEVEL", "trace");
        let server = with_server.then(|| quiet.serve());
        let (port_text, target) = (port.to_string(), format!("main={url}"));
        let add = ["service", "add", "web", "--port", &port_text, "--target", &target];
        let mut said = vec![quiet.ok(&add)];
        if with_server {
            Wire::to(port).get("/path?token=t0ken-in-query");
        }
        // Refusals quote what was wrong.
        said.push(quiet.run(&[
            "service",
            "target",
            "add",
            "web",
            &format!("x=ftp://a:{secret}@b"),
        ]));
        said.push(quiet.run(&["service", "target", "add", "web", &format!("x=a:{secret}@b:1")]));
        said.push(quiet.run(&add));
        for command in [
            &["service", "list"][..],
            &["service", "show", "web"],
            &["service", "switch", "web", "main"],
            &["status"],
            &["events"],
            &["ports", "status"],
        ] {
            said.push(quiet.ok(command));
            said.push(quiet.ok(&[&["-o", "json"], command].concat()));
        }
        let show = quiet.json(&["service", "show", "web"]);
        assert_eq!(one(&show)["targets"]["main"]["hasCredentials"], true, "{show:#}");
        for ran in &said {
            assert!(!ran.all().contains(secret), "{ran}");
        }
        if let Some(server) = server {
            for path in ["/api/services", "/api/events", "/api/status", "/metrics"] {
                assert!(!server.get(path).text().contains(secret), "{path}");
            }
            let log = server.stop();
            assert!(!log.contains(secret) && !log.contains("t0ken-in-query"), "{log}");
        }
    }
}

#[test]
fn an_unknown_target_is_named_with_its_service() {
    let pmctl = Pmctl::new();
    pmctl.add("shop", free_port(), "http://127.0.0.1:9");
    let refused = pmctl.fails(1, &["service", "switch", "shop", "nowhere"]);
    assert!(refused.stderr.contains("`shop` has no target `nowhere`"), "{refused}");
}

#[test]
fn without_a_server_no_fallback_says_so_and_not_that_it_went_on() {
    let pmctl = Pmctl::new();
    pmctl.add("shop", free_port(), "http://127.0.0.1:9");
    let refused = pmctl.fails(4, &["--no-fallback", "service", "list"]);
    assert!(!refused.stderr.contains("working on the database"), "{refused}");
}
