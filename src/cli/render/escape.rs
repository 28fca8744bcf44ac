//! Text from outside, made harmless for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters that move the cursor, change colours, hide text or reverse its direction.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` on one line, harmful characters written as `\n`, `\t`, `\u{1b}`.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same with line ends kept, for sentences that quote several lines.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n')
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| is_harmful(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_harmful(c) && !keep(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A JSON text with the harmful characters that JSON allows in strings written as `\u001b`: a
/// document may end up on a terminal too. Line ends between values are kept.
pub(super) fn json(document: &str) -> Cow<'_, str> {
    if !document.chars().any(|c| is_harmful(c) && c != '\n') {
        return Cow::Borrowed(document);
    }
    let mut out = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if !is_harmful(c) || c == '\n' {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String can't fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_command_a_terminal_is_written_out_and_words_are_left_alone() {
        assert_eq!(line("a\u{1b}[2Jb\r\n\u{9b}31m"), "a\\u{1b}[2Jb\\r\\n\\u{9b}31m");
        assert_eq!(line("x\u{202e}y\u{2062}z"), "x\\u{202e}y\\u{2062}z");
        for plain in ["订单 🦀 👩‍👩‍👧 é", "naïve \\ \" '"] {
            assert!(matches!(line(plain), Cow::Borrowed(text) if text == plain));
        }
        assert_eq!(lines("a\nb\u{7}"), "a\nb\\u{7}");
    }

    #[test]
    fn a_json_document_stays_the_same_value() {
        let value = serde_json::json!({"a": "x\u{7f}\u{9b}\u{202e}\u{e0041}\n\u{1b}"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let safe = json(&text);
        assert!(!safe.chars().any(|c| is_harmful(c) && c != '\n'), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
