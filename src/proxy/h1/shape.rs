//! What a request's head says, for everything that happens before its answer is through.

use std::ops::Range;

use http::Method;
use memchr::memchr;

use crate::proxy::headers::{has_member, is_common_option, members};
use crate::proxy::wire::{Body, Head, trim};

/// The fields of a head whose form was judged, behind its first line.
#[derive(Clone)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    /// Name and trimmed value.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = memchr(b':', line)?;
        Some((&line[..colon], trim(&line[colon + 1..])))
    }
}

/// See the module's documentation. Places are counted from the start of the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Of the whole head, its empty line included.
    pub(super) len: usize,
    pub(super) body: Body,
    pub(super) method: Method,
    method_at: Range<usize>,
    target_at: Range<usize>,
    fields_at: usize,
    /// The authority the client asked for: that of the target where it has one (RFC 9112 section
    /// 3.2.2), else `Host`. `None`: HTTP/1.0 without either.
    host_at: Option<Range<usize>>,
    pub(super) is_http10: bool,
    /// The client goes on with this connection.
    pub(super) keeps_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) takes_trailers: bool,
    /// It asks for an upgrade to something else than h2c.
    pub(super) upgrades: bool,
    pub(super) has_length: bool,
    pub(super) has_authorization: bool,
    pub(super) has_via: bool,
    pub(super) has_forwarded: bool,
    /// `Connection` names fields that are not known to be of one hop.
    pub(super) names_fields: bool,
}

impl Shape {
    /// Of a `head` that was judged.
    pub(super) fn of(bytes: &[u8], head: &Head) -> Self {
        let bytes = &bytes[..head.len.min(bytes.len())];
        let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or_default();
        let line_end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at);
        let line = bytes[start..line_end].strip_suffix(b"\r").unwrap_or_default();
        let method_end = memchr(b' ', line).unwrap_or_default();
        let target_end = line.len().saturating_sub(b" HTTP/1.1".len()).max(method_end + 1);
        let target = line.get(method_end + 1..target_end).unwrap_or_default();
        let target_at = start + method_end + 1;
        let mut shape = Self {
            len: bytes.len(),
            body: head.body,
            method: Method::from_bytes(&line[..method_end]).unwrap_or_default(),
            method_at: start..start + method_end,
            target_at: target_at..target_at + target.len(),
            fields_at: (line_end + 1).min(bytes.len()),
            host_at: authority(target).map(|at| target_at + at.start..target_at + at.end),
            is_http10: line.ends_with(b"0"),
            keeps_alive: false,
            expects_continue: false,
            takes_trailers: false,
            upgrades: false,
            has_length: false,
            has_authorization: false,
            has_via: false,
            has_forwarded: false,
            names_fields: false,
        };
        shape.read_fields(bytes);
        shape
    }

    fn read_fields(&mut self, bytes: &[u8]) {
        let (mut close, mut keep_alive, mut upgrade, mut offers) = (false, false, false, false);
        for (name, value) in Fields(&bytes[self.fields_at..]) {
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            match name.len() {
                2 if is(b"te") => self.takes_trailers |= has_member(value, b"trailers"),
                3 if is(b"via") => self.has_via = true,
                4 if is(b"host") && self.host_at.is_none() => {
                    // A value is a part of the head.
                    let at = value.as_ptr() as usize - bytes.as_ptr() as usize;
                    self.host_at = Some(at..at + value.len());
                }
                6 if is(b"expect") => self.expects_continue |= has_member(value, b"100-continue"),
                7 if is(b"upgrade") => {
                    offers |= protocols(value).next().is_some();
                }
                10 if is(b"connection") => {
                    for option in members(value) {
                        let is = |known: &[u8]| option.eq_ignore_ascii_case(known);
                        match option.len() {
                            5 if is(b"close") => close = true,
                            7 if is(b"upgrade") => upgrade = true,
                            10 if is(b"keep-alive") => keep_alive = true,
                            _ => self.names_fields |= !is_common_option(option),
                        }
                    }
                }
                13 if is(b"authorization") => self.has_authorization = true,
                14 if is(b"content-length") => self.has_length = true,
                15 if is(b"x-forwarded-for") => self.has_forwarded = true,
                16 if is(b"x-forwarded-host") => self.has_forwarded = true,
                17 if is(b"x-forwarded-proto") => self.has_forwarded = true,
                _ => {}
            }
        }
        self.keeps_alive = !close && (!self.is_http10 || keep_alive);
        // An HTTP/1.0 client waits for nothing and cannot upgrade (RFC 9110 sections 10.1.1, 7.8).
        self.expects_continue &= !self.is_http10;
        self.upgrades = !self.is_http10 && upgrade && offers;
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether nothing follows the head.
    pub(super) fn is_bare(&self) -> bool {
        self.body == Body::Length(0)
    }

    pub(super) fn method<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.method_at.clone()]
    }

    pub(super) fn target<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.target_at.clone()]
    }

    pub(super) fn host<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        self.host_at.clone().and_then(|at| head.get(at))
    }

    pub(super) fn fields<'a>(&self, head: &'a [u8]) -> Fields<'a> {
        Fields(&head[self.fields_at..self.len])
    }

    /// Path and query, as written; empty, or a query alone, where the target is an authority and
    /// nothing but that. `OPTIONS` of an authority alone means the server as a whole (RFC 9112 section
    /// 3.2.4).
    pub(super) fn path_and_query<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        let target = &head[self.target_at.clone()];
        match &target[authority(target).map_or(0, |at| at.end)..] {
            b"" if self.method == Method::OPTIONS => b"*",
            path => path,
        }
    }

    /// The path alone, for listings.
    pub(super) fn path<'a>(&self, head: &'a [u8]) -> std::borrow::Cow<'a, str> {
        let whole = self.path_and_query(head);
        let path = &whole[..memchr(b'?', whole).unwrap_or(whole.len())];
        match path {
            b"" => "/".into(),
            path => String::from_utf8_lossy(path),
        }
    }

    /// Whether the client offers to upgrade to all that `protocols` names.
    pub(super) fn offers(&self, head: &[u8], protocols: &[u8]) -> bool {
        let offered = |wanted: &[u8]| {
            self.fields(head)
                .filter(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"))
                .flat_map(|(_, value)| self::protocols(value))
                .any(|protocol| protocol.eq_ignore_ascii_case(wanted))
        };
        members(protocols).all(offered)
    }

    /// What the client offers to upgrade to, without h2c, which would carry requests past every
    /// check.
    pub(super) fn write_protocols(&self, head: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        for (name, value) in self.fields(head) {
            if name.eq_ignore_ascii_case(b"upgrade") {
                for protocol in protocols(value) {
                    if out.len() > begin {
                        out.extend_from_slice(b", ");
                    }
                    out.extend_from_slice(protocol);
                }
            }
        }
    }
}

