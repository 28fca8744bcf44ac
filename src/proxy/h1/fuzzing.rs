//! What has to hold for any bytes whatever: called by the fuzz targets (`fuzz/`) and by tests.
//!
//! Each function panics where it does not hold.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use super::conn::PREFACE;
use super::framing::Rest;
use super::request;
use super::response::{self, To};
use super::shape::Shape;
use crate::model::{Target, UpstreamTls};
use crate::proxy::headers::ClientFacts;
use crate::proxy::wire::{Body, Chunks, Head, HeadScan, Progress, WireLimits};
use crate::proxy::{Upstream, ViaId};

/// A target with a base path, so that every rule of rewriting is at work.
static UPSTREAM: LazyLock<Upstream> = LazyLock::new(|| {
    let url = "http://127.0.0.1:9/base".parse().expect("a URL");
    let target = Target { url, credentials: None, tls: UpstreamTls::default() };
    let name = "main".parse().expect("a name");
    Upstream::new(&name, &target, &ViaId::random()).expect("an upstream")
});

/// What is added by the way may take a head past the bounds of a client's.
const UNBOUNDED: WireLimits =
    WireLimits { max_head_bytes: u32::MAX, max_headers: u32::MAX, max_target_bytes: u32::MAX };

fn scanned(bytes: &[u8], step: usize) -> Result<Option<Head>, crate::proxy::answer::Refusal> {
    let (mut scan, limits) = (HeadScan::default(), WireLimits::default());
    let mut end = 0;
    loop {
        end = (end + step).min(bytes.len());
        match scan.scan(&bytes[..end], &limits)? {
            None if end < bytes.len() => {}
            verdict => return Ok(verdict),
        }
    }
}

/// A head of a request is judged alike however it comes, and what is sent on of it is one valid head
/// with the same body.
pub fn request_head(bytes: &[u8]) {
    let step = bytes.first().map_or(1, |byte| usize::from(byte % 13) + 1);
    let verdict = scanned(bytes, bytes.len().max(1));
    assert_eq!(verdict, scanned(bytes, step), "in pieces of {step}");
    let Ok(Some(head)) = verdict else { return };
    let shape = Shape::of(bytes, &head);
    // A method that is taken for another would be repeated, or answered, as that.
    assert_eq!(shape.method.as_str().as_bytes(), shape.method(bytes));
    let facts = ClientFacts::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false);
    let mut out = Vec::new();
    if request::write(&bytes[..head.len], &shape, &UPSTREAM, &facts, &mut out).is_err() {
        return;
    }
    let again = HeadScan::default().scan(&out, &UNBOUNDED);
    let again = again.expect("a valid head").expect("a whole head");
    assert_eq!((again.len, again.body), (out.len(), head.body), "{}", out.escape_ascii());
    let repeated = Shape::of(&out, &again);
    assert_eq!(repeated.method(&out), shape.method(bytes));
}

/// Requests as a target of pmctl may see them, one behind the other; the last may be a part of one,
/// and behind one that leaves HTTP anything may come.
pub fn requests_at_target(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let verdict = HeadScan::default().scan(bytes, &UNBOUNDED);
        let Some(head) = verdict.expect("nothing but valid heads") else { return };
        let upgrades = Shape::of(bytes, &head).upgrades;
        bytes = &bytes[head.len..];
        let mut rest = Rest::from(head.body);
        let taken = rest.take(bytes);
        assert!(!taken.is_broken, "a body framed wrongly: {}", bytes.escape_ascii());
        if !rest.is_done() || upgrades {
            return;
        }
        bytes = &bytes[taken.used..];
    }
}

/// What a client was sent, `came`, for what it had sent: one answer for each request at most, in their
/// order, and nothing that passes for a further one. The last may be a part of one.
pub fn answers_at_client(mut sent: &[u8], mut came: &[u8]) {
    if sent.starts_with(PREFACE) {
        // That is hyper's.
        return;
    }
    while !came.is_empty() {
        let mut scan = HeadScan::default();
        let found = scan.scan(sent, &WireLimits::default());
        assert!(!matches!(found, Ok(None)), "nobody asked for: {}", came.escape_ascii());
        let Some((status, after)) = answer_at_client(came, scan.is_head()) else { return };
        came = after;
        if status == 101 {
            return;
        }
        let Ok(Some(head)) = found else {
            assert!(came.is_empty(), "behind a refusal: {}", came.escape_ascii());
            return;
        };
        sent = &sent[head.len..];
        let mut rest = Rest::from(head.body);
        let taken = rest.take(sent);
        // Behind a body that is not whole nothing can be asked for.
        sent = if rest.is_done() { &sent[taken.used..] } else { b"" };
    }
}

/// The status of the answer that `came` begins with, and what stands behind it. `None`: it goes to the
/// end of the connection, or breaks off.
fn answer_at_client(mut came: &[u8], is_head: bool) -> Option<(u16, &[u8])> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut answer = httparse::Response::new(&mut fields);
        let parsed = answer.parse(came).expect("nothing but valid heads");
        let httparse::Status::Complete(len) = parsed else { return None };
        came = &came[len..];
        let status = answer.code.expect("a status");
        if status < 200 && status != 101 {
            continue;
        }
        let field = |name: &str| {
            let mut found = answer.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name));
            let value = found.next().map(|field| field.value);
            assert!(found.next().is_none(), "{name} twice");
            value
        };
        let (length, coding) = (field("content-length"), field("transfer-encoding"));
        assert!(length.is_none() || coding.is_none(), "framed twice");
        if is_head || matches!(status, 101 | 204 | 304) {
            return Some((status, came));
        }
        let mut rest = match (length, coding) {
            (Some(length), _) => {
                let length = std::str::from_utf8(length).expect("digits");
                Rest::from(Body::Length(length.parse().expect("a number")))
            }
            (None, Some(_)) => Rest::chunked(),
            (None, None) => return None,
        };
        let taken = rest.take(came);
        assert!(!taken.is_broken, "a body framed wrongly: {}", came.escape_ascii());
        return rest.is_done().then(|| (status, &came[taken.used..]));
    }
}

