//! Whether an address can be bound. Extra knowledge beside who listens: a bind also fails on what is
//! no listener, and succeeds beside a listener that another network namespace hides.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::model::Port;

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindFailure {
    /// Another socket is bound there.
    #[error("address in use")]
    InUse,
    /// The port needs rights this process lacks.
    #[error("port needs more rights")]
    Privileged,
    /// The address is none of this machine's, or of a family it does not speak.
    #[error("not an address of this machine")]
    AddressNotHere,
    /// Anything else.
    #[error("cannot bind")]
    Other(#[source] io::Error),
}

/// Binds as a proxy would and lets go at once, without ever listening: no client notices.
pub fn try_bind(address: IpAddr, port: Port) -> Result<(), BindFailure> {
    attempt(SocketAddr::new(address, port.get())).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindFailure::InUse,
        // Windows knows no privileged ports; it says this of one that another socket has to itself.
        io::ErrorKind::PermissionDenied if cfg!(windows) => BindFailure::InUse,
        io::ErrorKind::PermissionDenied => BindFailure::Privileged,
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => BindFailure::AddressNotHere,
        _ => BindFailure::Other(error),
    })
}

fn attempt(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of an earlier listener that linger in TIME_WAIT are no obstacle. On Windows the
    // option would mean to share the port with a listener.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_free_again_when_its_listener_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let port = Port::new(address.port()).unwrap();
        assert!(matches!(try_bind(address.ip(), port), Err(BindFailure::InUse)));
        assert!(matches!(try_bind([0, 0, 0, 0].into(), port), Err(BindFailure::InUse)));
        drop(listener);
        try_bind(address.ip(), port).unwrap();
    }

    #[test]
    fn an_address_of_elsewhere_is_said_to_be_one() {
        let result = try_bind("192.0.2.1".parse().unwrap(), Port::new(40_000).unwrap());
        assert!(matches!(result, Err(BindFailure::AddressNotHere)), "{result:?}");
    }
}
