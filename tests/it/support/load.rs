//! Keep-alive clients at full speed that remember what became of every single request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::http1::{Broken, Response, Wire};

/// What became of one request.
#[derive(Clone, Debug)]
enum Outcome {
    /// Answered whole, as the check wanted it.
    Whole,
    /// Answered whole, but not as it should be.
    Wrong(String),
    /// The answer began and did not arrive whole.
    Torn(Broken),
    /// No byte of an answer came.
    Unanswered(Broken),
}

/// A request of the load.
struct Record {
    to: SocketAddr,
    /// When its last byte had been handed to the kernel.
    sent: Instant,
    outcome: Outcome,
}

/// What all clients saw.
#[derive(Default)]
pub struct Report {
    records: Vec<Record>,
    /// Connections opened in all.
    pub connections: u64,
}

impl Report {
    /// Every request but those that got no byte of an answer and were not sent before `excused`.
    #[track_caller]
    pub fn assert_all_answered(&self, excused: Option<Instant>, context: &str) {
        let mut bad = Vec::new();
        for Record { to, sent, outcome } in &self.records {
            let why = match outcome {
                Outcome::Whole => continue,
                Outcome::Unanswered(_) if excused.is_some_and(|moment| *sent >= moment) => continue,
                Outcome::Wrong(why) => format!("wrong answer: {why}"),
                Outcome::Torn(broken) => format!("torn answer: {broken:?}"),
                Outcome::Unanswered(broken) => format!("no answer: {broken:?}"),
            };
            let early = excused.map(|moment| moment.saturating_duration_since(*sent));
            bad.push(format!("to {to}, sent {early:?} before the signal: {why}"));
        }
        let (failed, total) = (bad.len(), self.records.len());
        bad.truncate(10);
        assert!(failed == 0, "{failed} of {total} requests failed:\n{}\n{context}", bad.join("\n"));
    }
}

pub struct Load {
    stop: Arc<AtomicBool>,
    whole: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Report>>,
}

impl Load {
    /// `clients` on each of `targets`, each sending `request` as soon as the answer before was whole
    /// and `check` had nothing against it. A closed connection is opened again; a refused one ends
    /// the client.
    pub fn start<C>(targets: &[SocketAddr], clients: usize, request: &str, check: C) -> Self
    where
        C: Fn(&Response) -> Result<(), String> + Send + Sync + 'static,
    {
        let (stop, whole) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (check, request) = (Arc::new(check), Arc::new(request.as_bytes().to_vec()));
        let mut threads = Vec::new();
        for &to in targets {
            for _ in 0..clients {
                let (stop, whole) = (Arc::clone(&stop), Arc::clone(&whole));
                let (check, request) = (Arc::clone(&check), Arc::clone(&request));
                let client = move || client(to, &request, &*check, &stop, &whole);
                let builder = thread::Builder::new().stack_size(512 * 1024);
                threads.push(builder.spawn(client).expect("a client thread"));
            }
        }
        Self { stop, whole, clients: threads }
    }

    /// Requests answered whole so far.
    pub fn whole(&self) -> u64 {
        self.whole.load(Ordering::SeqCst)
    }

    /// Lets every client finish the request it is at, and gathers what they saw.
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Report::default();
        for client in self.clients {
            let report = client.join().expect("a client thread");
            all.records.extend(report.records);
            all.connections += report.connections;
        }
        all
    }
}

fn client<C>(
    to: SocketAddr,
    request: &[u8],
    check: &C,
    stop: &AtomicBool,
    whole: &AtomicU64,
) -> Report
where
    C: Fn(&Response) -> Result<(), String>,
{
    let mut report = Report::default();
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut wire) = Wire::try_connect(to) else { return report };
        report.connections += 1;
        while !stop.load(Ordering::SeqCst) {
            // A request that could not be written whole is nobody's debt.
            if wire.try_send(request).is_err() {
                break;
            }
            let sent = Instant::now();
            let answer = wire.try_response();
            let closes = answer.as_ref().map_or(true, |r| r.head.has_token("connection", "close"));
            let outcome = match answer {
                Ok(response) => match check(&response) {
                    Ok(()) => Outcome::Whole,
                    Err(why) => Outcome::Wrong(why),
                },
                Err(broken @ (Broken::Closed | Broken::Reset)) => Outcome::Unanswered(broken),
                Err(broken) => Outcome::Torn(broken),
            };
            if matches!(outcome, Outcome::Whole) {
                whole.fetch_add(1, Ordering::SeqCst);
            }
            report.records.push(Record { to, sent, outcome });
            if closes {
                break;
            }
        }
    }
    report
}