fn protocols(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(value).filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"h2c"))
}

/// Where the authority of an absolute `target` stands.
fn authority(target: &[u8]) -> Option<Range<usize>> {
    if matches!(target.first(), None | Some(b'/' | b'*')) {
        return None;
    }
    let begin = memchr::memmem::find(target, b"://")? + 3;
    let rest = &target[begin..];
    let length = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    Some(begin..begin + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::wire::{HeadScan, WireLimits};

    fn shape(text: &str) -> (Shape, Vec<u8>) {
        let bytes = text.as_bytes().to_vec();
        let head = HeadScan::default().scan(&bytes, &WireLimits::default()).unwrap().unwrap();
        (Shape::of(&bytes, &head), bytes)
    }

    #[test]
    fn the_parts_of_a_head_are_found_where_they_stand() {
        let (shape, head) =
            shape("\r\nPOST /a/b?c HTTP/1.1\r\nHost:  x.example:8 \r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(shape.method(&head), b"POST");
        assert_eq!(shape.method, Method::POST);
        assert_eq!(shape.path_and_query(&head), b"/a/b?c");
        assert_eq!(shape.path(&head), "/a/b");
        assert_eq!(shape.host(&head), Some(&b"x.example:8"[..]));
        assert_eq!(&head[shape.len..], b"hi");
        let names: Vec<_> = shape.fields(&head).map(|(name, _)| name).collect();
        assert_eq!(names, [&b"Host"[..], b"Content-Length"]);
        assert!(shape.has_length && shape.keeps_alive && !shape.is_bare());
    }

    #[test]
    fn an_absolute_target_says_authority_and_path() {
        for (target, path, listed) in [
            ("http://a.example/x?y", "/x?y", "/x"),
            ("http://a.example", "", "/"),
            ("HTTPS://a.example?q=http://b/", "?q=http://b/", "/"),
        ] {
            let (shape, head) = shape(&format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n"));
            assert_eq!(shape.path_and_query(&head), path.as_bytes(), "{target}");
            assert_eq!(shape.path(&head), listed, "{target}");
            assert_eq!(shape.host(&head), Some(&b"a.example"[..]), "{target}");
        }
        let (shape, head) = shape("GET /u?v=http://b/ HTTP/1.0\r\n\r\n");
        assert_eq!(
            (shape.path_and_query(&head), shape.host(&head)),
            (&b"/u?v=http://b/"[..], None)
        );
    }

    #[test]
    fn persistence_follows_version_and_options() {
        let keeps = |version: &str, connection: &str| {
            let head =
                format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
            shape(&head).0.keeps_alive
        };
        assert!(keeps("1.1", "") && keeps("1.1", "te, X-Own"));
        assert!(!keeps("1.1", "Close") && !keeps("1.1", "keep-alive, close"));
        assert!(keeps("1.0", "Keep-Alive") && !keeps("1.0", "") && !keeps("1.0", "close"));
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_something_else_than_h2c() {
        let asked = |version: &str, fields: &str| {
            let (shape, head) =
                shape(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n"));
            let mut out = Vec::new();
            shape.write_protocols(&head, &mut out);
            shape.upgrades.then(|| String::from_utf8(out).unwrap())
        };
        let both = |protocols: &str| format!("Connection: x, Upgrade\r\nUpgrade: {protocols}");
        assert_eq!(asked("1.1", &both("websocket")).as_deref(), Some("websocket"));
        assert_eq!(asked("1.1", &both("h2c, foo/2 , bar")).as_deref(), Some("foo/2, bar"));
        assert_eq!(asked("1.1", &both("H2C")), None);
        assert_eq!(asked("1.1", "Connection: upgrade"), None);
        assert_eq!(asked("1.1", "Upgrade: websocket"), None);
        assert_eq!(asked("1.0", &both("websocket")), None);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", both("h2c, Foo/2 , bar"));
        let (shape, head) = shape(&head);
        let offers = |protocols: &str| shape.offers(&head, protocols.as_bytes());
        assert!(offers("foo/2") && offers("bar, foo/2"));
        assert!(!offers("h2c") && !offers("bar, h2c") && !offers("foo") && !offers(""));
    }
}
