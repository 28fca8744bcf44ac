//! A listening socket that the runtime watches, and the connections that come by it.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use super::client_socket::ClientSocket;

/// A client's socket, and where the client is.
pub(super) type Accepted = io::Result<(ClientSocket, SocketAddr)>;

pub(super) use imp::Acceptor;

/// Linux gives a socket that does not block by the one call, and leaves it to us who watches it.
#[cfg(target_os = "linux")]
mod imp {
    use std::net::TcpListener;
    use std::task::ready;

    use rustix::net::{SocketFlags, acceptfrom_with};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::{Accepted, ClientSocket, Context, Poll, SocketAddr, io};

    /// See the module's documentation.
    pub(in crate::proxy) struct Acceptor(AsyncFd<TcpListener>);

    impl Acceptor {
        #[expect(
            deprecated,
            reason = "a listener keeps its descriptor for life, which the successor, unsafe code, \
                      would have us promise"
        )]
        pub(in crate::proxy) fn new(socket: TcpListener) -> io::Result<Self> {
            AsyncFd::with_interest(socket, Interest::READABLE).map(Self)
        }

        /// The next connection.
        pub(in crate::proxy) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Accepted> {
            loop {
                let mut ready = ready!(self.0.poll_read_ready(cx))?;
                // What would block was no connection: it is waited for.
                if let Ok(accepted) = ready.try_io(|listener| accept(listener.get_ref())) {
                    return Poll::Ready(accepted);
                }
            }
        }

        /// A connection that the system has, whatever the runtime has heard.
        pub(in crate::proxy) fn accept_now(&self) -> Accepted {
            accept(self.0.get_ref())
        }
    }

    fn accept(listener: &TcpListener) -> Accepted {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, peer) = acceptfrom_with(listener, flags)?;
        // Without an address there is no client any more.
        let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((ClientSocket::bare(socket.into()), SocketAddr::try_from(peer)?))
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::{Accepted, ClientSocket, Context, Poll, io};

    /// See the module's documentation.
    pub(in crate::proxy) struct Acceptor(TcpListener);

    impl Acceptor {
        pub(in crate::proxy) fn new(socket: std::net::TcpListener) -> io::Result<Self> {
            TcpListener::from_std(socket).map(Self)
        }

        /// The next connection.
        pub(in crate::proxy) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Accepted> {
            self.0.poll_accept(cx).map_ok(|(socket, peer)| (socket.into(), peer))
        }

        /// A connection that the system has, whatever the runtime has heard.
        pub(in crate::proxy) fn accept_now(&self) -> Accepted {
            let (socket, peer) = SockRef::from(&self.0).accept()?;
            socket.set_nonblocking(true)?;
            let peer = peer.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((ClientSocket::bare(socket.into()), peer))
        }
    }
}
