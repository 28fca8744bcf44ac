//! Long bodies between two plain sockets, moved by the kernel through a pipe (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::framing::Rest;
use super::response::Form;
use super::take::Request;
use super::upload::LONG;
use super::watch::Stopped;
use crate::proxy::connect::UpstreamIo;
use crate::proxy::exchange::ExchangeGuard;

/// Bytes a pipe holds, where the system allows it.
const CAPACITY: usize = 256 * 1024;

#[derive(Default)]
struct Pipes {
    kept: Vec<(OwnedFd, OwnedFd)>,
    made: usize,
}

thread_local! {
    static PIPES: RefCell<Pipes> = RefCell::default();
}

/// A pipe of the worker's, lent for one body. Given back by its drop, if it is empty.
pub(super) struct Pipe {
    /// The end that is read and the end that is written.
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
}

impl Pipe {
    /// `None`: the worker has as many as it may have, or the system gives none.
    fn lend(most: usize) -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| {
            if let Some(ends) = pipes.kept.pop() {
                return Some(Self { ends: Some(ends), held: 0 });
            }
            if pipes.made >= most {
                return None;
            }
            let ends = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
            // A smaller one works as well.
            let _ = fcntl_setpipe_size(&ends.1, CAPACITY);
            pipes.made += 1;
            Some(Self { ends: Some(ends), held: 0 })
        })
    }

    /// Moves up to `most` bytes from `socket` into the pipe; 0 is the end of the stream.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let Some((_, into)) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            std::task::ready!(socket.poll_read_ready(cx))?;
            let moved = socket.try_io(Interest::READABLE, || {
                let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
                Ok(splice(socket, None, into, None, most, flags)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.held += moved.as_ref().copied().unwrap_or_default();
                    return Poll::Ready(moved);
                }
            }
        }
    }

    /// Moves what the pipe holds to `socket`, as much as it takes.
    fn poll_drain(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<io::Result<usize>> {
        let Some((from, _)) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            std::task::ready!(socket.poll_write_ready(cx))?;
            let moved = socket.try_io(Interest::WRITABLE, || {
                let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
                Ok(splice(from, None, socket, None, self.held, flags)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.held -= moved.as_ref().copied().unwrap_or_default();
                    return Poll::Ready(moved);
                }
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take().filter(|_| self.held == 0);
        // The thread's pipes may be gone already when its runtime is torn down.
        let _ = PIPES.try_with(|pipes| {
            let Ok(mut pipes) = pipes.try_borrow_mut() else { return };
            match ends {
                Some(ends) => pipes.kept.push(ends),
                None => pipes.made = pipes.made.saturating_sub(1),
            }
        });
    }
}

/// What a turn came to.
pub(super) enum Spliced {
    /// Bytes moved, or the body is through.
    Moved,
    /// The client takes no more for now.
    Blocked,
    /// Nothing more of the target is here.
    Dry,
    Stopped(Stopped),
}

impl Request<'_> {
    /// Moves the body on through a pipe. `None`: not the way for this one.
    pub(super) fn poll_splice(&mut self, cx: &mut Context<'_>) -> Option<Spliced> {
        if self.pipe.is_none() {
            let is_plain = matches!(&self.lease, Some(lease)
                if matches!(lease.connection.io, UpstreamIo::Plain(_)));
            match self.download.rest {
                Rest::Length(left) if left > LONG as u64 => {}
                _ => return None,
            }
            if !is_plain || self.download.form != Form::AsItIs {
                return None;
            }
            self.pipe = Pipe::lend(self.guard.client.worker.limits.max_pipes);
        }
        let pipe = self.pipe.as_mut()?;
        if pipe.held > 0 {
            let Ok(socket) = self.conn.socket.watched() else {
                return Some(Spliced::Stopped(Stopped::Gone));
            };
            return Some(match pipe.poll_drain(cx, socket) {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.moved += count as u64;
                    self.is_blocked = false;
                    Spliced::Moved
                }
                Poll::Ready(_) => Spliced::Stopped(Stopped::Gone),
                Poll::Pending => Spliced::Blocked,
            });
        }
        let Rest::Length(left) = &mut self.download.rest else {
            self.pipe = None;
            return None;
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(CAPACITY);
        let Some(UpstreamIo::Plain(target)) = self.lease.as_ref().map(|l| &l.connection.io) else {
            return Some(Spliced::Stopped(Stopped::Broken));
        };
        Some(match pipe.poll_fill(cx, target, most) {
            Poll::Ready(Ok(count @ 1..)) => {
                *left = left.saturating_sub(count as u64);
                if *left == 0 {
                    self.download.rest = Rest::Done;
                }
                self.moved += count as u64;
                let (client, exchange) = (&self.guard.client, &self.guard.exchange);
                ExchangeGuard::went_out(client, exchange, count as u64);
                self.give_back();
                Spliced::Moved
            }
            Poll::Ready(_) => Spliced::Stopped(Stopped::Broken),
            Poll::Pending => Spliced::Dry,
        })
    }
}
