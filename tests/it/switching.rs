//! A change of the active target under load costs nobody anything.

use std::net::SocketAddr;

use crate::support::{Load, Pmctl, Script, Upstream, Wire, free_port, wait_until};

#[test]
fn two_hundred_switches_under_load_fail_no_request_and_drop_no_connection() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &blue.url());
    pmctl.ok(&["service", "target", "add", "web", &format!("green={}", green.url())]);
    let server = pmctl.serve();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let load = Load::start(&[address], 32, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", |answer| {
        match (answer.status, answer.text().as_str()) {
            (200, "blue" | "green") => Ok(()),
            (status, text) => Err(format!("{status} {text}")),
        }
    });
    for turn in 0..200_u64 {
        let (target, color) = if turn % 2 == 0 { ("green", "green") } else { ("main", "blue") };
        let before = load.whole();
        let report = pmctl.json(&["service", "switch", "web", target]);
        assert_eq!(report["applied"], "live", "{report:#}");
        // A switch that is done holds for every request after it.
        assert_eq!(Wire::to(port).get("/").text(), color, "turn {turn}");
        wait_until("load between two switches", || match load.whole() > before {
            true => Ok(()),
            false => Err(format!("{before} requests, turn {turn}")),
        });
    }
    let report = load.finish();
    report.assert_all_answered(None, &server.to_string());
    assert_eq!(report.connections, 32, "connections were dropped");
    server.stop();
}

#[test]
fn a_request_under_way_finishes_on_the_target_it_began_with() {
    let (script, green) = (Script::start(), Upstream::saying("green"));
    let (pmctl, port) = (Pmctl::new(), free_port());
    pmctl.add("web", port, &script.url());
    pmctl.ok(&["service", "target", "add", "web", &format!("green={}", green.url())]);
    let server = pmctl.serve();
    let mut client = Wire::to(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = script.accept();
    held.request();
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun ");
    pmctl.ok(&["service", "switch", "web", "green"]);
    assert_eq!(Wire::to(port).get("/").text(), "green");
    held.send("old");
    assert_eq!(client.response().text(), "begun old");
    // The same client connection, the new target.
    assert_eq!(client.get("/").text(), "green");
    server.stop();
}
