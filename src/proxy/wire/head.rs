//! Where a request head ends, and whether it may be passed on (RFC 9112 sections 2 to 6).

use memchr::memchr;

use crate::proxy::answer::Refusal;

/// Bounds of a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// Bytes of a whole head, its empty line included.
    pub max_head_bytes: u32,
    /// Header fields.
    pub max_headers: u32,
    /// Bytes of the request target.
    pub max_target_bytes: u32,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self { max_head_bytes: 64 * 1024, max_headers: 100, max_target_bytes: 16 * 1024 }
    }
}

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
pub(in crate::proxy) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether `byte` is a control character that no field may contain; a tab is none of them.
pub(in crate::proxy) fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Body {
    /// So many bytes, possibly none.
    Length(u64),
    /// Chunks until one is empty.
    Chunked,
}

/// A complete and valid head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Head {
    /// Bytes, the empty line included.
    pub(in crate::proxy) len: usize,
    pub(in crate::proxy) body: Body,
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
pub(in crate::proxy) struct HeadScan {
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
}

impl HeadScan {
    /// Reads on. `bytes` begins where the head begins and contains all that the last call saw.
    /// `None`: the head is not complete.
    pub(in crate::proxy) fn scan(
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
            let found = memchr(b'\n', &bytes[self.searched..]);
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
    pub(in crate::proxy) fn has_begun(&self, bytes: &[u8]) -> bool {
        self.begun || bytes.iter().any(|b| !matches!(b, b'\r' | b'\n'))
    }

    /// Whether the request line said HEAD.
    pub(in crate::proxy) fn is_head(&self) -> bool {
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
        let Some(colon) = memchr(b':', line) else {
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
        // The same length said twice is no contradiction; it is passed on once.
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
        Ok(Head { len: self.line, body })
    }
}

/// `value` without the optional white space around it.
pub(in crate::proxy) fn trim(value: &[u8]) -> &[u8] {
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
                && host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(b))
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
#[path = "head_tests.rs"]
mod tests;
