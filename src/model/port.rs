//! Port numbers and lists of them.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::text::{self, Message};

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port of that number; `None` for 0, which names no port.
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// The number, never 0.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for Port {
    type Err = Message;

    fn from_str(text: &str) -> Result<Self, Message> {
        // `u16::from_str` takes a leading plus sign; a port is written in digits.
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| text.parse().ok().and_then(Self::new))
            .flatten()
            .ok_or_else(|| text::model::port_out_of_range(text))
    }
}

impl TryFrom<i64> for Port {
    type Error = Message;

    fn try_from(number: i64) -> Result<Self, Message> {
        u16::try_from(number)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| text::model::port_out_of_range(number))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.get())
    }
}

/// What `--port` takes: a number, or `auto` for the lowest free one of the configured range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// The lowest free port of the configured range.
    Auto,
    /// Exactly this one.
    Fixed(Port),
}

impl FromStr for PortChoice {
    type Err = Message;

    fn from_str(text: &str) -> Result<Self, Message> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Fixed),
        }
    }
}

/// An inclusive range of ports, written `6000-6002`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    /// The range from `first` to `last`, both included; an error if `last` is the lower one.
    pub fn new(first: Port, last: Port) -> Result<Self, Message> {
        match first <= last {
            true => Ok(Self { first, last }),
            false => Err(text::model::port_range_reversed(first, last)),
        }
    }

    /// Every port of the range, ascending.
    pub fn iter(self) -> impl Iterator<Item = Port> {
        (self.first.get()..=self.last.get()).filter_map(Port::new)
    }
}

impl FromStr for PortRange {
    type Err = Message;

    fn from_str(text: &str) -> Result<Self, Message> {
        match text.split_once('-') {
            Some((first, last)) => Self::new(first.parse()?, last.parse()?),
            None => text.parse().map(|port| Self { first: port, last: port }),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The ports of a list such as `3000,6000-6002`, each once, ascending.
pub fn parse_ports(list: &str) -> Result<BTreeSet<Port>, Message> {
    let mut ports = BTreeSet::new();
    for part in list.split(',') {
        ports.extend(part.trim().parse::<PortRange>()?.iter());
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_ports_and_ranges_is_read_whole_or_refused() {
        let numbers = |list| {
            parse_ports(list)
                .map(|ports| ports.into_iter().map(Port::get).collect::<Vec<_>>())
                .map_err(|m| m.code())
        };
        assert_eq!(numbers("8080"), Ok(vec![8080]));
        assert_eq!(numbers("6000-6002,3000, 3000"), Ok(vec![3000, 6000, 6001, 6002]));
        assert_eq!(numbers("1-65535").map(|p| p.len()), Ok(65_535));
        assert_eq!(numbers("5-4"), Err("port-range-reversed"));
        for bad in ["", "0", "70000", "+80", "-1", "80-", "a", "80,,81", "8O"] {
            assert_eq!(numbers(bad), Err("port-out-of-range"), "{bad:?}");
        }
    }
}
