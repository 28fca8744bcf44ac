//! Command lines without the secrets that stand in them.

/// `command`, whose arguments stand apart by NUL or, where there is none, by spaces, with spaces
/// between them and `***` in place of what looks like a secret: the value of an option, variable or
/// property whose name has a word such as `password`, `token` or `secret` in it, with all that
/// follows it in the same argument, and the user part of a URL. A guess by names: what no name gives
/// away stays.
pub fn masked(command: &str) -> String {
    // Programs of Windows take `/password:x` too; elsewhere that is two paths.
    masked_with(command, cfg!(windows))
}

fn masked_with(command: &str, slash_begins_option: bool) -> String {
    let apart = if command.contains('\0') { '\0' } else { ' ' };
    let mut shown = Vec::new();
    let mut hides_next = false;
    for argument in command.split(apart) {
        if hides_next && !argument.is_empty() {
            shown.push(HIDDEN.to_owned());
            // The scheme of an `Authorization` field: its value is still to come.
            hides_next =
                argument.eq_ignore_ascii_case("bearer") || argument.eq_ignore_ascii_case("basic");
            continue;
        }
        let (argument, next) = masked_argument(argument, slash_begins_option);
        hides_next |= next;
        shown.push(argument);
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

/// Parts of names that say "secret" where they stand alone.
const SECRET_WORDS: &[&str] = &["pass", "pwd", "jwt"];

/// The argument as it may be shown, and whether the one after it is its secret value.
fn masked_argument(argument: &str, slash_begins_option: bool) -> (String, bool) {
    let argument = without_users(argument);
    let has_slash = slash_begins_option && argument.starts_with('/');
    let mut name_begins = usize::from(has_slash);
    for (at, c) in argument.char_indices() {
        let name = argument.get(name_begins..at).unwrap_or_default();
        // A path before a colon is a part of a list, or of a URL.
        let is_name = c == '=' || (c == ':' && !name.contains('/'));
        if is_name && is_secret(name) {
            let (shown, value) = argument.split_at(at + 1);
            return match value.trim().is_empty() {
                true => (argument.clone(), c == ':'),
                false => (format!("{shown}{HIDDEN}"), false),
            };
        }
        if matches!(c, '=' | ':' | '?' | '&' | ';' | ',') || c.is_whitespace() {
            name_begins = at + c.len_utf8();
        }
    }
    let is_option = (argument.starts_with('-') || (has_slash && !argument[1..].contains('/')))
        && !argument.contains('=')
        && is_secret(&argument);
    (argument, is_option)
}

fn is_secret(name: &str) -> bool {
    let name = name.trim_end_matches(['"', '\'']).to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    (SECRET.iter().any(|part| name.contains(part))
        || words.any(|word| SECRET_WORDS.contains(&word)))
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
            ("app\0--password\0my own words\0--port\080", "app --password *** --port 80"),
            ("app\0--password=a,b c;d\0x", "app --password=*** x"),
            (
                "java -Durl=jdbc:mysql://db/x?user=a&password=b&ssl=1",
                "java -Durl=jdbc:mysql://db/x?user=a&password=***",
            ),
            ("app\0Server=db;User Id=sa;Password=b", "app Server=db;User Id=sa;Password=***"),
            ("app Server=db;User Id=sa;Pwd=b", "app Server=db;User Id=sa;Pwd=***"),
            ("sh\0-c\0PGPASSWORD='a b' psql", "sh -c PGPASSWORD=***"),
            ("app\0{\"a\": 1, \"password\": \"x y\"}", "app {\"a\": 1, \"password\":***"),
            ("curl\0-H\0Authorization: Bearer a\0u", "curl -H Authorization:*** u"),
            ("curl\0--header=X-Auth-Token:a", "curl --header=X-Auth-Token:***"),
            ("app --pass a --bypass b", "app --pass *** --bypass b"),
            ("docker -v /run/secrets/token:/t x", "docker -v /run/secrets/token:/t x"),
            ("app\0--name=订单;密码token=x", "app --name=订单;密码token=***"),
            ("app --password= x", "app --password= x"),
        ] {
            assert_eq!(masked(command), shown);
        }
        for (command, shown) in [
            ("app\0/password:a b\0/x", "app /password:*** /x"),
            ("app /p:x /TOKEN abc /port 80", "app /p:x /TOKEN *** /port 80"),
            ("app /pwd=abc", "app /pwd=***"),
            ("app /etc/passwd /run/secrets/token:/t", "app /etc/passwd /run/secrets/token:/t"),
            ("app --token abc C:\\secrets\\a.txt", "app --token *** C:\\secrets\\a.txt"),
        ] {
            assert_eq!(masked_with(command, true), shown);
        }
        let paths = "docker -v /secrets:/secrets /token x";
        assert_eq!(masked_with(paths, false), paths);
        assert_eq!(program_only("java -jar a.jar"), "java ***");
        assert_eq!(program_only("[kthreadd]"), "[kthreadd]");
    }
}
