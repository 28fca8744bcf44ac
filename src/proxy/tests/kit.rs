//! Targets and clients written by hand, so that a test says exactly which bytes go where.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::model::{ServiceId, ServiceName, Target, TargetName, UpstreamTls};
use crate::proxy::listen::bind_number;
use crate::proxy::{
    Control, Limits, Plane, PlaneSettings, ProxyHandle, ProxySpec, Route, Upstream, ViaId,
};

/// Nothing on loopback takes longer, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A target: runs `handler` on a thread for each connection.
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Origin {
    pub(super) fn new(handler: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let handler = Arc::clone(&handler);
                std::thread::spawn(move || handler(Wire::new(stream)));
            }
        });
        Self { addr, accepted }
    }

    /// Answers every request with its own head and body, each in a line of what `answer` makes.
    pub(super) fn serving(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::new(move |mut wire| {
            while let Some(request) = wire.message() {
                if wire.send(answer(&request)).is_err() {
                    return;
                }
            }
        })
    }

    /// Speaks HTTP/2: for each head that comes, by its stream and block, the frames that `answer` makes.
    pub(super) fn http2(
        answer: impl Fn([u8; 4], &[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |mut wire| {
            wire.exactly(24).expect("the preface");
            wire.send(frame(4, 0, [0; 4], &[])).unwrap();
            while let Some(head) = wire.exactly(9) {
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                let Some(payload) = wire.exactly(length) else { return };
                let frames = match (head[3], head[4] & 1) {
                    (4, 0) => frame(4, 1, [0; 4], &[]),
                    (1, _) => answer([head[5], head[6], head[7], head[8]], &payload),
                    _ => continue,
                };
                if wire.send(frames).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers every request with `text`.
    pub(super) fn saying(text: &'static str) -> Self {
        Self::serving(move |_| ok(text.as_bytes()))
    }

    pub(super) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags][..], &stream, payload].concat()
}

pub(super) fn ok(body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    bytes.push_str(std::str::from_utf8(body).unwrap());
    bytes.into_bytes()
}

/// A head with its body, as it stood on the wire but for the chunking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) trailers: String,
}

impl Message {
    pub(super) fn start(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(super) fn status(&self) -> u16 {
        self.start().split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One end of a connection; every wait on it has a bound.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, held: Vec::new() }
    }

    pub(super) fn connect(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect(addr).unwrap())
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.held.extend_from_slice(&buffer[..read]);
                true
            }
        }
    }

    fn until(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self.held.windows(end.len()).position(|w| w == end.as_bytes());
            if let Some(at) = found {
                let bytes: Vec<u8> = self.held.drain(..at + end.len()).collect();
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// A head alone.
    pub(super) fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n")
    }

    pub(super) fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.held.len() < count {
            if !self.fill() {
                return None;
            }
        }
        Some(self.held.drain(..count).collect())
    }

    fn chunks(&mut self) -> Option<(Vec<u8>, String)> {
        let mut body = Vec::new();
        loop {
            let line = self.until("\r\n")?;
            let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
            if size == 0 {
                let mut trailers = String::new();
                loop {
                    let line = self.until("\r\n")?;
                    if line == "\r\n" {
                        return Some((body, trailers));
                    }
                    trailers.push_str(&line);
                }
            }
            body.extend(self.exactly(size)?);
            self.until("\r\n")?;
        }
    }

    /// A whole request or response. `None`: the connection ended before its end.
    pub(super) fn message(&mut self) -> Option<Message> {
        let head = self.head()?;
        let mut message = Message { head, ..Message::default() };
        let chunked = message.field("transfer-encoding").is_some();
        let length = message.field("content-length").and_then(|value| value.parse().ok());
        let has_none = matches!(message.status(), 101 | 204 | 304);
        match (chunked, length) {
            _ if has_none => {}
            (true, _) => (message.body, message.trailers) = self.chunks()?,
            (false, Some(length)) => message.body = self.exactly(length)?,
            (false, None) => {}
        }
        Some(message)
    }

    /// Sends a request and reads its answer.
    pub(super) fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).unwrap();
        self.message().expect("an answer before the connection ends")
    }

    pub(super) fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    /// What comes until the other side closes; an error counts as the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.held)
    }
}

/// A proxy on a plane of its own.
pub(super) struct Bench {
    pub(super) plane: Plane,
    pub(super) handle: ProxyHandle,
    pub(super) addr: SocketAddr,
}

pub(super) fn quick() -> Limits {
    Limits::default()
}

fn target(url: &str) -> Target {
    Target { url: url.parse().unwrap(), credentials: None, tls: UpstreamTls::default() }
}

pub(in crate::proxy) fn upstream(name: &str, url: &str) -> Upstream {
    let name = name.parse::<TargetName>().unwrap();
    Upstream::new(&name, &target(url), &ViaId::random()).unwrap()
}

pub(super) fn route(name: &str, url: &str) -> Route {
    Route::new(&name.parse::<TargetName>().unwrap(), &target(url), &ViaId::random()).unwrap()
}

impl Bench {
    pub(super) fn new(url: &str) -> Self {
        Self::with(url, quick(), 2)
    }

    pub(super) fn with(url: &str, limits: Limits, workers: usize) -> Self {
        Self::beside(None, url, limits, workers)
    }

    /// In a process that takes orders at `control`.
    pub(super) fn beside(
        control: Option<SocketAddr>,
        url: &str,
        limits: Limits,
        workers: usize,
    ) -> Self {
        let control = control.map(|address| Control { address, refused: Arc::new(|_, _| {}) });
        Self::make("dspapi", control, url, limits, workers)
    }

    /// With a service of that name.
    pub(super) fn named(service: &str, url: &str) -> Self {
        Self::make(service, None, url, quick(), 1)
    }

    fn make(
        service: &str,
        control: Option<Control>,
        url: &str,
        limits: Limits,
        workers: usize,
    ) -> Self {
        let plane = Plane::start(PlaneSettings { workers, limits, faults: None, control }).unwrap();
        let listener = bind_number(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0).unwrap();
        let addr = listener.local_addrs()[0];
        let name: ServiceName = service.parse().unwrap();
        let spec = ProxySpec { id: ServiceId(1), name, route: route("blue", url) };
        let handle = plane.spawn(spec, listener);
        Self { plane, handle, addr }
    }

    pub(super) fn client(&self) -> Wire {
        Wire::connect(self.addr)
    }

    pub(super) fn until(&self, what: &str, mut condition: impl FnMut(&ProxyHandle) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition(&self.handle) {
            if Instant::now() > end {
                let (counters, list) = (self.handle.counters(), self.handle.connections());
                panic!("not in time: {what}; {counters:?} {list:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Drains from this thread, which has no runtime of the plane's.
    pub(super) fn drain(&self, bound: Duration) -> crate::proxy::DrainReport {
        block_on(self.handle.drain(bound))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.handle.cut_now();
        self.plane.stop();
        if !std::thread::panicking() {
            assert!(self.plane.join(PATIENCE), "the workers end when nothing is left");
        }
    }
}

pub(in crate::proxy) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
