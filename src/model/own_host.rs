//! Whether a request is addressed to a listener of ours, by what it says in `Host` or `:authority`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether `host` (`name`, `name:port`, an IPv6 address in brackets) is the listener at `own`: its
/// address, `localhost`, 127.0.0.1 or [::1], or one of its further `names`, with its port. One that
/// names no port means `default_port`.
pub fn is_own_host(host: &str, own: SocketAddr, names: &[String], default_port: u16) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => (Name::V6(name), None),
            Some((name, port)) => match port.strip_prefix(':') {
                Some(port) => (Name::V6(name), Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (Name::Other(name), Some(port)),
            None => (Name::Other(host), None),
        },
    };
    let port = match port {
        // `u16::from_str` takes a leading plus sign.
        Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => port.parse(),
        Some(_) => return false,
        None => Ok(default_port),
    };
    port == Ok(own.port()) && name.is_own(own.ip(), names)
}

enum Name<'a> {
    /// What stood between brackets.
    V6(&'a str),
    Other(&'a str),
}

impl Name<'_> {
    fn is_own(&self, own: IpAddr, names: &[String]) -> bool {
        match self {
            Self::V6(text) => text
                .parse::<Ipv6Addr>()
                .is_ok_and(|ip| own == IpAddr::V6(ip) || ip == Ipv6Addr::LOCALHOST),
            Self::Other(text) => {
                text.eq_ignore_ascii_case("localhost")
                    || names.iter().any(|name| text.eq_ignore_ascii_case(name))
                    || text
                        .parse::<Ipv4Addr>()
                        .is_ok_and(|ip| own == IpAddr::V4(ip) || ip == Ipv4Addr::LOCALHOST)
            }
        }
    }
}
