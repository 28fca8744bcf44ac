//! Command lines without the secrets that stand in them.

/// `command` with `***` in place of what looks like a secret: the value of an option, variable or
/// property whose name has a word such as `password`, `token` or `secret` in it, and the user part
/// of a URL. A guess by names: what no name gives away stays.
pub fn masked(command: &str) -> String {
    let mut shown = Vec::new();
    let mut hides_next = false;
    for word in command.split(' ') {
        if hides_next && !word.is_empty() {
            shown.push(HIDDEN.to_owned());
            // The scheme of an `Authorization` field: its value is still to come.
            hides_next = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
            continue;
        }
        let (word, next) = masked_word(word);
        hides_next |= next;
        shown.push(word);
    }
    shown.join(" ")
}

/// Only the program of `command`, for readers who have not shown who they are.
pub fn program_only(command: &str) -> String {
    match command.split_once(' ') {
        Some((program, _)) => format!("{program} {HIDDEN}"),
        None => command.to_owned(),
    }
}

const HIDDEN: &str = "***";

/// Parts of names that say "secret", in lower case.
const SECRET: &[&str] = &[
    "passw",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "credential",
    "access-key",
    "access_key",
    "private-key",
    "private_key",
    "authorization",
];

/// Words that say it only as a whole: a `compass` is none.
const SHORT: &[&str] = &["pass", "pwd", "jwt"];

/// The word as it may be shown, and whether the one after it is its secret value.
fn masked_word(word: &str) -> (String, bool) {
    let word = without_users(word);
    let word = word.as_str();
    if let Some((name, value)) = word.split_once('=') {
        if is_secret(name) && !value.is_empty() {
            return (format!("{name}={HIDDEN}"), false);
        }
        return (word.to_owned(), false);
    }
    if let Some((name, value)) = word.split_once(':')
        && is_secret(name)
        && !name.contains('/')
    {
        return match value.is_empty() {
            true => (word.to_owned(), true),
            false => (format!("{name}:{HIDDEN}"), false),
        };
    }
    (word.to_owned(), word.starts_with('-') && is_secret(word))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    (SECRET.iter().any(|part| name.contains(part)) || words.any(|word| SHORT.contains(&word)))
        && !name.ends_with("-file")
        && !name.ends_with("_file")
}

/// `text` with `***` in place of what stands between `://` and `@` of each URL in it.
pub fn without_users(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#', ',', '"', '\'']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let shown = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{shown}{}", without_users(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_the_names_before_them() {
        for (command, shown) in [
            (
                "java -Dspring.datasource.password=x1 -jar a.jar",
                "java -Dspring.datasource.password=*** -jar a.jar",
            ),
            ("app --token abc --port 80", "app --token *** --port 80"),
            ("app --api-key=abc", "app --api-key=***"),
            ("app --db-pass abc -Ddb.pwd=x", "app --db-pass *** -Ddb.pwd=***"),
            ("app --compass north --bypass=no", "app --compass north --bypass=no"),
            ("DB_PASSWORD=x app", "DB_PASSWORD=*** app"),
            ("curl -H Authorization: Bearer abc", "curl -H Authorization: *** ***"),
            ("app postgres://ann:pw@db/x?a=b", "app postgres://***@db/x?a=b"),
            ("app --url=http://a:b@h:1/x", "app --url=http://***@h:1/x"),
            ("app --token-file /x --passwords", "app --token-file /x --passwords"),
            ("node server.js 8080", "node server.js 8080"),
        ] {
            assert_eq!(masked(command), shown);
        }
        assert_eq!(program_only("java -jar a.jar"), "java ***");
        assert_eq!(program_only("[kthreadd]"), "[kthreadd]");
    }
}
