//! Who calls the control plane, and what follows from that.

use std::net::{IpAddr, SocketAddr};

use super::Actor;

/// Who calls: the two ends of the connection, and what its socket tells. The accept loop puts it
/// into the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The far end of the connection.
    pub peer: SocketAddr,
    /// The near end: the address that the connection came in on.
    pub local: SocketAddr,
    /// What the peer's socket tells of it.
    pub standing: Standing,
}

/// What the far end's socket tells of whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A process of a user who may do everything, by its user id.
    Trusted {
        /// Its user.
        uid: u32,
    },
    /// Nobody who is known by the socket alone.
    Unknown {
        /// Why not.
        why: Unproven,
    },
    /// A socket of this very process: somebody made it call itself.
    OwnSocket,
}

/// Why a socket proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// It is on another machine, as far as can be told.
    Remote,
    /// It belongs to this user, who has no business here.
    OtherUser(u32),
    /// It is not visible: of another network namespace, or closed already.
    Invisible,
    /// It is on this machine, and this system cannot tell whose it is.
    LocalOnly,
}

/// How much a caller may do. A request's own value stands in its extensions once it was let in;
/// where none stands, nothing was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Learn that a pmctl is here, of which database and in which phase.
    Greeting,
    /// Read, with command lines cut to the program.
    Reading,
    /// Everything.
    Full,
}

impl Caller {
    /// The caller as events name it: the address, and the user id where it is known.
    pub fn actor(&self) -> Actor {
        Actor::Control(match self.uid() {
            Some(uid) => format!("{} uid {uid}", self.peer),
            None => self.peer.to_string(),
        })
    }

    /// The user of the peer's process, where that is known.
    pub fn uid(&self) -> Option<u32> {
        match self.standing {
            Standing::Trusted { uid } | Standing::Unknown { why: Unproven::OtherUser(uid) } => {
                Some(uid)
            }
            Standing::Unknown { .. } | Standing::OwnSocket => None,
        }
    }

    /// The far end's address, the same one however it is written.
    pub fn ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// What it may do by its socket alone, without a token.
    pub fn access(&self) -> Access {
        match self.standing {
            Standing::Trusted { .. } => Access::Full,
            Standing::Unknown { why: Unproven::LocalOnly } => Access::Reading,
            Standing::Unknown { .. } | Standing::OwnSocket => Access::Greeting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_user_of_a_caller_where_it_is_known() {
        let actor = |standing| {
            let peer = SocketAddr::from(([127, 0, 0, 1], 5000));
            Caller { peer, local: peer, standing }.actor().to_string()
        };
        assert_eq!(actor(Standing::Trusted { uid: 1000 }), "control:127.0.0.1:5000 uid 1000");
        let other = Standing::Unknown { why: Unproven::OtherUser(7) };
        assert_eq!(actor(other), "control:127.0.0.1:5000 uid 7");
        assert_eq!(actor(Standing::OwnSocket), "control:127.0.0.1:5000");
    }
}
