//! A client's stream as a sequence of heads and bodies.

use super::chunks::{Chunks, Progress};
use super::head::{Body, HeadScan};
use super::io::WireLimits;
use crate::proxy::answer::Refusal;

#[derive(Debug)]
enum At {
    Head(HeadScan),
    /// In a body, so many bytes before its end.
    Length(u64),
    Chunks(Chunks),
    /// Behind a request that asks to leave HTTP, until it is known whether it does.
    Gate,
}

/// Why [`Scanner::accept`] went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More bytes are needed; those not passed are half a head.
    More,
    /// What follows waits for [`Scanner::resume`].
    Gate,
    /// What follows is a head that is refused; `is_head`: its method is HEAD.
    Refused { refusal: Refusal, is_head: bool },
    /// The framing of a body is broken.
    Broken,
}

/// How far bytes may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// From the front, so many bytes.
    pub(super) passed: usize,
    /// Whole heads among them.
    pub(super) heads: u64,
    /// The last of those heads asks to leave HTTP.
    pub(super) gated: bool,
    /// Bytes of a body among them, behind the last of those heads.
    pub(super) body: bool,
    pub(super) stop: Stop,
}

/// Follows one client's stream.
#[derive(Debug)]
pub(super) struct Scanner {
    at: At,
    gated: bool,
    limits: WireLimits,
}

impl Scanner {
    pub(super) fn new(limits: WireLimits) -> Self {
        Self { at: At::Head(HeadScan::default()), gated: false, limits }
    }

    /// Judges `bytes`, which begin with the first byte that was not passed yet.
    pub(super) fn accept(&mut self, bytes: &[u8]) -> Accepted {
        let (mut passed, mut heads, mut gated, mut body) = (0, 0, false, false);
        let stop = loop {
            let rest = &bytes[passed..];
            match &mut self.at {
                At::Head(scan) => match scan.scan(rest, &self.limits) {
                    Ok(None) => break Stop::More,
                    Ok(Some(head)) => {
                        passed += head.len;
                        heads += 1;
                        gated = head.upgrades;
                        body = false;
                        self.gated = head.upgrades;
                        match head.body {
                            Body::Length(0) => self.message_end(),
                            Body::Length(length) => self.at = At::Length(length),
                            Body::Chunked => self.at = At::Chunks(Chunks::new()),
                        }
                    }
                    Err(refusal) => {
                        break Stop::Refused { refusal, is_head: scan.is_head() };
                    }
                },
                At::Length(left) => {
                    // What does not fit a usize is longer than any slice.
                    let here = usize::try_from(*left).map_or(rest.len(), |n| n.min(rest.len()));
                    passed += here;
                    body |= here > 0;
                    *left -= u64::try_from(here).unwrap_or_default();
                    match *left {
                        0 => self.message_end(),
                        _ => break Stop::More,
                    }
                }
                At::Chunks(chunks) => {
                    body |= !rest.is_empty();
                    match chunks.scan(rest) {
                        Progress::More => {
                            passed = bytes.len();
                            break Stop::More;
                        }
                        Progress::Done(here) => {
                            passed += here;
                            self.message_end();
                        }
                        Progress::Broken(here) => {
                            passed += here;
                            break Stop::Broken;
                        }
                    }
                }
                At::Gate => break Stop::Gate,
            }
        };
        Accepted { passed, heads, gated, body, stop }
    }

    /// Goes on behind a request that did not leave HTTP.
    pub(super) fn resume(&mut self) {
        if matches!(self.at, At::Gate) {
            self.at = At::Head(HeadScan::default());
        }
    }

    /// Whether the stream is at a gate.
    pub(super) fn is_at_gate(&self) -> bool {
        matches!(self.at, At::Gate)
    }

    /// Whether the next byte belongs to a body.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.at, At::Length(_) | At::Chunks(_))
    }

    /// Whether `rest`, bytes that were not passed, are the start of a request.
    pub(super) fn is_head_begun(&self, rest: &[u8]) -> bool {
        matches!(&self.at, At::Head(scan) if scan.has_begun(rest))
    }

    fn message_end(&mut self) {
        self.at = if self.gated { At::Gate } else { At::Head(HeadScan::default()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(stream: &[u8]) -> Accepted {
        Scanner::new(WireLimits::default()).accept(stream)
    }

    #[test]
    fn requests_follow_each_other_over_bodies_of_any_kind() {
        let stream = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
            POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET / HTT\
            POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n\
            \r\nGET /4 HTTP/1.0\r\n\r\n";
        let all = Accepted {
            passed: stream.len(),
            heads: 4,
            gated: false,
            body: false,
            stop: Stop::More,
        };
        assert_eq!(accept(stream), all);
        let half = [&stream[..], b"GET /5"].concat();
        assert_eq!(accept(&half), all);
    }

    #[test]
    fn a_request_hidden_behind_a_doubtful_one_is_not_passed() {
        let good = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
        let doubtful = b"HEAD /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
            Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n";
        let accepted = accept(&[&good[..], doubtful].concat());
        assert_eq!((accepted.passed, accepted.heads), (good.len(), 1));
        let refusal = Refusal::Ambiguous;
        assert_eq!(accepted.stop, Stop::Refused { refusal, is_head: true });
    }

    #[test]
    fn what_follows_an_upgrade_waits_until_it_is_refused() {
        let upgrade = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\
            Content-Length: 2\r\n\r\nhi";
        let next = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let stream = [&upgrade[..], next].concat();
        let mut scanner = Scanner::new(WireLimits::default());
        let held =
            Accepted { passed: upgrade.len(), heads: 1, gated: true, body: true, stop: Stop::Gate };
        assert_eq!(scanner.accept(&stream), held);
        assert_eq!(scanner.accept(next).stop, Stop::Gate);
        scanner.resume();
        let passed =
            Accepted { passed: next.len(), heads: 1, gated: false, body: false, stop: Stop::More };
        assert_eq!(scanner.accept(next), passed);
    }
}
