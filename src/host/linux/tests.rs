use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::identity_of;
use crate::host::{
    Holder, Holding, PinError, connections, details, holders, is_own_socket, is_untouchable,
    own_identity, own_line, peer_socket, pin,
};
use crate::model::{EndSignal, HolderDetails, Port, ProcessIdentity};

/// A process that ends with the test, however that goes.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Sleeps, with a descriptor of `socket`.
    fn holding(socket: impl Into<OwnedFd>) -> Self {
        Self::start(Command::new("sleep").arg("600").stdout(Stdio::from(socket.into())))
    }

    /// A shell script that is ready once it has written a line.
    fn script(script: &str) -> Self {
        let mut shell = Command::new("sh");
        let mut child = Self::start(shell.args(["-c", script]).stdout(Stdio::piped()));
        let mut line = String::new();
        let output = child.0.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        child
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn identity(&self) -> ProcessIdentity {
        identity_of(self.pid()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

fn port_of(address: SocketAddr) -> Port {
    Port::new(address.port()).unwrap()
}

fn held(port: Port) -> Vec<Holder> {
    match holders(&[port].into(), &[]).unwrap().remove(&port) {
        Some(Holding::Held(holders)) => holders,
        other => panic!("{other:?}"),
    }
}

fn holder(child: &Running) -> Holder {
    let identity = child.identity();
    Holder { identity, uid: None, user: None, command: None, started_at: None }
}

fn details_of(child: &Running) -> HolderDetails {
    details(&[holder(child)]).remove(0)
}

/// A listener of `address` that may share it with others of this user.
fn shared(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    socket
}

#[test]
fn both_ways_to_list_the_sockets_agree() {
    let listeners: Vec<_> = ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"]
        .iter()
        .map(|address| TcpListener::bind(address).unwrap())
        .collect();
    for listener in &listeners {
        let port = port_of(listener.local_addr().unwrap());
        let of = |all: std::io::Result<Vec<super::Socket>>| {
            all.unwrap().into_iter().filter(|s| s.port == port).collect::<Vec<_>>()
        };
        let diag = of(super::sock_diag::listening());
        assert_eq!(diag, of(super::proc_net::listening()));
        assert_eq!(diag.len(), 1);
        assert_eq!(diag[0].uid, rustix::process::geteuid().as_raw());
    }
}

#[test]
fn a_listener_of_ipv6_alone_and_its_sharers_by_fork_and_by_port_are_all_found() {
    let first = shared(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let address = first.local_addr().unwrap().as_socket().unwrap();
    let port = port_of(address);
    let second = shared(address);
    // Both processes of the script have the one socket.
    let forked = Running::start(
        Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .stdout(Stdio::from(OwnedFd::from(first))),
    );
    let by_port = Running::holding(second);
    let me = own_identity().unwrap().pid;
    let mut found = BTreeSet::new();
    until("three holders and not this process", || {
        found = held(port).iter().map(|h| h.identity.pid).collect();
        found.len() == 3 && !found.contains(&me)
    });
    assert!(found.is_superset(&[forked.pid(), by_port.pid()].into()), "{found:?}");
    for pid in found {
        let pinned = pin(&identity_of(pid).unwrap()).unwrap();
        assert!(pinned.listens_on(port));
        pinned.end(None).unwrap();
        assert!(pinned.wait(Duration::from_secs(20)));
    }
    until("nobody listens", || {
        holders(&[port].into(), &[]).unwrap().remove(&port) == Some(Holding::Free)
    });
}

#[test]
fn a_holder_is_told_with_its_program_directory_ports_and_ancestors() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (shared("127.0.0.1:0".parse().unwrap()), shared("[::1]:0".parse().unwrap()));
    let port = |socket: &Socket| port_of(socket.local_addr().unwrap().as_socket().unwrap());
    let ports: BTreeSet<Port> = [port(&one), port(&two)].into();
    let mut sleep = Command::new("sleep");
    sleep.arg("600").current_dir(directory.path());
    let sleep = sleep.stdout(Stdio::from(OwnedFd::from(one)));
    let child = Running::start(sleep.stderr(Stdio::from(OwnedFd::from(two))));
    let gone = {
        let mut gone = holder(&child);
        gone.identity.start_time -= 1;
        gone
    };
    let found = details(&[gone, holder(&child)]);
    assert_eq!(found[0], HolderDetails::default(), "another process with that pid");
    let details = &found[1];
    assert_eq!(details.other_ports, ports);
    assert_eq!(details.directory, Some(directory.path().canonicalize().unwrap()));
    // Some systems have one program for many names.
    let program = std::fs::read_link(format!("/proc/{}/exe", child.pid())).unwrap();
    assert_eq!(details.executable, Some(program));
    let pids: Vec<u32> = details.parents.iter().map(|parent| parent.pid).collect();
    assert_eq!(pids[0], std::process::id());
    assert!(details.parents[0].name.as_ref().unwrap().starts_with("pmctl"), "{details:?}");
    // The same way up as this process, which is the child's parent.
    assert_eq!(pids.iter().copied().collect::<BTreeSet<_>>(), own_line());
    assert!(own_line().contains(&std::os::unix::process::parent_id()));
    // Whatever unit or container this test runs in, the child is in the same.
    assert_eq!(details.keeper, None);
}

#[test]
fn connections_are_counted_on_the_side_that_accepted_them() {
    let dual = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    dual.set_only_v6(false).unwrap();
    dual.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
    dual.listen(16).unwrap();
    let listener = TcpListener::from(dual);
    let port = port_of(listener.local_addr().unwrap());
    let quiet = TcpListener::bind("127.0.0.1:0").unwrap();
    let none = port_of(quiet.local_addr().unwrap());
    let count = || connections(&[port, none].into()).unwrap();
    assert_eq!(count(), [(port, 0), (none, 0)].into());
    let v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port.get())).unwrap();
    let v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port.get())).unwrap();
    assert_eq!(count(), [(port, 2), (none, 0)].into(), "not accepted yet, but they stand");
    let accepted = [listener.accept().unwrap(), listener.accept().unwrap()];
    assert_eq!(count(), [(port, 2), (none, 0)].into());
    drop((v4, v6, accepted));
    until("they are closed", || count() == [(port, 0), (none, 0)].into());
    assert_eq!(connections(&BTreeSet::new()), Some([].into()));
}

