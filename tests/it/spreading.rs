//! Targets that name an application: the instances that a registry lists of it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Pmctl, Registry, Upstream, Wire, free_port, wait_until};

/// A registry, and a service `orders` whose target is the application of that name.
struct Kit {
    pmctl: Pmctl,
    registry: Registry,
    port: u16,
}

impl Kit {
    fn new() -> Self {
        let pmctl = Pmctl::new();
        let registry = Registry::start(&pmctl, &[]);
        pmctl.write_config(&format!(
            "[eureka]\nurls = ['{}']\nadvertise = '127.0.0.1'\nfetch_interval = '1s'\n",
            registry.url()
        ));
        let port = free_port();
        pmctl.add("orders", port, "lb://orders");
        Self { pmctl, registry, port }
    }

    /// Who answers.
    fn answers(&self) -> Result<BTreeSet<String>, String> {
        let mut wire = Wire::to(self.port);
        let mut texts = BTreeSet::new();
        for _ in 0..8 {
            let answer = wire.get("/");
            if answer.status != 200 {
                return Err(format!("{answer:?}"));
            }
            texts.insert(answer.text());
        }
        Ok(texts)
    }

    #[track_caller]
    fn wait_answers(&self, expected: &[&str]) {
        wait_until(&format!("answers of {expected:?}"), || {
            let answers = self.answers()?;
            match answers.iter().map(String::as_str).eq(expected.iter().copied()) {
                true => Ok(()),
                false => Err(format!("{answers:?}")),
            }
        });
    }

    fn shown(&self) -> Value {
        self.pmctl.json(&["service", "show", "orders"])["services"][0].clone()
    }

    fn attention(&self) -> String {
        self.pmctl.json(&["status"])["attention"].to_string()
    }
}

/// An instance of `orders` that says `text`, under its own port.
fn register(registry: &Registry, upstream: &Upstream, status: &str) {
    let (port, url) = (upstream.address().port(), upstream.url());
    let body = json!({"instance": {
        "instanceId": url, "hostName": "127.0.0.1", "ipAddr": "127.0.0.1", "app": "ORDERS",
        "vipAddress": "orders", "status": status, "port": {"$": port, "@enabled": "true"},
        "dataCenterInfo": {"@class": "x", "name": "MyOwn"},
    }});
    let answer = registry.ask("POST", "/apps/ORDERS", &body.to_string());
    assert_eq!(answer.status, 204, "{answer:?}");
}

fn cancel(registry: &Registry, upstream: &Upstream) {
    let id = upstream.url().replace(':', "%3A").replace('/', "%2F");
    assert_eq!(registry.ask("DELETE", &format!("/apps/ORDERS/{id}"), "").status, 200);
}

