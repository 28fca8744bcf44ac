//! Who listens on a port: every process with a *listening* TCP socket on exactly that port, of either
//! family. A client whose own port it is never counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Port, ProcessIdentity, Timestamp};

use super::{HostError, platform};

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nobody listens.
    Free,
    /// These processes have a listening socket on it, ascending by pid; at least one. Every such
    /// socket is one of theirs.
    Held(Vec<Holder>),
    /// Somebody listens whose process this one may not see.
    HeldUnseen {
        /// The user the socket belongs to, where the system says.
        uid: Option<u32>,
        /// Who else has it, on another address; mostly nobody.
        seen: Vec<Holder>,
    },
}

impl Holding {
    /// Those who are known to have it.
    pub fn seen(&self) -> &[Holder] {
        match self {
            Self::Free => &[],
            Self::Held(seen) | Self::HeldUnseen { seen, .. } => seen,
        }
    }
}

/// A process with a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// The user it runs as (effective); `None` on systems without such numbers.
    pub uid: Option<u32>,
    /// That user's name; the uid in digits where it has none.
    pub user: Option<String>,
    /// Its arguments with NUL between them, unmasked: they may hold secrets.
    pub command: Option<String>,
    /// When it was started, to the second at least.
    pub started_at: Option<Timestamp>,
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) port: Port,
    /// The user it belongs to.
    pub(super) uid: Option<u32>,
    /// Every process that is seen to have it open.
    pub(super) pids: BTreeSet<u32>,
}

/// Who listens on each of `ports`, all found in one pass. `known_pids` are asked first; if they
/// explain every socket nobody else is asked, so a process that shares a socket with one of them is
/// not found: leave them out to find all. Blocks, about 10 ms where other processes must be asked.
///
/// # Errors
/// `Listeners` where the system does not show its sockets.
pub fn holders(
    ports: &BTreeSet<Port>,
    known_pids: &[u32],
) -> Result<BTreeMap<Port, Holding>, HostError> {
    let mut held = look(ports, known_pids)?;
    let unseen = held.iter().filter(|(_, holding)| matches!(holding, Holding::HeldUnseen { .. }));
    let unseen: BTreeSet<Port> = unseen.map(|(port, _)| *port).collect();
    if !unseen.is_empty() {
        // Somebody who ends between two questions to the system is not hidden: he is gone by now.
        held.extend(look(&unseen, &[])?);
    }
    Ok(held)
}

fn look(ports: &BTreeSet<Port>, known_pids: &[u32]) -> Result<BTreeMap<Port, Holding>, HostError> {
    let mut sockets: BTreeMap<Port, Vec<Listening>> = BTreeMap::new();
    for socket in platform::listening(ports, known_pids)? {
        sockets.entry(socket.port).or_default().push(socket);
    }
    let pids: BTreeSet<u32> = sockets.values().flatten().flat_map(|s| &s.pids).copied().collect();
    let described = platform::describe(&pids);
    let holding = |port: &Port| match sockets.get(port) {
        Some(sockets) => holding(sockets, &described),
        None => Holding::Free,
    };
    Ok(ports.iter().map(|port| (*port, holding(port))).collect())
}

