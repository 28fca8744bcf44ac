//! One HTTP/1.1 connection to a target, as bytes, driven by whichever request has it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::unconstrained;

use super::connect::UpstreamIo;
use super::pool::{Kept, UpstreamGuard};

/// The socket, and what counts it.
pub(super) struct RawConnection {
    pub(super) io: UpstreamIo,
    pub(super) guard: UpstreamGuard,
}

impl RawConnection {
    /// Whether it can take a request now: it is open, and nothing came that nobody asked for. Does
    /// not ask the operating system: either the runtime has heard of it, or the retry rule covers
    /// it.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let mut buf = ReadBuf::uninit(&mut byte);
        // A task that has had its share of calls is told to wait whatever is here: that is no answer.
        let read =
            pin!(unconstrained(poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut buf))));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whether nothing has come over it that was not read, not even its end, by the system's word.
    pub(super) fn is_silent(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let peeked = SockRef::from(self.io.get_ref()).peek(&mut byte);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// A connection taken for one request.
pub(super) struct RawLease {
    pub(super) connection: RawConnection,
    kept: Rc<Kept>,
    generation: u64,
    is_reused: bool,
}

impl RawLease {
    pub(super) fn new(
        connection: RawConnection,
        kept: &Rc<Kept>,
        generation: u64,
        is_reused: bool,
    ) -> Self {
        Self { connection, kept: Rc::clone(kept), generation, is_reused }
    }

    /// Whether an earlier request used the same connection.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Gives the connection back after the last byte of the answer.
    pub(super) fn release(self) {
        let proxy = Arc::clone(&self.connection.guard.proxy);
        self.kept.put_raw(&proxy, self.generation, self.connection);
    }

    /// The socket, for something that is no request.
    pub(super) fn into_parts(self) -> (UpstreamIo, UpstreamGuard) {
        (self.connection.io, self.connection.guard)
    }
}
