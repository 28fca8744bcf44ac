//! The system's tables of TCP sockets, by `GetExtendedTcpTable`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::offset_of;

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, MIB_TCP_STATE_ESTAB, MIB_TCP6ROW_OWNER_PID, MIB_TCPROW_OWNER_PID,
    TCP_TABLE_CLASS, TCP_TABLE_OWNER_PID_CONNECTIONS, TCP_TABLE_OWNER_PID_LISTENER,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};

use super::is_untouchable;
use crate::host::holders::Listening;
use crate::model::Port;

/// How often a table that grew between two calls is asked for again.
const ATTEMPTS: u32 = 8;

/// What is read of one socket.
struct Row {
    port: u32,
    pid: u32,
    state: u32,
}

/// Every listening socket of this machine.
pub(in crate::host) fn all_listening() -> io::Result<Vec<Listening>> {
    let listening = sockets(TCP_TABLE_OWNER_PID_LISTENER)?.into_iter().filter_map(|row| {
        // The system itself is nobody to be shown.
        let pids = if is_untouchable(row.pid) { BTreeSet::new() } else { [row.pid].into() };
        Some(Listening { port: port_of(row.port)?, uid: None, pids })
    });
    Ok(listening.collect())
}

pub(in crate::host) fn connections(ports: &BTreeSet<Port>) -> Option<BTreeMap<Port, u64>> {
    let mut counts: BTreeMap<Port, u64> = ports.iter().map(|port| (*port, 0)).collect();
    if counts.is_empty() {
        return Some(counts);
    }
    let rows = match sockets(TCP_TABLE_OWNER_PID_CONNECTIONS) {
        Ok(rows) => rows,
        Err(error) => {
            tracing::debug!(%error, "connections cannot be counted");
            return None;
        }
    };
    for row in rows.iter().filter(|row| row.state == MIB_TCP_STATE_ESTAB.cast_unsigned()) {
        if let Some(count) = port_of(row.port).and_then(|port| counts.get_mut(&port)) {
            *count += 1;
        }
    }
    Some(counts)
}

/// The lower half is the port in network order.
fn port_of(port: u32) -> Option<Port> {
    Port::new(u16::from_be((port & 0xffff) as u16))
}

/// Both families' rows of a kind of table.
fn sockets(class: TCP_TABLE_CLASS) -> io::Result<Vec<Row>> {
    let v4 = table(AF_INET.into(), class)?;
    let mut all: Vec<Row> = rows(&v4, size_of::<MIB_TCPROW_OWNER_PID>())
        .map(|row| Row {
            port: word(row, offset_of!(MIB_TCPROW_OWNER_PID, dwLocalPort)),
            pid: word(row, offset_of!(MIB_TCPROW_OWNER_PID, dwOwningPid)),
            state: word(row, offset_of!(MIB_TCPROW_OWNER_PID, dwState)),
        })
        .collect();
    let v6 = table(AF_INET6.into(), class)?;
    all.extend(rows(&v6, size_of::<MIB_TCP6ROW_OWNER_PID>()).map(|row| Row {
        port: word(row, offset_of!(MIB_TCP6ROW_OWNER_PID, dwLocalPort)),
        pid: word(row, offset_of!(MIB_TCP6ROW_OWNER_PID, dwOwningPid)),
        state: word(row, offset_of!(MIB_TCP6ROW_OWNER_PID, dwState)),
    }));
    Ok(all)
}

/// The table of a family: a count, then rows.
fn table(family: u32, class: TCP_TABLE_CLASS) -> io::Result<Vec<u8>> {
    let mut size = 16 * 1024_u32;
    for _ in 0..ATTEMPTS {
        let mut buffer = vec![0_u8; size as usize];
        // SAFETY: `buffer` has `size` writable bytes, and the call writes no more than `size`. It asks
        // for no alignment beyond what it copies its rows to; they are read here byte by byte.
        let code = unsafe {
            GetExtendedTcpTable(buffer.as_mut_ptr().cast(), &mut size, 0, family, class, 0)
        };
        match code {
            NO_ERROR => return Ok(buffer),
            // It may grow again before the next call.
            ERROR_INSUFFICIENT_BUFFER => size = size.saturating_add(4096),
            code => return Err(io::Error::from_raw_os_error(code.cast_signed())),
        }
    }
    Err(io::Error::other("the table of sockets grows faster than it is read"))
}

/// The rows of a table, each `length` bytes: after the count, which both kinds of row follow without
/// a gap (all their fields are aligned to four bytes or less).
fn rows(table: &[u8], length: usize) -> impl Iterator<Item = &[u8]> {
    let count = word(table, 0) as usize;
    table.get(4..).unwrap_or_default().chunks_exact(length).take(count)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn connections_are_counted_on_the_side_that_accepted_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port::new(listener.local_addr().unwrap().port()).unwrap();
        let count = || connections(&[port].into()).unwrap()[&port];
        assert_eq!(count(), 0);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap();
        assert_eq!(count(), 1);
        drop((client, accepted));
        let begun = Instant::now();
        while count() != 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "still counted");
            std::thread::yield_now();
        }
        assert_eq!(connections(&BTreeSet::new()), Some([].into()));
    }
}
