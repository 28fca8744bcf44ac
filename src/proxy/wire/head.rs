//! Where a request head ends, and whether it may be passed on (RFC 9112 sections 2 to 6).

use super::io::WireLimits;
use crate::proxy::answer::Refusal;

/// Room in the request line beside the target: a method, two spaces, the version.
const AROUND_TARGET: usize = 64;

/// Which bytes may stand in a token (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = true;
        }
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a token.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether `byte` is a control character that no field may contain; a tab is none of them.
pub(super) fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes, possibly none.
    Length(u64),
    /// Chunks until one is empty.
    Chunked,
}

/// A complete and valid head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes, the empty line included.
    pub(super) len: usize,
    pub(super) body: Body,
    /// It asks to leave HTTP: what follows its body may be anything.
    pub(super) upgrades: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Method {
    Head,
    Options,
    Connect,
    #[default]
    Other,
}

/// Reads one head. Lines are judged as soon as they are complete and in their order, so the
/// verdict is the same however the bytes arrive.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Where the first line that was not judged yet begins.
    line: usize,
    /// Up to where a line end was looked for.
    searched: usize,
    length: Option<u64>,
    fields: u32,
    method: Method,
    /// The request line was read.
    begun: bool,
    is_http11: bool,
    chunked: bool,
    host: bool,
    connection_upgrade: bool,
    upgrade: bool,
}

