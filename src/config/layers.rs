//! The settings as written, layer by layer, each with the place it stands in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::key::Kind;
use super::{Key, Surroundings};

/// What the command line set. Values are as typed; switches hold `true`, counts their number. A
/// setting that is a list has a value for each time its flag was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    values: BTreeMap<Key, Vec<OsString>>,
}

impl Flags {
    /// Notes that the flag of `key` was typed with `value`.
    pub fn set(&mut self, key: Key, value: impl Into<OsString>) {
        self.values.insert(key, vec![value.into()]);
    }

    /// Notes that the flag of `key`, a list, was typed with `value` too.
    pub fn add(&mut self, key: Key, value: impl Into<OsString>) {
        self.values.entry(key).or_default().push(value.into());
    }

    /// Takes a value back, as a command does for which the flag means something of its own.
    pub fn take(&mut self, key: Key) -> Option<OsString> {
        self.values.remove(&key)?.into_iter().next()
    }

    /// The value as typed; the first one of a list.
    pub fn get(&self, key: Key) -> Option<&OsString> {
        self.all(key).first()
    }

    fn all(&self, key: Key) -> &[OsString] {
        self.values.get(&key).map_or(&[], Vec::as_slice)
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

    /// What it is called in the file; empty elsewhere.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::File { key, .. } => key,
            Self::Env(_) | Self::Flag(_) => "",
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

/// A value as written, or one entry of a list or table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) origin: Origin,
    /// What an entry of a table is called; `None` for everything else, and for an entry of the
    /// environment that has no `=` in it.
    pub(super) name: Option<String>,
    pub(super) value: OsString,
}

/// All layers, merged: for each key what the highest layer that has it says. Lists and tables of
/// two layers are not joined.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<Key, Vec<Written>>,
}

impl Layers {
    /// Flags over environment; the file goes below with [`Layers::put_below`].
    pub(super) fn above_the_file(flags: &Flags, around: &Surroundings) -> Self {
        let mut values = BTreeMap::new();
        for key in Key::ALL.iter().copied() {
            if let Some(value) = around.var(key.env()) {
                values.insert(key, of_the_environment(key, value));
            }
            let typed = flags.all(key);
            if !typed.is_empty() {
                let origin = Origin::Flag(key.flag().unwrap_or(key.env()));
                let written = |value: &OsString| Written {
                    origin: origin.clone(),
                    name: None,
                    value: value.clone(),
                };
                values.insert(key, typed.iter().map(written).collect());
            }
        }
        Self { values }
    }

    /// Adds what the file says, unless a higher layer has the key.
    pub(super) fn put_below(&mut self, key: Key, written: Vec<Written>) {
        self.values.entry(key).or_insert(written);
    }

    /// The value of a key that is neither list nor table.
    pub(super) fn get(&self, key: Key) -> Option<&Written> {
        self.each(key).first()
    }

    /// The entries of a list or table.
    pub(super) fn each(&self, key: Key) -> &[Written] {
        self.values.get(&key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.values.remove(&key);
    }
}

/// One variable is one value, or as many as there are commas in it.
fn of_the_environment(key: Key, value: OsString) -> Vec<Written> {
    let origin = Origin::Env(key.env());
    let (true, Some(text)) = (matches!(key.kind(), Kind::Texts | Kind::Named), value.to_str())
    else {
        return vec![Written { origin, name: None, value }];
    };
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let entry = |entry: &str| {
        let (name, value) = match (key.kind(), entry.split_once('=')) {
            (Kind::Named, Some((name, value))) => (Some(name.trim().to_owned()), value.trim()),
            _ => (None, entry),
        };
        Written { origin: origin.clone(), name, value: value.into() }
    };
    entries.map(entry).collect()
}
