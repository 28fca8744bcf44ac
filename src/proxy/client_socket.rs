//! A client's socket, which the runtime hears of only once there is something to wait for.
//!
//! A request is mostly here when its connection is accepted, and its answer is mostly taken at once:
//! a client that asks once and goes is served without a call that has its socket watched, and without
//! one that ends this.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// See the module's documentation.
pub(super) struct ClientSocket(State);

/// Calls that a socket serves without being watched. A client that never lets it run dry would
/// otherwise hold its worker for ever: only a watched socket makes its task give way to others.
const MAX_BARE: u8 = 32;

enum State {
    /// Not to block, and not watched; and how many calls it has served so.
    Bare(std::net::TcpStream, u8),
    Watched(TcpStream),
    /// It could not be watched, and is closed.
    Gone,
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl ClientSocket {
    /// A socket that does not block and is watched by no runtime.
    pub(super) fn bare(socket: std::net::TcpStream) -> Self {
        Self(State::Bare(socket, 0))
    }

    pub(super) fn is_bare(&self) -> bool {
        matches!(self.0, State::Bare(..))
    }

    /// The socket for a runtime of another thread.
    ///
    /// # Errors
    /// It is broken, and closed by that.
    pub(super) fn into_bare(self) -> io::Result<std::net::TcpStream> {
        match self.0 {
            State::Bare(socket, _) => Ok(socket),
            State::Watched(socket) => socket.into_std(),
            State::Gone => Err(gone()),
        }
    }

    /// The socket, watched from here on.
    ///
    /// # Errors
    /// The system has no room to watch it, and it is closed by that.
    pub(super) fn watched(&mut self) -> io::Result<&mut TcpStream> {
        if self.is_bare()
            && let State::Bare(socket, _) = std::mem::replace(&mut self.0, State::Gone)
        {
            self.0 = State::Watched(TcpStream::from_std(socket)?);
        }
        match &mut self.0 {
            State::Watched(socket) => Ok(socket),
            State::Bare(..) | State::Gone => Err(gone()),
        }
    }

    /// As [`Self::watched`], for whoever goes on with it alone.
    ///
    /// # Errors
    /// The same.
    pub(super) fn into_watched(mut self) -> io::Result<TcpStream> {
        self.watched()?;
        match self.0 {
            State::Watched(socket) => Ok(socket),
            State::Bare(..) | State::Gone => Err(gone()),
        }
    }

    /// The socket for calls that wait for nothing.
    pub(super) fn raw(&self) -> io::Result<SockRef<'_>> {
        match &self.0 {
            State::Bare(socket, _) => Ok(SockRef::from(socket)),
            State::Watched(socket) => Ok(SockRef::from(socket)),
            State::Gone => Err(gone()),
        }
    }

    /// Does `call` while the socket is bare. `None`: it is watched from now on, because there is
    /// something to wait for.
    fn at_once<T>(
        &mut self,
        mut call: impl FnMut(&mut std::net::TcpStream) -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        let State::Bare(socket, served) = &mut self.0 else { return None };
        while *served < MAX_BARE {
            match call(socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                done => {
                    *served += 1;
                    return Some(done);
                }
            }
        }
        self.watched().err().map(Err)
    }
}

impl From<TcpStream> for ClientSocket {
    fn from(socket: TcpStream) -> Self {
        Self(State::Watched(socket))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(read) = self.at_once(|socket| socket.read(buf.initialize_unfilled())) {
            return Poll::Ready(read.map(|read| buf.advance(read)));
        }
        Pin::new(self.watched()?).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = self.at_once(|socket| socket.write(buf)) {
            return Poll::Ready(written);
        }
        Pin::new(self.watched()?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = self.at_once(|socket| socket.write_vectored(bufs)) {
            return Poll::Ready(written);
        }
        Pin::new(self.watched()?).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.raw().and_then(|socket| socket.shutdown(std::net::Shutdown::Write)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::proxy::tests::kit::block_on;

    /// A client, and its socket at the proxy.
    fn pair() -> (std::net::TcpStream, ClientSocket) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        (client, ClientSocket::bare(socket))
    }

    #[test]
    fn what_is_here_is_read_and_what_is_taken_is_written_without_being_watched() {
        let (mut client, mut socket) = pair();
        client.write_all(b"request").unwrap();
        let mut byte = [0];
        // Loopback: it is here when the call returns.
        block_on(async {
            let mut read = [0; 7];
            socket.read_exact(&mut read).await.unwrap();
            socket.write_all(b"answer").await.unwrap();
            assert_eq!(&read, b"request");
        });
        assert!(socket.is_bare());
        drop(socket);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(client.read(&mut byte).unwrap(), 0);
    }

    #[test]
    fn a_client_that_never_lets_it_run_dry_gives_way_to_others() {
        let (mut client, mut socket) = pair();
        client.write_all(&[b'x'; 8 * 1024]).unwrap();
        block_on(async {
            let mut byte = [0];
            for _ in 0..MAX_BARE {
                socket.read_exact(&mut byte).await.unwrap();
                assert!(socket.is_bare());
            }
            socket.read_exact(&mut byte).await.unwrap();
            assert!(!socket.is_bare());
            let reads = poll_fn(|cx| {
                let mut reads = 0;
                let mut room = ReadBuf::new(&mut byte);
                while Pin::new(&mut socket).poll_read(cx, &mut room).is_ready() {
                    room.clear();
                    reads += 1;
                }
                Poll::Ready(reads)
            });
            assert!(reads.await < 4 * 1024, "it waits, although more is here");
        });
    }

    #[test]
    fn what_is_not_here_yet_is_waited_for() {
        let (mut client, mut socket) = pair();
        block_on(async {
            let mut read = [0; 4];
            let (read, ()) = tokio::join!(socket.read_exact(&mut read), async {
                client.write_all(b"late").unwrap();
            });
            assert_eq!(read.unwrap(), 4);
        });
        assert!(!socket.is_bare());
        assert!(socket.into_bare().is_ok());
    }
}
