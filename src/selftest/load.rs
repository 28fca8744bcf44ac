//! Clients that ask all the time and remember what became of each request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Clients of each proxy.
const CLIENTS: usize = 4;

/// For one step of a request. Longer than any drain.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before the next try to connect.
const PAUSE: Duration = Duration::from_millis(2);

/// Most bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;

/// A request that was not answered as it should be.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// When its last byte had been handed to the kernel.
    pub(super) sent: Instant,
    /// When that was seen.
    pub(super) seen: Instant,
    /// What came instead.
    pub(super) what: String,
}

/// Load on some proxies until it is ended.
pub(super) struct Load {
    end: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Lost>>>,
}

impl Load {
    pub(super) fn start(proxies: &[SocketAddr]) -> io::Result<Self> {
        let (end, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut clients = Vec::new();
        for address in proxies.iter().flat_map(|address| [*address; CLIENTS]) {
            let (end, answered) = (Arc::clone(&end), Arc::clone(&answered));
            let client = move || ask_on(address, &end, &answered);
            clients.push(thread::Builder::new().name("selftest-client".into()).spawn(client)?);
        }
        Ok(Self { end, answered, clients })
    }

    /// Whole answers so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it; what was lost.
    pub(super) fn finish(self) -> Vec<Lost> {
        self.end.store(true, Ordering::Relaxed);
        let lost = self.clients.into_iter().map(|client| client.join().unwrap_or_default());
        lost.flatten().collect()
    }
}

fn ask_on(address: SocketAddr, end: &AtomicBool, answered: &AtomicU64) -> Vec<Lost> {
    let request = format!("GET /hello HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut lost = Vec::new();
    while !end.load(Ordering::Relaxed) {
        // Nobody listens before the start and after the end.
        let Ok(mut stream) = connect(address) else {
            thread::sleep(PAUSE);
            continue;
        };
        while !end.load(Ordering::Relaxed) {
            // What could not be sent was not taken by anybody.
            if stream.write_all(request.as_bytes()).is_err() {
                break;
            }
            let sent = Instant::now();
            match answer(&mut stream) {
                Ok(Answer { status: 200, is_last }) => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    if is_last {
                        break;
                    }
                }
                Ok(Answer { status, .. }) => {
                    let what = format!("status {status}");
                    lost.push(Lost { sent, seen: Instant::now(), what });
                    break;
                }
                Err(error) => {
                    lost.push(Lost { sent, seen: Instant::now(), what: error.to_string() });
                    break;
                }
            }
        }
    }
    lost
}

pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Answer {
    status: u16,
    /// The connection ends with it.
    is_last: bool,
}

/// Reads one answer whose body has a length.
fn answer(stream: &mut impl Read) -> io::Result<Answer> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    let broken = |what: &str| io::Error::other(what.to_owned());
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(&bytes).map_err(|_| broken("an answer that is no HTTP"))?;
        if let httparse::Status::Complete(length) = parsed {
            let field = |name: &str| {
                let found = head.headers.iter().find(|f| f.name.eq_ignore_ascii_case(name));
                found.and_then(|field| std::str::from_utf8(field.value).ok())
            };
            let body: usize = field("content-length")
                .and_then(|length| length.parse().ok())
                .ok_or_else(|| broken("an answer without a length"))?;
            let is_last = field("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
            let status = head.code.unwrap_or_default();
            let mut missing = (length + body).saturating_sub(bytes.len());
            while missing > 0 {
                match stream.read(&mut chunk)? {
                    0 => return Err(broken("an answer that broke off in its body")),
                    read => missing = missing.saturating_sub(read),
                }
            }
            return Ok(Answer { status, is_last });
        }
        if bytes.len() > MAX_HEAD {
            return Err(broken("an answer with an endless head"));
        }
        match stream.read(&mut chunk)? {
            0 if bytes.is_empty() => return Err(broken("no answer")),
            0 => return Err(broken("an answer that broke off in its head")),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(u16, bool), String> {
        let answer = answer(&mut text.as_bytes()).map_err(|e| e.to_string())?;
        Ok((answer.status, answer.is_last))
    }

    #[test]
    fn an_answer_counts_only_if_it_is_whole() {
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Ok((200, false)));
        let last = "HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(last), Ok((503, true)));
        for broken in
            ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", "SSH-2.0\r\n"]
        {
            assert!(read(broken).is_err(), "{broken:?}");
        }
    }
}
