//! The attacks, by where they were published. Their bytes are written anew here: a request for
//! `/attack`, behind which another one for `/smuggled` comes.

use self::Verdict::{ByLength, Refused};

/// What has to become of an attack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// This status, the end of the connection, nothing at the target.
    Refused(u16),
    /// What is odd about it means nothing: the length alone frames this body, and what follows is a
    /// request of its own.
    ByLength(&'static str),
}

pub(super) struct Attack {
    pub(super) source: &'static str,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) verdict: Verdict,
}

/// A body that ends early for whoever reads chunks.
const BODY: &str = "0\r\n\r\nG";

/// `gadget` is the lines that are odd, in front of a length.
fn beside_a_length(gadget: &[u8]) -> Vec<u8> {
    let head = b"POST /attack HTTP/1.1\r\nHost: a\r\n";
    [&head[..], gadget, b"\r\nContent-Length: 6\r\n\r\n", BODY.as_bytes()].concat()
}

pub(super) fn all() -> Vec<Attack> {
    let mut all = Vec::new();
    smuggler(&mut all);
    request_smuggler(&mut all);
    special_bytes(&mut all);
    papers(&mut all);
    rfc_heads(&mut all);
    rfc_requests(&mut all);
    chunks(&mut all);
    all
}

/// github.com/defparam/smuggler, `configs/default.py`: a byte at every place of a coding.
fn smuggler(all: &mut Vec<Attack>) {
    const SOURCE: &str = "smuggler";
    const CODING: &[u8] = b"Transfer-Encoding: chunked";
    let mut add = |family: &str, byte: u8, parts: &[&[u8]], verdict| {
        let name = format!("{family}-{byte:02x}");
        let bytes = beside_a_length(&parts.concat());
        all.push(Attack { source: SOURCE, name, bytes, verdict });
    };
    for byte in [1, 4, 8, 9, 0xa, 0xb, 0xc, 0xd, 0x1f, 0x20, 0x7f, 0xa0, 0xff] {
        let is_space = matches!(byte, b' ' | b'\t');
        let is_high = byte >= 0x80;
        let one = &[byte][..];
        // A value that is not `chunked` is a coding that is not known; what is none is refused before.
        let as_value = Refused(if is_high { 501 } else { 400 });
        add("midspace", byte, &[b"Transfer-Encoding:", one, b"chunked"], as_value);
        add("postspace", byte, &[b"Transfer-Encoding", one, b": chunked"], Refused(400));
        add("prespace", byte, &[one, CODING], Refused(400));
        add("endspace", byte, &[CODING, one], as_value);
        let in_value = if is_space || is_high { ByLength(BODY) } else { Refused(400) };
        add("xprespace", byte, &[b"X: X", one, CODING], in_value);
        let behind = Refused(if is_space || is_high { 501 } else { 400 });
        add("endspacex", byte, &[CODING, one, b"X: X"], behind);
        add("rxprespace", byte, &[b"X: X\r", one, CODING], Refused(400));
        add("xnprespace", byte, &[b"X: X", one, b"\n", CODING], Refused(400));
        add("endspacerx", byte, &[CODING, b"\r", one, b"X: X"], Refused(400));
        add("endspacexn", byte, &[CODING, one, b"\nX: X"], Refused(400));
    }
}

