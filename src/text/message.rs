//! One sentence of the catalogue with its values.

use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::{CATALOGUE, Lang};

/// One row of the compiled catalogue.
pub(super) struct Entry {
    pub(super) code: &'static str,
    pub(super) args: &'static [&'static str],
    pub(super) en: &'static str,
    pub(super) zh_cn: &'static str,
}

/// A sentence by its catalogue code, with the values its placeholders take.
///
/// Made by the generated constructors of the catalogue. `Display` and `Serialize` give the English
/// sentence; [`Message::render`] gives it in the reader's language.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    entry: u16,
    values: Vec<String>,
}

impl Message {
    /// Only the generated constructors call this; `values` follow the entry's `args`.
    pub(super) fn new(entry: u16, values: Vec<String>) -> Self {
        Self { entry, values }
    }

    fn entry(&self) -> &'static Entry {
        &CATALOGUE[usize::from(self.entry)]
    }

    /// The stable kebab-case code, equal to the catalogue key.
    pub fn code(&self) -> &'static str {
        self.entry().code
    }

    /// Placeholder names with their values, in the order of the English sentence.
    pub fn args(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = self.entry().args.iter().copied();
        names.zip(self.values.iter().map(String::as_str))
    }

    /// The message that `code` and `args` name, if this build's catalogue has it: a peer of
    /// another version may send a code or leave out a value that is unknown here.
    pub fn from_parts(code: &str, args: &HashMap<String, String>) -> Option<Self> {
        let index = CATALOGUE.binary_search_by(|e| e.code.cmp(code)).ok()?;
        let values = CATALOGUE[index]
            .args
            .iter()
            .map(|name| args.get(*name).cloned())
            .collect::<Option<Vec<_>>>()?;
        let entry = u16::try_from(index).ok()?;
        Some(Self { entry, values })
    }

    /// A sentence of this build's catalogue by code, for tables of texts addressed by name (the
    /// help pages). `None` when there is no such code or it has placeholders.
    pub fn plain(code: &str) -> Option<Self> {
        Self::from_parts(code, &HashMap::new())
    }

    /// The text of a sentence without placeholders, for libraries that ask for static text (the
    /// headings of the help pages). `None` as for [`Message::plain`].
    pub fn plain_text(code: &str, lang: Lang) -> Option<&'static str> {
        let entry = Self::plain(code)?.entry();
        Some(match lang {
            Lang::En => entry.en,
            Lang::ZhCn => entry.zh_cn,
        })
    }

    /// The sentence in `lang`.
    pub fn render(&self, lang: Lang) -> String {
        let entry = self.entry();
        let mut rest = match lang {
            Lang::En => entry.en,
            Lang::ZhCn => entry.zh_cn,
        };
        let mut out = String::with_capacity(rest.len() + 32);
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let Some(close) = rest[open..].find('}').map(|at| open + at) else {
                break;
            };
            let name = &rest[open + 1..close];
            if let Some(at) = entry.args.iter().position(|arg| *arg == name) {
                out.push_str(&self.values[at]);
            }
            rest = &rest[close + 1..];
        }
        out.push_str(rest);
        out
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Lang::En))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.code())
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_its_trip_as_code_and_values() {
        let message = crate::text::model::service_not_found("订单 {x}");
        let args = message.args().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let back = Message::from_parts(message.code(), &args);
        assert_eq!(back, Some(message.clone()));
        assert!(message.render(Lang::ZhCn).contains("订单 {x}"));
        assert!(message.to_string().contains("订单 {x}"));
    }

    #[test]
    fn a_code_or_value_this_build_lacks_is_no_message() {
        assert_eq!(Message::from_parts("no-such-code", &HashMap::new()), None);
        assert_eq!(Message::from_parts("service-not-found", &HashMap::new()), None);
    }
}
