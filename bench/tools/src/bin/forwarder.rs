//! The ceiling: passes bytes between a port and another, and looks at none of them.
//!
//! What is here is the least that any forwarder in user space does: one connection to the upstream
//! for each from a client, one receive and one send for what is there.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};

use pmctl_bench_tools::{
    Arguments, EventFlags, Outcome, Poll, accept, connect, listen, on_threads, outcome,
};
use rustix::pipe::{PipeFlags, SpliceFlags};

const LISTENER: usize = usize::MAX;
/// Bytes read at once, and the size of a pipe.
const PIECE: usize = 256 * 1024;

/// One direction: what is read from `socket` goes to the side `peer`.
struct Side {
    socket: TcpStream,
    peer: usize,
    kept: Kept,
}

/// Bytes that were read and that the peer did not take yet.
enum Kept {
    Buffer(Vec<u8>),
    Pipe { read: OwnedFd, write: OwnedFd, bytes: usize },
}

impl Kept {
    fn new(splice: bool) -> io::Result<Self> {
        if !splice {
            return Ok(Self::Buffer(Vec::new()));
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        rustix::pipe::fcntl_setpipe_size(&write, PIECE)?;
        Ok(Self::Pipe { read, write, bytes: 0 })
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Buffer(bytes) => bytes.is_empty(),
            Self::Pipe { bytes, .. } => *bytes == 0,
        }
    }

    /// Reads what is there and passes on what can be; `false` when the connection is over.
    fn pump(&mut self, from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> bool {
        match self {
            Self::Buffer(kept) => match outcome((&mut &*from).read(buffer)) {
                Outcome::Gone => false,
                Outcome::Later => true,
                Outcome::Bytes(read) => match outcome((&mut &*to).write(&buffer[..read])) {
                    Outcome::Gone => false,
                    Outcome::Later => {
                        kept.extend_from_slice(&buffer[..read]);
                        true
                    }
                    Outcome::Bytes(sent) => {
                        kept.extend_from_slice(&buffer[sent..read]);
                        true
                    }
                },
            },
            Self::Pipe { write, bytes, .. } => {
                match outcome(spliced(from, &*write, PIECE)) {
                    Outcome::Gone => return false,
                    Outcome::Later => return true,
                    Outcome::Bytes(read) => *bytes += read,
                }
                self.flush(to)
            }
        }
    }

    /// Passes on what is kept; `false` when the connection is over.
    fn flush(&mut self, to: &TcpStream) -> bool {
        match self {
            Self::Buffer(kept) => match outcome((&mut &*to).write(kept)) {
                Outcome::Gone => false,
                Outcome::Later => true,
                Outcome::Bytes(sent) => {
                    kept.drain(..sent);
                    true
                }
            },
            Self::Pipe { read, bytes, .. } => match outcome(spliced(&*read, to, *bytes)) {
                Outcome::Gone => false,
                Outcome::Later => true,
                Outcome::Bytes(sent) => {
                    *bytes -= sent;
                    true
                }
            },
        }
    }
}

fn spliced(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    bytes: usize,
) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, bytes, flags)?)
}

struct Forwarder {
    poll: Poll,
    upstream: u16,
    splice: bool,
    /// By descriptor.
    sides: Vec<Option<Side>>,
    buffer: Vec<u8>,
}

impl Forwarder {
    fn open(&mut self, client: TcpStream) -> io::Result<()> {
        let upstream = connect(self.upstream)?;
        let ids = [client.as_raw_fd() as usize, upstream.as_raw_fd() as usize];
        let needed = ids[0].max(ids[1]) + 1;
        if self.sides.len() < needed {
            self.sides.resize_with(needed, || None);
        }
        for (socket, id, peer) in [(client, ids[0], ids[1]), (upstream, ids[1], ids[0])] {
            self.poll.add(&socket, id, EventFlags::IN)?;
            self.sides[id] = Some(Side { socket, peer, kept: Kept::new(self.splice)? });
        }
        Ok(())
    }

    /// Serves the side `id`; `None` when its connection is over.
    fn serve(&mut self, id: usize, flags: EventFlags) -> Option<()> {
        let peer = self.sides.get(id)?.as_ref()?.peer;
        let (mut near, mut far) = (self.sides[id].take()?, self.sides[peer].take()?);
        let alive = self.move_bytes((&mut near, id), (&mut far, peer), flags);
        if alive {
            (self.sides[id], self.sides[peer]) = (Some(near), Some(far));
        }
        Some(())
    }

    fn move_bytes(
        &mut self,
        (near, id): (&mut Side, usize),
        (far, peer): (&mut Side, usize),
        flags: EventFlags,
    ) -> bool {
        if flags.contains(EventFlags::OUT) && !far.kept.is_empty() {
            if !far.kept.flush(&near.socket) {
                return false;
            }
            if far.kept.is_empty() {
                let resumed = self
                    .poll
                    .change(&near.socket, id, EventFlags::IN)
                    .and_then(|()| self.poll.change(&far.socket, peer, EventFlags::IN));
                return resumed.is_ok();
            }
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
            && near.kept.is_empty()
        {
            if !near.kept.pump(&near.socket, &far.socket, &mut self.buffer) {
                return false;
            }
            if !near.kept.is_empty() {
                // Nothing more is read before this is gone.
                let paused = self
                    .poll
                    .change(&near.socket, id, EventFlags::empty())
                    .and_then(|()| self.poll.change(&far.socket, peer, EventFlags::OUT));
                return paused.is_ok();
            }
        }
        true
    }
}

fn run(port: u16, upstream: u16, splice: bool) -> io::Result<()> {
    let (poll, listener) = (Poll::new()?, listen(port)?);
    poll.add(&listener, LISTENER, EventFlags::IN)?;
    let mut forwarder =
        Forwarder { poll, upstream, splice, sides: Vec::new(), buffer: vec![0; PIECE] };
    let mut events = Vec::with_capacity(512);
    loop {
        forwarder.poll.wait(&mut events, None)?;
        for event in &events {
            match event.data.u64() as usize {
                LISTENER => {
                    while let Some(client) = accept(&listener) {
                        // A client whose upstream cannot be reached is closed by being dropped.
                        forwarder.open(client).ok();
                    }
                }
                id => drop(forwarder.serve(id, event.flags)),
            }
        }
    }
}

fn main() -> io::Result<()> {
    let mut arguments = Arguments::new("forwarder THREADS PORT UPSTREAM_PORT [splice]");
    let threads = arguments.take();
    let (port, upstream) = (arguments.take(), arguments.take());
    let splice = arguments.word("splice");
    on_threads(threads, move || run(port, upstream, splice))
}