/// github.com/PortSwigger/http-request-smuggler, `DesyncBox`: its permutations of a coding.
fn request_smuggler(all: &mut Vec<Attack>) {
    let table: &[(&str, &[u8], Verdict)] = &[
        ("vanilla", b"Transfer-Encoding: chunked", Refused(400)),
        ("underjoin1", b"Transfer_Encoding: chunked", ByLength(BODY)),
        ("spacejoin1", b"Transfer Encoding: chunked", Refused(400)),
        ("space1", b"Transfer-Encoding : chunked", Refused(400)),
        ("nameprefix1", b"Foo: bar\r\n Transfer-Encoding: chunked", Refused(400)),
        ("nameprefix2", b"Foo: bar\r\n\tTransfer-Encoding: chunked", Refused(400)),
        ("valueprefix1", b"Transfer-Encoding:  chunked", Refused(400)),
        ("nospace1", b"Transfer-Encoding:chunked", Refused(400)),
        ("linewrapped1", b"Transfer-Encoding:\n chunked", Refused(400)),
        ("gareth1", b"Transfer-Encoding\n : chunked", Refused(400)),
        ("badsetupCR", b"Foo: bar\rTransfer-Encoding: chunked", Refused(400)),
        ("badsetupLF", b"Foo: bar\nTransfer-Encoding: chunked", Refused(400)),
        ("vertwrap", b"Transfer-Encoding: \n\x0bchunked", Refused(400)),
        ("tabwrap", b"Transfer-Encoding: \r\n\tchunked", Refused(501)),
        ("multiCase", b"tRANSFER-ENCODING: chunked", Refused(400)),
        ("UPPERCASE", b"TRANSFER-ENCODING: CHUNKED", Refused(400)),
        ("0dwrap", b"Foo: bar\r\n\rTransfer-Encoding: chunked", Refused(400)),
        ("0dspam", b"Tra\rnsfer-Encoding: chunked", Refused(400)),
        (
            "connection",
            b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
            Refused(400),
        ),
        ("spjunk", b"Transfer-Encoding x: chunked", Refused(400)),
        ("backslash", b"Transfer\\Encoding: chunked", Refused(400)),
        ("spaceFF", b"Transfer-Encoding:\xffchunked", Refused(501)),
        ("unispace", b"Transfer-Encoding:\xa0chunked", Refused(501)),
        ("commaCow", b"Transfer-Encoding: chunked, identity", Refused(501)),
        ("cowComma", b"Transfer-Encoding: identity, chunked", Refused(501)),
        ("contentEnc", b"Content-Encoding: chunked", ByLength(BODY)),
        ("quoted", b"Transfer-Encoding: \"chunked\"", Refused(501)),
        ("aposed", b"Transfer-Encoding: 'chunked'", Refused(501)),
        ("dualchunk", b"Transfer-Encoding: chunked\r\nTransfer-encoding: identity", Refused(400)),
        (
            "revdualchunk",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            Refused(501),
        ),
        ("lazygrep", b"Transfer-Encoding: chunk", Refused(501)),
        ("0dsuffix", b"Transfer-Encoding: chunked\r", Refused(400)),
        ("tabsuffix", b"Transfer-Encoding: chunked\t", Refused(400)),
        ("nested", b"Transfer-Encoding: identity, chunked, identity", Refused(501)),
        ("encode", b"Transfer-%45ncoding: chunked", ByLength(BODY)),
        ("accentTE", b"Transf\x82r-Encoding: chunked", Refused(400)),
        ("accentCH", b"Transfer-Encoding: ch\x96nked", Refused(501)),
        ("bodysplit", b"X: y\r\nFoo: barn\n\nTransfer-Encoding: chunked", Refused(400)),
    ];
    for (name, gadget, verdict) in table {
        all.push(Attack {
            source: "http-request-smuggler",
            name: (*name).to_owned(),
            bytes: beside_a_length(gadget),
            verdict: *verdict,
        });
    }
}

/// The same, its permutations with special characters.
fn special_bytes(all: &mut Vec<Attack>) {
    for byte in [0, 9, 11, 12, 13, 127] {
        for (family, before, behind) in [
            ("spacefix1", &b"Transfer-Encoding:"[..], &b"chunked"[..]),
            ("prefix1", b"Transfer-Encoding: ", b"chunked"),
            ("suffix1", b"Transfer-Encoding: chunked", b""),
        ] {
            let gadget = [before, &[byte], behind].concat();
            all.push(Attack {
                source: "http-request-smuggler",
                name: format!("{family}:{byte}"),
                bytes: beside_a_length(&gadget),
                verdict: Refused(400),
            });
        }
    }
}

