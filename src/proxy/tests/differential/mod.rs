//! The own engine and hyper get the same bytes; what reaches the target and the client is compared.
//!
//! What the own engine accepts, hyper has to read in the very same way: the same requests at the target,
//! the same answers at the client. Where the own engine refuses, whatever it forwarded before has to be
//! what hyper forwarded too. Texts are compared byte by byte, but for these intended differences:
//!
//! - The own engine is stricter: it refuses, with one of [`REFUSALS`] and the end of the connection,
//!   what hyper repairs or forgives (a length beside a coding, which hyper drops; several codings; a line end
//!   of LF alone; a second or odd `Host`).
//! - It is less strict in one place: what no URI has (quotes, bytes above 0x7F and the like) passes in a
//!   target as it is; hyper refuses some of that.
//! - Names of fields pass as they are written; hyper writes them small. Fields of different names keep
//!   their order; hyper brings those of one name together.
//! - Trailers pass whether they were announced or not, and so does what announces them; hyper passes
//!   announced ones alone, and drops the announcement where it writes no chunks.
//! - Every interim answer passes; hyper tells of a 100 of its own making alone.
//! - Chunks pass as they are cut, with their extensions; hyper cuts anew.
//! - Reason phrases pass; hyper writes its own.
//! - What an answer without a body (to HEAD, 204, 304) says of a length passes where it may; hyper leaves
//!   some of that out.
//! - A length is sent as a plain number; hyper sends the zeros in front of it, too.
//! - `OPTIONS` of an authority without a path asks the target for `*`; hyper asks it for `/`.
//! - Half a head that the client leaves behind is answered by the end of the connection; hyper answers 400
//!   where it has seen enough.
//! - A client's `close` ends the connection wherever it stands; hyper goes on where `keep-alive` stands
//!   behind it.

mod generate;
pub(in crate::proxy) mod oracle;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use self::generate::Case;
use super::kit::Bench;
use super::record::{Fields, Message, Recorder, Stop, answers, converse};
use crate::proxy::Limits;

/// What the own engine refuses with, before anything of the request reached the target whole.
const REFUSALS: &[u16] = &[400, 414, 431, 501, 505, 508];

/// What came of a case by one engine.
#[derive(Debug)]
struct Outcome {
    /// At the target.
    requests: Vec<Message>,
    /// At the client, and what stands where a further one should.
    answers: Vec<Message>,
    rest: Option<Stop>,
}

fn run(bench: &Bench, recorder: &Recorder, pieces: &[&[u8]]) -> Outcome {
    let said = converse(bench.addr, pieces.iter().copied());
    let requests = recorder.take();
    let methods: Vec<String> = requests.iter().map(|request| method(request).to_owned()).collect();
    let (answers, rest) = answers(&said, &methods);
    Outcome { requests, answers, rest }
}

fn method(request: &Message) -> &str {
    request.start.split(' ').next().unwrap_or_default()
}

/// A request without what may differ.
fn plain(request: &Message) -> Message {
    let mut plain = Message { trailers: Fields::new(), ..request.clone() };
    plain.start = plain.start.replace("OPTIONS / ", "OPTIONS * ");
    if let Some(length) = plain.fields.get_mut("content-length")
        && let Ok(number) = length.parse::<u64>()
    {
        *length = number.to_string();
    }
    if let Some(via) = plain.fields.get_mut("via") {
        // The pseudonyms are made by chance.
        let same = |member: &str| match member.split_once(" pmctl-") {
            Some((version, _)) => format!("{version} pmctl"),
            None => member.to_owned(),
        };
        *via = via.split(", ").map(same).collect::<Vec<_>>().join(", ");
    }
    plain
}

/// An answer to a `method` without what may differ.
fn plain_answer(answer: &Message, method: &str) -> Message {
    let mut plain = plain(answer);
    plain.start = answer.status().to_string();
    plain.fields.remove("connection");
    plain.fields.remove("trailer");
    if !plain.fields.contains_key("via") {
        // Made here: it names the service.
        return Message { fields: Fields::new(), body: String::new(), ..plain };
    }
    if method == "HEAD" || matches!(answer.status(), 204 | 304) {
        plain.fields.remove("content-length");
        plain.fields.remove("transfer-encoding");
    }
    plain
}

/// Whether the target is made of what a URI may have (RFC 3986).
fn is_uri(request: &Message) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=% ".contains(c);
    request.start.chars().all(is_known)
}

