//! What arrives: messages taken apart strictly, at the target and at the client.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kit::{Origin, Wire};

/// Names in small letters, the values of one name together in their order.
pub(super) type Fields = BTreeMap<String, String>;

/// A whole message. Texts have a character for each byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) start: String,
    pub(super) fields: Fields,
    pub(super) body: String,
    pub(super) trailers: Fields,
}

impl Message {
    pub(super) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }
}

/// Why there is no whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is a part of one.
    Part,
    /// It is none, and nobody may send it.
    Wrong(String),
}

type Read<T> = Result<T, Stop>;

fn wrong<T>(what: &str, bytes: &[u8]) -> Read<T> {
    Err(Stop::Wrong(format!("{what}: {}", bytes.escape_ascii())))
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn line(bytes: &[u8]) -> Read<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").ok_or(Stop::Part)?;
    Ok((&bytes[..end], &bytes[end + 2..]))
}

/// Lines up to the empty one.
fn fields(mut bytes: &[u8]) -> Read<(Fields, &[u8])> {
    let mut fields = Fields::new();
    loop {
        let (one, rest) = line(bytes)?;
        bytes = rest;
        if one.is_empty() {
            return Ok((fields, bytes));
        }
        let all = text(one);
        let (name, value) = all.split_once(':').unwrap_or((&all, "\0"));
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let is_name = !name.is_empty() && name.chars().all(is_token);
        if !is_name || value.contains(['\r', '\n', '\0']) {
            return wrong("a field", one);
        }
        let all = fields.entry(name.to_ascii_lowercase()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(value.trim_matches([' ', '\t']));
    }
}

fn chunks(mut bytes: &[u8]) -> Read<(Vec<u8>, Fields, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (size_line, rest) = line(bytes)?;
        let size = text(size_line);
        let digits = size.split(';').next().unwrap_or_default();
        let Ok(size) = usize::from_str_radix(digits, 16) else {
            return wrong("the size of a chunk", size_line);
        };
        if size == 0 {
            let (trailers, rest) = fields(rest)?;
            return Ok((body, trailers, rest));
        }
        let (content, rest) = rest.split_at_checked(size).ok_or(Stop::Part)?;
        body.extend_from_slice(content);
        bytes = match rest {
            [] | [b'\r'] => return Err(Stop::Part),
            [b'\r', b'\n', rest @ ..] => rest,
            _ => return wrong("the end of a chunk", rest),
        };
    }
}

/// Reads a request, or the answer to a `method`; says how many bytes it has. The bytes are all that
/// there will be if `is_end`.
pub(super) fn read(bytes: &[u8], method: Option<&str>, is_end: bool) -> Read<(Message, usize)> {
    let (message, rest) = take(bytes, method, is_end)?;
    Ok((message, bytes.len() - rest.len()))
}

fn take<'b>(bytes: &'b [u8], method: Option<&str>, is_end: bool) -> Read<(Message, &'b [u8])> {
    let (start, rest) = line(bytes)?;
    let (fields, rest) = fields(rest)?;
    let mut message =
        Message { start: text(start), fields, body: String::new(), trailers: Fields::new() };
    let is_bodiless = method == Some("HEAD")
        || (method.is_some() && matches!(message.status(), 100..=199 | 204 | 304));
    let length = message.fields.get("content-length");
    let is_chunked = message.fields.contains_key("transfer-encoding");
    if length.is_some() && is_chunked {
        return wrong("two framings", bytes);
    }
    let (body, rest) = match length {
        _ if is_bodiless => (&b""[..], rest),
        _ if is_chunked => {
            let (body, trailers, rest) = chunks(rest)?;
            message.body = text(&body);
            message.trailers = trailers;
            return Ok((message, rest));
        }
        Some(length) => match length.parse() {
            Ok(length) => rest.split_at_checked(length).ok_or(Stop::Part)?,
            Err(_) => return wrong("a length", bytes),
        },
        None if method.is_none() => (&b""[..], rest),
        None if is_end => (rest, &b""[..]),
        None => return Err(Stop::Part),
    };
    message.body = text(body);
    Ok((message, rest))
}

