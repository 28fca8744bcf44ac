//! How targets are watched, and what the faces show of leases in a registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::support::{Pmctl, Server, Upstream, free_port, get, is_listening, wait_until};

/// An upstream that answers with whatever status is set, and a service that watches it.
struct Watched {
    pmctl: Pmctl,
    server: Server,
    port: u16,
    status: Arc<AtomicU16>,
    _upstream: Upstream,
}

fn with_status() -> (Upstream, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let said = Arc::clone(&status);
    let upstream = Upstream::start(move |exchange| {
        exchange.body()?;
        let status = said.load(Ordering::SeqCst);
        let message = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
        exchange.wire.try_send(message.into_bytes())
    });
    (upstream, status)
}

fn watched() -> Watched {
    let (pmctl, port) = (Pmctl::new(), free_port());
    let (upstream, status) = with_status();
    let server = pmctl.serve();
    let target = format!("main=http://{}/base", upstream.address());
    let port_text = port.to_string();
    let base = ["service", "add", "shop", "--port", &port_text, "--target", &target];
    let health = ["--health-path", "/up", "--health-interval", "100ms"];
    pmctl.ok(&[&base[..], &health[..], &["--bind", "127.0.0.1"][..]].concat());
    Watched { pmctl, server, port, status, _upstream: upstream }
}

fn shown(pmctl: &Pmctl) -> Value {
    let document = pmctl.json(&["service", "show", "shop"]);
    document["services"][0]["health"].clone()
}

#[track_caller]
fn wait_state(pmctl: &Pmctl, state: &str) -> Value {
    wait_until(&format!("a target that is {state}"), || {
        let health = shown(pmctl);
        match health["state"] == state {
            true => Ok(health),
            false => Err(format!("{health:#}")),
        }
    })
}

fn events(pmctl: &Pmctl, action: &str) -> Vec<Value> {
    let document = pmctl.json(&["events", "-n", "100"]);
    let all = document["events"].as_array().expect("events").clone();
    all.into_iter().filter(|event| event["action"] == action).collect()
}

#[test]
fn a_target_that_turns_500_is_unhealthy_says_so_everywhere_and_is_served_all_the_same() {
    let Watched { pmctl, server, port, status, _upstream } = watched();
    let health = wait_state(&pmctl, "healthy");
    assert_eq!(health["reason"], Value::Null, "{health:#}");
    let check = json!({"path": "/up", "intervalMs": 100, "timeoutMs": 100,
        "unhealthyAfter": 3, "healthyAfter": 2});
    assert_eq!(health["check"], check);
    assert!(events(&pmctl, "service-healthy").is_empty(), "it was never otherwise");

    status.store(500, Ordering::SeqCst);
    let health = wait_state(&pmctl, "unhealthy");
    assert!(health["reason"].as_str().is_some_and(|r| r.contains("/up with 500")), "{health:#}");
    let attention = pmctl.json(&["status"])["attention"].to_string();
    assert!(attention.contains("unhealthy") && attention.contains("shop"), "{attention}");
    let table = pmctl.ok(&["service", "show", "shop"]);
    assert!(table.stdout.contains("unhealthy") && table.stdout.contains("/up"), "{table}");
    // Traffic is the caller's affair: nothing is held back because of what was seen.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(get(address, "/").expect("an answer").status, 500);

    status.store(204, Ordering::SeqCst);
    let health = wait_state(&pmctl, "healthy");
    assert_eq!(health["reason"], Value::Null);
    wait_until("an event for each change", || {
        let (bad, good) = (events(&pmctl, "service-unhealthy"), events(&pmctl, "service-healthy"));
        match (bad.len(), good.len()) {
            (1, 1) => Ok(()),
            _ => Err(format!("{bad:#?} {good:#?}")),
        }
    });
    assert_eq!(events(&pmctl, "service-unhealthy")[0]["outcome"], "failed");
    server.stop();
}

#[test]
fn another_active_target_is_judged_by_itself_and_no_more_watching_shows_nothing() {
    let Watched { pmctl, server, status, .. } = watched();
    status.store(503, Ordering::SeqCst);
    wait_state(&pmctl, "unhealthy");
    let (other, _) = with_status();
    let target = format!("other=http://{}", other.address());
    pmctl.ok(&["service", "target", "add", "shop", &target]);
    pmctl.ok(&["service", "switch", "shop", "other"]);
    wait_state(&pmctl, "healthy");
    pmctl.ok(&["service", "switch", "shop", "main"]);
    wait_state(&pmctl, "unhealthy");
    let set = pmctl.json(&["service", "set", "shop", "--health-interval", "200ms"]);
    let health = &set["services"][0]["service"]["health"];
    assert_eq!(health["check"]["intervalMs"], 200, "{set:#}");
    assert_eq!(health["state"], "unhealthy", "the same target, looked at otherwise: {set:#}");
    pmctl.ok(&["service", "stop", "shop"]);
    assert_eq!(shown(&pmctl)["state"], "unknown");
    pmctl.ok(&["service", "set", "shop", "--no-health"]);
    assert_eq!(shown(&pmctl), Value::Null);
    server.stop();
    assert_eq!(shown(&pmctl), Value::Null);
}

