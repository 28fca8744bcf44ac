//! Sentences as they are stored: code and values, so that each reader has them in its language, and
//! the English sentence for a reader whose catalogue lacks the code.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::text::{self, Message};

#[derive(Serialize)]
struct Written<'a> {
    code: &'a str,
    args: BTreeMap<&'a str, &'a str>,
    en: String,
}

#[derive(Deserialize)]
struct Read {
    code: String,
    #[serde(default)]
    args: HashMap<String, String>,
    #[serde(default)]
    en: String,
}

/// The text of the column.
pub(super) fn to_column(message: &Message) -> String {
    let written =
        Written { code: message.code(), args: message.args().collect(), en: message.to_string() };
    // Maps of strings always have a JSON form; should that change, the sentence is kept.
    serde_json::to_string(&written).unwrap_or(written.en)
}

/// The sentence of the column, whatever wrote it.
pub(super) fn from_column(column: &str) -> Message {
    let Ok(read) = serde_json::from_str::<Read>(column) else {
        return text::store::recorded_sentence(column);
    };
    Message::from_parts(&read.code, &read.args).unwrap_or_else(|| {
        let sentence = if read.en.is_empty() { &read.code } else { &read.en };
        text::store::recorded_sentence(sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_comes_back_as_it_was_said_or_at_least_in_english() {
        let message = text::model::name_too_long("service", 300, 253);
        let column = to_column(&message);
        assert_eq!(from_column(&column), message);
        let newer = column.replace("name-too-long", "name-beyond-measure");
        assert_eq!(from_column(&newer).to_string(), message.to_string());
        assert_eq!(from_column(r#"{"code":"gone"}"#).to_string(), "gone");
        assert_eq!(from_column("by hand").to_string(), "by hand");
    }
}
