//! Load at a fixed rate: a latency counts from when its request was due, so that a proxy that stands
//! still cannot hide who waited. Prints one JSON object.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use pmctl_bench_tools::{
    Arguments, Event, EventFlags, Outcome, Poll, connect, field, find, outcome,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const TIMER: usize = usize::MAX;
/// How long answers are waited for after the last request was due.
const PATIENCE: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET /1k HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: rateload\r\n\
    Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

struct Connection {
    socket: TcpStream,
    /// When its request was due, since the start.
    due: Duration,
    answer: Vec<u8>,
}

impl Connection {
    fn new(port: u16, id: usize, poll: &Poll) -> io::Result<Self> {
        let socket = connect(port)?;
        poll.add(&socket, id, EventFlags::IN)?;
        Ok(Self { socket, due: Duration::ZERO, answer: Vec::new() })
    }
}

/// Whether an answer is whole, and good; `None` if more is to come.
fn judge(answer: &[u8]) -> Option<bool> {
    let end = find(answer, b"\r\n\r\n")?;
    let whole = match field(&answer[..end + 2], "content-length") {
        Some(length) => answer.len() >= end + 4 + length.parse::<usize>().unwrap_or(0),
        None => answer.ends_with(b"0\r\n\r\n"),
    };
    whole.then(|| answer.starts_with(b"HTTP/1.1 200"))
}

struct Load {
    port: u16,
    start: Instant,
    step: Duration,
    total: u32,
    next: u32,
    poll: Poll,
    timer: OwnedFd,
    connections: Vec<Connection>,
    free: Vec<usize>,
    /// In microseconds.
    latencies: Vec<u64>,
    errors: u32,
    buffer: Vec<u8>,
}

impl Load {
    fn is_done(&self) -> bool {
        let seen = self.latencies.len() as u64 + u64::from(self.errors);
        seen >= u64::from(self.total) || self.start.elapsed() > self.step * self.total + PATIENCE
    }

    /// Sends every request that is due and has a connection.
    fn send_due(&mut self) -> io::Result<()> {
        let now = self.start.elapsed();
        while self.next < self.total && self.step * self.next <= now {
            let Some(id) = self.free.pop() else { return Ok(()) };
            let connection = &mut self.connections[id];
            connection.due = self.step * self.next;
            self.next += 1;
            connection.socket.write_all(REQUEST)?;
        }
        if self.next < self.total {
            let pause = (self.step * self.next).saturating_sub(self.start.elapsed());
            let pause = pause.max(Duration::from_nanos(1));
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: pause.as_secs() as i64,
                    tv_nsec: pause.subsec_nanos().into(),
                },
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        }
        Ok(())
    }

    fn receive(&mut self, event: &Event) -> io::Result<()> {
        let id = event.data.u64() as usize;
        if id == TIMER {
            rustix::io::read(&self.timer, &mut self.buffer[..8]).ok();
            return Ok(());
        }
        let connection = &mut self.connections[id];
        match outcome(connection.socket.read(&mut self.buffer)) {
            Outcome::Later => return Ok(()),
            Outcome::Gone => {
                self.errors += 1;
                *connection = Connection::new(self.port, id, &self.poll)?;
            }
            Outcome::Bytes(read) => {
                connection.answer.extend_from_slice(&self.buffer[..read]);
                let Some(good) = judge(&connection.answer) else { return Ok(()) };
                connection.answer.clear();
                let late = self.start.elapsed().saturating_sub(connection.due);
                match good {
                    true => self.latencies.push(late.as_micros() as u64),
                    false => self.errors += 1,
                }
            }
        }
        self.free.push(id);
        Ok(())
    }

    fn report(&mut self) -> String {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        let at = |share: f64| {
            let index = (count as f64 * share) as usize;
            self.latencies.get(index.min(count.saturating_sub(1))).copied().unwrap_or_default()
        };
        let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), at(1.0));
        let (errors, seconds) = (self.errors, self.start.elapsed().as_secs_f64());
        format!(
            "{{\"requests\":{count},\"errors\":{errors},\"p50_us\":{p50},\"p90_us\":{p90},\
             \"p99_us\":{p99},\"max_us\":{max},\"seconds\":{seconds:.3}}}"
        )
    }
}

fn main() -> io::Result<()> {
    let mut arguments = Arguments::new("rateload PORT CONNECTIONS RATE SECONDS");
    let port = arguments.take();
    let count: usize = arguments.take();
    let rate: u32 = arguments.take();
    let seconds: u32 = arguments.take();
    let poll = Poll::new()?;
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    poll.add(&timer, TIMER, EventFlags::IN)?;
    let connections: io::Result<_> =
        (0..count).map(|id| Connection::new(port, id, &poll)).collect();
    let mut load = Load {
        port,
        start: Instant::now(),
        step: Duration::from_secs(1) / rate,
        total: rate * seconds,
        next: 0,
        poll,
        timer,
        connections: connections?,
        free: (0..count).collect(),
        latencies: Vec::with_capacity((rate * seconds) as usize),
        errors: 0,
        buffer: vec![0; 64 * 1024],
    };
    let mut events = Vec::with_capacity(256);
    while !load.is_done() {
        load.send_due()?;
        load.poll.wait(&mut events, Some(Duration::from_secs(1)))?;
        for event in &events {
            load.receive(event)?;
        }
    }
    println!("{}", load.report());
    Ok(())
}