#[test]
fn a_silent_target_is_unhealthy_and_a_server_that_is_down_knows_nothing() {
    let (pmctl, port) = (Pmctl::new(), free_port());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("main=http://{}", silent.local_addr().expect("its address"));
    let server = pmctl.serve();
    let port_text = port.to_string();
    let base = ["service", "add", "shop", "--port", &port_text, "--target", &target];
    let health = ["--health-path", "/", "--health-interval", "100ms", "--health-timeout", "50ms"];
    pmctl.ok(&[&base[..], &health[..], &["--unhealthy-after", "1"][..]].concat());
    let health = wait_state(&pmctl, "unhealthy");
    assert!(health["reason"].as_str().is_some_and(|r| r.contains("50ms")), "{health:#}");
    server.stop();
    let health = shown(&pmctl);
    assert_eq!((&health["state"], &health["since"]), (&"unknown".into(), &Value::Null));
    assert_eq!(health["check"]["unhealthyAfter"], 1);
}

#[test]
fn leases_are_one_document_through_the_server_by_http_and_without_a_server() {
    let Watched { pmctl, server, port, .. } = watched();
    let through = pmctl.json(&["heartbeat", "status"]);
    assert_eq!((&through["success"], &through["source"]), (&true.into(), &"server".into()));
    let lease = &through["heartbeats"][0];
    assert_eq!((&lease["serviceName"], &lease["port"]), (&"shop".into(), &port.into()));
    assert_eq!((&lease["state"], &lease["isActive"]), (&"disabled".into(), &false.into()));
    assert_eq!(server.json("/api/heartbeat/status"), through);
    let history = server.json("/api/heartbeat/history/shop");
    assert_eq!(history["heartbeats"], json!([]), "{history:#}");
    assert_eq!(pmctl.json(&["heartbeat", "history", "shop"]), history);
    for (path, status) in [
        ("/api/heartbeat/history/ghost", 404),
        ("/api/heartbeat/history/shop?limit=0", 400),
        ("/api/heartbeat/history/shop?limit=1001", 400),
        ("/api/heartbeat/history/shop?max=1", 400),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    let ghost = pmctl.run(&["heartbeat", "status", "ghost"]);
    assert_eq!(ghost.status.code(), Some(1), "{ghost}");
    server.stop();
    let direct = pmctl.json(&["heartbeat", "status", "shop"]);
    assert_eq!(direct["source"], "database");
    assert_eq!(direct["heartbeats"][0]["serviceName"], "shop");
    let history = pmctl.json(&["heartbeat", "history", "shop"]);
    assert_eq!(history["source"], "database");
}

#[test]
fn a_drain_ends_with_the_service_stopped_and_needs_a_server() {
    let Watched { pmctl, server, port, .. } = watched();
    let drained = pmctl.json(&["service", "drain", "shop", "--max", "1s"]);
    let service = &drained["services"][0]["service"];
    assert_eq!(service["actual"], "stopped", "{drained:#}");
    assert!(!is_listening(port));
    let ghost = pmctl.run(&["service", "drain", "ghost"]);
    assert_eq!(ghost.status.code(), Some(1), "{ghost}");
    let forbidden = pmctl.run(&["service", "drain", "shop", "--direct"]);
    assert_eq!(forbidden.status.code(), Some(4), "{forbidden}");
    server.stop();
    let alone = pmctl.run(&["service", "drain", "shop"]);
    assert_eq!(alone.status.code(), Some(4), "{alone}");
    assert!(!alone.stderr.contains("database itself"), "{alone}");
}

#[test]
fn mistakes_about_the_registry_are_told_together_and_without_its_password() {
    let pmctl = Pmctl::new();
    pmctl.write_config("[eureka]\nurls = ['ftp://ann:s3cret@a']\ninterval = '0s'\n");
    let ran = pmctl.run(&["serve", "--advertise", "0.0.0.0", "--lame-duck", "soon"]);
    assert_eq!(ran.status.code(), Some(2), "{ran}");
    for part in ["eureka.urls[0]", "eureka.interval", "--advertise", "--lame-duck"] {
        assert!(ran.stderr.contains(part), "{part} in {ran}");
    }
    assert_eq!(ran.stderr.matches("error: ").count(), 4, "{ran}");
    assert!(!ran.all().contains("s3cret"), "{ran}");
    let read = pmctl.run(&["heartbeat", "status"]);
    assert_eq!(read.status.code(), Some(2), "clients read the same settings: {read}");
}
