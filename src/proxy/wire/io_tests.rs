//! Streams through the wrapper, cut in every way.

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::proxy::answer::Refusal;
use crate::proxy::wire::WirePhase;

/// A socket from which the given pieces come one by one, then the end of file.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn cut(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> Self {
        let (mut pieces, mut from) = (VecDeque::new(), 0);
        for cut in cuts.into_iter().chain([stream.len()]) {
            let to = cut.clamp(from, stream.len());
            if to > from {
                pieces.push_back(stream[from..to].to_vec());
            }
            from = to;
        }
        Self(pieces)
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Out {
    bytes: Vec<u8>,
    heads: u64,
    refusal: Option<Refusal>,
    /// Reading ended with an error.
    broken: bool,
}

pub(super) const LIMITS: WireLimits =
    WireLimits { max_head_bytes: 2000, max_headers: 10, max_target_bytes: 1000 };

fn read(pieces: Pieces, room: usize) -> Out {
    let mut guarded = GuardedIo::new(pieces, LIMITS);
    let mut cx = Context::from_waker(Waker::noop());
    let (mut bytes, mut broken) = (Vec::new(), false);
    loop {
        let mut space = vec![0; room];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut guarded).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
            Poll::Ready(Ok(())) => bytes.extend_from_slice(buf.filled()),
            Poll::Ready(Err(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                broken = true;
                break;
            }
            Poll::Pending => {
                assert!(guarded.state.refusal().is_some(), "only a refused stream goes silent");
                break;
            }
        }
    }
    let state = guarded.state();
    Out { bytes, heads: state.heads(), refusal: state.refusal(), broken }
}

/// What comes out of `stream`, the same however it is cut and read.
fn out(stream: &[u8]) -> Out {
    let whole = read(Pieces::cut(stream, []), 8192);
    for room in [1, 7, 8192] {
        let bytewise = read(Pieces::cut(stream, 0..stream.len()), room);
        assert_eq!(bytewise, whole, "{} byte by byte", stream.escape_ascii());
        assert_eq!(read(Pieces::cut(stream, []), room), whole, "{room} bytes of room");
    }
    for cut in 0..stream.len() {
        let cut_once = read(Pieces::cut(stream, [cut]), 8192);
        assert_eq!(cut_once, whole, "{} cut at {cut}", stream.escape_ascii());
    }
    whole
}

pub(super) const GET: &[u8] = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
pub(super) const POST: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 23\r\n\r\nGET / HTTP/1.1\nA: b\r\n\r\n";
pub(super) const CHUNKED: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;x=y\r\n\r\nG\0T\r\n0A\r\n0\r\n\r\nGET /\r\n000\r\nTrailer: 1\r\n\r\n";

#[test]
fn valid_streams_pass_byte_for_byte() {
    let streams = [
        GET.to_vec(),
        [GET, GET, GET].concat(),
        [POST, GET, CHUNKED, POST, CHUNKED, CHUNKED, b"\r\n", GET].concat(),
        [CHUNKED, b"GET / HTTP/1.0\r\n\r\n"].concat(),
    ];
    for stream in streams {
        let out = out(&stream);
        assert_eq!(out.bytes.escape_ascii().to_string(), stream.escape_ascii().to_string());
        assert_eq!((out.refusal, out.broken), (None, false));
    }
    assert_eq!(out(&[POST, CHUNKED, GET].concat()).heads, 3);
}

#[test]
fn half_a_head_is_never_passed() {
    for end in 1..GET.len() {
        let stream = [CHUNKED, &GET[..end]].concat();
        let out = out(&stream);
        assert_eq!((out.bytes, out.heads), (CHUNKED.to_vec(), 1), "{end}");
    }
}

#[test]
fn smuggling_is_refused_behind_what_was_good_and_nothing_after_it_is_read() {
    let head = |lines: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let corpus: Vec<(Vec<u8>, Refusal)> = vec![
        (head(&format!("Content-Length: 6\r\n{chunked}")), Refusal::Ambiguous),
        (head(&format!("{chunked}Content-Length: 6\r\n")), Refusal::Ambiguous),
        (head("Content-Length: 6\r\nContent-Length: 7\r\n"), Refusal::Length),
        (head("Content-Length: 6, 7\r\n"), Refusal::Length),
        (head("Content-Length: +6\r\n"), Refusal::Length),
        (head("Content-Length: 99999999999999999999\r\n"), Refusal::Length),
        (head("Transfer-Encoding: gzip\r\n"), Refusal::CodingUnknown),
        (head("Transfer-Encoding: chunked, x\r\n"), Refusal::CodingUnknown),
        (head("Transfer-Encoding:\u{b}chunked\r\n"), Refusal::Control),
        (head("Transfer-Encoding : chunked\r\n"), Refusal::FieldName),
        (head("X: y\r\n Content-Length: 6\r\n"), Refusal::Folding),
        (head("X: y\nContent-Length: 6\r\n"), Refusal::LineEnd),
        (head("X: y\rContent-Length: 6\r\n"), Refusal::Control),
        (head("X: \0\r\n"), Refusal::Control),
        (head("Host: b\r\n"), Refusal::Host),
        (head(&"X: y\r\n".repeat(11)), Refusal::TooManyFields),
        (head(&format!("X: {}\r\n", "y".repeat(2000))), Refusal::HeadTooLarge),
        (format!("GET /{} HTTP/1.1\r\n", "y".repeat(1100)).into(), Refusal::TargetTooLong),
        (b"GET /x HTTP/1.1\r\n\r\n".to_vec(), Refusal::Host),
        (b"GET /x\r\n".to_vec(), Refusal::RequestLine),
        (b"GET /x HTTP/1.1\nHost: a\n\n".to_vec(), Refusal::LineEnd),
        (b"GET /x HTTP/3.0\r\nHost: a\r\n\r\n".to_vec(), Refusal::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Refusal::Version),
    ];
    let hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bad, refusal) in corpus {
        let out = out(&[GET, CHUNKED, &bad, hidden].concat());
        let expected = [GET, CHUNKED, STAND_IN].concat();
        let shown = bad.escape_ascii();
        assert_eq!(out.bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!((out.refusal, out.broken, out.heads), (Some(refusal), false, 3), "{shown}");
    }
}

