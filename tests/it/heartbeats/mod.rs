//! Leases in a registry: announced, renewed, gone with the server; a registry that fails in every way
//! never touches the data path.

mod down;
mod faults;
mod leaving;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    FakeEureka, Pmctl, Server, Upstream, free_port, get, wait_until, wait_within,
};

/// A registry, a server that renews every second, and one service.
struct Kit {
    pmctl: Pmctl,
    eureka: FakeEureka,
    upstream: Upstream,
    port: u16,
    id: String,
}

impl Kit {
    fn new() -> Self {
        Self::on(Pmctl::new())
    }

    fn on(pmctl: Pmctl) -> Self {
        let eureka = FakeEureka::start();
        pmctl.announce_in(&eureka.url());
        let (upstream, port) = (Upstream::saying("hello"), free_port());
        pmctl.add("shop", port, &upstream.url());
        Self { pmctl, eureka, upstream, port, id: format!("127.0.0.1:shop:{port}") }
    }

    /// `APP/ID` of the service.
    fn key(&self) -> String {
        format!("SHOP/{}", self.id)
    }

    #[track_caller]
    fn serve(&self) -> Server {
        self.pmctl.serve()
    }

    #[track_caller]
    fn serve_announced(&self) -> Server {
        self.announced(self.serve())
    }

    #[track_caller]
    fn announced(&self, server: Server) -> Server {
        self.wait_listed("UP");
        self.wait_state("up");
        server
    }

    #[track_caller]
    fn wait_listed(&self, status: &str) {
        wait_until(&format!("the instance as {status}"), || {
            let statuses = self.eureka.statuses();
            match statuses.get(&self.key()).map(String::as_str) == Some(status) {
                true => Ok(()),
                false => Err(format!("{statuses:?}")),
            }
        });
    }

    #[track_caller]
    fn wait_state(&self, state: &str) -> Value {
        wait_lease(&self.pmctl, state, |lease| lease["state"] == state)
    }

    /// The service answers, whatever the registry does.
    #[track_caller]
    fn assert_serves(&self) {
        let response = get(SocketAddr::from(([127, 0, 0, 1], self.port)), "/");
        assert_eq!(response.map(|r| r.status).ok(), Some(200));
    }

    fn assert_gone(&self) {
        assert_eq!(self.eureka.statuses(), BTreeMap::new());
    }
}

#[track_caller]
fn lease(pmctl: &Pmctl) -> Value {
    pmctl.json(&["heartbeat", "status", "shop"])["heartbeats"][0].clone()
}

#[track_caller]
fn wait_lease(pmctl: &Pmctl, what: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
    wait_until(&format!("a lease that is {what}"), || {
        let lease = lease(pmctl);
        match is_it(&lease) {
            true => Ok(lease),
            false => Err(format!("{lease:#}")),
        }
    })
}

#[track_caller]
fn wait_calls(kit: &Kit, call: &str, count: usize) {
    wait_until(&format!("{count} × {call}"), || {
        let calls = kit.eureka.calls();
        let call = format!("{call} {}", kit.key());
        match calls.iter().filter(|made| **made == call).count() >= count {
            true => Ok(()),
            false => Err(format!("{calls:?}")),
        }
    });
}

#[test]
fn a_service_is_announced_renewed_and_gone_the_moment_the_server_stops() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    wait_calls(&kit, "PUT", 3);
    let instance = kit.eureka.instance("SHOP").expect("the instance");
    assert_eq!(instance["vipAddress"], "shop");
    assert_eq!(instance["port"], json!({"$": kit.port, "@enabled": "true"}));
    assert_eq!(instance["leaseInfo"]["durationInSecs"], 3);
    assert!(instance["metadata"]["pmctl.node"].as_str().is_some_and(|n| n.ends_with("/default")));
    let lease = wait_lease(&kit.pmctl, "up, as listed", |lease| lease["status"] == "UP");
    assert_eq!(lease["instanceId"], kit.id.as_str());
    assert_eq!((&lease["isActive"], &lease["interval"]), (&json!(true), &json!(1)));
    assert_eq!(lease["registry"], kit.eureka.url());
    assert!(lease["leaseExpiresInMs"].as_u64().is_some_and(|ms| ms <= 3_000), "{lease:#}");
    let log = server.stop();
    kit.assert_gone();
    assert_eq!(kit.eureka.calls().last(), Some(&format!("DELETE {}", kit.key())), "{log}");
    // What is known without a server: every call, and that nothing is announced.
    let history = kit.pmctl.json(&["heartbeat", "history", "shop", "-n", "100"]);
    let calls = history["heartbeats"].as_array().expect("calls");
    let call = |at: usize| calls[at]["call"].as_str().unwrap_or("?").to_owned();
    assert_eq!((call(0), call(calls.len() - 1)), ("register".into(), "cancel".into()));
    let lease = self::lease(&kit.pmctl);
    assert_eq!((&lease["state"], &lease["isActive"]), (&json!("unregistered"), &json!(false)));
}