#[test]
fn init_and_the_kernels_own_are_out_of_bounds_and_others_are_not() {
    assert!(is_untouchable(0) && is_untouchable(1));
    // Of kernel threads a container shows none.
    if std::fs::read("/proc/2/comm").is_ok_and(|name| name == b"kthreadd\n") {
        assert!(is_untouchable(2));
    }
    assert!(!is_untouchable(std::process::id()));
    assert!(!is_untouchable(u32::MAX));
}

#[test]
fn a_process_ends_when_asked_to_and_is_gone_before_it_is_waited_for() {
    let child = Running::script("echo ready; exec sleep 600");
    let pinned = pin(&child.identity()).unwrap();
    assert_eq!(pinned.identity(), &child.identity());
    assert!(pinned.may_signal() && !pinned.has_ended() && !pinned.has_window());
    assert!(!pinned.wait(Duration::from_millis(1)));
    pinned.end(None).unwrap();
    assert!(pinned.wait(Duration::from_secs(20)));
    // It is a zombie: nobody has waited for it.
    assert!(
        std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap().contains(") Z")
    );
    assert!(pinned.has_ended() && !pinned.may_signal());
    assert!(matches!(pinned.end(Some(EndSignal::Kill)), Err(PinError::Gone)));
    assert!(matches!(pinned.resume(), Err(PinError::Gone)));
    assert!(matches!(pin(&child.identity()), Err(PinError::Gone)));
}

#[test]
fn what_ignores_term_is_ended_by_kill_and_what_is_stopped_ends_once_it_goes_on() {
    let stubborn = Running::script("trap '' TERM; echo ready; exec sleep 600");
    let pinned = pin(&stubborn.identity()).unwrap();
    pinned.end(Some(EndSignal::Term)).unwrap();
    assert!(!pinned.wait(Duration::from_millis(50)));
    pinned.end(Some(EndSignal::Kill)).unwrap();
    assert!(pinned.wait(Duration::from_secs(20)));

    let mut stopped = Running::script("echo ready; kill -STOP $$; echo went on; exec sleep 600");
    let stat = format!("/proc/{}/stat", stopped.pid());
    until("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T"));
    let pinned = pin(&stopped.identity()).unwrap();
    pinned.end(Some(EndSignal::Term)).unwrap();
    assert!(!pinned.wait(Duration::from_millis(20)));
    pinned.resume().unwrap();
    assert!(pinned.wait(Duration::from_secs(20)));
    let mut rest = String::new();
    stopped.0.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "the signal reached it first");
}

#[test]
fn every_signal_that_can_be_asked_for_reaches_the_process() {
    use std::os::unix::process::ExitStatusExt;
    for (signal, number) in [
        (EndSignal::Term, 15),
        (EndSignal::Int, 2),
        (EndSignal::Hup, 1),
        (EndSignal::Quit, 3),
        (EndSignal::Kill, 9),
    ] {
        // Without a core file, and heeding what whoever runs the tests in the background ignores.
        let script = "ulimit -c 0; exec env --default-signal sh -c 'echo ready; exec sleep 600'";
        let mut child = Running::script(script);
        let pinned = pin(&child.identity()).unwrap();
        pinned.end(Some(signal)).unwrap();
        assert!(pinned.wait(Duration::from_secs(20)));
        assert_eq!(child.0.wait().unwrap().signal(), Some(number), "{signal}");
    }
}