/// Who has a port with these `sockets`.
fn holding(sockets: &[Listening], described: &BTreeMap<u32, Holder>) -> Holding {
    let pids: BTreeSet<u32> = sockets.iter().flat_map(|s| &s.pids).copied().collect();
    let seen = pids.iter().filter_map(|pid| described.get(pid)).cloned().collect();
    let is_unseen =
        |socket: &&Listening| !socket.pids.iter().any(|pid| described.contains_key(pid));
    match sockets.iter().find(is_unseen) {
        Some(socket) => Holding::HeldUnseen { uid: socket.uid, seen },
        None => Holding::Held(seen),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::host::own_identity;

    fn port_of(address: SocketAddr) -> Port {
        Port::new(address.port()).unwrap()
    }

    fn holding(port: Port, known: &[u32]) -> Holding {
        holders(&[port].into(), known).unwrap().remove(&port).unwrap()
    }

    fn assert_ours(port: Port) {
        for known in [&[][..], &[std::process::id()], &[1, u32::MAX]] {
            let Holding::Held(holders) = holding(port, known) else { panic!("not held") };
            // A child that another test is just starting has it too, until its exec.
            let me = own_identity().unwrap();
            assert!(holders.iter().any(|holder| holder.identity == me), "{holders:?}");
        }
    }

    #[test]
    fn a_listener_of_either_family_is_found_with_its_process() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_ours(port_of(v4.local_addr().unwrap()));
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        assert_ours(port_of(v6.local_addr().unwrap()));
        let dual = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        dual.set_only_v6(false).unwrap();
        dual.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
        let port = port_of(dual.local_addr().unwrap().as_socket().unwrap());
        assert_eq!(holding(port, &[]), Holding::Free, "bound, but not listening");
        dual.listen(1).unwrap();
        assert_ours(port);
    }

    #[test]
    fn a_port_of_which_one_socket_has_no_visible_owner_is_not_all_seen() {
        let holder = Holder {
            identity: own_identity().unwrap(),
            uid: None,
            user: None,
            command: None,
            started_at: None,
        };
        let socket = |uid, pids: &[u32]| Listening {
            port: port_of(([127, 0, 0, 1], 81).into()),
            uid: Some(uid),
            pids: pids.iter().copied().collect(),
        };
        let described = BTreeMap::from([(7, holder.clone())]);
        // 8 was seen to have it, and has ended since.
        let all = [socket(1, &[7, 8]), socket(2, &[7])];
        assert_eq!(super::holding(&all, &described), Holding::Held(vec![holder.clone()]));
        for unseen in [socket(0, &[]), socket(0, &[8])] {
            let expected = Holding::HeldUnseen { uid: Some(0), seen: vec![holder.clone()] };
            assert_eq!(super::holding(&[socket(1, &[7]), unseen], &described), expected);
        }
    }

    #[test]
    fn a_client_with_that_local_port_is_no_holder() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let port = port_of(client.local_addr().unwrap());
        assert_eq!(holding(port, &[std::process::id()]), Holding::Free);
        let _accepted = server.accept().unwrap();
        assert_ours(port_of(server.local_addr().unwrap()));
        let port = port_of(server.local_addr().unwrap());
        drop(server);
        assert_eq!(holding(port, &[]), Holding::Free, "an accepted connection does not listen");
    }

    #[test]
    fn a_holder_is_told_with_its_user_command_line_and_start() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port_of(listener.local_addr().unwrap());
        let known = [std::process::id()];
        let Holding::Held(holders) = holding(port, &known) else { panic!("not held") };
        let [holder] = &holders[..] else { panic!("{holders:?}") };
        assert_eq!(holder.user.clone().unwrap(), crate::host::current_user_name());
        let me = std::env::args().next().unwrap();
        assert!(holder.command.as_ref().unwrap().starts_with(&me), "{:?}", holder.command);
        let age = holder.started_at.unwrap().age(crate::host::clock::now());
        assert!(age.as_secs() < 3600, "{age:?}");
    }

    #[test]
    fn many_ports_are_answered_at_once_each_by_its_own() {
        let listeners: Vec<_> =
            (0..50).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut ports: BTreeSet<_> =
            listeners.iter().map(|l| port_of(l.local_addr().unwrap())).collect();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let free_port = port_of(free.local_addr().unwrap());
        drop(free);
        ports.insert(free_port);
        let found = holders(&ports, &[std::process::id()]).unwrap();
        assert_eq!(found.len(), 51);
        for (port, holding) in found {
            assert_eq!(holding == Holding::Free, port == free_port, "{port}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn every_process_that_shares_the_port_is_found() {
        use std::os::fd::OwnedFd;
        use std::process::{Command, Stdio};
        let first = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        first.set_reuse_port(true).unwrap();
        first.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        first.listen(1).unwrap();
        let address = first.local_addr().unwrap().as_socket().unwrap();
        // A second socket on the same port, which only the child keeps.
        let second = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        second.set_reuse_port(true).unwrap();
        second.bind(&address.into()).unwrap();
        second.listen(1).unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(OwnedFd::from(second)))
            .spawn()
            .unwrap();
        let Holding::Held(sharers) = holding(port_of(address), &[]) else { panic!("not held") };
        child.kill().unwrap();
        child.wait().unwrap();
        let pids: BTreeSet<_> = sharers.iter().map(|h| h.identity.pid).collect();
        assert!(pids.is_superset(&[std::process::id(), child.id()].into()), "{pids:?}");
        assert!(sharers.iter().any(|h| h.command.as_deref() == Some("sleep\x0060")));
        assert_ours(port_of(address));
    }
}
