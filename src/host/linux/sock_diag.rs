//! The kernel's own list of TCP sockets (sock_diag(7)), asked for those that listen: it walks only
//! those, where `/proc/net/tcp` walks every connection.

use std::io;
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
const TCP_LISTEN: u32 = 10;
/// `struct nlmsghdr`: length, type, flags, sequence, port id.
const HEADER: usize = 16;
/// `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const REQUEST: usize = 56;
const MESSAGE: usize = 72;

/// The kernel fills at most 32 KiB at a time.
const BUFFER: usize = 64 * 1024;

/// The kernel answers at once; a sandbox might swallow the question.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a list is asked for anew because it changed while it was written.
const ATTEMPTS: u32 = 5;

/// Every listening TCP socket of this network namespace, of both families.
pub(super) fn listening() -> io::Result<Vec<Socket>> {
    let kind = Some(netlink::SOCK_DIAG);
    let fd = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, kind)?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
    let mut sockets = Vec::new();
    let mut sequence = 0;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        for attempt in 1..=ATTEMPTS {
            sequence += 1;
            let before = sockets.len();
            let is_whole = dump(&fd, family, sequence, &mut sockets)?;
            // A list that stays interrupted may lack or repeat one: better than none.
            if is_whole || attempt == ATTEMPTS {
                break;
            }
            sockets.truncate(before);
        }
    }
    Ok(sockets)
}

/// One list; whether nothing changed while the kernel wrote it.
fn dump(
    fd: &OwnedFd,
    family: AddressFamily,
    sequence: u32,
    sockets: &mut Vec<Socket>,
) -> io::Result<bool> {
    send(fd, &request(family, sequence), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    let mut is_whole = true;
    loop {
        let (length, _) = recv(fd, &mut buffer[..], RecvFlags::empty())?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &buffer[..length];
        while let Some(message) = Message::next(&mut rest) {
            if message.sequence != sequence {
                continue;
            }
            is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                NLMSG_DONE => return Ok(is_whole),
                NLMSG_ERROR => {
                    let code = u32_at(message.body, 0).unwrap_or_default().cast_signed();
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                SOCK_DIAG_BY_FAMILY => sockets.extend(socket(message.body)),
                _ => {}
            }
        }
    }
}

fn request(family: AddressFamily, sequence: u32) -> [u8; HEADER + REQUEST] {
    let mut request = [0; HEADER + REQUEST];
    let length = (HEADER + REQUEST) as u32;
    request[0..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    // Both families' numbers fit a byte: 2 and 10.
    request[HEADER] =
        family.as_raw().to_ne_bytes()[if cfg!(target_endian = "big") { 1 } else { 0 }];
    request[HEADER + 1] = IPPROTO_TCP;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&(1_u32 << TCP_LISTEN).to_ne_bytes());
    request
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

/// From a `struct inet_diag_msg`: family, state, timer, retransmissions (a byte each), the socket's
/// id (48 bytes, the local port first, in network order), expires, rqueue, wqueue, uid, inode.
fn socket(message: &[u8]) -> Option<Socket> {
    let message: &[u8; MESSAGE] = message.first_chunk()?;
    if u32::from(message[1]) != TCP_LISTEN {
        return None;
    }
    let port = Port::new(u16::from_be_bytes([message[4], message[5]]))?;
    let (uid, inode) = (u32_at(message, 64)?, u64::from(u32_at(message, 68)?));
    Some(Socket { port, inode, uid })
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
        assert_eq!(socket(&[10; MESSAGE - 1]), None);
        assert_eq!(socket(&[0; MESSAGE]), None);
    }

    #[test]
    fn messages_are_taken_one_by_one() {
        let mut two = request(AddressFamily::INET, 7).to_vec();
        two.extend(request(AddressFamily::INET6, 8));
        let mut rest = &two[..];
        let sequences: Vec<_> = std::iter::from_fn(|| Message::next(&mut rest))
            .map(|m| (m.sequence, m.body[0]))
            .collect();
        assert_eq!(sequences, [(7, 2), (8, 10)]);
    }
}
