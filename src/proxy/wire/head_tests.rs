//! Heads, good and doubtful.

use super::*;

const LIMITS: WireLimits =
    WireLimits { max_head_bytes: 400, max_headers: 5, max_target_bytes: 100 };

/// The verdict on `bytes`, all at once, byte by byte, and cut at every position.
fn verdict(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let whole = HeadScan::default().scan(bytes, &LIMITS);
    let mut scan = HeadScan::default();
    let bytewise = (0..=bytes.len())
        .map(|end| scan.scan(&bytes[..end], &LIMITS))
        .find(|verdict| !matches!(verdict, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(bytewise, whole, "{} byte by byte", bytes.escape_ascii());
    for cut in 0..bytes.len() {
        let mut scan = HeadScan::default();
        let verdict = match scan.scan(&bytes[..cut], &LIMITS) {
            Ok(None) => scan.scan(bytes, &LIMITS),
            verdict => verdict,
        };
        assert_eq!(verdict, whole, "{} cut at {cut}", bytes.escape_ascii());
    }
    whole
}

fn fields(lines: &str) -> Result<Option<Head>, Refusal> {
    verdict(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
}

#[test]
fn a_head_is_complete_at_its_empty_line_and_says_what_follows() {
    let length = |n| Some(Body::Length(n));
    let body = |lines: &str| fields(lines).map(|head| head.map(|h| h.body));
    assert_eq!(body(""), Ok(length(0)));
    assert_eq!(body("Content-Length: 5\r\n"), Ok(length(5)));
    assert_eq!(body("content-length:\t 007 \t\r\n"), Ok(length(7)));
    assert_eq!(body("Content-Length: 5\r\ncontent-Length: 5\r\n"), Ok(length(5)));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(Some(Body::Chunked)));
    assert_eq!(body("transfer-encoding:Chunked\r\n"), Ok(Some(Body::Chunked)));
    assert_eq!(body("X: caf\u{e9} \t x\r\nY:\r\n"), Ok(length(0)));
    assert_eq!(verdict(b"GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
    let first = b"GET / HTTP/1.0\r\n\r\n";
    let two = [&first[..], b"GET / HT"].concat();
    assert_eq!(verdict(&two).map(|h| h.map(|h| h.len)), Ok(Some(first.len())));
}

#[test]
fn doubtful_framing_is_refused() {
    let table: &[(&str, Refusal)] = &[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Refusal::Ambiguous),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Refusal::Ambiguous),
        ("Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0\r\n", Refusal::Ambiguous),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Refusal::Length),
        ("Content-Length: 5, 6\r\n", Refusal::Length),
        ("Content-Length: 5, 5\r\n", Refusal::Length),
        ("Content-Length: +5\r\n", Refusal::Length),
        ("Content-Length: -5\r\n", Refusal::Length),
        ("Content-Length: 0x5\r\n", Refusal::Length),
        ("Content-Length: 5 5\r\n", Refusal::Length),
        ("Content-Length: 5.0\r\n", Refusal::Length),
        ("Content-Length:\r\n", Refusal::Length),
        ("Content-Length: \u{665}\r\n", Refusal::Length),
        ("Content-Length: 9223372036854775808\r\n", Refusal::Length),
        ("Content-Length: 18446744073709551621\r\n", Refusal::Length),
        ("Transfer-Encoding: gzip, chunked\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding: chunked, chunked\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding: chunked, identity\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding: identity\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding: xchunked\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding: \"chunked\"\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding: chunked;q=1\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding:\r\n", Refusal::CodingUnknown),
        ("Transfer-Encoding: chunked\u{b}\r\n", Refusal::Control),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", Refusal::CodingInvalid),
        ("Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n", Refusal::CodingInvalid),
        ("Transfer-Encoding : chunked\r\n", Refusal::FieldName),
        ("Transfer-Encoding\t: chunked\r\n", Refusal::FieldName),
        (" Transfer-Encoding: chunked\r\n", Refusal::Folding),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", Refusal::Folding),
        ("Transfer-Encoding:\r\n\tchunked\r\n", Refusal::CodingUnknown),
        ("X:\r\n\tchunked\r\n", Refusal::Folding),
        ("X: y\r\n \r\n", Refusal::Folding),
    ];
    for (lines, refusal) in table {
        assert_eq!(fields(lines), Err(*refusal), "{lines:?}");
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(verdict(old), Err(Refusal::CodingInvalid));
}

#[test]
fn doubtful_bytes_are_refused() {
    let table: &[(&str, Refusal)] = &[
        ("X: a\nY: b\r\n", Refusal::LineEnd),
        ("X: a\n", Refusal::LineEnd),
        ("X: a\r\r\n", Refusal::Control),
        ("X: a\rY: b\r\n", Refusal::Control),
        ("X: a\0\r\n", Refusal::Control),
        ("X: a\u{7f}\r\n", Refusal::Control),
        ("X: \u{1b}[0m\r\n", Refusal::Control),
        ("X\0: a\r\n", Refusal::FieldName),
        (": a\r\n", Refusal::FieldName),
        ("X\r\n", Refusal::FieldName),
        ("X Y: a\r\n", Refusal::FieldName),
        ("X\u{e9}: a\r\n", Refusal::FieldName),
        ("(X): a\r\n", Refusal::FieldName),
    ];
    for (lines, refusal) in table {
        assert_eq!(fields(lines), Err(*refusal), "{lines:?}");
    }
    assert_eq!(verdict(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), Err(Refusal::LineEnd));
    assert_eq!(verdict(b"GET / HTTP/1.1\nHost: a\n\n"), Err(Refusal::LineEnd));
}

#[test]
fn exactly_one_valid_host_is_required_of_http_1_1() {
    let host = |lines: &str| {
        verdict(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).map(|head| head.is_some())
    };
    let good =
        ["a", "A.b-c_d:80", "a:", "127.0.0.1:8080", "[::1]", "[::ffff:1.2.3.4]:1", "%61", "a:0"];
    for value in good {
        assert_eq!(host(&format!("Host: {value}\r\n")), Ok(true), "{value}");
    }
    let bad = [
        "", "a b", "a,b", "a/b", "u@a", "a:b", "a:-1", "a:123456", "[::1", "[]", "[g]", "a?b",
        "http://a", "a\\b", "é", ":80", "[::1]x", "a#",
    ];
    for value in bad {
        let verdict = host(&format!("Host: {value}\r\n"));
        assert_eq!(verdict, Err(Refusal::Host), "{value:?}");
    }
    assert_eq!(host(""), Err(Refusal::Host));
    assert_eq!(host("X: y\r\n"), Err(Refusal::Host));
    assert_eq!(host("Host: a\r\nHost: a\r\n"), Err(Refusal::Host));
    assert_eq!(host("Host: a\r\nhost: b\r\n"), Err(Refusal::Host));
    assert!(verdict(b"GET / HTTP/1.0\r\n\r\n").is_ok_and(|head| head.is_some()));
    assert_eq!(verdict(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), Err(Refusal::Host));
}

#[test]
fn a_request_line_has_one_shape() {
    let line = |line: &str| {
        verdict(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).map(|head| head.is_some())
    };
    let good = [
        "GET / HTTP/1.1",
        "PATCH /a//b/../c?d=e&f=%00\"{}|^` HTTP/1.1",
        "M-SEARCH /中 HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "GET http://a/b HTTP/1.1",
        "GET HTTPS://a:1?x HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
        "\r\nGET / HTTP/1.1",
    ];
    for text in good {
        assert_eq!(line(text), Ok(true), "{text}");
    }
    let bad = [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /  HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET /#x HTTP/1.1",
        "CONNECT /x HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/1.x",
        "GET / HTTPS/1.1",
        " GET / HTTP/1.1",
        "G(T / HTTP/1.1",
        "{} / HTTP/1.1",
        "\r\n\r\nGET / HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ];
    for text in bad {
        assert_eq!(line(text), Err(Refusal::RequestLine), "{text:?}");
    }
    assert_eq!(line("GET /\t HTTP/1.1"), Err(Refusal::RequestLine));
    assert_eq!(line("GET /\0 HTTP/1.1"), Err(Refusal::Control));
    assert_eq!(line("GET / HTTP/1.1\rX: y"), Err(Refusal::Control));
    for version in ["0.9", "1.2", "2.0", "3.0"] {
        assert_eq!(line(&format!("GET / HTTP/{version}")), Err(Refusal::Version));
    }
    assert_eq!(verdict(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Refusal::LineEnd));
    assert_eq!(verdict(b"\x16\x03\x01\x02"), Err(Refusal::RequestLine));
}

#[test]
fn targets_heads_and_field_counts_are_bounded_exactly() {
    let target = |len: usize| fields_after(&format!("GET /{} HTTP/1.1", "a".repeat(len - 1)));
    fn fields_after(line: &str) -> Result<bool, Refusal> {
        verdict(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).map(|head| head.is_some())
    }
    assert_eq!(target(100), Ok(true));
    assert_eq!(target(101), Err(Refusal::TargetTooLong));
    assert_eq!(target(300), Err(Refusal::TargetTooLong));
    assert_eq!(verdict(&[b'A'; 300]), Err(Refusal::TargetTooLong));
    assert_eq!(fields(&"X: y\r\n".repeat(4)).map(|h| h.is_some()), Ok(true));
    assert_eq!(fields(&"X: y\r\n".repeat(5)), Err(Refusal::TooManyFields));
    let head = |len: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        let rest = len - start.len() - 4;
        verdict(format!("{start}{}\r\n\r\n", "y".repeat(rest)).as_bytes())
    };
    assert_eq!(head(400).map(|h| h.map(|h| h.len)), Ok(Some(400)));
    assert_eq!(head(401), Err(Refusal::HeadTooLarge));
    assert_eq!(head(1000), Err(Refusal::HeadTooLarge));
}

#[test]
fn a_connect_has_no_body() {
    let connect = |fields: &str| {
        let head = format!("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        verdict(head.as_bytes()).map(|head| head.map(|h| h.body))
    };
    assert_eq!(connect(""), Ok(Some(Body::Length(0))));
    assert_eq!(connect("Content-Length: 1\r\n"), Err(Refusal::Length));
    assert_eq!(connect("Transfer-Encoding: chunked\r\n"), Err(Refusal::CodingInvalid));
}