#[test]
fn the_stand_in_of_a_refused_head_request_is_one_too() {
    let out = out(b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(out.bytes, STAND_IN_HEAD);
}

#[test]
fn broken_chunks_end_the_connection_where_they_break() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table: &[(&[u8], usize)] = &[
        (b"5\nhello\r\n0\r\n\r\n", 1),
        (b"-5\r\nhello\r\n0\r\n\r\n", 0),
        (b"5\r\nhelloX\r\n0\r\n\r\n", 8),
        (b"5\r\nhello\r\n0\r\n\nGET", 13),
        (b"11111111111111111\r\n", 16),
    ];
    for (body, good) in table {
        let out = out(&[&head[..], body].concat());
        assert_eq!(out.bytes, [&head[..], &body[..*good]].concat(), "{}", body.escape_ascii());
        assert!(out.broken && out.refusal.is_none());
    }
}

#[test]
fn the_http_2_preface_opens_the_way_for_ever() {
    let stream = [PREFACE, b"\0\0\0\x04\0\0\0\0\0 GET / HTTP/1.1\n\n\0"].concat();
    let out = out(&stream);
    assert_eq!((out.bytes, out.heads, out.refusal), (stream.clone(), 0, None));
    let mut guarded = GuardedIo::new(Pieces::cut(&stream, 0..stream.len()), LIMITS);
    let sniffed = guarded.poll_sniff(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(sniffed, Poll::Ready(Ok(WireProtocol::Http2))));
    assert_eq!(guarded.state().phase(), WirePhase::Http2);
}

#[test]
fn sniffing_loses_nothing_and_tells_a_closed_connection() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut guarded = GuardedIo::new(Pieces::cut(GET, [1]), LIMITS);
    assert!(matches!(guarded.poll_sniff(&mut cx), Poll::Ready(Ok(WireProtocol::Http1))));
    assert_eq!(guarded.state().bytes_read(), 1);
    let (_, held) = guarded.into_parts();
    assert_eq!(held, b"G");
    let mut closed = GuardedIo::new(Pieces::cut(b"", []), LIMITS);
    assert!(matches!(closed.poll_sniff(&mut cx), Poll::Ready(Ok(WireProtocol::Closed))));
    assert_eq!(closed.state().phase(), WirePhase::Fresh);
    assert_eq!(out(b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n").refusal, Some(Refusal::Version));
}

/// One request with its body in any framing.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        Just(b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
    ];
    let chunks = proptest::collection::vec(1_usize..60, 0..4);
    let fields = proptest::collection::vec("[A-Za-z-]{1,8}: [ -~]{0,20}", 0..4);
    (0..3, body, chunks, fields).prop_map(|(kind, body, chunks, fields)| {
        let mut out = b"POST /path?q HTTP/1.1\r\nhost: a:1\r\n".to_vec();
        for field in fields {
            // Names that mean something would make another request of it.
            out.extend_from_slice(format!("X-{field}\r\n").as_bytes());
        }
        match kind {
            0 => out.extend_from_slice(b"\r\n"),
            1 => {
                out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(&body);
            }
            _ => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                let mut rest = &body[..];
                for size in chunks {
                    let (chunk, after) = rest.split_at(size.min(rest.len()));
                    if !chunk.is_empty() {
                        out.extend_from_slice(format!("{:X};e\r\n", chunk.len()).as_bytes());
                        out.extend_from_slice(chunk);
                        out.extend_from_slice(b"\r\n");
                    }
                    rest = after;
                }
                out.extend_from_slice(b"0\r\nx-sum: 1\r\n\r\n");
            }
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_cutting_of_valid_requests_passes_the_identical_bytes(
        requests in proptest::collection::vec(request(), 1..6),
        mut cuts in proptest::collection::vec(0_usize..2000, 0..12),
        room in 1_usize..300,
    ) {
        let stream = requests.concat();
        cuts.sort_unstable();
        let out = read(Pieces::cut(&stream, cuts), room);
        prop_assert_eq!(out.bytes.escape_ascii().to_string(), stream.escape_ascii().to_string());
        prop_assert_eq!(out.heads, u64::try_from(requests.len()).unwrap());
        prop_assert!(out.refusal.is_none() && !out.broken);
    }

    #[test]
    fn the_verdict_on_any_bytes_does_not_depend_on_the_cutting(
        good in proptest::collection::vec(request(), 0..3),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        at in any::<prop::sample::Index>(),
        mut cuts in proptest::collection::vec(0_usize..1000, 0..12),
        room in 1_usize..300,
    ) {
        let mut stream = [good.concat(), GET.to_vec()].concat();
        let at = at.index(stream.len());
        stream.splice(at..at, noise);
        cuts.sort_unstable();
        let whole = read(Pieces::cut(&stream, []), 8192);
        prop_assert_eq!(read(Pieces::cut(&stream, cuts), room), whole);
    }
}