#[test]
fn another_process_than_the_one_that_was_shown_is_never_pinned() {
    let child = Running::script("echo ready; exec sleep 600");
    let identity = child.identity();
    for other in [
        ProcessIdentity { start_time: identity.start_time - 1, ..identity.clone() },
        ProcessIdentity { start_time: identity.start_time + 1, ..identity.clone() },
        ProcessIdentity { boot_id: "another".into(), ..identity.clone() },
        ProcessIdentity { pid: 0, ..identity.clone() },
        ProcessIdentity { pid: u32::MAX, ..identity.clone() },
        ProcessIdentity { pid: i32::MAX as u32, ..identity.clone() },
    ] {
        assert!(matches!(pin(&other), Err(PinError::Gone)), "{other:?}");
    }
    let elsewhere = ProcessIdentity { pid_namespace: identity.pid_namespace + 1, ..identity };
    assert!(matches!(pin(&elsewhere), Err(PinError::Unsupported(_))));
    assert!(!pin(&child.identity()).unwrap().has_ended());
}

#[test]
fn a_holder_that_lets_go_of_its_port_is_seen_through_the_pin() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(listener.local_addr().unwrap());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let pinned = pin(&own_identity().unwrap()).unwrap();
    assert!(pinned.listens_on(port));
    assert!(!pinned.listens_on(port_of(client.local_addr().unwrap())), "a client's own port");
    drop(listener);
    assert!(!pinned.listens_on(port));
}

#[test]
fn the_far_end_of_a_connection_is_told_in_every_family() {
    let dual = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    dual.set_only_v6(false).unwrap();
    dual.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
    dual.listen(16).unwrap();
    let dual = TcpListener::from(dual);
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    for (listener, from, to) in [
        (&v4, Domain::IPV4, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        (&v4, Domain::IPV6, (mapped, 0).into()),
        (&dual, Domain::IPV4, (Ipv4Addr::LOCALHOST, 0).into()),
        (&dual, Domain::IPV6, (mapped, 0).into()),
        (&dual, Domain::IPV6, (Ipv6Addr::LOCALHOST, 0).into()),
    ] {
        let client = Socket::new(from, Type::STREAM, None).unwrap();
        let port = listener.local_addr().unwrap().port();
        client.connect(&SocketAddr::new(to.ip(), port).into()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let local = accepted.local_addr().unwrap();
        let of_client = std::fs::metadata(format!("/proc/self/fd/{}", raw(&client))).unwrap();
        let found = peer_socket(local, peer).unwrap();
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        assert_eq!(found.inode, std::os::unix::fs::MetadataExt::ino(&of_client));
        assert!(is_own_socket(found.inode));
        let inverse = peer_socket(peer, local).unwrap();
        assert_ne!(inverse.inode, found.inode);
        drop(client);
        // What is left of a closed socket belongs to nobody and would say root. A process that another
        // test has forked holds it, too, until it is another program.
        until("nobody has it", || peer_socket(local, peer).is_none());
        assert!(!is_own_socket(found.inode));
    }
}

fn raw(socket: &Socket) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}

#[test]
fn a_listener_is_never_taken_for_the_far_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (here, there) = (listener.local_addr().unwrap(), other.local_addr().unwrap());
    assert_eq!(peer_socket(here, there), None);
    let client = TcpStream::connect(here).unwrap();
    // Not accepted yet: there is no end here that could be ours.
    assert_eq!(peer_socket(here, client.local_addr().unwrap()), None);
    assert_eq!(peer_socket(here, "[::1]:1".parse().unwrap()), None);
}

/// In a pid namespace of its own the test chooses the pids.
#[test]
#[ignore = "needs the right to make a pid namespace: run as root with --ignored"]
fn a_process_that_took_over_the_pid_is_never_signalled() {
    const INSIDE: &str = "PMCTL_TEST_INSIDE_PID_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        let name = "a_process_that_took_over_the_pid_is_never_signalled";
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        unshare.arg(std::env::current_exe().unwrap()).args(["--ignored", name]);
        let output = unshare.env(INSIDE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
        return;
    }
    let before = Running::script("echo ready; exec sleep 600");
    let identity = before.identity();
    let pinned = pin(&identity).unwrap();
    drop(before);
    let mut successor = None;
    until("another process has that pid, of a later tick", || {
        let last = "/proc/sys/kernel/ns_last_pid";
        std::fs::write(last, (identity.pid - 1).to_string()).unwrap();
        let child = Running::script("echo ready; exec sleep 600");
        let is_it = child.pid() == identity.pid && child.identity() != identity;
        successor = is_it.then_some(child);
        is_it
    });
    let mut successor = successor.unwrap();
    assert_eq!(successor.pid(), identity.pid);
    assert!(matches!(pin(&identity), Err(PinError::Gone)));
    assert!(pinned.has_ended() && !pinned.may_signal());
    for signal in [None, Some(EndSignal::Kill)] {
        assert!(matches!(pinned.end(signal), Err(PinError::Gone)));
    }
    assert_eq!(successor.0.try_wait().unwrap(), None, "untouched");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(listener.local_addr().unwrap());
    let heir = Running::holding(listener);
    assert!(!pinned.listens_on(port));
    until("only the heir has it", || {
        held(port).iter().all(|holder| holder.identity == heir.identity())
    });
    assert_eq!(details_of(&heir).other_ports, [port].into());
}
