//! The words of a command line: Windows keeps it in one piece, and each program cuts it up by itself.

/// The words as programs of the C runtime and of Rust see them. The first one, the program, knows no
/// escapes: it ends at a quote if it began with one, else at a blank.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut rest = line.chars().peekable();
    let mut program = String::new();
    let mut is_quoted = false;
    while let Some(c) = rest.next_if(|c| is_quoted || !is_blank(*c)) {
        match c {
            '"' => is_quoted = !is_quoted,
            c => program.push(c),
        }
    }
    let mut words = vec![program];
    loop {
        while rest.next_if(|c| is_blank(*c)).is_some() {}
        if rest.peek().is_none() {
            return words;
        }
        words.push(word(&mut rest));
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// The next word. Backslashes count only before a quote: two stand for one, and one that is left makes
/// the quote a character. Two quotes in a quoted part are one.
fn word(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let (mut word, mut is_quoted) = (String::new(), false);
    while let Some(c) = rest.next_if(|c| is_quoted || !is_blank(*c)) {
        match c {
            '\\' => {
                let mut count = 1;
                while rest.next_if_eq(&'\\').is_some() {
                    count += 1;
                }
                if rest.peek() != Some(&'"') {
                    word.extend(std::iter::repeat_n('\\', count));
                    continue;
                }
                word.extend(std::iter::repeat_n('\\', count / 2));
                if count % 2 == 1 {
                    word.extend(rest.next());
                }
            }
            '"' if is_quoted && rest.next_if_eq(&'"').is_some() => word.push('"'),
            '"' => is_quoted = !is_quoted,
            c => word.push(c),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_cut_up_as_its_program_does() {
        assert_eq!(words(""), [""]);
        assert_eq!(words("a.exe"), ["a.exe"]);
        assert_eq!(words(r#""C:\a b\c.exe" --token  x"#), [r"C:\a b\c.exe", "--token", "x"]);
        assert_eq!(words(r#"a "" "b c" d"e f"g"#), ["a", "", "b c", "de fg"]);
        assert_eq!(
            words(r#"a \\server\x "y z\\" \"q\" \\"w""#),
            ["a", r"\\server\x", r"y z\", "\"q\"", r"\w",]
        );
        assert_eq!(words("a \"b\"\"c\"\td"), ["a", "b\"c", "d"]);
        assert_eq!(words("a \"open"), ["a", "open"]);
    }
}