/// What the target says to a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) head: Vec<u8>,
    /// Left out where there must be none.
    pub(super) body: Vec<u8>,
    /// It closes behind it.
    pub(super) closes: bool,
}

impl Reply {
    /// What is sent for a `request`, and whether the connection is closed behind it: not where it was
    /// to be torn off in a body that is left out, because nobody would be told.
    fn to(&self, request: &Message) -> (Vec<u8>, bool) {
        let head = text(&self.head);
        let status = head.rsplit("HTTP/1.").next().and_then(|last| last.split(' ').nth(1));
        let status = status.map(|status| status.trim_end());
        let is_bodiless =
            request.start.starts_with("HEAD ") || matches!(status, Some("204" | "304"));
        if !is_bodiless {
            return ([&self.head[..], &self.body].concat(), self.closes);
        }
        let is_told = !head.ends_with("\r\n\r\n") || head.contains("Connection: close");
        (self.head.clone(), self.closes && is_told)
    }
}

#[derive(Default)]
struct State {
    replies: Vec<Reply>,
    seen: Vec<Message>,
    wrong: Option<Stop>,
}

/// A target that keeps what it was asked, and answers by the number in `X-Reply`.
pub(super) struct Recorder {
    state: Arc<Mutex<State>>,
    pub(super) origin: Origin,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    pub(super) fn new() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let kept = Arc::clone(&state);
        Self { state, origin: Origin::new(move |wire| record(wire, &kept)) }
    }

    /// What it answers from now on.
    pub(super) fn set(&self, replies: &[Reply]) {
        lock(&self.state).replies = replies.to_vec();
    }

    /// The whole requests since the last call.
    ///
    /// # Panics
    /// Something else came.
    pub(super) fn take(&self) -> Vec<Message> {
        let mut state = lock(&self.state);
        assert_eq!(state.wrong, None, "at the target");
        std::mem::take(&mut state.seen)
    }
}

fn record(mut wire: Wire, state: &Mutex<State>) {
    let (mut held, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let (request, used) = match read(&held, None, false) {
            Ok(found) => found,
            Err(Stop::Part) => match wire.stream.read(&mut buffer) {
                Ok(read @ 1..) => {
                    held.extend_from_slice(&buffer[..read]);
                    continue;
                }
                Ok(0) | Err(_) => return,
            },
            Err(wrong) => {
                lock(state).wrong = Some(wrong);
                return;
            }
        };
        held.drain(..used);
        let reply = {
            let mut state = lock(state);
            let number = request.fields.get("x-reply").and_then(|n| n.parse::<usize>().ok());
            let reply = number.and_then(|n| state.replies.get(n).cloned());
            state.seen.push(request.clone());
            reply.unwrap_or_else(|| Reply {
                head: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_vec(),
                body: b"ok".to_vec(),
                closes: false,
            })
        };
        let (bytes, closes) = reply.to(&request);
        if wire.send(bytes).is_err() || closes {
            return;
        }
    }
}

/// Sends `pieces`, each by a call of its own, and nothing more; what comes back until the end.
pub(super) fn converse<'p>(to: SocketAddr, pieces: impl Iterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut wire = Wire::new(TcpStream::connect(to).expect("a connection"));
    for piece in pieces {
        // The other side may have said its last word already.
        if wire.stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = wire.stream.shutdown(std::net::Shutdown::Write);
    wire.rest()
}

/// The answers in `bytes` to requests of these methods, without interim ones, and what stands where a
/// further one should. Behind those of the methods the last may be a refusal, whose method is not known.
pub(super) fn answers(mut bytes: &[u8], methods: &[String]) -> (Vec<Message>, Option<Stop>) {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let found = match methods.get(all.len()) {
            Some(method) => read(bytes, Some(method), true),
            None => read(bytes, Some("GET"), true).or_else(|_| read(bytes, Some("HEAD"), true)),
        };
        match found {
            Ok((answer, used)) => {
                bytes = &bytes[used..];
                if answer.status() >= 200 {
                    all.push(answer);
                }
            }
            Err(stop) => return (all, Some(stop)),
        }
    }
    (all, None)
}
