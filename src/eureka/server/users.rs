//! Who may call: names and passwords, by basic authorization (RFC 7617).

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::answer::Failure;
use crate::text::{self, Message};

/// Everybody who may call; never empty. `Debug` shows no password.
pub struct Users(Vec<String>);

impl Users {
    /// Reads `NAME:PASSWORD` lines; empty ones and those that begin with `#` are passed over. `path`
    /// is for the sentences only.
    ///
    /// # Errors
    /// The sentence about the first line that is none, or that there is none at all.
    pub fn parse(text: &str, path: &str) -> Result<Self, Message> {
        let mut users = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((name, password)) if !name.is_empty() && !password.is_empty() => {
                    users.push(line.to_owned());
                }
                _ => return Err(text::eureka::registry_users_invalid(at + 1, path)),
            }
        }
        match users.is_empty() {
            true => Err(text::eureka::registry_users_empty(path)),
            false => Ok(Self(users)),
        }
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, encoded)) = value.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let Ok(given) = STANDARD.decode(encoded.trim()) else { return false };
        // All of them, whole: how long it takes must not tell how much of a guess was right.
        let matches = self.0.iter().map(|user| is_same(user.as_bytes(), &given));
        scheme.eq_ignore_ascii_case("basic") & matches.fold(false, |any, one| any | one)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.0.len())
    }
}

/// Compares without stopping at the first difference.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differing) == 0 && one.len() == other.len()
}

pub(super) async fn check(
    State(users): State<Arc<Users>>,
    request: Request,
    next: Next,
) -> Response {
    if users.admit(request.headers()) {
        return next.run(request).await;
    }
    let refusal = Failure::new(StatusCode::UNAUTHORIZED, text::eureka::registry_log_in());
    let mut response = refusal.into_response();
    let realm = HeaderValue::from_static("Basic realm=\"pmctl eureka\", charset=\"UTF-8\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, realm);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_file_has_a_user_a_line() {
        let users = Users::parse("# people\n\nann:a:b\n bob:x \n", "users").unwrap();
        assert_eq!(users.0, ["ann:a:b", "bob:x"]);
        assert!(!format!("{users:?}").contains("ann"));
        let code = |text| Users::parse(text, "users").unwrap_err().code();
        assert_eq!(code("ann"), "registry-users-invalid");
        assert_eq!(code("ann:"), "registry-users-invalid");
        assert_eq!(code("# nobody\n"), "registry-users-empty");
    }

    #[test]
    fn only_a_whole_name_and_password_admit() {
        let users = Users::parse("ann:secret\nbob:x", "users").unwrap();
        let admits = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            users.admit(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
        };
        let basic = |plain: &str| format!("Basic {}", STANDARD.encode(plain));
        assert!(admits(&basic("ann:secret")) && admits(&basic("bob:x")));
        assert!(admits(&basic("ann:secret").replace("Basic", "basic")));
        for wrong in ["ann:secre", "ann:secrets", "ann:", "ann", "", "bob:secret"] {
            assert!(!admits(&basic(wrong)), "{wrong}");
        }
        assert!(!admits("Basic ?") && !admits("Basic") && !admits("Bearer YW5uOnNlY3JldA=="));
        assert!(!users.admit(&HeaderMap::new()));
    }
}
