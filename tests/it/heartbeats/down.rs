//! DOWN, because the target is unhealthy or the service leaves, through everything that announces it
//! anew.

use std::process::Child;

use super::Kit;
use crate::support::{DEADLINE, free_port, wait_until, wait_within};

/// Whatever was announced from the `since`th time on said DOWN; waits for one that did.
#[track_caller]
fn wait_down_since(kit: &Kit, since: usize) {
    wait_until("an announcement", || {
        let announced = kit.eureka.announced().split_off(since);
        assert!(announced.iter().all(|status| status == "DOWN"), "{announced:?}");
        let listed: Vec<String> = kit.eureka.statuses().into_values().collect();
        match announced.is_empty() || listed != ["DOWN"] {
            true => Err(format!("{announced:?} {listed:?}")),
            false => Ok(()),
        }
    });
}

/// `service drain`, once the registry was told.
#[track_caller]
fn draining(kit: &Kit) -> Child {
    let drain = kit.pmctl.command(&["service", "drain", "shop", "--max", "10m"]).spawn();
    kit.wait_listed("DOWN");
    drain.expect("the drain")
}

/// The drain ends without a stop.
#[track_caller]
fn assert_interrupted(kit: &Kit, mut drain: Child) {
    let status = wait_within(DEADLINE, "the end of the drain", || {
        drain.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "draining".to_owned())
    });
    assert!(!status.success());
    assert_eq!(kit.pmctl.rows()["shop"].1, "running");
}

#[test]
fn an_unhealthy_service_that_is_announced_anew_is_never_up() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let gone = format!("gone=http://127.0.0.1:{}", free_port());
    kit.pmctl.ok(&["service", "target", "add", "shop", &gone]);
    kit.pmctl.ok(&["service", "set", "shop", "--health-path", "/", "--health-interval", "100ms"]);
    kit.pmctl.ok(&["service", "switch", "shop", "gone"]);
    kit.wait_listed("DOWN");
    let since = || kit.eureka.announced().len();
    let before = since();
    kit.pmctl.ok(&["service", "set", "shop", "--no-register"]);
    kit.assert_gone();
    kit.pmctl.ok(&["service", "set", "shop", "--register"]);
    wait_down_since(&kit, before);
    let before = since();
    kit.eureka.forget();
    wait_down_since(&kit, before);
    let before = since();
    kit.pmctl.ok(&["service", "set", "shop", "--port", &free_port().to_string()]);
    wait_down_since(&kit, before);
    server.stop();
    kit.assert_gone();
}

#[test]
fn a_draining_service_stays_down_until_somebody_starts_it() {
    let kit = Kit::new();
    let server = kit.serve_announced();
    let drain = draining(&kit);
    let before = kit.eureka.announced().len();
    kit.pmctl.ok(&["service", "set", "shop", "--no-register"]);
    kit.assert_gone();
    kit.pmctl.ok(&["service", "set", "shop", "--register"]);
    wait_down_since(&kit, before);
    kit.pmctl.ok(&["service", "start", "shop"]);
    kit.wait_listed("UP");
    assert_interrupted(&kit, drain);
    let drain = draining(&kit);
    kit.pmctl.ok(&["service", "restart", "shop"]);
    kit.wait_listed("UP");
    assert_interrupted(&kit, drain);
    kit.assert_serves();
    server.stop();
    kit.assert_gone();
}
