//! Ports are freed of exactly the process that has them.

use crate::support::{Holder, Listen, Pmctl, free_ports};

#[test]
fn a_kill_ends_exactly_the_holder() {
    let pmctl = Pmctl::new();
    let ports = free_ports(2);
    let mut holder = Holder::on(&ports[..1], Listen::V4);
    let mut other = Holder::on(&ports[1..], Listen::V4);
    // A client of the other one, whose own port it is, is no holder either.
    let client = std::net::TcpStream::connect(("127.0.0.1", ports[1])).expect("a client");
    let port = ports[0].to_string();
    let status = pmctl.json(&["ports", "status", &port]);
    let shown = &status["ports"][&port];
    assert_eq!(shown["pid"], holder.pid(), "{status:#}");
    // Wine tells the program alone of the command line.
    let program = std::env::current_exe().expect("the test binary");
    let name = program.file_name().and_then(|name| name.to_str()).expect("its name");
    let command = shown["holders"][0]["command"].as_str().unwrap_or_default();
    assert!(command.contains(name), "{status:#}");

    let killed = pmctl.json(&["ports", "kill", &port]);
    assert_eq!(killed["ports"][0]["action"], "terminated", "{killed:#}");
    assert_eq!(killed["ports"][0]["holders"][0]["pid"], holder.pid(), "{killed:#}");
    assert!(!holder.is_alive());
    assert!(other.is_alive());
    let again = pmctl.json(&["ports", "kill", &port]);
    assert_eq!(again["ports"][0]["action"], "already-free", "{again:#}");
    drop(client);
}

#[test]
fn there_is_one_way_to_end_a_process_and_its_own_line_is_safe() {
    let pmctl = Pmctl::new();
    pmctl.fails(2, &["ports", "kill", "8080", "--signal", "TERM"]);
    // The command is a child of this very process.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port().to_string();
    let left = pmctl.run(&["-o", "json", "ports", "kill", &port, "--force"]).expect(3).json();
    assert_eq!(left["ports"][0]["action"], "left", "{left:#}");
}

#[test]
fn a_server_whose_port_is_killed_stops_that_service_alone() {
    let (pmctl, upstream) = (Pmctl::new(), crate::support::Upstream::saying("hello"));
    let ports = free_ports(2);
    pmctl.add("one", ports[0], &upstream.url());
    pmctl.add("two", ports[1], &upstream.url());
    let mut server = pmctl.serve();
    let killed = pmctl.json(&["ports", "kill", &ports[0].to_string()]);
    assert_eq!(killed["ports"][0]["action"], "stopped", "{killed:#}");
    assert_eq!(crate::support::Wire::to(ports[1]).get("/").text(), "hello");
    assert!(server.try_exit().is_none());
}
