//! What must be known before the command line is understood: in which language and form to say
//! that it can't be.

use std::ffi::OsString;

use crate::config::{ColorChoice, Key, OutputFormat, Surroundings, locale};
use crate::text::Lang;

/// A guess at output, language and colour that never fails; the settings have the last word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Early {
    /// Table or JSON.
    pub output: OutputFormat,
    /// Language.
    pub lang: Lang,
    /// Colour.
    pub color: ColorChoice,
}

impl Early {
    /// Looks for the flags among the words, else in the environment; values that make no sense
    /// are passed over, as the parser will refuse them.
    pub fn scan(argv: &[OsString], around: &Surroundings) -> Self {
        let value = |short: Option<char>, key: Key| {
            let typed = key.flag().and_then(|flag| typed(argv, short, flag));
            let env = || (around.env)(key.env()).and_then(|value| value.into_string().ok());
            typed.or_else(env).unwrap_or_default()
        };
        Self {
            output: match value(Some('o'), Key::Output).as_str() {
                "json" => OutputFormat::Json,
                _ => OutputFormat::Table,
            },
            lang: value(None, Key::Lang).parse().unwrap_or_else(|_| locale(around)),
            color: match value(None, Key::Color).as_str() {
                "always" => ColorChoice::Always,
                "never" => ColorChoice::Never,
                _ => ColorChoice::Auto,
            },
        }
    }
}

/// The last value of an option: `-o json`, `-ojson`, `-o=json`, `--output json`, `--output=json`.
fn typed(argv: &[OsString], short: Option<char>, long: &str) -> Option<String> {
    let words: Vec<&str> = argv.iter().skip(1).map(|w| w.to_str().unwrap_or_default()).collect();
    let words = words.split(|word| *word == "--").next().unwrap_or_default();
    let mut found = None;
    for (at, word) in words.iter().enumerate() {
        let next = || words.get(at + 1).map(|next| (*next).to_owned());
        if let Some(rest) = word.strip_prefix(long) {
            match rest.strip_prefix('=') {
                Some(value) => found = Some(value.to_owned()),
                None if rest.is_empty() => found = next().or(found),
                None => {}
            }
        } else if let Some(rest) = short_value(word, short) {
            found = match rest {
                "" => next().or(found),
                value => Some(value.trim_start_matches('=').to_owned()),
            };
        }
    }
    found
}

/// What stands behind the short option in a word such as `-vojson`: only switches go before it.
fn short_value(word: &str, short: Option<char>) -> Option<&str> {
    let cluster = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    let (before, after) = cluster.split_once(short?)?;
    before.chars().all(|c| matches!(c, 'v' | 'q' | 'f')).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_seen_in_every_way_it_can_be_typed_even_where_the_rest_makes_no_sense() {
        for words in [
            "pmctl -o json x",
            "pmctl x -ojson",
            "pmctl -o=json",
            "pmctl -vojson",
            "pmctl --output json --nonsense",
            "pmctl --output=json",
            "pmctl -o table -o json",
        ] {
            let argv: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            assert_eq!(typed(&argv, Some('o'), "--output").as_deref(), Some("json"), "{words}");
        }
        for words in ["pmctl", "pmctl -- -o json", "pmctl --output-x=json", "pmctl -o"] {
            let argv: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            assert_eq!(typed(&argv, Some('o'), "--output"), None, "{words}");
        }
    }
}
