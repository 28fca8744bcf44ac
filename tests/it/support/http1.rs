//! HTTP/1.1 by hand, for either side: every byte sent is the test's, every byte read is accounted.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::DEADLINE;

/// How a message failed to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer closed before the first byte.
    Closed,
    /// The peer reset the connection before the first byte.
    Reset,
    /// The connection ended within the message.
    Truncated(String),
    /// Nothing more came within the deadline.
    TimedOut,
    /// Not HTTP.
    Malformed(String),
}

/// One TCP connection with what was read from it and not yet used.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A start line with its fields, in order, as sent.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub start: String,
    pub fields: Vec<(String, String)>,
}

/// A final response, whole.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Status codes of the interim responses before it.
    pub interim: Vec<u16>,
}

enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Wire {
    /// A client connection.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"))
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::of(TcpStream::connect_timeout(&address, DEADLINE)?))
    }

    /// An accepted or connected stream.
    pub fn of(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(DEADLINE));
        let _ = stream.set_write_timeout(Some(DEADLINE));
        Self { stream, buffer: Vec::new() }
    }

    /// A client of a service on loopback.
    #[track_caller]
    pub fn to(port: u16) -> Self {
        Self::connect(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().map(|a| a.port()).unwrap_or_default()
    }

    /// Another deadline for every read.
    pub fn set_patience(&self, patience: Duration) {
        let _ = self.stream.set_read_timeout(Some(patience));
    }

    /// Writes everything.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|e| panic!("cannot write: {e}"));
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Nothing more will be written.
    pub fn close_write(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// `GET path` and its whole answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n"));
        self.response()
    }

    /// `method path` with a body by length, and its whole answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, path: &str, fields: &str, body: &[u8]) -> Response {
        let length = body.len();
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: test.example\r\n{fields}Content-Length: {length}\r\n\r\n"
        ));
        self.send(body);
        self.response()
    }

    /// One whole final response to a request that was not HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|e| panic!("no whole response: {e:?}"))
    }

    pub fn try_response(&mut self) -> Result<Response, Broken> {
        self.response_to("GET")
    }

    /// One whole final response to a request of that method; interim ones are noted and passed.
    pub fn response_to(&mut self, method: &str) -> Result<Response, Broken> {
        let mut body = Vec::new();
        let mut response =
            self.response_into(method, &mut |bytes| body.extend_from_slice(bytes))?;
        response.body = body;
        Ok(response)
    }

    /// Like [`Wire::response_to`], the body going to `sink` piece by piece.
    pub fn response_into(
        &mut self,
        method: &str,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        let (status, head) = loop {
            let head = self.head()?;
            let status = head.status()?;
            match status {
                100..=199 if status != 101 => interim.push(status),
                _ => break (status, head),
            }
        };
        let without_body = method == "HEAD" || matches!(status, 101 | 204 | 304);
        let trailers = match head.framing(true)? {
            _ if without_body => Vec::new(),
            framing => self.body(framing, sink)?,
        };
        Ok(Response { status, head, body: Vec::new(), trailers, interim })
    }

    /// The body that follows a request head read with [`Wire::head`], and its trailers.
    pub fn request_body(
        &mut self,
        head: &Head,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Vec<(String, String)>, Broken> {
        let framing = head.framing(false)?;
        self.body(framing, sink)
    }

    /// A whole request: head and body.
    #[track_caller]
    pub fn request(&mut self) -> (Head, Vec<u8>) {
        let head = self.head().unwrap_or_else(|e| panic!("no request head: {e:?}"));
        let mut body = Vec::new();
        self.request_body(&head, &mut |bytes| body.extend_from_slice(bytes))
            .unwrap_or_else(|e| panic!("no whole request body after {}: {e:?}", head.start));
        (head, body)
    }

    /// A start line and fields up to the empty line.
    pub fn head(&mut self) -> Result<Head, Broken> {
        let start = self.line(true)?;
        Ok(Head { start, fields: self.fields()? })
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut fields = Vec::new();
        loop {
            let line = self.line(false)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| Broken::Malformed(format!("field {line:?}")))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn body(
        &mut self,
        framing: Framing,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Vec<(String, String)>, Broken> {
        match framing {
            Framing::Length(length) => {
                self.pass(length, sink)?;
                Ok(Vec::new())
            }
            Framing::Chunked => loop {
                let line = self.line(false)?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16)
                    .map_err(|_| Broken::Malformed(format!("chunk size {line:?}")))?;
                if size == 0 {
                    return self.fields();
                }
                self.pass(size, sink)?;
                let end = self.line(false)?;
                if !end.is_empty() {
                    return Err(Broken::Malformed(format!("after a chunk: {end:?}")));
                }
            },
            Framing::UntilClose => loop {
                if self.buffer.is_empty() {
                    match self.fill() {
                        Ok(()) => {}
                        Err(Broken::Closed) => return Ok(Vec::new()),
                        Err(Broken::Reset) => return Err(Broken::Truncated("reset".to_owned())),
                        Err(other) => return Err(other),
                    }
                }
                sink(&self.buffer);
                self.buffer.clear();
            },
        }
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.pass(length as u64, &mut |piece| bytes.extend_from_slice(piece))
            .unwrap_or_else(|e| panic!("{} of {length} bytes, then {e:?}", bytes.len()));
        bytes
    }

    fn pass(&mut self, mut length: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        while length > 0 {
            if self.buffer.is_empty() {
                self.fill_within(&format!("{length} bytes of a body missing"))?;
            }
            let take = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            sink(&self.buffer[..take]);
            self.buffer.drain(..take);
            length -= take as u64;
        }
        Ok(())
    }

    /// A line without its CR LF. `first`: nothing of the message was read before.
    fn line(&mut self, first: bool) -> Result<String, Broken> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].windows(2).position(|w| w == b"\r\n") {
                let end = searched + at;
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            searched = self.buffer.len().saturating_sub(1);
            if first && self.buffer.is_empty() {
                self.fill()?;
            } else {
                self.fill_within("the end of a line missing")?;
            }
        }
    }

    /// Reads more in the middle of a message, where an end is a truncation.
    fn fill_within(&mut self, missing: &str) -> Result<(), Broken> {
        self.fill().map_err(|broken| match broken {
            Broken::Closed | Broken::Reset => Broken::Truncated(format!("{broken:?}: {missing}")),
            other => other,
        })
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(Broken::Closed),
                Ok(read) => {
                    self.buffer.extend_from_slice(&piece[..read]);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
                {
                    return Err(Broken::TimedOut);
                }
                Err(_) => return Err(Broken::Reset),
            }
        }
    }

    /// Reads on until the peer closes; what came before that.
    #[track_caller]
    pub fn until_closed(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(Broken::Closed | Broken::Reset) => return std::mem::take(&mut self.buffer),
                Err(other) => panic!("not closed: {other:?}, read {:?}", self.buffer),
            }
        }
    }
}