/// Linhart, Klein, Heled and Orrin, "HTTP Request Smuggling" (2005); Klein, "HTTP Request Smuggling in
/// 2020"; Kettle, "HTTP Desync Attacks" (2019).
fn papers(all: &mut Vec<Attack>) {
    let table: &[(&str, &[u8], Verdict)] = &[
        ("2005: two lengths, the longer first", b"Content-Length: 44", Refused(400)),
        ("2005: two lengths, the shorter first", b"Content-Length: 0", Refused(400)),
        ("2020: junk behind the name", b"Content-Length abcde: 44", Refused(400)),
        ("2020: a name behind a bare CR", b"\rContent-Length: 44", Refused(400)),
        ("2020: a name behind a bare LF", b"X: y\n\nContent-Length: 44", Refused(400)),
        ("2020: a name with a backslash", b"Content\\Length: 44", Refused(400)),
        ("2020: a name with an underscore", b"Content_Length: 44", ByLength(BODY)),
        ("2020: a length with a sign", b"Content-Length: +6", Refused(400)),
        ("2020: a length with white space in it", b"Content-Length: 4 4", Refused(400)),
        ("2019: a vertical tab before the coding", b"Transfer-Encoding:\x0bchunked", Refused(400)),
        ("2019: a coding with more behind it", b"Transfer-Encoding: chunked;x=y", Refused(501)),
        ("2019: a coding that is none", b"Transfer-Encoding: xchunked", Refused(501)),
        ("2019: an empty coding", b"Transfer-Encoding:", Refused(501)),
    ];
    for (name, gadget, verdict) in table {
        all.push(Attack {
            source: "papers",
            name: (*name).to_owned(),
            bytes: beside_a_length(gadget),
            verdict: *verdict,
        });
    }
}

