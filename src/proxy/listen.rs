//! Listening sockets.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::model::Port;

/// Connections that may wait to be accepted; the system may cap it lower.
const BACKLOG: i32 = 4096;

/// Why a proxy cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("bind {address}: it is in use")]
    InUse {
        /// Where.
        address: SocketAddr,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// The port needs rights this process lacks, or a policy forbids it.
    #[error("bind {address}: not permitted")]
    Privileged {
        /// Where.
        address: SocketAddr,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// The address is none of this machine's.
    #[error("bind {address}: the address is not of this machine")]
    AddressNotHere {
        /// Where.
        address: SocketAddr,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// The process or the system has no descriptor left.
    #[error("open a socket for {address}: no descriptor left")]
    Descriptors {
        /// Where.
        address: SocketAddr,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("listen on {address}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
}

impl BindError {
    fn of(address: SocketAddr, source: io::Error) -> Self {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
        match source.kind() {
            AddrInUse => Self::InUse { address, source },
            PermissionDenied => Self::Privileged { address, source },
            AddrNotAvailable => Self::AddressNotHere { address, source },
            _ if is_exhaustion(&source) => Self::Descriptors { address, source },
            _ => Self::Other { address, source },
        }
    }

    /// Where it was tried.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::InUse { address, .. }
            | Self::Privileged { address, .. }
            | Self::AddressNotHere { address, .. }
            | Self::Descriptors { address, .. }
            | Self::Other { address, .. } => *address,
        }
    }
}

/// Whether the process or the system is out of descriptors or memory for sockets: the same call
/// will succeed again once something was closed.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return true;
    }
    #[cfg(unix)]
    let codes = [
        rustix::io::Errno::MFILE.raw_os_error(),
        rustix::io::Errno::NFILE.raw_os_error(),
        rustix::io::Errno::NOBUFS.raw_os_error(),
        rustix::io::Errno::NOMEM.raw_os_error(),
    ];
    // WSAEMFILE, WSAENOBUFS.
    #[cfg(windows)]
    let codes = [10024, 10055];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Sockets that listen on one port: nobody else can take it, and connections wait in their queue
/// until a proxy is spawned on it.
pub struct BoundListener {
    pub(super) sockets: Vec<TcpListener>,
}

impl BoundListener {
    /// Where it listens; the IPv4 address first.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

impl fmt::Debug for BoundListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundListener").field(&self.local_addrs()).finish()
    }
}

/// Listens on `port` of `address`. `None` is every address: `0.0.0.0`, and `::` as a second socket
/// where the machine has IPv6.
///
/// # Errors
/// With `None` too, a port that somebody else has on `::` is in use: his clients would not be ours.
pub fn bind(address: Option<IpAddr>, port: Port) -> Result<BoundListener, BindError> {
    bind_number(address, port.get())
}

/// As [`bind`]; port 0 takes any free one, which a test needs.
pub(super) fn bind_number(address: Option<IpAddr>, port: u16) -> Result<BoundListener, BindError> {
    let first = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut sockets = vec![open(SocketAddr::new(first, port))?];
    if address.is_none() {
        let port = sockets[0].local_addr().map_or(port, |address| address.port());
        match open(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Ok(socket) => sockets.push(socket),
            // No IPv6 on this machine: `::` cannot be listened on, and nobody could come by it.
            Err(BindError::AddressNotHere { .. } | BindError::Other { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(BoundListener { sockets })
}

fn open(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        claim(&socket)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // Accepted connections have it from here, where the system hands it on.
        socket.set_tcp_nodelay(true)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error| BindError::of(address, error))
}

/// A port whose last connections are in TIME_WAIT can be listened on again at once. On Unix that
/// is all this option allows.
#[cfg(unix)]
fn claim(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// On Windows `SO_REUSEADDR` would let another process take the port over. TIME_WAIT does not
/// hinder a bind there; `SO_EXCLUSIVEADDRUSE` keeps others from sharing the port.
#[cfg(windows)]
fn claim(socket: &Socket) -> io::Result<()> {
    super::exclusive::set_exclusive(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_connections_send_small_answers_without_delay() {
        let listener = bind_number(Some(LOOPBACK), 0).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addrs()[0]).unwrap();
        listener.sockets[0].set_nonblocking(false).unwrap();
        let (accepted, _) = listener.sockets[0].accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        drop(client);
    }

    #[test]
    fn a_taken_port_is_in_use_and_free_again_when_its_listener_is_dropped() {
        let first = bind_number(Some(LOOPBACK), 0).unwrap();
        let port = first.local_addrs()[0].port();
        let error = bind_number(Some(LOOPBACK), port).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert_eq!(error.address().port(), port);
        drop(first);
        assert!(bind_number(Some(LOOPBACK), port).is_ok());
    }

    #[test]
    fn an_address_of_another_machine_is_said_to_be_so() {
        // RFC 5737: documentation only, nobody's.
        let error = bind_number(Some("192.0.2.1".parse().unwrap()), 0).unwrap_err();
        assert!(matches!(error, BindError::AddressNotHere { .. }), "{error:?}");
    }

    #[test]
    fn every_address_is_both_families_on_one_port() {
        let listener = bind_number(None, 0).unwrap();
        let addresses = listener.local_addrs();
        assert!(addresses[0].is_ipv4());
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port()));
    }
}
