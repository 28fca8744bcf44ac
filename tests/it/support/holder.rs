//! Programs that hold ports: this test binary again, as a process of its own that listens.
//!
//! A holder ends when its standard input does, so none outlives the test that started it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
#[cfg(unix)]
use std::os::{fd::AsFd, unix::process::ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use socket2::{Domain, Socket, Type};

use super::wait_until;

const SPEC: &str = "PMCTL_TEST_HOLDER";
const READY: &str = "holder-ready";

/// How a holder listens. Each port of it gets a socket of its own.
#[derive(Clone, Copy, Debug)]
pub enum Listen {
    /// On 127.0.0.1.
    V4,
    /// On ::, IPv6 alone.
    V6,
    /// On ::, for both families.
    Dual,
    /// On 127.0.0.1 with `SO_REUSEPORT`, so that others may too.
    Reuse,
    /// On 127.0.0.1, with a child process that has inherited the socket.
    Shared,
}

/// A process that listens on ports, ended by its drop at the latest.
pub struct Holder {
    child: Child,
    /// Kept open, so that whatever else it says has somewhere to go.
    _words: BufReader<ChildStdout>,
    /// The process that shares its socket, if there is one.
    sharer: Option<u32>,
    ended: Option<ExitStatus>,
}

impl Holder {
    /// Ends when asked to.
    #[track_caller]
    pub fn on(ports: &[u16], listen: Listen) -> Self {
        Self::spawn(ports, listen, &[])
    }

    /// Heeds every signal, also those that whoever runs the tests in the background ignores.
    #[track_caller]
    pub fn attentive(port: u16) -> Self {
        Self::spawn(&[port], Listen::V4, &["env", "--default-signal"])
    }

    /// Pays no heed to TERM.
    #[track_caller]
    pub fn stubborn(port: u16) -> Self {
        // What is ignored stays ignored through `exec`.
        Self::spawn(&[port], Listen::V4, &["sh", "-c", r#"trap "" TERM; exec "$@""#, "sh"])
    }

    #[track_caller]
    fn spawn(ports: &[u16], listen: Listen, wrapper: &[&str]) -> Self {
        let program = std::env::current_exe().expect("the test binary");
        let mut command = match wrapper.split_first() {
            None => Command::new(&program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
        };
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        command.args(["--exact", "support::holder::the_holder_program", "--nocapture"]);
        command.env(SPEC, format!("{listen:?} {}", ports.join(" ")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("a holder");
        let mut out = BufReader::new(child.stdout.take().expect("its standard output"));
        let mut line = String::new();
        while !line.contains(READY) {
            line.clear();
            let read = out.read_line(&mut line).expect("the holder's words");
            assert!(read > 0, "the holder of {ports:?} ended before it was ready");
        }
        let said = line.split(READY).nth(1).unwrap_or_default();
        Self { child, _words: out, sharer: said.trim().parse().ok(), ended: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process that shares its socket.
    #[track_caller]
    pub fn sharer(&self) -> u32 {
        self.sharer.expect("a holder with a sharer")
    }

    /// Not ended yet. It is reaped nowhere but here, so its pid is its own.
    pub fn is_alive(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the holder's status");
        }
        self.ended.is_none()
    }

    /// The signal that ended it, once it has ended.
    #[cfg(unix)]
    #[track_caller]
    pub fn wait_signal(&mut self) -> Option<i32> {
        wait_until(&format!("the end of holder {}", self.pid()), || match self.is_alive() {
            true => Err("alive".to_owned()),
            false => Ok(()),
        });
        self.ended.and_then(|status| status.signal())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Its sharer reads from the same pipe and ends with it.
        drop(self.child.stdin.take());
        if self.is_alive() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The program of every holder; no test at all where it is not started as one.
#[test]
fn the_holder_program() {
    let Ok(spec) = std::env::var(SPEC) else { return };
    let mut words = spec.split(' ');
    let listen = words.next().unwrap_or_default().to_owned();
    let ports = words.map(|port| port.parse::<u16>().expect("a port"));
    let sockets: Vec<Socket> = ports.map(|port| socket(&listen, port)).collect();
    let sharer = (listen == "Shared").then(|| {
        share(&sockets);
        Command::new("cat").stdout(Stdio::null()).spawn().expect("a sharer").id()
    });
    let shown = sharer.map(|pid| pid.to_string()).unwrap_or_default();
    let mut out = std::io::stdout();
    writeln!(out, "{READY} {shown}").and_then(|()| out.flush()).expect("a reader");
    // The end of standard input is the end of whoever started it.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Whoever is started from here on has them too.
#[track_caller]
fn share(sockets: &[Socket]) {
    #[cfg(unix)]
    for socket in sockets {
        rustix::io::fcntl_setfd(socket.as_fd(), rustix::io::FdFlags::empty())
            .expect("an inheritable socket");
    }
    #[cfg(not(unix))]
    assert!(sockets.is_empty(), "sockets are shared on Unix alone");
}

fn socket(listen: &str, port: u16) -> Socket {
    let (domain, address): (Domain, IpAddr) = match listen {
        "V6" | "Dual" => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
        _ => (Domain::IPV4, Ipv4Addr::LOCALHOST.into()),
    };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    if domain == Domain::IPV6 {
        socket.set_only_v6(listen == "V6").expect("its families");
    }
    // On Windows it would share the port with whoever has it.
    socket.set_reuse_address(cfg!(unix)).expect("SO_REUSEADDR");
    #[cfg(unix)]
    if listen == "Reuse" {
        socket.set_reuse_port(true).expect("SO_REUSEPORT");
    }
    socket.bind(&SocketAddr::new(address, port).into()).expect("a free port");
    socket.listen(16).expect("a listener");
    socket
}
