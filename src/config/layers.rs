//! The settings as written, layer by layer, each with the place it stands in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Key, Surroundings};

/// What the command line set. Values are as typed; switches hold `true`, counts their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    values: BTreeMap<Key, OsString>,
}

impl Flags {
    /// Notes that the flag of `key` was typed with `value`.
    pub fn set(&mut self, key: Key, value: impl Into<OsString>) {
        self.values.insert(key, value.into());
    }

    /// Takes a value back, as a command does for which the flag means something of its own.
    pub fn take(&mut self, key: Key) -> Option<OsString> {
        self.values.remove(&key)
    }

    /// The value as typed.
    pub fn get(&self, key: Key) -> Option<&OsString> {
        self.values.get(&key)
    }
}

/// Where a value was written; later variants win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `path:line:column`, and the key there.
    File { path: PathBuf, line: usize, column: usize, key: String },
    /// The environment variable.
    Env(&'static str),
    /// The flag.
    Flag(&'static str),
}

impl Origin {
    /// Which of two places wins: the higher one.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Env(_) => 1,
            Self::Flag(_) => 2,
        }
    }

    /// The directory that a relative path written there starts from.
    pub(super) fn base<'a>(&'a self, working_dir: &'a Path) -> &'a Path {
        match self {
            Self::File { path, .. } => path.parent().unwrap_or(working_dir),
            Self::Env(_) | Self::Flag(_) => working_dir,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column, key } => {
                write!(f, "{}:{line}:{column}: {key}", path.display())
            }
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) origin: Origin,
    pub(super) value: OsString,
}

/// All layers, merged: for each key the value of the highest layer that has one.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<Key, Written>,
}

impl Layers {
    /// Flags over environment; the file goes below with [`Layers::put_below`].
    pub(super) fn above_the_file(flags: &Flags, around: &Surroundings) -> Self {
        let mut values = BTreeMap::new();
        for key in Key::ALL.iter().copied() {
            if let Some(value) = around.var(key.env()) {
                values.insert(key, Written { origin: Origin::Env(key.env()), value });
            }
            if let Some(value) = flags.get(key) {
                let origin = Origin::Flag(key.flag().unwrap_or(key.env()));
                values.insert(key, Written { origin, value: value.clone() });
            }
        }
        Self { values }
    }

    /// Adds a value of the file, unless a higher layer has the key.
    pub(super) fn put_below(&mut self, key: Key, written: Written) {
        self.values.entry(key).or_insert(written);
    }

    pub(super) fn get(&self, key: Key) -> Option<&Written> {
        self.values.get(&key)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Written> {
        self.values.remove(&key)
    }
}
