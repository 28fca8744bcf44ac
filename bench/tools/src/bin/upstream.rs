//! The target of every proxy: cheap, so that what is measured is the proxy.
//!
//! `GET /1k` answers 1 KiB, `/big` 1 MiB, `/sleep/MS` 1 KiB after so many milliseconds, `/echo` the
//! head that arrived; anything with a body is read to its end and answered with 64 bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use pmctl_bench_tools::{
    Arguments, EventFlags, Outcome, Poll, accept, field, find, listen, on_threads, outcome,
};

const LISTENER: usize = usize::MAX;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A client that keeps its connection.
struct Client {
    socket: TcpStream,
    /// Tells it from an earlier one with the same descriptor.
    serial: u64,
    /// Not understood yet.
    input: Vec<u8>,
    /// Bytes of a request's body that are still to come, before its answer.
    body_left: usize,
    output: Vec<u8>,
    sent: usize,
    waits_to_write: bool,
    /// The last request asked for it.
    closes: bool,
}

struct Answers {
    small: Vec<u8>,
    /// The same, on a connection that ends with it.
    last: Vec<u8>,
    big: Vec<u8>,
    taken: Vec<u8>,
}

fn answer(fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\
         ETag: \"5f3e-1a2b3c\"\r\nCache-Control: no-store\r\n{fields}\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// What one look at the input came to.
enum Step {
    /// The input has no whole request.
    Incomplete,
    /// This much of it is done with.
    Used(usize),
    /// The same, and its answer is due later.
    Sleeps(usize, Duration),
}

impl Client {
    fn step(&mut self, input: &[u8], answers: &Answers) -> Step {
        if self.body_left > 0 {
            let here = self.body_left.min(input.len());
            self.body_left -= here;
            if self.body_left == 0 {
                self.output.extend_from_slice(&answers.taken);
            }
            return Step::Used(here);
        }
        let Some(end) = find(input, HEAD_END) else { return Step::Incomplete };
        let (head, body) = (&input[..end + 2], end + HEAD_END.len());
        if let Some(length) = field(head, "content-length").and_then(|l| l.parse().ok()) {
            self.closes = closes(head);
            self.body_left = length;
            if length == 0 {
                self.output.extend_from_slice(&answers.taken);
            }
            return Step::Used(body);
        }
        if field(head, "transfer-encoding").is_some() {
            let Some(length) = chunked(&input[body..]) else { return Step::Incomplete };
            self.closes = closes(head);
            self.output.extend_from_slice(&answers.taken);
            return Step::Used(body + length);
        }
        self.closes = closes(head);
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match path {
            b"/big" => self.output.extend_from_slice(&answers.big),
            b"/echo" => self.output.extend_from_slice(&answer("", head)),
            _ if self.closes => self.output.extend_from_slice(&answers.last),
            _ => match path.strip_prefix(b"/sleep/") {
                Some(written) => {
                    let written = String::from_utf8_lossy(written);
                    let pause = Duration::from_millis(written.parse().unwrap_or_default());
                    return Step::Sleeps(body, pause);
                }
                None => self.output.extend_from_slice(&answers.small),
            },
        }
        Step::Used(body)
    }

    /// Sends what can be sent; `false` when the connection is over.
    fn flush(&mut self, id: usize, poll: &Poll) -> bool {
        while self.sent < self.output.len() {
            match outcome(self.socket.write(&self.output[self.sent..])) {
                Outcome::Bytes(sent) => self.sent += sent,
                Outcome::Gone => return false,
                Outcome::Later => {
                    let flags = EventFlags::IN | EventFlags::OUT;
                    let waits = std::mem::replace(&mut self.waits_to_write, true);
                    return waits || poll.change(&self.socket, id, flags).is_ok();
                }
            }
        }
        let answered = !self.output.is_empty();
        self.output.clear();
        self.sent = 0;
        if std::mem::take(&mut self.waits_to_write) {
            return poll.change(&self.socket, id, EventFlags::IN).is_ok();
        }
        !(answered && self.closes)
    }
}

/// The length of a body in chunks with its trailers, if all of it is here. Good enough for bodies
/// without an empty chunk's line in them.
fn chunked(input: &[u8]) -> Option<usize> {
    let last = match input.starts_with(b"0\r\n") {
        true => 0,
        false => find(input, b"\r\n0\r\n")? + 2,
    };
    Some(last + find(&input[last..], HEAD_END)? + HEAD_END.len())
}

fn closes(head: &[u8]) -> bool {
    field(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

struct Upstream {
    poll: Poll,
    answers: Answers,
    /// By descriptor.
    clients: Vec<Option<Client>>,
    serial: u64,
    /// Answers that are due later: when, whose.
    sleeping: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    buffer: Vec<u8>,
}

impl Upstream {
    fn open(&mut self, socket: TcpStream) -> io::Result<()> {
        let id = socket.as_raw_fd() as usize;
        if self.clients.len() <= id {
            self.clients.resize_with(id + 1, || None);
        }
        self.poll.add(&socket, id, EventFlags::IN)?;
        self.serial += 1;
        self.clients[id] = Some(Client {
            socket,
            serial: self.serial,
            input: Vec::new(),
            body_left: 0,
            output: Vec::new(),
            sent: 0,
            waits_to_write: false,
            closes: false,
        });
        Ok(())
    }

    fn serve(&mut self, id: usize, flags: EventFlags) {
        let Some(mut client) = self.clients.get_mut(id).and_then(Option::take) else { return };
        let readable = EventFlags::IN | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(readable) {
            match outcome(client.socket.read(&mut self.buffer)) {
                Outcome::Gone => return,
                Outcome::Later => {}
                Outcome::Bytes(read) => self.take(&mut client, id, read),
            }
        }
        if client.flush(id, &self.poll) {
            self.clients[id] = Some(client);
        }
    }

    /// Understands the first `read` bytes of the buffer.
    fn take(&mut self, client: &mut Client, id: usize, read: usize) {
        let carried = std::mem::take(&mut client.input);
        let joined;
        let mut input = if carried.is_empty() {
            &self.buffer[..read]
        } else {
            joined = [&carried, &self.buffer[..read]].concat();
            &joined
        };
        while !input.is_empty() {
            match client.step(input, &self.answers) {
                Step::Incomplete => {
                    client.input = input.to_vec();
                    break;
                }
                Step::Used(used) => input = &input[used..],
                Step::Sleeps(used, pause) => {
                    self.sleeping.push(Reverse((Instant::now() + pause, id, client.serial)));
                    input = &input[used..];
                }
            }
        }
    }

    /// Sends the answers that are due; returns how long it is to the next.
    fn wake(&mut self) -> Option<Duration> {
        loop {
            let Reverse((due, id, serial)) = *self.sleeping.peek()?;
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Some(left);
            }
            self.sleeping.pop();
            let Some(mut client) = self.clients[id].take() else { continue };
            if client.serial == serial {
                client.output.extend_from_slice(&self.answers.small);
                if !client.flush(id, &self.poll) {
                    continue;
                }
            }
            self.clients[id] = Some(client);
        }
    }
}

fn run(port: u16) -> io::Result<()> {
    let (poll, listener) = (Poll::new()?, listen(port)?);
    poll.add(&listener, LISTENER, EventFlags::IN)?;
    let answers = Answers {
        small: answer("", &[b'x'; 1_024]),
        last: answer("Connection: close\r\n", &[b'x'; 1_024]),
        big: answer("", &vec![b'x'; 1 << 20]),
        taken: answer("", &[b'p'; 64]),
    };
    let mut upstream = Upstream {
        poll,
        answers,
        clients: Vec::new(),
        serial: 0,
        sleeping: BinaryHeap::new(),
        buffer: vec![0; 256 * 1024],
    };
    let mut events = Vec::with_capacity(512);
    loop {
        let pause = upstream.wake();
        upstream.poll.wait(&mut events, pause)?;
        for event in &events {
            match event.data.u64() as usize {
                LISTENER => {
                    while let Some(socket) = accept(&listener) {
                        upstream.open(socket)?;
                    }
                }
                id => upstream.serve(id, event.flags),
            }
        }
    }
}

fn main() -> io::Result<()> {
    let mut arguments = Arguments::new("upstream PORT THREADS");
    let port = arguments.take();
    let threads = arguments.take();
    on_threads(threads, move || run(port))
}
