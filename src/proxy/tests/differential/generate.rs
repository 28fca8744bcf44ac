//! Requests and answers made by chance: valid ones in all their forms, and a few that something was
//! done to.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};

use crate::proxy::tests::record::Reply;

/// What a client sends on one connection, and what its target answers.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) bytes: Vec<u8>,
    pub(super) replies: Vec<Reply>,
    /// Where the bytes are cut into pieces.
    pub(super) cuts: Vec<Index>,
}

impl Case {
    /// The bytes in pieces.
    pub(super) fn pieces(&self) -> Vec<&[u8]> {
        let mut cuts: Vec<usize> =
            self.cuts.iter().map(|cut| cut.index(self.bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut begin = 0;
        for cut in cuts {
            pieces.push(&self.bytes[begin..cut]);
            begin = cut;
        }
        pieces.push(&self.bytes[begin..]);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

const METHODS: &[&str] = &["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PURGE"];

const TARGETS: &[&str] = &[
    "/",
    "/a/b?c=d&e",
    "/%41%00?x=%zz",
    "//double//slash",
    "/a;b=c/../d/./e",
    "/~!$&'()*+,;=:@-._",
    "/?",
    "/q?url=http://x/y?z",
    "http://other.example/abs?q",
    "http://other.example:8080",
    "http://other.example?q",
];

const HOSTS: &[&str] = &["a.example", "a.example:8080", "A.Example", "[::1]:8", "127.0.0.1"];

const FIELDS: &[(&str, &str)] = &[
    ("Accept", "*/*"),
    ("accept", "text/html"),
    ("ACCEPT", ""),
    ("Cookie", "a=b"),
    ("Cookie", "c=\"d\""),
    ("Connection", "keep-alive"),
    ("Connection", "close"),
    ("Connection", "X-Hop, keep-alive"),
    ("Connection", "content-type"),
    ("connection", ", x-hop ,"),
    ("Connection", "upgrade"),
    ("Upgrade", "websocket"),
    ("Upgrade", "h2c, other/2"),
    ("HTTP2-Settings", "AAMAAABk"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authorization", "Basic eA=="),
    ("TE", "trailers"),
    ("TE", "gzip, trailers;q=0.5"),
    ("Trailer", "X-Sum"),
    ("Via", "1.0 other"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("Forwarded", "for=10.0.0.1"),
    ("Authorization", "Bearer x"),
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Expect", "100-continue"),
    ("X-Latin", "caf\u{e9} \u{ff}"),
    ("X-Colons", "::a:b:"),
    ("X-Inner", "a \t b"),
    ("!#$%&'*+-.^_`|~", "odd"),
];

/// White space around a value.
const SPACES: &[(&str, &str)] = &[(" ", ""), ("", ""), (" ", " "), ("\t ", " \t"), ("   ", "")];

fn field(name: &str, value: &str, spaces: (&str, &str)) -> Vec<u8> {
    let text = format!("{name}:{}{value}{}\r\n", spaces.0, spaces.1);
    // A byte for each character.
    text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
}

fn fields() -> impl Strategy<Value = Vec<u8>> {
    let one = (select(FIELDS), select(SPACES));
    vec(one, 0..6).prop_map(|fields| {
        fields.iter().flat_map(|((name, value), spaces)| field(name, value, *spaces)).collect()
    })
}

/// What frames a body, and the body.
#[derive(Clone, Debug)]
struct Body {
    fields: Vec<u8>,
    bytes: Vec<u8>,
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => vec(any::<u8>(), 0..64), 1 => vec(any::<u8>(), 3_000..40_000)]
}

fn chunked() -> impl Strategy<Value = Body> {
    let extension = select(&["", "", ";a", ";a=b;c=\"d e\""][..]);
    let chunk = (vec(any::<u8>(), 1..300), extension, any::<bool>());
    let trailers =
        select(&["", "", "X-Sum: 1\r\n", "x-sum: 1\r\nX-Other:2\r\n", "Host: evil\r\n"][..]);
    (vec(chunk, 0..5), trailers).prop_map(|(chunks, trailers)| {
        let mut bytes = Vec::new();
        for (data, extension, is_long) in chunks {
            let size = match is_long {
                true => format!("{:06X}{extension}\r\n", data.len()),
                false => format!("{:x}{extension}\r\n", data.len()),
            };
            bytes.extend_from_slice(size.as_bytes());
            bytes.extend_from_slice(&data);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n");
        bytes.extend_from_slice(trailers.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        Body { fields: b"Transfer-Encoding: chunked\r\n".to_vec(), bytes }
    })
}

fn with_length() -> impl Strategy<Value = Body> {
    content().prop_map(|bytes| {
        let fields = format!("Content-Length: {}\r\n", bytes.len()).into_bytes();
        Body { fields, bytes }
    })
}

fn request_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        3 => Just(Body { fields: Vec::new(), bytes: Vec::new() }),
        2 => with_length(),
        2 => chunked(),
    ]
}

/// Bytes without `X-Reply`, which stands where the first part ends.
type Ask = (Vec<u8>, Vec<u8>);

fn request() -> impl Strategy<Value = Ask> {
    let target =
        prop_oneof![2 => select(TARGETS).prop_map(str::to_owned), 1 => "/[a-z0-9._~-]{0,20}"];
    let version = select(&["1.1", "1.1", "1.1", "1.1", "1.1", "1.0"][..]);
    (select(METHODS), target, version, select(HOSTS), fields(), request_body()).prop_map(
        |(method, target, version, host, fields, body)| {
            let target = if method == "OPTIONS" && target == "/" { "*".into() } else { target };
            let first = format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n");
            // No coding is known to HTTP/1.0.
            let body = match version == "1.0" && body.fields.starts_with(b"Transfer") {
                true => Body { fields: Vec::new(), bytes: Vec::new() },
                false => body,
            };
            let rest = [&fields[..], &body.fields, b"\r\n", &body.bytes].concat();
            (first.into_bytes(), rest)
        },
    )
}

const ANSWER_FIELDS: &[(&str, &str)] = &[
    ("Content-Type", "text/plain"),
    ("Location", "http://ORIGIN/there"),
    ("Location", "/there?x"),
    ("Content-Location", "https://elsewhere.example/"),
    ("Set-Cookie", "a=b; Path=/; HttpOnly"),
    ("set-cookie", "c=d; Domain=127.0.0.1"),
    ("Connection", "X-Hop"),
    ("Connection", "keep-alive"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Via", "1.0 other"),
    ("Proxy-Authenticate", "Basic"),
    ("Trailer", "X-Sum"),
    ("X-Latin", "caf\u{e9}"),
    ("Upgrade", "h2c"),
    ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Server", ""),
];

const STATUSES: &[&str] = &[
    "200 OK",
    "200 OK",
    "200",
    "201 Created",
    "204 No Content",
    "206 Partial Content",
    "301 Moved Permanently",
    "304 Not Modified",
    "404 Not Found",
    "500 Oops, all of it",
    "503 Service Unavailable",
    "799 Strange",
];

fn reply() -> impl Strategy<Value = Reply> {
    let body = prop_oneof![
        4 => with_length(),
        3 => chunked(),
        1 => content().prop_map(|bytes| Body { fields: Vec::new(), bytes }),
        1 => content().prop_map(|bytes| {
            let fields = format!("Content-Length: {0}, {0}\r\n", bytes.len()).into_bytes();
            Body { fields, bytes }
        }),
    ];
    let more = vec((select(ANSWER_FIELDS), select(SPACES)), 0..4);
    let interim = select(&["", "", "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"][..]);
    let broken = prop_oneof![12 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (select(STATUSES), any::<bool>(), body, more, interim, broken).prop_map(
        |(status, closes, body, more, interim, broken)| {
            // What ends with the connection ends it.
            let closes = closes || body.fields.is_empty();
            let mut head = format!("{interim}HTTP/1.1 {status}\r\n").into_bytes();
            for ((name, value), spaces) in more {
                head.extend_from_slice(&field(name, value, spaces));
            }
            if closes {
                head.extend_from_slice(b"Connection: close\r\n");
            }
            head.extend_from_slice(&body.fields);
            head.extend_from_slice(b"\r\n");
            let mut reply = Reply { head, body: body.bytes, closes };
            if let Some(at) = broken {
                // Torn off, but not before its first byte: that would be another story.
                let whole = [&reply.head[..], &reply.body].concat();
                let at = at.index(whole.len()).max(1);
                let head = at.min(reply.head.len());
                reply.head.truncate(head);
                reply.body.truncate(at - head);
                reply.closes = true;
            }
            reply
        },
    )
}

/// Bytes that mean something somewhere.
const BYTES: &[u8] = b"\0\t\n\r \"#,/:;=\\+-0A5{\x7f\x80\xff";

/// Lines that are read in more than one way.
const LINES: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: +0",
    "Content-Length: 0, 0",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding\t: chunked",
    "Transfer_Encoding: chunked",
    " folded: x",
    "\tfolded",
    "Host: b.example",
    "Host: a:e",
    "X: a\0b",
    "X: a\rb",
    "X: a\rY: b",
    ": x",
    "no colon",
    "X: y\nContent-Length: 5",
    "GET /smuggled HTTP/1.1",
];

/// Something done to a request.
#[derive(Clone, Debug)]
enum Mutation {
    Insert(Index, u8),
    Replace(Index, u8),
    Remove(Index),
    /// A further line behind one of the head's.
    Line(Index, &'static str),
    /// A line of the head ends with LF alone, or CR alone.
    LineEnd(Index, &'static str),
    /// A line of the head stands there twice.
    Twice(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        2 => (at(), select(BYTES)).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => (at(), select(BYTES)).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        1 => at().prop_map(Mutation::Remove),
        3 => (at(), select(LINES)).prop_map(|(at, line)| Mutation::Line(at, line)),
        1 => (at(), select(&["\n", "\r", "\r\r\n", "\n\r\n"][..]))
            .prop_map(|(at, end)| Mutation::LineEnd(at, end)),
        1 => at().prop_map(Mutation::Twice),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let ends: Vec<usize> =
            (0..head_end(bytes)).filter(|at| bytes[*at..].starts_with(b"\r\n")).collect();
        match self {
            Self::Insert(at, byte) => bytes.insert(at.index(bytes.len().min(600)), *byte),
            Self::Replace(at, byte) => {
                let at = at.index(bytes.len().min(600));
                bytes[at] = *byte;
            }
            Self::Remove(at) => drop(bytes.remove(at.index(bytes.len().min(600)))),
            Self::Line(at, line) => {
                let at = ends[at.index(ends.len())] + 2;
                let line = format!("{line}\r\n");
                bytes.splice(at..at, line.into_bytes());
            }
            Self::LineEnd(at, end) => {
                let at = ends[at.index(ends.len())];
                bytes.splice(at..at + 2, end.bytes());
            }
            Self::Twice(at) => {
                let at = at.index(ends.len());
                let begin = if at == 0 { 0 } else { ends[at - 1] + 2 };
                let line = bytes[begin..ends[at] + 2].to_vec();
                bytes.splice(begin..begin, line);
            }
        }
    }
}

/// Where the last line of the head ends.
fn head_end(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 1)
}

/// See [`Case`].
pub(super) fn case() -> impl Strategy<Value = Case> {
    let mutated = prop_oneof![1 => Just(None), 2 => (any::<Index>(), mutation()).prop_map(Some)];
    let cuts = prop_oneof![1 => Just(Vec::new()), 1 => vec(any::<Index>(), 1..6)];
    (vec((request(), reply()), 1..4), mutated, cuts).prop_map(|(both, mutated, cuts)| {
        let mutated = mutated.map(|(at, mutation)| (at.index(both.len()), mutation));
        let mut case = Case { bytes: Vec::new(), replies: Vec::new(), cuts };
        for (number, ((first, rest), reply)) in both.into_iter().enumerate() {
            let name = format!("X-Reply: {number}\r\n").into_bytes();
            let mut request = [first, name, rest].concat();
            if let Some((at, mutation)) = &mutated
                && *at == number
            {
                mutation.apply(&mut request);
            }
            case.bytes.extend_from_slice(&request);
            case.replies.push(reply);
        }
        case
    })
}