/// RFC 9110 and 9112, what a recipient must refuse; much of it stands in the tests of llhttp too.
fn rfc_heads(all: &mut Vec<Attack>) {
    // Lines behind the request line, in front of the empty one.
    let table: &[(&str, &[u8], u16)] = &[
        ("9112 2.2: LF alone", b"Host: a\nX: y", 400),
        ("9112 2.2: CR alone in a value", b"Host: a\r\nX: y\rContent-Length: 5", 400),
        ("9112 2.2: white space before the first field", b" Host: a", 400),
        ("9110 5.5: NUL in a value", b"Host: a\r\nX: a\0b", 400),
        ("9110 5.5: NUL in a name", b"Host: a\r\nX\0: b", 400),
        ("9112 5: no colon", b"Host: a\r\nX", 400),
        ("9112 5: no name", b"Host: a\r\n: x", 400),
        ("9112 5.1: white space before the colon", b"Host: a\r\nX : y", 400),
        ("9112 5.1: a tab before the colon", b"Host: a\r\nX\t: y", 400),
        ("9112 5.2: a folded line", b"Host: a\r\nX: y\r\n z", 400),
        ("9112 5.2: a folded line by tab", b"Host: a\r\nX: y\r\n\tz", 400),
        ("9112 5.2: a folded empty line", b"Host: a\r\nX: y\r\n ", 400),
        ("9112 3.2: no host", b"X: y", 400),
        ("9112 3.2: two hosts", b"Host: a\r\nHost: a", 400),
        ("9112 3.2: an empty host", b"Host:", 400),
        ("9112 3.2: a host with a user", b"Host: u@a", 400),
        ("9112 3.2: a host with a path", b"Host: a/b", 400),
        ("9112 3.2: a host with white space", b"Host: a b", 400),
        ("9112 3.2: two hosts in one", b"Host: a, b", 400),
        ("9112 3.2: a port that is no number", b"Host: a:e", 400),
        ("9112 3.2: a port with a sign", b"Host: a:+80", 400),
        ("9112 3.2: two ports", b"Host: a:80:80", 400),
        ("9112 3.2: an address that is not closed", b"Host: [::1", 400),
        (
            "9112 6.1: a coding and a length",
            b"Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            400,
        ),
        (
            "9112 6.1: a length and a coding",
            b"Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            400,
        ),
        ("9112 6.1: chunked twice", b"Host: a\r\nTransfer-Encoding: chunked, chunked", 501),
        (
            "9112 6.1: chunked in two fields",
            b"Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            400,
        ),
        (
            "9112 6.1: chunked that is not the last",
            b"Host: a\r\nTransfer-Encoding: chunked, gzip",
            501,
        ),
        ("9112 6.1: a coding that is not known", b"Host: a\r\nTransfer-Encoding: pigeons", 501),
        ("9112 6.3: a length with a sign", b"Host: a\r\nContent-Length: +5", 400),
        ("9112 6.3: a negative length", b"Host: a\r\nContent-Length: -5", 400),
        ("9112 6.3: a length in hexadecimal", b"Host: a\r\nContent-Length: 0x5", 400),
        ("9112 6.3: a length with a fraction", b"Host: a\r\nContent-Length: 5.0", 400),
        ("9112 6.3: an empty length", b"Host: a\r\nContent-Length:", 400),
        ("9112 6.3: a list of lengths", b"Host: a\r\nContent-Length: 5, 6", 400),
        ("9112 6.3: a list of one length", b"Host: a\r\nContent-Length: 5, 5", 400),
        ("9112 6.3: a length and a comma", b"Host: a\r\nContent-Length: 5,", 400),
        ("9112 6.3: a length and a control", b"Host: a\r\nContent-Length: 5\x0b", 400),
        ("9112 6.3: a length in quotes", b"Host: a\r\nContent-Length: \"5\"", 400),
        ("9112 6.3: two lengths", b"Host: a\r\nContent-Length: 5\r\nContent-Length: 6", 400),
        (
            "9112 6.3: a length past every number",
            b"Host: a\r\nContent-Length: 18446744073709551621",
            400,
        ),
        (
            "9112 6.3: a length past what is signed",
            b"Host: a\r\nContent-Length: 9223372036854775808",
            400,
        ),
    ];
    for (name, lines, status) in table {
        let bytes = [b"POST /attack HTTP/1.1\r\n", *lines, b"\r\n\r\nhello"].concat();
        let (name, verdict) = ((*name).to_owned(), Refused(*status));
        all.push(Attack { source: "RFC", name, bytes, verdict });
    }
}