/// A head of an answer is refused, or what is sent on of it is one valid head that says where its body
/// ends once at most.
pub fn answer_head(bytes: &[u8]) {
    let asked: &[&[u8]] = &[
        b"GET /base/x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ];
    for head in asked {
        let found = scanned(head, head.len()).expect("a valid head").expect("a whole head");
        let shape = Shape::of(head, &found);
        let to = To {
            head,
            shape: &shape,
            upstream: &UPSTREAM,
            scheme: "http",
            close: false,
            is_half_sent: false,
        };
        let mut out = Vec::new();
        let Ok(Some(answer)) = response::rewrite(bytes, &to, &mut out) else { continue };
        assert!(answer.len <= bytes.len());
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut again = httparse::Response::new(&mut fields);
        let parsed = again.parse(&out).expect("a valid head");
        assert_eq!(parsed, httparse::Status::Complete(out.len()), "{}", out.escape_ascii());
        let count = |name: &str| {
            again.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
        };
        let framings = (count("content-length"), count("transfer-encoding"));
        assert!(matches!(framings, (0, 0) | (1, 0) | (0, 1)), "{}", out.escape_ascii());
    }
}

/// A body in chunks is followed alike however it comes; what is sent on of it is one valid body with
/// the same content, and nothing behind its end.
pub fn chunks(bytes: &[u8]) {
    let step = bytes.last().map_or(1, |byte| usize::from(byte % 13) + 1);
    let whole = followed(bytes, bytes.len().max(1));
    assert_eq!(whole, followed(bytes, step), "in pieces of {step}");
    let (out, _, content, is_done, _) = whole;
    let (mut chunks, mut at, mut again) = (Chunks::new(), 0, 0);
    loop {
        match chunks.scan(&out[at..], |range| again += range.len() as u64) {
            Progress::Last(used) => at += used,
            Progress::More => {
                assert!(!is_done, "an end that is lost: {}", out.escape_ascii());
                break;
            }
            Progress::Done(used) => {
                assert!(is_done && at + used == out.len(), "{}", out.escape_ascii());
                break;
            }
            Progress::Broken(_) => panic!("a wrong body is sent on: {}", out.escape_ascii()),
        }
    }
    assert_eq!(again, content);
}

/// What goes on, how much is used up, content, whether it is through, whether it is broken.
fn followed(bytes: &[u8], step: usize) -> (Vec<u8>, usize, u64, bool, bool) {
    let mut rest = Rest::from(Body::Chunked);
    let (mut out, mut used, mut content) = (Vec::new(), 0, 0);
    for piece in bytes.chunks(step) {
        let taken = rest.take(piece);
        out.extend_from_slice(&piece[..taken.pass]);
        out.extend_from_slice(&taken.tail);
        used += taken.used;
        content += taken.content;
        if taken.is_broken || rest.is_done() {
            return (out, used, content, rest.is_done(), taken.is_broken);
        }
    }
    (out, used, content, false, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of messages, so that chance comes further than the first byte.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(PIECES).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    const PIECES: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"POST http://a:8/x?y HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 304\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close, x\r\n",
        b"X: y\r\n",
        b"Via: 1.1 z\r\n",
        b"Location: http://127.0.0.1:9/base/q\r\n",
        b"Set-Cookie: a=b; Path=/base\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"1;a=b\r\nx\r\n",
        b"\0",
    ];

    #[test]
    fn requests_at_a_target_are_told_from_what_a_target_must_not_see() {
        let good: &[&[u8]] = &[
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\npart",
            b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET / HT",
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n\0anything",
        ];
        good.iter().for_each(|bytes| requests_at_target(bytes));
        for bad in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n\0"[..],
            b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx",
        ] {
            assert!(std::panic::catch_unwind(|| requests_at_target(bad)).is_err());
        }
    }

    #[test]
    fn answers_at_a_client_are_told_from_what_a_client_must_not_see() {
        const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let both = [ASK, ASK].concat();
        let head = [&b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"[..], ASK].concat();
        let hint = [&b"HTTP/1.1 103 X\r\n\r\n"[..], OK].concat();
        let unsent = [&b"HTTP/1.1 204 X\r\n\r\n"[..], OK].concat();
        answers_at_client(&both, &[&hint[..], OK].concat());
        answers_at_client(&both, &[OK, &OK[..9]].concat());
        answers_at_client(&head, &unsent);
        answers_at_client(b"GET\r\n\r\n", OK);
        answers_at_client(ASK, b"HTTP/1.1 101 X\r\n\r\nanything");
        let wrong: [(&[u8], Vec<u8>); 6] = [
            (ASK, [OK, OK].concat()),
            (ASK, unsent),
            (b"GET / HT", OK.to_vec()),
            (b"GET\r\n\r\n", [OK, OK].concat()),
            (ASK, [&b"HTTP/1.1 103 X\r\nlink: HTTP/1.1 "[..], OK, b"\r\n\r\n"].concat()),
            (ASK, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx".to_vec()),
        ];
        for (sent, came) in wrong {
            let checked = std::panic::catch_unwind(|| answers_at_client(sent, &came));
            assert!(checked.is_err(), "{}", came.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn what_has_to_hold_for_any_bytes_holds(bytes in bytes()) {
            request_head(&bytes);
            answer_head(&bytes);
            chunks(&bytes);
        }
    }
}