#[test]
fn requests_go_to_the_instances_that_are_up_and_never_to_the_service_itself() {
    let kit = Kit::new();
    let server = kit.pmctl.serve();
    wait_until("the service among the instances of its own name", || {
        let answer = kit.registry.ask("GET", "/apps/ORDERS", "");
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    // Nobody but itself: not a loop, but nobody.
    let answer = Wire::to(kit.port).get("/");
    assert_eq!(answer.status, 503, "{answer:?}");
    wait_until("what needs attention", || {
        let needs = kit.attention();
        if needs.contains("ORDERS") { Ok(()) } else { Err(needs) }
    });
    let (one, two, down) =
        (Upstream::saying("one"), Upstream::saying("two"), Upstream::saying("down"));
    register(&kit.registry, &one, "UP");
    register(&kit.registry, &two, "UP");
    register(&kit.registry, &down, "OUT_OF_SERVICE");
    kit.wait_answers(&["one", "two"]);
    let shown = kit.shown();
    let urls: BTreeSet<&str> = shown["instances"]
        .as_array()
        .expect("instances")
        .iter()
        .filter_map(|instance| instance["url"].as_str())
        .collect();
    assert_eq!(urls, BTreeSet::from([one.url().as_str(), two.url().as_str()]));
    let text = kit.pmctl.ok(&["service", "show", "orders"]).stdout;
    assert!(text.contains("lb://ORDERS") && text.contains(&one.url()), "{text}");
    assert!(!kit.attention().contains("ORDERS"), "{}", kit.attention());
    cancel(&kit.registry, &one);
    kit.wait_answers(&["two"]);
    server.stop();
}

#[test]
fn an_instance_that_dies_costs_no_request_and_a_registry_that_dies_changes_nothing() {
    let mut kit = Kit::new();
    let dead = Arc::new(AtomicBool::new(false));
    let is_dead = Arc::clone(&dead);
    let one = Upstream::start(move |exchange| match is_dead.load(Ordering::SeqCst) {
        true => Err(io::ErrorKind::ConnectionReset.into()),
        false => exchange.answer("", b"one"),
    });
    let two = Upstream::saying("two");
    register(&kit.registry, &one, "UP");
    register(&kit.registry, &two, "UP");
    let server = kit.pmctl.serve();
    kit.wait_answers(&["one", "two"]);
    dead.store(true, Ordering::SeqCst);
    drop(one);
    for _ in 0..20 {
        assert_eq!(kit.answers(), Ok(BTreeSet::from(["two".to_owned()])));
    }
    let instances = kit.shown()["instances"].clone();
    let aside = instances.as_array().into_iter().flatten().filter(|i| i["asideMs"] != 0).count();
    assert_eq!(aside, 1, "{instances:#}");
    kit.registry.signal(rustix::process::Signal::TERM);
    kit.registry.wait_exit();
    wait_until("the list being an old one", || {
        let needs = kit.attention();
        if needs.contains("attention-old-list") || needs.contains("listed last") {
            Ok(())
        } else {
            Err(needs)
        }
    });
    assert_eq!(kit.answers(), Ok(BTreeSet::from(["two".to_owned()])));
    server.stop();
}

#[test]
fn without_a_registry_the_reason_is_said_and_a_switch_ends_it() {
    let (pmctl, upstream, port) = (Pmctl::new(), Upstream::saying("here"), free_port());
    pmctl.add("edge", port, "lb://Orders/v1");
    pmctl.ok(&["service", "target", "add", "edge", &format!("one={}", upstream.url())]);
    let server = pmctl.serve();
    assert_eq!(Wire::to(port).get("/").status, 503);
    let status = pmctl.ok(&["status"]).stdout;
    assert!(status.contains("--eureka-url"), "{status}");
    pmctl.ok(&["service", "switch", "edge", "one"]);
    assert_eq!(Wire::to(port).get("/").text(), "here");
    let status = pmctl.ok(&["status"]).stdout;
    assert!(!status.contains("--eureka-url"), "{status}");
    server.stop();
}

#[test]
fn a_service_reaches_another_of_the_same_server_through_the_registry() {
    let kit = Kit::new();
    let upstream = Upstream::saying("behind");
    register(&kit.registry, &upstream, "UP");
    let port = free_port();
    kit.pmctl.add("edge", port, "lb://shop");
    let behind = free_port();
    kit.pmctl.add("shop", behind, &upstream.url());
    let server = kit.pmctl.serve();
    wait_until("an answer through two services", || {
        let answer = Wire::to(port).get("/");
        if answer.text() == "behind" { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    server.stop();
}

#[test]
fn what_names_no_application_is_refused() {
    let (pmctl, port) = (Pmctl::new(), free_port().to_string());
    for target in ["lb://", "lb://orders:8080", "lb://[::1]"] {
        let target = format!("main={target}");
        let args = ["service", "add", "a", "--port", &port, "--target", &target];
        let refused = pmctl.fails_json(2, &args);
        assert_eq!(refused["code"], "target-application-invalid", "{refused:#}");
    }
}

#[test]
fn a_switch_while_the_registry_is_silent_keeps_the_instances_and_health_asks_them() {
    let mut kit = Kit::new();
    let one = Upstream::saying("one");
    register(&kit.registry, &one, "UP");
    kit.pmctl.ok(&["service", "set", "orders", "--health-path", "/", "--health-interval", "500ms"]);
    let server = kit.pmctl.serve();
    kit.wait_answers(&["one"]);
    wait_until("a healthy target", || match kit.shown()["health"]["state"].as_str() {
        Some("healthy") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    kit.registry.signal(rustix::process::Signal::TERM);
    kit.registry.wait_exit();
    kit.pmctl.ok(&["service", "switch", "orders", "main"]);
    assert_eq!(kit.answers(), Ok(BTreeSet::from(["one".to_owned()])));
    let port = free_port();
    kit.pmctl.ok(&["service", "set", "orders", "--port", &port.to_string()]);
    kit.port = port;
    assert_eq!(kit.answers(), Ok(BTreeSet::from(["one".to_owned()])));
    server.stop();
}
