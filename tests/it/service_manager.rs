//! What a service manager is told, by the protocol of systemd: a datagram socket that a test reads.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Holder, Listen, Pmctl, Server, Upstream, free_port, get, wait_until};

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    /// Every message so far, each as its lines.
    heard: Vec<Vec<String>>,
}

impl Manager {
    fn listening(pmctl: &Pmctl) -> Self {
        let path = pmctl.dir().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a bound");
        Self { socket, path, heard: Vec::new() }
    }

    fn variable(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// Reads what has come.
    fn hear(&mut self) -> &[Vec<String>] {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    self.heard.push(text.lines().map(str::to_owned).collect());
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return &self.heard;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for a message with a line that begins so, and how often such came.
    #[track_caller]
    fn wait_for(&mut self, line: &str, times: usize) {
        wait_until(&format!("{times} times {line}"), || {
            let heard = self.hear();
            match heard.iter().flatten().filter(|of| of.starts_with(line)).count() {
                came if came >= times => Ok(()),
                _ => Err(format!("{heard:#?}")),
            }
        });
    }
}

fn service(pmctl: &Pmctl) -> (u16, Upstream) {
    let (upstream, port) = (Upstream::saying("hello"), free_port());
    pmctl.add("shop", port, &upstream.url());
    (port, upstream)
}

#[test]
fn the_manager_hears_of_the_start_the_beat_and_each_step_of_the_stop() {
    let pmctl = Pmctl::new();
    let mut manager = Manager::listening(&pmctl);
    let pmctl = pmctl.with("NOTIFY_SOCKET", manager.variable()).with("WATCHDOG_USEC", "200000");
    let (_port, _upstream) = service(&pmctl);
    let mut server = pmctl.serve();
    manager.wait_for("READY=1", 1);
    manager.wait_for("STATUS=ready: control address http://127.0.0.1:", 1);
    manager.wait_for("WATCHDOG=1", 3);
    assert!(!manager.hear().iter().flatten().any(|line| line == "STOPPING=1"));
    server.signal(Signal::TERM);
    manager.wait_for("STATUS=all proxies stopped", 1);
    assert_eq!(server.wait_exit(), 0);
    assert!(!server.stderr().contains("service manager"), "{server}");
    let heard = manager.hear();
    let leaving: Vec<_> =
        heard.iter().filter(|message| message.contains(&"STOPPING=1".to_owned())).collect();
    assert!(leaving.len() > 5, "{heard:#?}");
    for message in leaving {
        let extended = message.iter().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="));
        let extended: u64 = extended.and_then(|usec| usec.parse().ok()).expect("a time");
        // The bound of the shutdown, 30 s, and 5 s for the end of the process.
        assert!((5_000_000..=35_000_000).contains(&extended), "{message:?}");
    }
    let once = heard.iter().flatten().filter(|line| *line == "READY=1").count();
    assert_eq!(once, 1, "{heard:#?}");
}

#[test]
fn a_manager_that_does_not_read_delays_nothing() {
    let pmctl = Pmctl::new();
    let manager = Manager::listening(&pmctl);
    let pmctl = pmctl.with("NOTIFY_SOCKET", manager.variable()).with("WATCHDOG_USEC", "2000");
    let (port, _upstream) = service(&pmctl);
    let server = pmctl.serve();
    // More than its socket holds was told before long.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..200 {
        assert_eq!(get(address, "/").map(|answer| answer.status).ok(), Some(200));
    }
    server.stop();
}

#[test]
#[cfg(target_os = "linux")]
fn the_guardian_cannot_speak_for_its_server() {
    let pmctl = Pmctl::new();
    let manager = Manager::listening(&pmctl);
    let pmctl = pmctl.with("NOTIFY_SOCKET", manager.variable()).with("WATCHDOG_USEC", "200000");
    let server = pmctl.serve();
    let guardian = wait_until("a guardian", || server.guardian().ok_or("none yet".to_owned()));
    let path = format!("/proc/{}/environ", guardian.as_raw_nonzero());
    let environment = std::fs::read(path).expect("its environment");
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("HOME="), "{environment:?}");
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        assert!(!environment.contains(variable), "{environment:?}");
    }
    server.stop();
}

