//! Addresses in responses, mapped from the target's view back to the client's.
//!
//! A target knows itself by its own authority and base path; the client knows pmctl's, without the
//! base path. What names anything else than the target stays as it is.

use crate::model::{Scheme, TargetUrl};

/// How the client addressed pmctl.
pub(super) struct ClientView<'a> {
    /// `http` or `https`.
    pub(super) scheme: &'a str,
    /// `None`: an HTTP/1.0 client that did not say.
    pub(super) host: Option<&'a [u8]>,
}

/// The value of `Location` or `Content-Location` for the client; `None`: as it is.
pub(super) fn location(
    text: &[u8],
    target: &TargetUrl,
    client: &ClientView<'_>,
) -> Option<Vec<u8>> {
    let (authority_of, rest) = split_authority(text);
    let path = match authority_of {
        // A path from the root. Anything else is relative to the request's own path, which has the
        // same end on both sides.
        None if rest.first() == Some(&b'/') => under_base(rest, target.base_path())?,
        None => return None,
        Some((scheme, authority)) => {
            if !is_target(scheme, authority, target) {
                return None;
            }
            under_base(rest, target.base_path())?
        }
    };
    let mut out = Vec::with_capacity(text.len() + 32);
    match (authority_of, client.host) {
        (Some((scheme, _)), Some(host)) => {
            if scheme.is_some() {
                out.extend_from_slice(client.scheme.as_bytes());
                out.push(b':');
            }
            out.extend_from_slice(b"//");
            out.extend_from_slice(host);
        }
        _ if target.base_path().is_empty() && authority_of.is_none() => return None,
        // A path that begins with two slashes would be read as an authority.
        _ if path.starts_with(b"//") => out.extend_from_slice(b"/."),
        _ => {}
    }
    if path.first() != Some(&b'/') {
        out.push(b'/');
    }
    out.extend_from_slice(path);
    Some(out)
}

/// The value of `Set-Cookie` for the client; `None`: as it is. A `Path` under the base loses the
/// base; a `Domain` that is the target's host goes, so that the cookie belongs to whatever host the
/// client asked.
pub(super) fn cookie(value: &[u8], target: &TargetUrl) -> Option<Vec<u8>> {
    let mut parts = value.split(|b| *b == b';');
    let mut out = parts.next()?.to_vec();
    let mut is_changed = false;
    for attribute in parts {
        let mut sides = attribute.splitn(2, |b| *b == b'=');
        let name = sides.next().unwrap_or_default().trim_ascii();
        let content = sides.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"domain") && is_host(content, target.host()) {
            is_changed = true;
            continue;
        }
        out.push(b';');
        let mapped = name
            .eq_ignore_ascii_case(b"path")
            .then(|| under_base(content, target.base_path()))
            .flatten()
            .filter(|_| !target.base_path().is_empty());
        match mapped {
            Some(path) => {
                is_changed = true;
                out.extend_from_slice(b" Path=");
                if path.first() != Some(&b'/') {
                    out.push(b'/');
                }
                out.extend_from_slice(path);
            }
            None => out.extend_from_slice(attribute),
        }
    }
    is_changed.then_some(out)
}

/// The scheme, where there is one, and the authority.
type Authority<'a> = (Option<&'a [u8]>, &'a [u8]);

/// Splits `scheme://authority` or `//authority` off a reference (RFC 3986 section 4.1).
fn split_authority(text: &[u8]) -> (Option<Authority<'_>>, &[u8]) {
    let is_mark = |b: &u8| matches!(b, b'/' | b'?' | b'#' | b':');
    let scheme_end = text.iter().position(is_mark).filter(|at| *at > 0 && text[*at] == b':');
    let (scheme, after) = match scheme_end {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    };
    match after.strip_prefix(b"//") {
        Some(rest) => {
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
            let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
            (Some((scheme, authority)), rest)
        }
        None => (None, text),
    }
}

fn is_target(scheme: Option<&[u8]>, authority: &[u8], target: &TargetUrl) -> bool {
    let own = if target.scheme() == Scheme::Https { "https" } else { "http" };
    let is_own_scheme = scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case(own.as_bytes()));
    // The colon of a port stands behind the brackets of an IPv6 address.
    let colon = authority.iter().rposition(|b| matches!(b, b':' | b']'));
    let (host, port) = match colon.filter(|at| authority[*at] == b':') {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (authority, &b""[..]),
    };
    let port = match port {
        b"" => Some(target.scheme().default_port()),
        digits => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
    };
    is_own_scheme && is_host(host, target.host()) && port == Some(target.port())
}

fn is_host(written: &[u8], host: &str) -> bool {
    let written = written.strip_prefix(b".").unwrap_or(written);
    written.eq_ignore_ascii_case(host.as_bytes())
}

