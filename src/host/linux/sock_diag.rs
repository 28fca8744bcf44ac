//! The kernel's own list of TCP sockets (sock_diag(7)). Asked for those that listen it walks only
//! those, where `/proc/net/tcp` walks every connection; asked for one, it looks up just that one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt,
};

use crate::model::Port;

use super::Socket;

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h: fixed by the kernel's ABI.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u32 = 1;
const TCP_LISTEN: u32 = 10;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_S_GE: u8 = 2;
const INET_DIAG_BC_S_LE: u8 = 3;
/// `struct nlmsghdr`: length, type, flags, sequence, port id.
const HEADER: usize = 16;
/// `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const REQUEST: usize = 56;
const MESSAGE: usize = 72;

/// The kernel fills at most 32 KiB at a time.
const BUFFER: usize = 64 * 1024;
/// For the answer about one socket: well above what the kernel tells unasked.
const ONE: usize = 2048;

/// The kernel answers at once; a sandbox might swallow the question.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a list is asked for anew because it changed while it was written.
const ATTEMPTS: u32 = 5;

/// Every listening TCP socket of this network namespace, of both families.
pub(super) fn listening() -> io::Result<Vec<Socket>> {
    list(1 << TCP_LISTEN, None)
}

/// The connections of this network namespace whose local port is in that range. The kernel picks
/// them out itself, so that of many connections only those few are carried over.
pub(super) fn established(ports: RangeInclusive<Port>) -> io::Result<Vec<Socket>> {
    list(1 << TCP_ESTABLISHED, Some(ports))
}

fn list(states: u32, ports: Option<RangeInclusive<Port>>) -> io::Result<Vec<Socket>> {
    let fd = open()?;
    let mut sockets = Vec::new();
    let mut sequence = 0;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        for attempt in 1..=ATTEMPTS {
            sequence += 1;
            let before = sockets.len();
            let question = Request { sequence, family, states, of: Of::All(ports.clone()) };
            let is_whole = ask(&fd, &question, |message| {
                sockets.extend(Answer::of(message).and_then(|a| a.socket()))
            })?;
            // A list that stays interrupted may lack or repeat one: better than none.
            if is_whole || attempt == ATTEMPTS {
                break;
            }
            sockets.truncate(before);
        }
    }
    Ok(sockets)
}

/// The socket whose own end is `local` and whose far end is `peer`, if this network namespace has
/// one. The kernel may answer with a listener or with what is left of a closed socket; neither is
/// told here.
pub(super) fn connected(
    fd: &OwnedFd,
    local: SocketAddr,
    peer: SocketAddr,
) -> io::Result<Option<Socket>> {
    // A socket of the other family that speaks IPv4 is found by its IPv4 addresses too.
    let (local, peer) = (canonical(local), canonical(peer));
    let family = match (local.is_ipv4(), peer.is_ipv4()) {
        (true, true) => AddressFamily::INET,
        (false, false) => AddressFamily::INET6,
        _ => return Ok(None),
    };
    let question = Request { sequence: 1, family, states: u32::MAX, of: Of::One { local, peer } };
    let mut found = None;
    match ask(fd, &question, |message| found = Answer::of(message)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let found = found.filter(|answer| {
        let (of, with) = (answer.address(0), answer.address(1));
        of == Some(local) && with == Some(peer) && u32::from(answer.0[1]) != TCP_LISTEN
    });
    Ok(found.and_then(|answer| answer.socket()).filter(|socket| socket.inode != 0))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A socket to ask on.
pub(super) fn open() -> io::Result<OwnedFd> {
    let kind = Some(netlink::SOCK_DIAG);
    let fd = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, kind)?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
    Ok(fd)
}

/// Asks, and hands each answer to `hear`; whether nothing changed while the kernel answered.
fn ask(fd: &OwnedFd, request: &Request, mut hear: impl FnMut(&[u8])) -> io::Result<bool> {
    send(fd, &request.bytes(), SendFlags::empty())?;
    let is_list = matches!(request.of, Of::All(_));
    let mut buffer = vec![0; if is_list { BUFFER } else { ONE }];
    let mut is_whole = true;
    loop {
        let (length, _) = match recv(fd, &mut buffer[..], RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some(message) = Message::next(&mut rest) {
            // An answer to what was asked before on this socket.
            if message.sequence != request.sequence {
                continue;
            }
            is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                NLMSG_DONE => return Ok(is_whole),
                NLMSG_ERROR => {
                    let code = u32_at(message.body, 0).unwrap_or_default().cast_signed();
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                SOCK_DIAG_BY_FAMILY => {
                    hear(message.body);
                    if !is_list {
                        return Ok(true);
                    }
                }
                _ => {}
            }
        }
    }
}

/// What is asked for.
struct Request {
    sequence: u32,
    family: AddressFamily,
    /// A bit for each.
    states: u32,
    of: Of,
}

enum Of {
    /// Every socket, or every one with such a local port.
    All(Option<RangeInclusive<Port>>),
    /// The one between the two.
    One { local: SocketAddr, peer: SocketAddr },
}

impl Request {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + REQUEST];
        bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        // Both families' numbers fit a byte: 2 and 10.
        let [low, high] = self.family.as_raw().to_le_bytes();
        debug_assert_eq!(high, 0);
        bytes[HEADER] = low;
        bytes[HEADER + 1] = IPPROTO_TCP;
        bytes[HEADER + 4..HEADER + 8].copy_from_slice(&self.states.to_ne_bytes());
        let mut flags = NLM_F_REQUEST;
        match &self.of {
            Of::All(None) => flags |= NLM_F_DUMP,
            Of::All(Some(ports)) => {
                flags |= NLM_F_DUMP;
                bytes.extend(between(ports));
            }
            Of::One { local, peer } => {
                let id = &mut bytes[HEADER + 8..];
                id[0..2].copy_from_slice(&local.port().to_be_bytes());
                id[2..4].copy_from_slice(&peer.port().to_be_bytes());
                for (address, at) in [(local.ip(), 4), (peer.ip(), 20)] {
                    match address {
                        IpAddr::V4(ip) => id[at..at + 4].copy_from_slice(&ip.octets()),
                        IpAddr::V6(ip) => id[at..at + 16].copy_from_slice(&ip.octets()),
                    }
                }
                // No cookie is known: whichever socket it is.
                id[40..48].fill(0xff);
            }
        }
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }
}

