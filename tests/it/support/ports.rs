//! Ports nobody else takes: not another test, not another run of this binary, not the kernel for an
//! outgoing connection.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

const BLOCK: u16 = 250;

/// Blocks of ports this process has locked; the locks last until it ends.
static LEASES: Mutex<Leases> = Mutex::new(Leases { next: 0..0, blocks: Vec::new() });

struct Leases {
    next: Range<u16>,
    blocks: Vec<(u16, File)>,
}

/// A port on which nobody listens and that this process hands out only once.
pub fn free_port() -> u16 {
    let mut leases = LEASES.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(port) = leases.next.next() else {
            leases.lease_block();
            continue;
        };
        if bindable(port) {
            return port;
        }
    }
}

/// So many of them.
pub fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port()).collect()
}

impl Leases {
    fn lease_block(&mut self) {
        let folder = std::env::temp_dir().join(format!("pmctl-test-ports-{}", user()));
        fs::create_dir_all(&folder).expect("a folder for the leases of test ports");
        for first in blocks() {
            if self.blocks.iter().any(|(taken, _)| *taken == first) {
                continue;
            }
            let file = File::create(folder.join(first.to_string())).expect("a lease file");
            if file.try_lock().is_ok() {
                self.blocks.push((first, file));
                self.next = first..first + BLOCK;
                return;
            }
        }
        panic!("no block of test ports left");
    }
}

/// Who runs this: the folder is that user's.
fn user() -> String {
    #[cfg(unix)]
    return rustix::process::geteuid().as_raw().to_string();
    #[cfg(not(unix))]
    return std::env::var("USERNAME").unwrap_or_default();
}

/// First ports of all blocks outside the range outgoing connections are given, the range pmctl gives
/// out for `--port auto`, and away from the ports it names itself (3000, 8080, 27721).
fn blocks() -> impl Iterator<Item = u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = range.split_whitespace().filter_map(|n| n.parse::<u16>().ok());
    let outgoing = bounds.next().unwrap_or(32_768)..=bounds.next().unwrap_or(60_999);
    let automatic = 20_000..=29_999;
    let taken = move |port: u16| outgoing.contains(&port) || automatic.contains(&port);
    (10_000..64_000)
        .step_by(usize::from(BLOCK))
        .filter(move |first| !taken(*first) && !taken(first + BLOCK - 1))
}

fn bindable(port: u16) -> bool {
    let bind = |domain, address: SocketAddr| {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        // On Windows it would share the port with whoever has it.
        socket.set_reuse_address(cfg!(unix))?;
        socket.bind(&address.into())?;
        socket.listen(1)
    };
    bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into()).is_ok()
        // A machine without IPv6 has nobody on that side either.
        && bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into())
            .map_or_else(|e| e.kind() != ErrorKind::AddrInUse, |()| true)
}
