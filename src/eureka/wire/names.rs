//! Names that no XML element may have, as XStream's `XmlFriendlyNameCoder` writes them with the
//! replacements of `XmlXStream.java`: `_` as `__`, `$` as `_-`, anything else as `_.` and four
//! hexadecimal digits.

/// The name of an element for `name`.
pub(super) fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for (at, c) in name.chars().enumerate() {
        match c {
            '_' => out.push_str("__"),
            '$' => out.push_str("_-"),
            c if is_name_char(c, at == 0) => out.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("_.{unit:04x}"));
                }
            }
        }
    }
    out
}

/// What an element's name stands for. What is no replacement stays as it is.
pub(super) fn decode(element: &str) -> String {
    let mut out: Vec<u16> = Vec::with_capacity(element.len());
    let mut rest = element;
    while let Some(c) = rest.chars().next() {
        let hex = rest.strip_prefix("_.").and_then(|after| after.get(..4));
        let unit = hex
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u16::from_str_radix(hex, 16).ok());
        if let Some(unit) = unit {
            out.push(unit);
            rest = &rest[6..];
        } else if let Some(after) = rest.strip_prefix("__") {
            out.push(u16::from(b'_'));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("_-") {
            out.push(u16::from(b'$'));
            rest = after;
        } else {
            out.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            rest = &rest[c.len_utf8()..];
        }
    }
    String::from_utf16_lossy(&out)
}

/// `NameStartChar` and `NameChar` of XML 1.0 in the plane Java's characters can name, without the
/// colon, which would begin a namespace.
fn is_name_char(c: char, is_first: bool) -> bool {
    let may_begin = matches!(c,
        'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}');
    may_begin || (!is_first && (c.is_ascii_digit() || matches!(c, '-' | '.' | '\u{b7}')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_being_an_element() {
        for name in ["versions_delta", "a$b", "management.port", "1st", "a b", "键", "😀", "__", ""]
        {
            assert_eq!(decode(&encode(name)), name, "{}", encode(name));
        }
        assert_eq!(encode("versions_delta"), "versions__delta");
        assert_eq!(encode("a b"), "a_.0020b");
        assert_eq!(decode("_.zzzz_"), "_.zzzz_");
    }
}
