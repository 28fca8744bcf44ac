//! Upstreams: one that answers by a function on threads of its own, one whose every byte the test
//! sends itself.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::json;

use super::http1::{Head, Wire};
use super::wait_until;

/// An HTTP/1.1 upstream with a thread for each connection.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
}

/// A request being answered: the head is read, the body is not.
pub struct Exchange<'a> {
    pub head: Head,
    pub wire: &'a mut Wire,
}

impl Exchange<'_> {
    /// The rest of the request.
    pub fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.wire
            .request_body(&self.head, &mut |bytes| body.extend_from_slice(bytes))
            .map_err(|e| io::Error::other(format!("{e:?}")))?;
        Ok(body)
    }

    /// A whole 200 answer by length.
    pub fn answer(&mut self, fields: &str, body: &[u8]) -> io::Result<()> {
        let mut message =
            format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len())
                .into_bytes();
        message.extend_from_slice(body);
        self.wire.try_send(message)
    }
}

impl Upstream {
    /// Answers every request by `handler`; an error of it closes the connection.
    pub fn start<H>(handler: H) -> Self
    where
        H: Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the upstream");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let (handler, theirs) = (Arc::new(handler), Arc::clone(&shared));
        small_thread(move || {
            for stream in listener.incoming().flatten() {
                if theirs.stop.load(Ordering::SeqCst) {
                    return;
                }
                theirs.connections.fetch_add(1, Ordering::SeqCst);
                let (handler, shared) = (Arc::clone(&handler), Arc::clone(&theirs));
                small_thread(move || converse(stream, &*handler, &shared));
            }
        });
        Self { address, shared }
    }

    /// Gives every body back byte by byte and tells in `x-seen` what the head was:
    /// `{"method","target","fields":[[name,value]…]}`. A path that ends in `/chunked` is answered in
    /// chunks of odd sizes.
    pub fn echo() -> Self {
        Self::start(|exchange| {
            let body = exchange.body()?;
            let (method, target) = exchange.head.method_and_target();
            let seen = json!({"method": method, "target": target, "fields": exchange.head.fields});
            let chunked = target.ends_with("/chunked");
            let fields = format!("Content-Type: application/octet-stream\r\nX-Seen: {seen}\r\n");
            if !chunked {
                return exchange.answer(&fields, &body);
            }
            let mut message =
                format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n")
                    .into_bytes();
            let mut rest = &body[..];
            for size in [1, 3, 7, 1_021, 16_381, 65_537].into_iter().cycle() {
                let (chunk, after) = rest.split_at(rest.len().min(size));
                if chunk.is_empty() {
                    break;
                }
                message.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                message.extend_from_slice(chunk);
                message.extend_from_slice(b"\r\n");
                rest = after;
            }
            message.extend_from_slice(b"0\r\n\r\n");
            exchange.wire.try_send(message)
        })
    }

    /// Answers everything with `text`.
    pub fn saying(text: &str) -> Self {
        let text = text.to_owned();
        Self::start(move |exchange| {
            exchange.body()?;
            exchange.answer("Content-Type: text/plain\r\n", text.as_bytes())
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests whose heads arrived.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // The accept loop looks at the flag once more.
        let _ = TcpStream::connect(self.address);
    }
}

fn converse<H>(stream: TcpStream, handler: &H, shared: &Shared)
where
    H: Fn(&mut Exchange<'_>) -> io::Result<()>,
{
    let mut wire = Wire::of(stream);
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok(head) = wire.head() else { return };
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let last = head.has_token("connection", "close");
        let mut exchange = Exchange { head, wire: &mut wire };
        if handler(&mut exchange).is_err() || last {
            return;
        }
    }
}

/// Hundreds of threads are alive at once in the load tests.
pub(super) fn small_thread(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(512 * 1024).spawn(work).expect("a thread");
}

/// An upstream that does nothing by itself: the test accepts, reads and writes.
pub struct Script {
    listener: TcpListener,
}

impl Script {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the upstream");
        listener.set_nonblocking(true).expect("a listener that does not block");
        Self { listener }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("its address"))
    }

    /// The next connection, waited for.
    #[track_caller]
    pub fn accept(&self) -> Wire {
        wait_until("a connection to the upstream", || {
            self.try_accept().ok_or_else(|| "nobody has connected".to_owned())
        })
    }

    /// The next connection if one waits.
    pub fn try_accept(&self) -> Option<Wire> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).expect("a stream that blocks");
        Some(Wire::of(stream))
    }
}
