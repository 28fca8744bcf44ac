//! Names of services, targets and nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::text::{self, Message};

/// Longest name in bytes of UTF-8.
const MAX_BYTES: usize = 253;

fn check(kind: &str, name: &str) -> Result<String, Message> {
    if name.is_empty() {
        return Err(text::model::name_empty(kind));
    }
    if name.len() > MAX_BYTES {
        return Err(text::model::name_too_long(kind, name.len(), MAX_BYTES));
    }
    if name.trim() != name {
        return Err(text::model::name_has_outer_space(kind, name));
    }
    if let Some(control) = name.chars().find(|c| c.is_control()) {
        let shown = name.escape_debug();
        let code = format!("U+{:04X}", u32::from(control));
        return Err(text::model::name_has_control(kind, shown, code));
    }
    Ok(name.to_owned())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal $(, $more:path)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Message;

            fn from_str(name: &str) -> Result<Self, Message> {
                let name = check($kind, name)?;
                $($more(&name)?;)?
                Ok(Self(name))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a service: any Unicode without control characters or outer white space, 1 to
    /// 253 bytes. Unique within a node name.
    ServiceName, "service"
}
name! {
    /// The name of a target within its service, by the same rules; `=` is excluded because
    /// `NAME=URL` is how a target is written.
    TargetName, "target", no_equals_sign
}
name! {
    /// The name of a node (`serve --node-name`), by the rules of a service name; path separators
    /// are excluded because a node's lock is a file of that name.
    NodeName, "node", no_path_separator
}

fn no_equals_sign(name: &str) -> Result<(), Message> {
    match name.contains('=') {
        true => Err(text::model::target_name_has_equals(name)),
        false => Ok(()),
    }
}

fn no_path_separator(name: &str) -> Result<(), Message> {
    match name.contains(['/', '\\', ':']) || name.starts_with('.') {
        true => Err(text::model::node_name_not_a_file_name(name)),
        false => Ok(()),
    }
}

impl Default for NodeName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_unicode_of_up_to_253_bytes_is_a_service_name() {
        for name in ["dspapi", "订单服务", "a b", "x=y", "🦀", &"x".repeat(253)] {
            assert_eq!(name.parse::<ServiceName>().map(|n| n.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn empty_long_padded_and_control_names_are_refused_by_name() {
        let code = |name: &str| name.parse::<ServiceName>().map_err(|m| m.code());
        assert_eq!(code(""), Err("name-empty"));
        assert_eq!(code(&"é".repeat(127)), Err("name-too-long"));
        assert_eq!(code(" a"), Err("name-has-outer-space"));
        assert_eq!(code("a\u{7}b"), Err("name-has-control"));
        assert_eq!(code("a\u{85}b"), Err("name-has-control"));
    }

    #[test]
    fn a_target_name_has_no_equals_sign_and_a_node_name_no_separator() {
        assert!("a=b".parse::<TargetName>().is_err());
        assert!("a/b".parse::<NodeName>().is_err());
        assert!("..".parse::<NodeName>().is_err());
    }
}
