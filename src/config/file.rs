//! `pmctl.toml`: which one is read, and its values with the line and column they stand in.

use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::dirs::{self, Invoker};
use super::key::Kind;
use super::layers::{Origin, Written};
use super::{Key, Surroundings};
use crate::text::{self, Message};

/// Its name in the working directory and in the configuration directory.
const NAME: &str = "pmctl.toml";

/// Largest file that is read, in bytes: a mistaken path must not fill the memory.
const MAX_BYTES: u64 = 1 << 20;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// The file to use, if there is one. `named` must exist; the other two places may be empty.
/// Pushes what is wrong to `mistakes`, and to `notes` that a file was passed over.
pub(super) fn find(
    named: Option<&Path>,
    around: &Surroundings,
    invoker: Option<&Invoker>,
    notes: &mut Vec<Message>,
    mistakes: &mut Vec<Message>,
) -> Option<Found> {
    if let Some(path) = named {
        let path = around.absolute(path);
        return match read(&path) {
            Ok((text, _)) => Some(Found { path, text }),
            Err(error) => {
                mistakes.push(text::config::config_file_unreadable(path.display(), error));
                None
            }
        };
    }
    let here = around.absolute(Path::new(NAME));
    if std::fs::symlink_metadata(&here).is_ok() {
        match read(&here) {
            Ok((_, Some(owner))) if !is_callers(owner, around, invoker) => {
                notes.push(text::config::config_file_of_another(here.display(), owner));
            }
            Ok((text, _)) => return Some(Found { path: here, text }),
            Err(error) => {
                mistakes.push(text::config::config_file_unreadable(here.display(), error));
                return None;
            }
        }
    }
    let there = dirs::config_dir(around, invoker)?.join(NAME);
    match read(&there) {
        Ok((text, _)) => Some(Found { path: there, text }),
        Err(error) if is_absent(&error) => None,
        Err(error) => {
            mistakes.push(text::config::config_file_unreadable(there.display(), error));
            None
        }
    }
}

/// Nothing of that name, or something else than a directory on the way to it.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Somebody else's file in a directory such as `/tmp` must not choose the database. Root through
/// `sudo` is also the user who called it.
fn is_callers(owner: u32, around: &Surroundings, invoker: Option<&Invoker>) -> bool {
    around.user.is_none_or(|user| user == owner) || invoker.is_some_and(|i| i.uid == owner)
}

/// The text of a regular file of at most [`MAX_BYTES`] and its owner, both of the same open file.
fn read(path: &Path) -> std::io::Result<(String, Option<u32>)> {
    use std::io::{Error, ErrorKind};
    // Asked before it is opened, because opening a named pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok((text, dirs::owner(&metadata)))
}

/// Every value of the file with its key, and every mistake: bad TOML, unknown keys, wrong types.
pub(super) fn values(found: &Found, mistakes: &mut Vec<Message>) -> Vec<(Key, Vec<Written>)> {
    let (table, errors) = DeTable::parse_recoverable(&found.text);
    if !errors.is_empty() {
        for mut error in errors {
            error.set_input(Some(&found.text));
            let reason = error.to_string();
            let path = found.path.display();
            mistakes.push(text::config::config_file_syntax(path, reason.trim_end()));
        }
        // What was recovered after a syntax error may not be what was meant.
        return Vec::new();
    }
    let mut reader = Reader { found, mistakes, values: Vec::new() };
    reader.table("", table.get_ref());
    reader.values
}

struct Reader<'a> {
    found: &'a Found,
    mistakes: &'a mut Vec<Message>,
    values: Vec<(Key, Vec<Written>)>,
}