impl HeadScan {
    /// Reads on. `bytes` begins where the head begins and contains all that the last call saw.
    /// `None`: the head is not complete.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        limits: &WireLimits,
    ) -> Result<Option<Head>, Refusal> {
        loop {
            if !self.begun
                && let Some(first) = bytes.get(self.line)
                && !is_token(*first)
                && !matches!(first, b'\r' | b'\n')
            {
                // TLS on this port, or no HTTP at all: no use to wait for a line end.
                return Err(Refusal::RequestLine);
            }
            let found = bytes[self.searched..].iter().position(|b| *b == b'\n');
            let end = found.map_or(bytes.len(), |at| self.searched + at);
            self.bound(end, limits)?;
            self.searched = end;
            if found.is_none() {
                return Ok(None);
            }
            let Some((b'\r', line)) = bytes[self.line..end].split_last() else {
                return Err(Refusal::LineEnd);
            };
            let is_first = self.line == 0;
            self.line = end + 1;
            self.searched = end + 1;
            match (line.is_empty(), self.begun) {
                (true, true) => return self.finish().map(Some),
                // One empty line before a request is forgiven (RFC 9112 section 2.2).
                (true, false) if is_first => {}
                (_, false) => self.request_line(line, limits)?,
                (false, true) => self.field(line, limits)?,
            }
        }
    }

    /// Whether there is anything of a request in `bytes`, which begin where the head begins.
    pub(super) fn has_begun(&self, bytes: &[u8]) -> bool {
        self.begun || bytes.iter().any(|b| !matches!(b, b'\r' | b'\n'))
    }

    /// Whether the request line said HEAD.
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// Refuses a line that did not end before `end`, if that is too far.
    fn bound(&self, end: usize, limits: &WireLimits) -> Result<(), Refusal> {
        let max_head = usize::try_from(limits.max_head_bytes).unwrap_or(usize::MAX);
        let max_target = usize::try_from(limits.max_target_bytes).unwrap_or(usize::MAX);
        let max_line = self.line.saturating_add(max_target).saturating_add(AROUND_TARGET);
        // Of two bounds that were passed the nearer one counts, as it would byte by byte.
        if !self.begun && end > max_line && max_line < max_head {
            return Err(Refusal::TargetTooLong);
        }
        if end >= max_head {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(())
    }

    fn request_line(&mut self, line: &[u8], limits: &WireLimits) -> Result<(), Refusal> {
        if line.iter().any(|b| is_control(*b)) {
            return Err(Refusal::Control);
        }
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (Some(method), Some(target), Some(version)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::RequestLine);
        };
        if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
            return Err(Refusal::RequestLine);
        }
        self.method = match method {
            b"HEAD" => Method::Head,
            b"OPTIONS" => Method::Options,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        self.is_http11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::RequestLine),
        };
        if target.len() > usize::try_from(limits.max_target_bytes).unwrap_or(usize::MAX) {
            return Err(Refusal::TargetTooLong);
        }
        if !is_target(target, self.method) {
            return Err(Refusal::RequestLine);
        }
        self.begun = true;
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: &WireLimits) -> Result<(), Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::Folding);
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return Err(Refusal::FieldName);
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return Err(Refusal::FieldName);
        }
        // No early exit: the compiler makes wide instructions of it.
        if value.iter().fold(false, |bad, b| bad | is_control(*b)) {
            return Err(Refusal::Control);
        }
        self.fields += 1;
        if self.fields > limits.max_headers {
            return Err(Refusal::TooManyFields);
        }
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => self.host(trim(value)),
            7 if is(b"upgrade") => {
                self.upgrade |= !trim(value).is_empty();
                Ok(())
            }
            10 if is(b"connection") => {
                self.connection_upgrade |= value
                    .split(|b| *b == b',')
                    .any(|option| trim(option).eq_ignore_ascii_case(b"upgrade"));
                Ok(())
            }
            14 if is(b"content-length") => self.content_length(trim(value)),
            17 if is(b"transfer-encoding") => self.transfer_encoding(trim(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.host || !is_authority(value) {
            return Err(Refusal::Host);
        }
        self.host = true;
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::Ambiguous);
        }
        // `u64::from_str` takes a plus sign; a length is digits and nothing else.
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|length| i64::try_from(*length).is_ok())
            .ok_or(Refusal::Length)?;
        // The same length said twice is no contradiction; hyper keeps one of them.
        if self.length.is_some_and(|other| other != length) {
            return Err(Refusal::Length);
        }
        self.length = Some(length);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::Ambiguous);
        }
        if !self.is_http11 || self.chunked {
            return Err(Refusal::CodingInvalid);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::CodingUnknown);
        }
        self.chunked = true;
        Ok(())
    }

    fn finish(&self) -> Result<Head, Refusal> {
        if self.is_http11 && !self.host {
            return Err(Refusal::Host);
        }
        let is_connect = self.method == Method::Connect;
        let length = self.length.unwrap_or_default();
        if is_connect && self.chunked {
            return Err(Refusal::CodingInvalid);
        }
        if is_connect && length > 0 {
            return Err(Refusal::Length);
        }
        let body = if self.chunked { Body::Chunked } else { Body::Length(length) };
        // An HTTP/1.0 request cannot upgrade (RFC 9110 section 7.8).
        let upgrades = self.is_http11 && self.connection_upgrade && self.upgrade;
        Ok(Head { len: self.line, body, upgrades: upgrades || is_connect })
    }
}

