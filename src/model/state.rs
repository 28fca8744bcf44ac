//! The states of a service and of a server. What is wanted and what is are two types.

use std::fmt;

use serde::Serialize;

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $type { $($(#[$vdoc])* $variant,)* }

        impl $type {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word it is stored, sent and shown as.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value that `word` stands for, if this build knows it.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(super) use words;

words! {
    /// What the user asked for; survives every restart.
    Desired {
        /// To be served whenever a server runs.
        Running = "running",
        /// Not to be served until asked for.
        Stopped = "stopped",
    }
}

words! {
    /// What a service's proxy really does.
    Actual {
        /// No listener.
        Stopped = "stopped",
        /// Being bound.
        Starting = "starting",
        /// Listening and forwarding.
        Running = "running",
        /// No new connections, the open ones are finishing.
        Draining = "draining",
        /// Wanted but not there; the reason says why.
        Failed = "failed",
    }
}

words! {
    /// How far `pmctl serve` is in its life.
    Phase {
        /// Locking, migrating, binding.
        Starting = "starting",
        /// Everything vital stands.
        Ready = "ready",
        /// A stop was asked for.
        Draining = "draining",
        /// Nothing left to do but exit.
        Stopped = "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_leads_back_to_its_value() {
        for actual in Actual::ALL {
            assert_eq!(Actual::from_word(actual.as_str()), Some(*actual));
        }
        assert_eq!(Desired::from_word("paused"), None);
    }
}
