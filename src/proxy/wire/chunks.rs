//! Where a chunked body ends (RFC 9112 section 7.1), byte by byte.

use std::ops::Range;

use super::head::{is_control, is_token};

/// Bytes of extension behind one chunk size.
const MAX_EXTENSION: u32 = 256;
/// Bytes of extensions in a whole body.
const MAX_EXTENSIONS: u32 = 16 * 1024;
/// Bytes of trailers, line ends included.
const MAX_TRAILERS: u32 = 16 * 1024;
/// Hexadecimal digits of a size.
const MAX_DIGITS: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the digits of a chunk's size.
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
}

/// How far a piece of a body was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Progress {
    /// All of it, and the body goes on.
    More,
    /// The last chunk began after so many bytes: what follows are trailers.
    Last(usize),
    /// The body ended after so many bytes.
    Done(usize),
    /// The byte after so many is wrong.
    Broken(usize),
}

/// Follows one chunked body.
#[derive(Debug)]
pub(in crate::proxy) struct Chunks {
    at: At,
    digits: u8,
    /// Of the current chunk: while in its digits what they say, then what is left of it.
    size: u64,
    extension: u32,
    extensions: u32,
    trailers: u32,
}

impl Chunks {
    pub(in crate::proxy) fn new() -> Self {
        Self { at: At::Size, digits: 0, size: 0, extension: 0, extensions: 0, trailers: 0 }
    }