/// The attribute `INET_DIAG_REQ_BYTECODE` that lets pass what has a local port in that range: two
/// comparisons of two `struct inet_diag_bc_op` each. A comparison that fails jumps four bytes past
/// the end, which is how the kernel is told no.
fn between(ports: &RangeInclusive<Port>) -> [u8; 20] {
    let mut attribute = [0; 20];
    attribute[0..2].copy_from_slice(&20_u16.to_ne_bytes());
    attribute[2..4].copy_from_slice(&INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    for (at, code, port, no) in [
        (4, INET_DIAG_BC_S_GE, ports.start(), 20_u16),
        (12, INET_DIAG_BC_S_LE, ports.end(), 12_u16),
    ] {
        attribute[at] = code;
        attribute[at + 1] = 8;
        attribute[at + 2..at + 4].copy_from_slice(&no.to_ne_bytes());
        attribute[at + 6..at + 8].copy_from_slice(&port.get().to_ne_bytes());
    }
    attribute
}

/// A netlink message.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the first message off `rest`; `None` at its end or where it makes no sense.
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let length = u32_at(rest, 0)? as usize;
        let all = *rest;
        let (whole, kind_and_flags) = (all.get(..length)?, u32_at(all, 4)?.to_ne_bytes());
        let body = whole.get(HEADER..)?;
        *rest = all.get(length.next_multiple_of(4)..).unwrap_or_default();
        let [a, b, c, d] = kind_and_flags;
        let (kind, flags) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        Some(Self { kind, flags, sequence: u32_at(whole, 8)?, body })
    }
}

/// A `struct inet_diag_msg`: family, state, timer, retransmissions (a byte each), the socket's id (48
/// bytes: the local and the remote port, the two addresses, 16 bytes each, interface, cookie; ports
/// and addresses in network order), expires, rqueue, wqueue, uid, inode.
struct Answer([u8; MESSAGE]);

impl Answer {
    fn of(message: &[u8]) -> Option<Self> {
        message.first_chunk().copied().map(Self)
    }

    fn socket(&self) -> Option<Socket> {
        let port = Port::new(u16::from_be_bytes([self.0[4], self.0[5]]))?;
        let (uid, inode) = (u32_at(&self.0, 64)?, u64::from(u32_at(&self.0, 68)?));
        Some(Socket { port, inode, uid })
    }

    /// Of its own end (0) or of the far one (1); IPv4 as such, whichever family speaks it.
    fn address(&self, end: usize) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(*self.0.get(4 + 2 * end..)?.first_chunk()?);
        let octets: [u8; 16] = *self.0.get(8 + 16 * end..)?.first_chunk()?;
        let [a, b, c, d, ..] = octets;
        let ip = match u16::from(self.0[0]) == AddressFamily::INET.as_raw() {
            true => IpAddr::from([a, b, c, d]),
            false => IpAddr::from(octets),
        };
        Some(canonical(SocketAddr::new(ip, port)))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_ends_the_reading_of_messages() {
        for mut bytes in [&b""[..], b"abc", &[0; 16], &[255; 64], &[17, 0, 0, 0, 0, 0]] {
            assert!(Message::next(&mut bytes).is_none());
        }
        assert!(Answer::of(&[10; MESSAGE - 1]).is_none());
        assert_eq!(Answer::of(&[0; MESSAGE]).unwrap().socket(), None);
    }

    #[test]
    fn messages_are_taken_one_by_one() {
        let request = |sequence, family| Request { sequence, family, states: 1, of: Of::All(None) };
        let mut two = request(7, AddressFamily::INET).bytes();
        two.extend(request(8, AddressFamily::INET6).bytes());
        let mut rest = &two[..];
        let sequences: Vec<_> = std::iter::from_fn(|| Message::next(&mut rest))
            .map(|m| (m.sequence, m.body[0]))
            .collect();
        assert_eq!(sequences, [(7, 2), (8, 10)]);
    }
}