#[test]
fn stop_remove_and_no_register_take_a_service_out_before_its_proxy_ends() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    kit.pmctl.ok(&["service", "set", "shop", "--no-register"]);
    kit.assert_gone();
    kit.assert_serves();
    assert_eq!(lease(&kit.pmctl)["state"], "disabled");
    kit.pmctl.ok(&["service", "set", "shop", "--register"]);
    kit.wait_listed("UP");
    kit.pmctl.ok(&["service", "stop", "shop"]);
    kit.assert_gone();
    assert_eq!(lease(&kit.pmctl)["state"], "unregistered");
    kit.pmctl.ok(&["service", "start", "shop"]);
    kit.wait_listed("UP");
    // Another port is another instance.
    let port = free_port();
    kit.pmctl.ok(&["service", "set", "shop", "--port", &port.to_string()]);
    let key = format!("SHOP/127.0.0.1:shop:{port}");
    wait_until("the instance of the new port alone", || {
        let statuses = kit.eureka.statuses();
        match statuses.len() == 1 && statuses.contains_key(&key) {
            true => Ok(()),
            false => Err(format!("{statuses:?}")),
        }
    });
    kit.pmctl.ok(&["service", "remove", "shop"]);
    kit.assert_gone();
    server.stop();
}

#[test]
fn what_a_dead_server_left_is_taken_out_by_the_next_and_nothing_else() {
    let kit = Kit::new();
    kit.announced(kit.pmctl.serve_alone()).kill_hard();
    assert_eq!(kit.eureka.statuses().len(), 1, "nobody said goodbye");
    // Its port was given to somebody else meanwhile, who announced the same id: not ours.
    kit.pmctl.ok(&["service", "stop", "shop"]);
    let other = json!({"instanceId": "127.0.0.1:other:1", "app": "OTHER", "status": "UP",
        "metadata": {"pmctl.node": "another/default", "pmctl.epoch": "1"}});
    kit.eureka.put("OTHER", "127.0.0.1:other:1", other);
    let server = kit.serve();
    wait_until("the residue's end", || {
        let statuses = kit.eureka.statuses();
        match statuses.len() == 1 && statuses.contains_key("OTHER/127.0.0.1:other:1") {
            true => Ok(()),
            false => Err(format!("{statuses:?}")),
        }
    });
    server.stop();
    assert_eq!(kit.eureka.statuses().len(), 1);
}

#[test]
fn a_renewal_in_flight_when_the_stop_comes_never_brings_the_instance_back() {
    let kit = Kit::new();
    let mut server = kit.serve_announced();
    kit.eureka.hold("PUT", true);
    wait_until("a renewal in flight", || match kit.eureka.held() {
        0 => Err("none yet".to_owned()),
        _ => Ok(()),
    });
    // The registry forgets it, so that the renewal's answer is "register again".
    kit.eureka.forget();
    server.signal(Signal::TERM);
    wait_until("the step of the shutdown", || {
        let log = server.stderr();
        if log.contains("status synchronisation stopped") { Ok(()) } else { Err(log) }
    });
    kit.eureka.hold("PUT", false);
    assert_eq!(server.wait_exit(), 0, "{server}");
    kit.assert_gone();
    let calls = kit.eureka.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("POST")).count(), 1, "{calls:?}");
}

#[test]
fn two_nodes_with_the_same_service_have_instances_of_their_own() {
    let first = Kit::new();
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.announce_in(&first.eureka.url());
    pmctl.add("shop", port, &first.upstream.url());
    let one = first.serve_announced();
    let other = pmctl.serve();
    wait_until("both", || match first.eureka.statuses().len() {
        2 => Ok(()),
        _ => Err(format!("{:?}", first.eureka.statuses())),
    });
    other.stop();
    first.wait_listed("UP");
    assert_eq!(first.eureka.statuses().len(), 1);
    one.stop();
    first.assert_gone();
}

#[test]
fn a_listener_that_consumers_cannot_reach_is_not_announced() {
    let kit = Kit::new();
    let server = kit.pmctl.serve_with(&["--advertise", "203.0.113.1"]);
    let lease = wait_lease(&kit.pmctl, "refused", |lease| {
        lease["reason"].as_str().is_some_and(|reason| reason.contains("203.0.113.1"))
    });
    assert_eq!(lease["state"], "unregistered");
    let status = kit.pmctl.json(&["status"]);
    assert!(status["attention"].to_string().contains("is not announced"), "{status:#}");
    kit.assert_serves();
    kit.assert_gone();
    server.stop();
}

#[test]
fn a_drain_tells_the_registry_down_and_serves_on_until_its_bound() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let mut draining =
        kit.pmctl.command(&["service", "drain", "shop", "--max", "3s"]).spawn().expect("the drain");
    kit.wait_listed("DOWN");
    kit.assert_serves();
    wait_within(crate::support::DEADLINE, "the end of the drain", || {
        draining.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "draining".to_owned())
    });
    kit.assert_gone();
    assert_eq!(kit.pmctl.rows()["shop"].1, "stopped");
    server.stop();
}

#[test]
fn a_drain_without_a_server_is_refused() {
    let kit = Kit::new();
    let refused = kit.pmctl.fails(4, &["service", "drain", "shop"]);
    // Nothing is said of an option that was not given.
    assert!(refused.stderr.contains("cannot be drained without"), "{refused}");
    assert!(!refused.stderr.contains("--no-fallback"), "{refused}");
}

#[test]
fn an_operators_override_is_shown_and_left_alone() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let mut instance = kit.eureka.instance("SHOP").expect("the instance");
    instance["status"] = json!("OUT_OF_SERVICE");
    instance["overriddenStatus"] = json!("OUT_OF_SERVICE");
    kit.eureka.put("SHOP", &kit.id, instance);
    wait_lease(&kit.pmctl, "overridden", |lease| lease["overrideStatus"] == "OUT_OF_SERVICE");
    let renewals = kit.eureka.calls().len();
    wait_calls(&kit, "PUT", renewals + 2);
    kit.wait_listed("OUT_OF_SERVICE");
    server.stop();
    kit.assert_gone();
}