    /// Takes the next piece of the body, of any length; `data` hears of the places in it at which
    /// the content stands, without the framing. To be called again behind [`Progress::Last`].
    pub(in crate::proxy) fn scan(
        &mut self,
        bytes: &[u8],
        mut data: impl FnMut(Range<usize>),
    ) -> Progress {
        let mut next = 0;
        while let Some(&byte) = bytes.get(next) {
            if self.at == At::Data {
                let here = u64::try_from(bytes.len() - next).unwrap_or(u64::MAX);
                let taken = here.min(self.size);
                self.size -= taken;
                // `taken` is at most what is here.
                let taken = usize::try_from(taken).unwrap_or_default();
                data(next..next + taken);
                next += taken;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            if self.at == At::EndLf {
                return if byte == b'\n' {
                    Progress::Done(next + 1)
                } else {
                    Progress::Broken(next)
                };
            }
            let before = self.at;
            match self.step(byte) {
                Some(at) => self.at = at,
                None => return Progress::Broken(next),
            }
            next += 1;
            if before == At::SizeLf && self.at == At::Line {
                return Progress::Last(next);
            }
        }
        Progress::More
    }

    /// The state after `byte`; `None` if it may not stand here.
    fn step(&mut self, byte: u8) -> Option<At> {
        if matches!(self.at, At::Line | At::Name | At::Value | At::ValueLf) {
            self.trailers += 1;
            if self.trailers > MAX_TRAILERS {
                return None;
            }
        }
        match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => Some(At::SizeLf),
            (At::Size, b';') if self.digits > 0 => {
                self.extension = 0;
                Some(At::Extension)
            }
            (At::Size, _) => {
                let digit = char::from(byte).to_digit(16)?;
                self.digits += 1;
                self.size = self.size.checked_mul(16)?.checked_add(u64::from(digit))?;
                (self.digits <= MAX_DIGITS).then_some(At::Size)
            }
            (At::Extension, b'\r') => Some(At::SizeLf),
            (At::Extension, _) => {
                self.extension += 1;
                self.extensions += 1;
                let fits = self.extension <= MAX_EXTENSION && self.extensions <= MAX_EXTENSIONS;
                (fits && !is_control(byte)).then_some(At::Extension)
            }
            (At::SizeLf, b'\n') if self.size == 0 => Some(At::Line),
            (At::SizeLf, b'\n') => Some(At::Data),
            (At::DataCr, b'\r') => Some(At::DataLf),
            (At::DataLf, b'\n') => {
                self.digits = 0;
                Some(At::Size)
            }
            (At::Line, b'\r') => Some(At::EndLf),
            (At::Line, _) if is_token(byte) => Some(At::Name),
            (At::Name, b':') => Some(At::Value),
            (At::Name, _) if is_token(byte) => Some(At::Name),
            (At::Value, b'\r') => Some(At::ValueLf),
            (At::Value, _) if !is_control(byte) => Some(At::Value),
            (At::ValueLf, b'\n') => Some(At::Line),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on `body` followed by the start of another request, at once and byte by byte.
    fn verdict(body: &[u8]) -> Progress {
        let stream = [body, b"GET /"].concat();
        let (mut chunks, mut content) = (Chunks::new(), Vec::new());
        let mut passed = 0;
        let whole = loop {
            let rest = &stream[passed..];
            match chunks.scan(rest, |range| content.extend_from_slice(&rest[range])) {
                Progress::Last(n) => passed += n,
                Progress::Done(n) => break Progress::Done(passed + n),
                Progress::Broken(n) => break Progress::Broken(passed + n),
                Progress::More => break Progress::More,
            }
        };
        let (mut chunks, mut alike) = (Chunks::new(), Vec::<u8>::new());
        for (at, byte) in stream.iter().enumerate() {
            let bytewise =
                match chunks.scan(&[*byte], |range| alike.extend(&stream[at..at + range.len()])) {
                    Progress::More | Progress::Last(_) => continue,
                    Progress::Done(n) => Progress::Done(at + n),
                    Progress::Broken(n) => Progress::Broken(at + n),
                };
            assert_eq!(bytewise, whole, "{}", stream.escape_ascii());
            assert_eq!(alike, content, "{}", stream.escape_ascii());
            return whole;
        }
        assert_eq!(whole, Progress::More);
        whole
    }

    #[test]
    fn a_body_ends_exactly_where_its_last_chunk_says() {
        let wellformed: &[&[u8]] = &[
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"00A\r\n0123456789\r\n000\r\n\r\n",
            b"1;a=\"b c\";d\r\nx\r\n0;end\r\n\r\n",
            b"3\r\n\r\n\n\r\n0\r\n\r\n",
            b"0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n",
        ];
        for body in wellformed {
            assert_eq!(verdict(body), Progress::Done(body.len()), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn a_doubtful_byte_is_not_passed() {
        let broken: &[(&[u8], usize)] = &[
            (b"\r\n", 0),
            (b";a\r\n", 0),
            (b"+5\r\nhello", 0),
            (b"-1\r\n", 0),
            (b" 5\r\nhello", 0),
            (b"5 \r\nhello", 1),
            (b"0x5\r\n", 1),
            (b"5_\r\n", 1),
            (b"5\nhello", 1),
            (b"5\r\rhello", 2),
            (b"5;a\nhello", 3),
            (b"5;\0\r\n", 2),
            (b"5;a\r\rb\r\n", 4),
            (b"5\r\nhello0\r\n", 8),
            (b"5\r\nhello\n0\r\n", 8),
            (b"5\r\nhello\r0\r\n", 9),
            (b"00000000000000005\r\n", 16),
            (b"FFFFFFFFFFFFFFFFF\r\n", 16),
            (b"0\r\n\n", 3),
            (b"0\r\n\r\r", 4),
            (b"0\r\n folded: a\r\n\r\n", 3),
            (b"0\r\n: a\r\n\r\n", 3),
            (b"0\r\nA : a\r\n\r\n", 4),
            (b"0\r\nA\r\n\r\n", 4),
            (b"0\r\nA: a\n\r\n", 7),
            (b"0\r\nA: a\rb\r\n\r\n", 8),
            (b"0\r\nA: \x01\r\n\r\n", 6),
        ];
        for (body, good) in broken {
            assert_eq!(verdict(body), Progress::Broken(*good), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = [b"5;".to_vec(), vec![b'a'; 257]].concat();
        assert_eq!(verdict(&long), Progress::Broken(258));
        let one = [b"1;".to_vec(), vec![b'a'; 256], b"\r\nx\r\n".to_vec()].concat();
        assert!(matches!(verdict(&one.repeat(65)), Progress::Broken(_)));
        let trailers = [b"0\r\n".to_vec(), b"A: a\r\n".repeat(3000)].concat();
        assert!(matches!(verdict(&trailers), Progress::Broken(_)));
    }

    #[test]
    fn a_size_of_sixteen_digits_is_counted_without_overflow() {
        assert_eq!(verdict(b"FFFFFFFFFFFFFFFF\r\nabc"), Progress::More);
    }
}