#[test]
fn a_start_that_waits_asks_for_time_and_is_not_ready() {
    let pmctl = Pmctl::new();
    let mut manager = Manager::listening(&pmctl);
    let pmctl = pmctl.with("NOTIFY_SOCKET", manager.variable());
    let (port, _upstream) = service(&pmctl);
    let holder = Holder::on(&[port], Listen::V4);
    let mut server = Server::spawn(&pmctl, &[], &["--on-conflict", "wait"]);
    manager.wait_for("EXTEND_TIMEOUT_USEC=30000000", 1);
    let not_ready = |heard: &[Vec<String>]| !heard.iter().flatten().any(|line| line == "READY=1");
    assert!(not_ready(manager.hear()));
    drop(holder);
    server.wait_ready();
    manager.wait_for("READY=1", 1);
    // No watchdog was asked for, so none is fed.
    assert!(!manager.hear().iter().flatten().any(|line| line == "WATCHDOG=1"));
    server.stop();
}

#[test]
fn the_watchdog_of_another_process_is_not_fed_and_a_manager_that_is_gone_stops_nothing() {
    let pmctl = Pmctl::new();
    let mut manager = Manager::listening(&pmctl);
    let pmctl = pmctl
        .with("NOTIFY_SOCKET", manager.variable())
        .with("WATCHDOG_USEC", "200000")
        .with("WATCHDOG_PID", "1");
    let (_port, _upstream) = service(&pmctl);
    let server = pmctl.serve();
    manager.wait_for("READY=1", 1);
    let heard: BTreeMap<String, usize> =
        manager.hear().iter().flatten().fold(BTreeMap::new(), |mut all, line| {
            *all.entry(line.clone()).or_default() += 1;
            all
        });
    drop(manager);
    std::fs::remove_file(pmctl.dir().join("notify")).expect("the socket");
    let log = server.stop();
    assert!(!heard.contains_key("WATCHDOG=1"), "{heard:?}");
    assert!(log.contains("service manager could not be told"), "{log}");
}

#[test]
fn a_server_that_stands_still_feeds_no_watchdog() {
    let pmctl = Pmctl::new();
    let mut manager = Manager::listening(&pmctl);
    let pmctl = pmctl.with("NOTIFY_SOCKET", manager.variable()).with("WATCHDOG_USEC", "200000");
    let (_port, _upstream) = service(&pmctl);
    let server = pmctl.serve();
    manager.wait_for("WATCHDOG=1", 1);
    server.signal(Signal::STOP);
    // What was on its way has come once twice as long as two beats is silent.
    let mut last = manager.hear().len();
    wait_until("silence", || {
        manager.socket.set_read_timeout(Some(Duration::from_millis(400))).expect("a bound");
        let before = std::mem::replace(&mut last, manager.hear().len());
        if before == last { Ok(()) } else { Err(format!("{before}, then {last}")) }
    });
    server.signal(Signal::CONT);
    manager.socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a bound");
    manager.wait_for("WATCHDOG=1", last);
    server.stop();
}

#[test]
fn commands_that_are_no_server_tell_the_manager_nothing() {
    let pmctl = Pmctl::new();
    let mut manager = Manager::listening(&pmctl);
    let pmctl = pmctl.with("NOTIFY_SOCKET", manager.variable()).with("WATCHDOG_USEC", "200000");
    let (_port, _upstream) = service(&pmctl);
    pmctl.json(&["status"]);
    pmctl.ok(&["cleanup"]);
    pmctl.ok(&["verify"]);
    assert_eq!(manager.hear(), [] as [Vec<String>; 0]);
}

#[test]
fn a_grace_that_is_too_short_is_said_at_the_start() {
    let pmctl = Pmctl::new().with("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let (_port, _upstream) = service(&pmctl);
    let log = pmctl.serve_with(&["--shutdown-timeout", "1m"]).stop();
    assert!(log.contains("terminationGracePeriodSeconds: 65"), "{log}");
    let log = pmctl.serve().stop();
    assert!(!log.contains("terminationGracePeriodSeconds"), "{log}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_manager_whose_socket_no_file_stands_for_is_told_as_well() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let pmctl = Pmctl::new();
    let path = pmctl.dir().join("notify");
    let name = path.to_str().expect("UTF-8");
    let address = SocketAddr::from_abstract_name(name).expect("an address");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a bound");
    let mut manager = Manager { socket, path: path.clone(), heard: Vec::new() };
    let pmctl = pmctl.with("NOTIFY_SOCKET", &format!("@{name}"));
    let server = pmctl.serve();
    manager.wait_for("READY=1", 1);
    server.stop();
    manager.wait_for("STOPPING=1", 1);
}