/// What of `path` is left behind `base`, if it is `base` itself or under it.
fn under_base<'a>(path: &'a [u8], base: &str) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(base.as_bytes())?;
    matches!(rest.first(), None | Some(b'/' | b'?' | b'#')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> TargetUrl {
        url.parse().unwrap()
    }

    fn mapped(value: &str, url: &str, host: Option<&str>) -> String {
        let client = ClientView { scheme: "http", host: host.map(str::as_bytes) };
        let mapped = location(value.as_bytes(), &target(url), &client);
        mapped.map_or(value.to_owned(), |mapped| String::from_utf8(mapped).unwrap())
    }

    #[test]
    fn what_is_under_the_target_is_mapped_and_everything_else_left() {
        let table = [
            // Absolute, under the base.
            ("http://up:9/base/x?y#z", "http://c:80/x?y#z"),
            ("HTTP://UP:9/base/x", "http://c:80/x"),
            ("http://up:9/base", "http://c:80/"),
            ("http://up:9/base/", "http://c:80/"),
            ("http://up:9/base?q=/base", "http://c:80/?q=/base"),
            ("//up:9/base/x", "//c:80/x"),
            ("http://up:9/base//evil", "http://c:80//evil"),
            // From the root.
            ("/base/x", "/x"),
            ("/base", "/"),
            ("/base#top", "/#top"),
            ("/base/%62ase/文", "/%62ase/文"),
            ("/base//evil.com/x", "/.//evil.com/x"),
            // Elsewhere.
            ("http://up:9/other", "http://up:9/other"),
            ("http://up:9/basement", "http://up:9/basement"),
            ("http://up:9", "http://up:9"),
            ("http://up/base/x", "http://up/base/x"),
            ("http://up:90/base/x", "http://up:90/base/x"),
            ("https://up:9/base/x", "https://up:9/base/x"),
            ("http://a@up:9/base/x", "http://a@up:9/base/x"),
            ("http://other/base/x", "http://other/base/x"),
            ("//other/base", "//other/base"),
            ("/other", "/other"),
            ("/basement", "/basement"),
            ("x/y", "x/y"),
            ("../base/x", "../base/x"),
            ("?a=http://up:9/base/", "?a=http://up:9/base/"),
            ("mailto:a@up", "mailto:a@up"),
            ("", ""),
        ];
        for (value, expected) in table {
            assert_eq!(mapped(value, "http://up:9/base", Some("c:80")), expected, "{value}");
        }
    }

    #[test]
    fn a_target_without_base_maps_its_authority_alone() {
        let table = [
            ("http://up/x", "http://c/x"),
            ("http://up:80", "http://c/"),
            ("http://up:/x", "http://c/x"),
            ("/x", "/x"),
            ("//evil", "//evil"),
            ("", ""),
        ];
        for (value, expected) in table {
            assert_eq!(mapped(value, "http://up", Some("c")), expected, "{value}");
        }
        assert_eq!(mapped("https://[::1]/x", "https://[::1]", Some("c")), "http://c/x");
        assert_eq!(mapped("http://[::1]:5/x", "h2c://[::1]:5", Some("c")), "http://c/x");
    }

    #[test]
    fn a_client_that_named_no_host_gets_a_path() {
        assert_eq!(mapped("http://up/b/x", "http://up/b", None), "/x");
        assert_eq!(mapped("http://up/x", "http://up", None), "/x");
        assert_eq!(mapped("http://up//evil/x", "http://up", None), "/.//evil/x");
        assert_eq!(mapped("http://up", "http://up", None), "/");
    }

    #[test]
    fn cookies_of_the_base_become_cookies_of_the_root() {
        let baked = |value: &str, url: &str| {
            let cookie = cookie(value.as_bytes(), &target(url));
            cookie.map_or(value.to_owned(), |cookie| String::from_utf8(cookie).unwrap())
        };
        let table = [
            ("a=b; Path=/base", "a=b; Path=/"),
            ("a=b; path=/base/x; HttpOnly", "a=b; Path=/x; HttpOnly"),
            ("a=b;PATH = /base/ ;Secure", "a=b; Path=/;Secure"),
            ("a=b; Domain=up; Path=/base", "a=b; Path=/"),
            ("a=b; domain=.UP", "a=b"),
            ("a=b; Path=/", "a=b; Path=/"),
            ("a=b; Path=/basement", "a=b; Path=/basement"),
            ("a=b; Domain=example.com", "a=b; Domain=example.com"),
            ("a=b; Domain=x.up", "a=b; Domain=x.up"),
            ("path=/base; Max-Age=1", "path=/base; Max-Age=1"),
            (
                "a=中=/base; Expires=Thu, 01 Jan 1970 00:00:00 GMT;",
                "a=中=/base; Expires=Thu, 01 Jan 1970 00:00:00 GMT;",
            ),
            ("", ""),
        ];
        for (value, expected) in table {
            assert_eq!(baked(value, "http://up:9/base"), expected, "{value}");
        }
        assert_eq!(baked("a=b; Path=/x;  y", "http://up"), "a=b; Path=/x;  y");
        assert_eq!(baked("a=b; Domain=up; Path=/x", "http://up"), "a=b; Path=/x");
    }
}
