//! The list of TCP sockets of `/proc/net` (proc_net(5)), where sock_diag is not to be had.

use std::io::{self, BufRead, BufReader};

use crate::model::Port;

use super::Socket;

/// Every listening TCP socket of this network namespace, of both families.
pub(super) fn listening() -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for (path, is_needed) in [("/proc/net/tcp", true), ("/proc/net/tcp6", false)] {
        let file = match std::fs::File::open(path) {
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_needed => continue,
            other => other?,
        };
        for line in BufReader::new(file).lines() {
            sockets.extend(socket(&line?));
        }
    }
    Ok(sockets)
}

/// From a line: number, local address `HEX:PORT`, remote address, state, queues, timer, retransmits,
/// uid, timeout, inode.
fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = Port::new(u16::from_str_radix(port, 16).ok()?)?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Socket { port, inode, uid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_line_is_a_listener() {
        let listen = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
             1000        0 31337 1 0000000000000000 100 0 0 10 0";
        let expected = Socket { port: Port::new(8080).unwrap(), inode: 31337, uid: 1000 };
        assert_eq!(socket(listen), Some(expected));
        assert_eq!(socket(&listen.replace(" 0A ", " 01 ")), None);
        for nonsense in ["", "sl local_address rem_address st", "1: 0:1F90 0:0 0A"] {
            assert_eq!(socket(nonsense), None);
        }
    }
}
