//! What the parts of a request cost on its way through the data plane: the size of its head, the
//! fields that have to be rewritten, the number of its chunks.
//!
//! Through the public door of the data plane, over loopback, whichever engine forwards: one worker,
//! one connection, pipelined requests, a target that hardly looks at them. The figures are wall time
//! of client, proxy and target together, so it is their differences that say something.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use pmctl::model::{Port, ServiceId, Target, TargetUrl, UpstreamTls};
use pmctl::proxy::{Plane, PlaneSettings, ProxyHandle, ProxySpec, Route, ViaId, bind};

/// Requests sent at once.
const PIPELINED: usize = 32;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HEAD_END: &[u8] = b"\r\n\r\n";
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
/// Of a body in chunks.
const BODY: usize = 64 * 1024;

fn main() {
    divan::main();
}

/// A proxy before a target, and a client of it.
struct Bed {
    client: TcpStream,
    plane: Plane,
    _proxy: ProxyHandle,
}

impl Bed {
    /// `end` is what every request ends with, `answer` what it is answered with.
    fn new(end: &'static [u8], answer: &'static [u8]) -> Self {
        let target = target(end, answer);
        let settings = PlaneSettings { workers: 1, ..PlaneSettings::default() };
        let plane = Plane::start(settings).expect("a data plane");
        let (listener, address) = (0..100).find_map(|_| free()).expect("a free port");
        let url = format!("http://{target}").parse::<TargetUrl>().expect("a URL");
        let target = Target { url, credentials: None, tls: UpstreamTls::default() };
        let name = "main".parse().expect("a name");
        let route = Route::new(&name, &target, &ViaId::random()).expect("a route");
        let id = ServiceId(1);
        let spec = ProxySpec { id, name: "bench".parse().expect("a name"), route };
        let proxy = plane.spawn(spec, listener);
        let client = TcpStream::connect(address).expect("a connection");
        client.set_nodelay(true).expect("a socket");
        Self { client, plane, _proxy: proxy }
    }

    /// Sends requests that are answered with so many bytes in all.
    fn exchange(&mut self, requests: &[u8], answers: &mut [u8]) {
        self.client.write_all(requests).expect("requests are taken");
        self.client.read_exact(answers).expect("answers come");
    }

    /// How long the answer to one request is, as it comes from the proxy.
    fn answer_length(&mut self, request: &[u8]) -> usize {
        self.client.write_all(request).expect("a request is taken");
        let mut received = Vec::new();
        let mut buffer = [0; 64 * 1024];
        self.client.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
        while let Ok(read @ 1..) = self.client.read(&mut buffer) {
            received.extend_from_slice(&buffer[..read]);
        }
        self.client.set_read_timeout(None).expect("a socket");
        assert!(received.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&received));
        received.len()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.plane.stop();
    }
}

/// A port that was free a moment ago, bound.
fn free() -> Option<(pmctl::proxy::BoundListener, SocketAddr)> {
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?;
    let listener = bind(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), Port::new(found.port())?).ok()?;
    Some((listener, found))
}

/// Answers once for each `end` that comes.
fn target(end: &'static [u8], answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || serve(stream, end, answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, end: &[u8], answer: &[u8]) {
    let (mut buffer, mut kept) = (vec![0; 256 * 1024], Vec::new());
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        while let Some(at) = kept.windows(end.len()).position(|window| window == end) {
            kept.drain(..at + end.len());
            if stream.write_all(answer).is_err() {
                return;
            }
        }
        // What was searched needs no second look.
        let searched = kept.len().saturating_sub(end.len() - 1);
        kept.drain(..searched);
    }
}

fn measure(
    bencher: Bencher,
    end: &'static [u8],
    answer: &'static [u8],
    request: &str,
    count: usize,
) {
    let mut bed = Bed::new(end, answer);
    let mut answers = vec![0; bed.answer_length(request.as_bytes()) * count];
    let requests = request.repeat(count);
    bencher
        .counter(ItemsCount::new(count))
        .counter(BytesCount::new(requests.len()))
        .bench_local(|| bed.exchange(black_box(requests.as_bytes()), &mut answers));
}

/// Heads with so many fields beside the necessary ones.
#[divan::bench(args = [0, 8, 32, 96])]
fn heads(bencher: Bencher, fields: usize) {
    let fields: String = (0..fields).map(|n| format!("X-Field-{n}: some value {n}\r\n")).collect();
    measure(
        bencher,
        HEAD_END,
        ANSWER,
        &format!("GET /a/path?with=query HTTP/1.1\r\nHost: bench.local\r\n{fields}\r\n"),
        PIPELINED,
    );
}

/// A head in which much has to be dropped and replaced.
#[divan::bench]
fn rewriting(bencher: Bencher) {
    let drops = "Connection: keep-alive, X-One, X-Two, X-Three\r\nX-One: 1\r\nX-Two: 2\r\n\
        X-Three: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
        X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-Host: before.example\r\n\
        X-Forwarded-Proto: https\r\nVia: 1.1 before\r\n";
    measure(
        bencher,
        HEAD_END,
        ANSWER,
        &format!("GET /a/path?with=query HTTP/1.1\r\nHost: bench.local\r\n{drops}\r\n"),
        PIPELINED,
    );
}

/// An upload of 64 KiB in chunks of so many bytes.
#[divan::bench(args = [16, 256, 4_096, 65_536])]
fn chunks(bencher: Bencher, size: usize) {
    let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    let body = chunk.repeat(BODY / size);
    let head = "POST /a/path HTTP/1.1\r\nHost: bench.local\r\nTransfer-Encoding: chunked\r\n";
    measure(bencher, LAST_CHUNK, ANSWER, &format!("{head}\r\n{body}0\r\n\r\n"), 1);
}