impl Reader<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = match section {
                "" => name.get_ref().to_string(),
                _ => format!("{section}.{}", name.get_ref()),
            };
            let at = self.origin(name.span().start, &path);
            if section.is_empty() && is_section(name.get_ref()) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.table(&path, inner),
                    other => self.wrong_type(&at, "table", other),
                }
                continue;
            }
            let known = Key::ALL.iter().find(|key| key.path().as_deref() == Some(path.as_str()));
            match known {
                Some(key) => self.value(*key, at, value),
                None => self.mistakes.push(unknown(&at, &path)),
            }
        }
    }

    fn value(&mut self, key: Key, origin: Origin, value: &Spanned<DeValue<'_>>) {
        let one = |origin, value: String| Written { origin, name: None, value: value.into() };
        let written = match (key.kind(), value.get_ref()) {
            (Kind::Text, DeValue::String(text)) => vec![one(origin, text.to_string())],
            (Kind::Number, DeValue::Integer(number)) if number.radix() == 10 => {
                vec![one(origin, number.as_str().to_owned())]
            }
            (Kind::Texts, DeValue::Array(entries)) => {
                let Some(written) = self.entries(&origin, entries) else { return };
                written
            }
            (Kind::Named, DeValue::Table(entries)) => {
                let Some(written) = self.named(&origin, entries) else { return };
                written
            }
            (Kind::Switch, DeValue::Boolean(switch)) => vec![one(origin, switch.to_string())],
            (Kind::Text, other) => return self.wrong_type(&origin, "string", other),
            (Kind::Number, other) => return self.wrong_type(&origin, "integer", other),
            (Kind::Texts, other) => return self.wrong_type(&origin, "array of strings", other),
            (Kind::Named, other) => return self.wrong_type(&origin, "table of strings", other),
            (Kind::Switch, other) => return self.wrong_type(&origin, "boolean", other),
        };
        self.values.push((key, written));
    }

    /// The entries of an array of strings, each with its own place; `None` if one is no string.
    fn entries(&mut self, array: &Origin, entries: &DeArray<'_>) -> Option<Vec<Written>> {
        let key = array.key();
        let each = entries.iter().enumerate().map(|(at, entry)| {
            let origin = self.origin(entry.span().start, &format!("{key}[{at}]"));
            self.string(origin, None, entry)
        });
        // All of them are looked at: no mistake hides another.
        let each: Vec<_> = each.collect();
        each.into_iter().collect()
    }

    /// The entries of a table of strings, likewise.
    fn named(&mut self, table: &Origin, entries: &DeTable<'_>) -> Option<Vec<Written>> {
        let key = table.key();
        let each = entries.iter().map(|(name, entry)| {
            let named = name.get_ref().to_string();
            let origin = self.origin(name.span().start, &format!("{key}.{named}"));
            self.string(origin, Some(named), entry)
        });
        let each: Vec<_> = each.collect();
        each.into_iter().collect()
    }

    fn string(
        &mut self,
        origin: Origin,
        name: Option<String>,
        entry: &Spanned<DeValue<'_>>,
    ) -> Option<Written> {
        match entry.get_ref() {
            DeValue::String(text) => Some(Written { origin, name, value: text.to_string().into() }),
            other => {
                self.wrong_type(&origin, "string", other);
                None
            }
        }
    }

    fn wrong_type(&mut self, at: &Origin, expected: &str, found: &DeValue<'_>) {
        let found = match found {
            DeValue::Integer(number) if expected == "integer" => number.as_str(),
            other => other.type_str(),
        };
        self.mistakes.push(text::config::setting_type_wrong(at, expected, found));
    }

    fn origin(&self, offset: usize, key: &str) -> Origin {
        let before = self.found.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Origin::File { path: self.found.path.clone(), line, column, key: key.to_owned() }
    }
}

fn is_section(name: &str) -> bool {
    Key::ALL.iter().filter_map(|key| key.in_file()).any(|(table, ..)| table == name)
}

fn unknown(at: &Origin, path: &str) -> Message {
    let known = Key::ALL.iter().filter_map(|key| key.path());
    let tables = ["server", "limits", "log", "eureka"].map(str::to_owned);
    let near = known
        .chain(tables)
        .map(|candidate| (distance(&candidate, path), candidate))
        .filter(|(distance, _)| *distance <= 1 + path.len() / 5)
        .min();
    match near {
        Some((_, near)) => text::config::setting_unknown_similar(at, near),
        None => text::config::setting_unknown(at),
    }
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
