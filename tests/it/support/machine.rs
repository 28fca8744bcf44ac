//! What the tests ask of the machine they run on.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Whether this process may do everything, so that a test about missing rights must give them up.
#[cfg(unix)]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether somebody accepts connections on that loopback port.
pub fn is_listening(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

/// Connections of this machine to that loopback port that the far end has not closed, whether anybody
/// accepted them or not.
#[track_caller]
pub fn connections_to(port: u16) -> usize {
    const TIME_WAIT: &str = "06";
    let sockets = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let far = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, state) = (fields.get(2), fields.get(3));
        address.is_some_and(|a| a.ends_with(&far)) && state.is_some_and(|s| *s != TIME_WAIT)
    };
    sockets.lines().filter(is_one).count()
}

/// Bytes of memory of its own that a process holds now; pages of the program's file, which an
/// unoptimised build has many of, are not counted.
#[track_caller]
pub fn anonymous_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc/PID/status");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

/// An address of this machine that is not loopback, so that traffic to it stays here; on a machine
/// without one, an address set aside for documentation, to which nothing has a route.
pub fn own_outside_address() -> IpAddr {
    let nowhere = IpAddr::from([192, 0, 2, 1]);
    let own = UdpSocket::bind(("0.0.0.0", 0))
        // Connecting a datagram socket sends nothing; it only chooses the local address.
        .and_then(|socket| socket.connect((nowhere, 9)).map(|()| socket))
        .and_then(|socket| socket.local_addr());
    match own {
        Ok(address) if !address.ip().is_loopback() => address.ip(),
        _ => nowhere,
    }
}