/// `value` without the optional white space around it.
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !is_space(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !is_space(b)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// Whether `target` has one of the four forms (RFC 9112 section 3.2) that `method` allows.
fn is_target(target: &[u8], method: Method) -> bool {
    if target.iter().any(|b| matches!(b, b'#' | b'\t')) {
        return false;
    }
    if method == Method::Connect {
        return is_authority(target);
    }
    match target {
        b"*" => method == Method::Options,
        [b'/', ..] => true,
        _ => {
            let rest = strip_scheme(target, b"http://").or(strip_scheme(target, b"https://"));
            rest.is_some_and(|rest| {
                let end = rest.iter().position(|b| matches!(b, b'/' | b'?'));
                is_authority(&rest[..end.unwrap_or(rest.len())])
            })
        }
    }
}

fn strip_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Whether `value` is a host, with or without a port (RFC 9110 section 4.2.1: never empty, and no
/// user information).
fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.first() {
        Some(b'[') => match value.iter().position(|b| *b == b']') {
            Some(end) => (&value[..=end], &value[end + 1..]),
            None => return false,
        },
        _ => match value.iter().position(|b| *b == b':') {
            Some(colon) => value.split_at(colon),
            None => (value, &b""[..]),
        },
    };
    let host_ok = match host {
        [b'[', inner @ .., b']'] => {
            !inner.is_empty()
                && inner.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
        _ => {
            !host.is_empty()
                && host
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(b))
        }
    };
    // An empty port is allowed by the grammar (RFC 3986 section 3.2.3).
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WireLimits =
        WireLimits { max_head_bytes: 400, max_headers: 5, max_target_bytes: 100 };

    /// The verdict on `bytes`, all at once, byte by byte, and cut at every position.
    fn verdict(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
        let whole = HeadScan::default().scan(bytes, &LIMITS);
        let mut scan = HeadScan::default();
        let bytewise = (0..=bytes.len())
            .map(|end| scan.scan(&bytes[..end], &LIMITS))
            .find(|verdict| !matches!(verdict, Ok(None)))
            .unwrap_or(Ok(None));
        assert_eq!(bytewise, whole, "{} byte by byte", bytes.escape_ascii());
        for cut in 0..bytes.len() {
            let mut scan = HeadScan::default();
            let verdict = match scan.scan(&bytes[..cut], &LIMITS) {
                Ok(None) => scan.scan(bytes, &LIMITS),
                verdict => verdict,
            };
            assert_eq!(verdict, whole, "{} cut at {cut}", bytes.escape_ascii());
        }
        whole
    }

    fn fields(lines: &str) -> Result<Option<Head>, Refusal> {
        verdict(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
    }

    #[test]
    fn a_head_is_complete_at_its_empty_line_and_says_what_follows() {
        let length = |n| Some(Body::Length(n));
        let body = |lines: &str| fields(lines).map(|head| head.map(|h| h.body));
        assert_eq!(body(""), Ok(length(0)));
        assert_eq!(body("Content-Length: 5\r\n"), Ok(length(5)));
        assert_eq!(body("content-length:\t 007 \t\r\n"), Ok(length(7)));
        assert_eq!(body("Content-Length: 5\r\ncontent-Length: 5\r\n"), Ok(length(5)));
        assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(Some(Body::Chunked)));
        assert_eq!(body("transfer-encoding:Chunked\r\n"), Ok(Some(Body::Chunked)));
        assert_eq!(body("X: caf\u{e9} \t x\r\nY:\r\n"), Ok(length(0)));
        assert_eq!(verdict(b"GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
        let first = b"GET / HTTP/1.0\r\n\r\n";
        let two = [&first[..], b"GET / HT"].concat();
        assert_eq!(verdict(&two).map(|h| h.map(|h| h.len)), Ok(Some(first.len())));
    }

    #[test]
    fn doubtful_framing_is_refused() {
        let table: &[(&str, Refusal)] = &[
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Refusal::Ambiguous),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Refusal::Ambiguous),
            ("Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0\r\n", Refusal::Ambiguous),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Refusal::Length),
            ("Content-Length: 5, 6\r\n", Refusal::Length),
            ("Content-Length: 5, 5\r\n", Refusal::Length),
            ("Content-Length: +5\r\n", Refusal::Length),
            ("Content-Length: -5\r\n", Refusal::Length),
            ("Content-Length: 0x5\r\n", Refusal::Length),
            ("Content-Length: 5 5\r\n", Refusal::Length),
            ("Content-Length: 5.0\r\n", Refusal::Length),
            ("Content-Length:\r\n", Refusal::Length),
            ("Content-Length: \u{665}\r\n", Refusal::Length),
            ("Content-Length: 9223372036854775808\r\n", Refusal::Length),
            ("Content-Length: 18446744073709551621\r\n", Refusal::Length),
            ("Transfer-Encoding: gzip, chunked\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding: chunked, chunked\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding: chunked, identity\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding: identity\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding: xchunked\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding: \"chunked\"\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding: chunked;q=1\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding:\r\n", Refusal::CodingUnknown),
            ("Transfer-Encoding: chunked\u{b}\r\n", Refusal::Control),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", Refusal::CodingInvalid),
            (
                "Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n",
                Refusal::CodingInvalid,
            ),
            ("Transfer-Encoding : chunked\r\n", Refusal::FieldName),
            ("Transfer-Encoding\t: chunked\r\n", Refusal::FieldName),
            (" Transfer-Encoding: chunked\r\n", Refusal::Folding),
            ("X: y\r\n Transfer-Encoding: chunked\r\n", Refusal::Folding),
            ("Transfer-Encoding:\r\n\tchunked\r\n", Refusal::CodingUnknown),
            ("X:\r\n\tchunked\r\n", Refusal::Folding),
            ("X: y\r\n \r\n", Refusal::Folding),
        ];
        for (lines, refusal) in table {
            assert_eq!(fields(lines), Err(*refusal), "{lines:?}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(verdict(old), Err(Refusal::CodingInvalid));
    }

    #[test]
    fn doubtful_bytes_are_refused() {
        let table: &[(&str, Refusal)] = &[
            ("X: a\nY: b\r\n", Refusal::LineEnd),
            ("X: a\n", Refusal::LineEnd),
            ("X: a\r\r\n", Refusal::Control),
            ("X: a\rY: b\r\n", Refusal::Control),
            ("X: a\0\r\n", Refusal::Control),
            ("X: a\u{7f}\r\n", Refusal::Control),
            ("X: \u{1b}[0m\r\n", Refusal::Control),
            ("X\0: a\r\n", Refusal::FieldName),
            (": a\r\n", Refusal::FieldName),
            ("X\r\n", Refusal::FieldName),
            ("X Y: a\r\n", Refusal::FieldName),
            ("X\u{e9}: a\r\n", Refusal::FieldName),
            ("(X): a\r\n", Refusal::FieldName),
        ];
        for (lines, refusal) in table {
            assert_eq!(fields(lines), Err(*refusal), "{lines:?}");
        }
        assert_eq!(verdict(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), Err(Refusal::LineEnd));
        assert_eq!(verdict(b"GET / HTTP/1.1\nHost: a\n\n"), Err(Refusal::LineEnd));
    }

    #[test]
    fn exactly_one_valid_host_is_required_of_http_1_1() {
        let host = |lines: &str| {
            verdict(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).map(|head| head.is_some())
        };
        let good =
            ["a", "A.b-c_d:80", "a:", "127.0.0.1:8080", "[::1]", "[::ffff:1.2.3.4]:1", "%61", "a:0"];
        for value in good {
            assert_eq!(host(&format!("Host: {value}\r\n")), Ok(true), "{value}");
        }
        let bad = [
            "", "a b", "a,b", "a/b", "u@a", "a:b", "a:-1", "a:123456", "[::1", "[]", "[g]", "a?b",
            "http://a", "a\\b", "é", ":80", "[::1]x", "a#",
        ];
        for value in bad {
            let verdict = host(&format!("Host: {value}\r\n"));
            assert_eq!(verdict, Err(Refusal::Host), "{value:?}");
        }
        assert_eq!(host(""), Err(Refusal::Host));
        assert_eq!(host("X: y\r\n"), Err(Refusal::Host));
        assert_eq!(host("Host: a\r\nHost: a\r\n"), Err(Refusal::Host));
        assert_eq!(host("Host: a\r\nhost: b\r\n"), Err(Refusal::Host));
        assert!(verdict(b"GET / HTTP/1.0\r\n\r\n").is_ok_and(|head| head.is_some()));
        assert_eq!(verdict(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), Err(Refusal::Host));
    }

    #[test]
    fn a_request_line_has_one_shape() {
        let line = |line: &str| {
            verdict(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).map(|head| head.is_some())
        };
        let good = [
            "GET / HTTP/1.1",
            "PATCH /a//b/../c?d=e&f=%00\"{}|^` HTTP/1.1",
            "M-SEARCH /中 HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "GET http://a/b HTTP/1.1",
            "GET HTTPS://a:1?x HTTP/1.1",
            "CONNECT a:443 HTTP/1.1",
            "\r\nGET / HTTP/1.1",
        ];
        for text in good {
            assert_eq!(line(text), Ok(true), "{text}");
        }
        let bad = [
            "GET",
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /  HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET a HTTP/1.1",
            "GET * HTTP/1.1",
            "GET ftp://a/ HTTP/1.1",
            "GET http:///x HTTP/1.1",
            "GET http://u@a/ HTTP/1.1",
            "GET /#x HTTP/1.1",
            "CONNECT /x HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1.10",
            "GET / HTTP/1.x",
            "GET / HTTPS/1.1",
            " GET / HTTP/1.1",
            "G(T / HTTP/1.1",
            "{} / HTTP/1.1",
            "\r\n\r\nGET / HTTP/1.1",
            "\u{16}\u{3}\u{1}",
        ];
        for text in bad {
            assert_eq!(line(text), Err(Refusal::RequestLine), "{text:?}");
        }
        assert_eq!(line("GET /\t HTTP/1.1"), Err(Refusal::RequestLine));
        assert_eq!(line("GET /\0 HTTP/1.1"), Err(Refusal::Control));
        assert_eq!(line("GET / HTTP/1.1\rX: y"), Err(Refusal::Control));
        for version in ["0.9", "1.2", "2.0", "3.0"] {
            assert_eq!(line(&format!("GET / HTTP/{version}")), Err(Refusal::Version));
        }
        assert_eq!(verdict(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Refusal::LineEnd));
        assert_eq!(verdict(b"\x16\x03\x01\x02"), Err(Refusal::RequestLine));
    }

    #[test]
    fn targets_heads_and_field_counts_are_bounded_exactly() {
        let target = |len: usize| fields_after(&format!("GET /{} HTTP/1.1", "a".repeat(len - 1)));
        fn fields_after(line: &str) -> Result<bool, Refusal> {
            verdict(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).map(|head| head.is_some())
        }
        assert_eq!(target(100), Ok(true));
        assert_eq!(target(101), Err(Refusal::TargetTooLong));
        assert_eq!(target(300), Err(Refusal::TargetTooLong));
        assert_eq!(verdict(&[b'A'; 300]), Err(Refusal::TargetTooLong));
        assert_eq!(fields(&"X: y\r\n".repeat(4)).map(|h| h.is_some()), Ok(true));
        assert_eq!(fields(&"X: y\r\n".repeat(5)), Err(Refusal::TooManyFields));
        let head = |len: usize| {
            let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
            let rest = len - start.len() - 4;
            verdict(format!("{start}{}\r\n\r\n", "y".repeat(rest)).as_bytes())
        };
        assert_eq!(head(400).map(|h| h.map(|h| h.len)), Ok(Some(400)));
        assert_eq!(head(401), Err(Refusal::HeadTooLarge));
        assert_eq!(head(1000), Err(Refusal::HeadTooLarge));
    }

    #[test]
    fn only_a_request_that_may_leave_http_is_held() {
        let held = |head: &str| verdict(head.as_bytes()).map(|head| head.map(|h| h.upgrades));
        let upgrade = "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(held(&format!("GET / HTTP/1.1\r\n{upgrade}")), Ok(Some(true)));
        assert_eq!(held(&format!("GET / HTTP/1.0\r\n{upgrade}")), Ok(Some(false)));
        let lone = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(held(lone), Ok(Some(false)));
        let empty = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade:\r\n\r\n";
        assert_eq!(held(empty), Ok(Some(false)));
        assert_eq!(held("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Some(true)));
        let body = "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(held(body), Err(Refusal::Length));
    }
}