/// The same, what is odd about a request line or the version.
fn rfc_requests(all: &mut Vec<Attack>) {
    let table: &[(&str, &[u8], u16)] = &[
        ("9112 3: LF alone", b"GET /attack HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("9112 3: LF everywhere", b"GET /attack HTTP/1.1\nHost: a\n\n", 400),
        ("9112 3: CR in the target", b"GET /att\rack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3: NUL in the target", b"GET /att\0ack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3: two spaces", b"GET  /attack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3: a tab for a space", b"GET\t/attack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3: a space in the target", b"GET /att ack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3: a space at the end", b"GET /attack HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("9112 3: a space at the start", b" GET /attack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3: no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3.1: a method that is no token", b"G(T /attack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3.2: a fragment", b"GET /attack#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3.2: no path", b"GET attack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3.2: another scheme", b"GET file:///attack HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3.2: a target with a user", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 3.2: a star for a GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 2.3: no version", b"GET /attack\r\nHost: a\r\n\r\n", 400),
        ("9112 2.3: small letters", b"GET /attack http/1.1\r\nHost: a\r\n\r\n", 400),
        ("9112 2.3: two digits", b"GET /attack HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("9112 2.3: a leading nought", b"GET /attack HTTP/01.1\r\nHost: a\r\n\r\n", 400),
        ("9112 2.3: another protocol", b"GET /attack RTSP/1.0\r\nHost: a\r\n\r\n", 400),
        ("9112 2.3: a version that is not spoken", b"GET /attack HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("9112 2.3: a version of long ago", b"GET /attack HTTP/0.9\r\n\r\n", 505),
        (
            "9112 6.1: a coding in HTTP/1.0",
            b"POST /attack HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("9110 9.3.6: CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (
            "9110 9.3.6: CONNECT with a length",
            b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
    ];
    for (name, bytes, status) in table {
        let (name, bytes, verdict) = ((*name).to_owned(), bytes.to_vec(), Refused(*status));
        all.push(Attack { source: "RFC", name, bytes, verdict });
    }
}

/// Framing of chunks: RFC 9112 section 7.1, the tests of llhttp, and Weikop, "Funky chunks" (2025).
fn chunks(all: &mut Vec<Attack>) {
    let table: &[(&str, &[u8])] = &[
        ("no size", b"\r\nhello\r\n0\r\n\r\n"),
        ("an extension without a size", b";a\r\nhello\r\n0\r\n\r\n"),
        ("a size with a sign", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("a size with an underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
        ("a size behind white space", b" 5\r\nhello\r\n0\r\n\r\n"),
        ("white space behind a size", b"5 \r\nhello\r\n0\r\n\r\n"),
        ("a tab behind a size", b"5\t\r\nhello\r\n0\r\n\r\n"),
        ("an extension without a semicolon", b"5 a=b\r\nhello\r\n0\r\n\r\n"),
        ("a size past every number", b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
        ("a size that wraps around", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a letter that is no digit", b"g\r\nhello\r\n0\r\n\r\n"),
        ("LF behind a size", b"5\nhello\r\n0\r\n\r\n"),
        ("CR behind a size", b"5\rhello\r\n0\r\n\r\n"),
        ("CR twice behind a size", b"5\r\r\nhello\r\n0\r\n\r\n"),
        ("LF behind the last size", b"5\r\nhello\r\n0\n\r\n"),
        ("LF in an extension (TERM.EXT)", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("LF ends an extension (EXT.TERM)", b"5;\nhello\r\n0\r\n\r\n"),
        ("CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("NUL in an extension", b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
        ("no line end behind the content (SPILL)", b"5\r\nhello0\r\n\r\n"),
        ("two other bytes behind the content (SPILL.TERM)", b"5\r\nhelloXX0\r\n\r\n"),
        ("LF behind the content (ONE.TWO)", b"5\r\nhello\n0\r\n\r\n"),
        ("LF twice behind the content (TWO.ONE)", b"5\r\nhello\n\n0\r\n\r\n"),
        ("CR alone behind the content", b"5\r\nhello\r0\r\n\r\n"),
        ("more content than was said", b"5\r\nhello world\r\n0\r\n\r\n"),
        ("less content than was said", b"9\r\nhello\r\n0\r\n\r\nGET"),
        ("LF at the very end", b"5\r\nhello\r\n0\r\n\n"),
        ("CR twice at the very end", b"5\r\nhello\r\n0\r\n\r\r\n"),
        ("a trailer that is folded", b"0\r\nX: y\r\n z\r\n\r\n"),
        ("a trailer that begins with white space", b"0\r\n X: y\r\n\r\n"),
        ("a trailer without a colon", b"0\r\nX\r\n\r\n"),
        ("a trailer without a name", b"0\r\n: y\r\n\r\n"),
        ("a trailer with white space before the colon", b"0\r\nX : y\r\n\r\n"),
        ("a trailer that ends with LF", b"0\r\nX: y\n\r\n"),
        ("a trailer with CR in it", b"0\r\nX: y\rz\r\n\r\n"),
        ("a trailer with NUL in it", b"0\r\nX: y\0z\r\n\r\n"),
    ];
    for (name, body) in table {
        let head = b"POST /attack HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        all.push(Attack {
            source: "chunks",
            name: (*name).to_owned(),
            bytes: [&head[..], body].concat(),
            verdict: Refused(400),
        });
    }
}