impl Head {
    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every field of that name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a list field has that token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).iter().any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    }

    /// Method and request target of a request.
    pub fn method_and_target(&self) -> (&str, &str) {
        let mut words = self.start.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    fn status(&self) -> Result<u16, Broken> {
        let mut words = self.start.split(' ');
        let version = words.next().is_some_and(|v| v.starts_with("HTTP/1."));
        let status = words.next().and_then(|s| s.parse().ok()).filter(|_| version);
        status.ok_or_else(|| Broken::Malformed(format!("status line {:?}", self.start)))
    }

    fn framing(&self, is_response: bool) -> Result<Framing, Broken> {
        if self.has_token("transfer-encoding", "chunked") {
            return Ok(Framing::Chunked);
        }
        match self.field("content-length") {
            Some(length) => length
                .parse()
                .map(Framing::Length)
                .map_err(|_| Broken::Malformed(format!("content-length {length:?}"))),
            None if is_response => Ok(Framing::UntilClose),
            None => Ok(Framing::Length(0)),
        }
    }
}

impl Response {
    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("no JSON: {e}: {}\n{:?}", self.text(), self.head))
    }

    /// What the upstream's echo said of the request it saw.
    #[track_caller]
    pub fn seen(&self) -> Value {
        let seen = self.field("x-seen").unwrap_or_else(|| panic!("not the echo's: {self:?}"));
        serde_json::from_str(seen).expect("the echo's JSON")
    }
}

/// `GET path` on a connection of its own, with the `Host` a browser would send.
pub fn get(address: SocketAddr, path: &str) -> Result<Response, Broken> {
    let mut wire = Wire::try_connect(address).map_err(|_| Broken::Closed)?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    wire.try_send(head).map_err(|_| Broken::Reset)?;
    wire.try_response()
}
