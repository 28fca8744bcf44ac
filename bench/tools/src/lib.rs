//! What the tools of the benchmarks share: sockets on loopback, readiness, arguments. Linux only.

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

pub use rustix::event::epoll::{Event, EventFlags};

/// Which sockets are ready, told by numbers of one's own.
pub struct Poll(OwnedFd);

impl Poll {
    /// One that watches nothing yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Watches `socket`, level-triggered, until it is closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&self, socket: impl AsFd, id: usize, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, socket, epoll::EventData::new_u64(id as u64), flags)?)
    }

    /// Watches it for something else.
    ///
    /// # Errors
    /// What the system says.
    pub fn change(&self, socket: impl AsFd, id: usize, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.0, socket, epoll::EventData::new_u64(id as u64), flags)?)
    }

    /// Puts what is ready into `events`, at most its capacity; nothing after `timeout`.
    ///
    /// # Errors
    /// What the system says, but not that a signal came: that is nothing ready.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        match epoll::wait(&self.0, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A listener on loopback that does not block; several threads may each have one on the same port.
///
/// # Errors
/// What the system says, such as that the port is taken.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    rustix::net::listen(&socket, 4_096)?;
    Ok(socket.into())
}

/// A connection to a port on loopback that does not block from here on.
///
/// # Errors
/// What the system says.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    ready(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
}

/// A new connection of `listener`; `None` if there is none.
pub fn accept(listener: &TcpListener) -> Option<TcpStream> {
    ready(listener.accept().ok()?.0).ok()
}

fn ready(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a call on a socket that does not block came to.
pub enum Outcome {
    /// So many bytes.
    Bytes(usize),
    /// Not now.
    Later,
    /// The far end is gone, or has said all.
    Gone,
}

/// Sorts the result of a read or of a write of more than nothing.
pub fn outcome(result: io::Result<usize>) -> Outcome {
    match result {
        Ok(0) => Outcome::Gone,
        Ok(bytes) => Outcome::Bytes(bytes),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Later,
        Err(_) => Outcome::Gone,
    }
}

/// Where `part` begins in `bytes`.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The value of a field in a head, without the white space around it.
pub fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon].eq_ignore_ascii_case(name.as_bytes()).then_some(())?;
        std::str::from_utf8(&line[colon + 1..]).ok().map(str::trim)
    })
}

/// The arguments of a tool, in their order.
pub struct Arguments {
    usage: &'static str,
    rest: std::iter::Skip<std::env::Args>,
}

impl Arguments {
    /// Those of this process.
    pub fn new(usage: &'static str) -> Self {
        Self { usage, rest: std::env::args().skip(1) }
    }

    /// The next one, which must be there.
    pub fn take<T: FromStr<Err: Display>>(&mut self) -> T {
        let Some(written) = self.rest.next() else { self.fail("an argument is missing") };
        written.parse().unwrap_or_else(|error| self.fail(format!("{written}: {error}")))
    }

    /// Whether the next one is there and is this word.
    pub fn word(&mut self, word: &str) -> bool {
        self.rest.next().is_some_and(|written| written == word)
    }

    fn fail(&self, what: impl Display) -> ! {
        eprintln!("{what}\nusage: {}", self.usage);
        std::process::exit(2)
    }
}

/// Runs `work` on so many threads; the first failure is the process's.
///
/// # Errors
/// What `work` returns.
pub fn on_threads(
    threads: usize,
    work: impl Fn() -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<()> {
    for _ in 1..threads {
        let work = work.clone();
        std::thread::spawn(move || {
            if let Err(error) = work() {
                eprintln!("{error}");
                std::process::exit(1);
            }
        });
    }
    work()
}