/// Whether the own engine ended the connection where its client wanted that.
fn was_asked_to_close(own: &Outcome, case: &Case) -> bool {
    let says = |answer: &Message| answer.fields.get("connection").is_some_and(|c| c == "close");
    let bytes = case.bytes.to_ascii_lowercase();
    own.answers.last().is_some_and(says) && bytes.windows(5).any(|window| window == b"close")
}

/// What is not as it should be.
fn difference(case: &Case, own: &Outcome, hyper: &Outcome) -> Option<String> {
    if let Some(Stop::Wrong(what)) = &own.rest {
        return Some(what.clone());
    }
    for (number, request) in own.requests.iter().enumerate() {
        let Some(other) = hyper.requests.get(number) else {
            return is_uri(request).then(|| format!("request {number} is forwarded"));
        };
        if plain(other) != plain(request) {
            return Some(format!("request {number}"));
        }
        if other.trailers.keys().any(|name| !request.trailers.contains_key(name)) {
            return Some(format!("trailers of request {number}"));
        }
        let (Some(answer), Some(other)) = (own.answers.get(number), hyper.answers.get(number))
        else {
            continue;
        };
        let method = method(request);
        if plain_answer(answer, method) != plain_answer(other, method) {
            return Some(format!("answer {number}"));
        }
    }
    let forwarded = own.requests.len();
    if let Some(refusal) = own.answers.get(forwarded) {
        let is_known = REFUSALS.contains(&refusal.status());
        let is_last = own.answers.len() == forwarded + 1 && own.rest.is_none();
        let closes = refusal.fields.get("connection").is_some_and(|value| value == "close");
        return (!(is_known && is_last && closes)).then(|| "a refusal".to_owned());
    }
    if was_asked_to_close(own, case) {
        return None;
    }
    let is_half = hyper.answers.len() == forwarded + 1 && own.answers.len() == forwarded;
    if is_half && hyper.requests.len() == forwarded && hyper.answers[forwarded].status() == 400 {
        return None;
    }
    let of =
        |outcome: &Outcome| (outcome.requests.len(), outcome.answers.len(), outcome.rest.is_some());
    (of(own) != of(hyper)).then(|| format!("{:?} for {:?}", of(own), of(hyper)))
}

/// Both engines in front of one target.
struct Bed {
    recorder: Recorder,
    own: Bench,
    hyper: Bench,
}

impl Bed {
    fn new() -> Self {
        let recorder = Recorder::new();
        let url = recorder.origin.url();
        let own = Bench::with(&url, Limits::default(), 1);
        let hyper = Bench::named(oracle::SERVICE, &url);
        Self { recorder, own, hyper }
    }

    /// What is not as it should be, and all that there is to know of it.
    fn check(&self, mut case: Case) -> Option<String> {
        let authority = self.recorder.origin.addr.to_string();
        for reply in &mut case.replies {
            reply.head = replaced(&reply.head, b"ORIGIN", authority.as_bytes());
        }
        self.recorder.set(&case.replies);
        let hyper = run(&self.hyper, &self.recorder, &[&case.bytes]);
        let own = run(&self.own, &self.recorder, &case.pieces());
        let what = difference(&case, &own, &hyper)?;
        let bytes = case.bytes.escape_ascii();
        let replies: Vec<String> =
            case.replies.iter().map(|r| r.head.escape_ascii().to_string()).collect();
        Some(format!("{what}\n{bytes}\n{replies:#?}\nown: {own:#?}\nhyper: {hyper:#?}"))
    }
}

/// Simplifications tried on a case that differs.
const MOST_SIMPLER: usize = 200;
/// Differences told at a time.
const MOST_TOLD: usize = 5;

#[test]
fn what_the_own_engine_passes_on_hyper_reads_in_the_same_way() {
    let bed = Bed::new();
    let cases = std::env::var("PMCTL_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let (mut runner, strategy) = (TestRunner::default(), generate::case());
    let mut found = Vec::new();
    for _ in 0..cases {
        let mut tree = strategy.new_tree(&mut runner).expect("a case");
        let Some(mut difference) = bed.check(tree.current()) else { continue };
        for _ in 0..MOST_SIMPLER {
            if !tree.simplify() {
                break;
            }
            match bed.check(tree.current()) {
                Some(simpler) => difference = simpler,
                None if !tree.complicate() => break,
                None => {}
            }
        }
        found.push(difference);
        if found.len() == MOST_TOLD {
            break;
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n\n"));
}

fn replaced(text: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|w| w == what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}
