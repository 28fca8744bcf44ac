//! Where a body ends, and what of it goes on.

use std::ops::Range;

use super::buffer::Buf;
use crate::proxy::headers::may_trail;
use crate::proxy::wire::{Body, Chunks, Progress};

/// What is left of a body.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks until one is empty, then trailers.
    Chunked(Box<Chunked>),
    /// All until the connection ends.
    UntilEnd,
}

/// How far a chunked body is.
#[derive(Debug)]
pub(super) struct Chunked {
    chunks: Chunks,
    /// The lines behind the last chunk, as far as they are here; bounded by the scanner.
    trailers: Vec<u8>,
    in_trailers: bool,
}

/// What [`Rest::take`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes from the front that go on as they are.
    pub(super) pass: usize,
    /// Bytes from the front that belong to the body, those included.
    pub(super) used: usize,
    /// Content among them.
    pub(super) content: u64,
    /// To be written behind them: the trailers that may pass, and the end of the body.
    pub(super) tail: Vec<u8>,
    /// The byte after `used` must not stand there.
    pub(super) is_broken: bool,
}

impl From<Body> for Rest {
    fn from(body: Body) -> Self {
        match body {
            Body::Length(0) => Self::Done,
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::chunked(),
        }
    }
}

impl Rest {
    pub(super) fn chunked() -> Self {
        let chunks = Chunks::new();
        Self::Chunked(Box::new(Chunked { chunks, trailers: Vec::new(), in_trailers: false }))
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether so many bytes are surely all of it.
    pub(super) fn is_within(&self, count: usize) -> bool {
        match self {
            Self::Done => true,
            Self::Length(left) => *left <= count as u64,
            Self::Chunked(_) | Self::UntilEnd => false,
        }
    }

    /// Most bytes that may belong to the body.
    pub(super) fn most(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Chunked(_) | Self::UntilEnd => usize::MAX,
        }
    }

    /// Takes what of `bytes` belongs to the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Taken {
        self.follow(bytes, |_| {})
    }

    /// Takes what of `buf` belongs to the body and leaves the content alone in it.
    pub(super) fn take_content(&mut self, buf: &mut Buf) -> Taken {
        let Self::Chunked(_) = self else {
            let taken = self.take(buf.filled());
            buf.truncate(taken.pass);
            return taken;
        };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let taken = self.follow(buf.filled(), |range| ranges.push(range));
        buf.keep(&ranges);
        taken
    }

    fn follow(&mut self, bytes: &[u8], mut content: impl FnMut(Range<usize>)) -> Taken {
        let mut taken = Taken::default();
        match self {
            Self::Done => {}
            Self::UntilEnd => {
                taken.used = bytes.len();
                taken.content = bytes.len() as u64;
            }
            Self::Length(left) => {
                taken.used = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                taken.content = taken.used as u64;
                *left -= taken.content;
                if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::Chunked(chunked) => {
                if chunked.follow(bytes, &mut taken, &mut content) {
                    *self = Self::Done;
                }
                return taken;
            }
        }
        taken.pass = taken.used;
        taken
    }
}

impl Chunked {
    /// Whether the body is through.
    fn follow(
        &mut self,
        bytes: &[u8],
        taken: &mut Taken,
        content: &mut impl FnMut(Range<usize>),
    ) -> bool {
        loop {
            let (from, rest) = (taken.used, &bytes[taken.used..]);
            let mut length = 0;
            let progress = self.chunks.scan(rest, |range| {
                length += range.len() as u64;
                content(from + range.start..from + range.end);
            });
            taken.content += length;
            let (used, is_end) = match progress {
                Progress::More => (rest.len(), false),
                Progress::Last(used) | Progress::Broken(used) => (used, false),
                Progress::Done(used) => (used, true),
            };
            taken.used += used;
            if self.in_trailers {
                self.trailers.extend_from_slice(&rest[..used]);
            } else {
                taken.pass = taken.used;
            }
            match progress {
                Progress::Last(_) => self.in_trailers = true,
                Progress::Done(_) => {
                    self.end(taken);
                    return is_end;
                }
                Progress::More => return false,
                Progress::Broken(_) => {
                    taken.is_broken = true;
                    return false;
                }
            }
        }
    }

    /// Removes from trailers what may not stand there (RFC 9110 section 6.5.1). The rest passes as it is
    /// written, so that it does not grow past the bound of the next one.
    fn end(&mut self, taken: &mut Taken) {
        if self.trailers == b"\r\n" && taken.pass + 2 == taken.used {
            // The common case: they are none, and pass where they are.
            taken.pass = taken.used;
            return;
        }
        for line in self.trailers.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if name.len() < line.len()
                && may_trail(&String::from_utf8_lossy(name).to_ascii_lowercase())
            {
                taken.tail.extend_from_slice(line);
            }
        }
        taken.tail.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on of `stream` when it comes in pieces of `size`, and how much is left over.
    fn passed(stream: &[u8], size: usize) -> (Vec<u8>, usize, u64, bool) {
        let mut rest = Rest::chunked();
        let (mut out, mut used, mut content) = (Vec::new(), 0, 0);
        for piece in stream.chunks(size) {
            let taken = rest.take(piece);
            out.extend_from_slice(&piece[..taken.pass]);
            out.extend_from_slice(&taken.tail);
            used += taken.used;
            content += taken.content;
            if taken.is_broken || rest.is_done() {
                return (out, stream.len() - used, content, taken.is_broken);
            }
        }
        (out, stream.len() - used, content, false)
    }

    #[test]
    fn chunks_pass_as_they_are_and_trailers_without_what_may_not_stand_there() {
        let chunks = b"3;ext=1\r\nabc\r\n1\r\nd\r\n0\r\n";
        let none = [&chunks[..], b"\r\nGET /"].concat();
        let some =
            [&chunks[..], b"X-Sum: 1\r\nHost: evil\r\nContent-Length: 5\r\n\r\nGET /"].concat();
        for size in 1..none.len() {
            let expected = [&chunks[..], b"\r\n"].concat();
            let (out, over, content, broken) = passed(&none, size);
            assert_eq!((out, content, broken), (expected, 4, false), "{size}");
            assert!(over <= 5, "{size}");
        }
        for size in 1..some.len() {
            let expected = [&chunks[..], b"X-Sum: 1\r\n\r\n"].concat();
            assert_eq!(passed(&some, size).0, expected, "{size}");
        }
        let (out, over, content, broken) = passed(b"2\r\nabc", 99);
        assert_eq!((out.as_slice(), over, content, broken), (&b"2\r\nab"[..], 1, 2, true));
    }

    #[test]
    fn as_many_trailers_as_may_come_may_go_on() {
        let body = [b"0\r\n".to_vec(), b"A:b\r\n".repeat(3_276), b"\r\n".to_vec()].concat();
        super::super::fuzzing::chunks(&body);
        assert_eq!(passed(&body, body.len()).0, body);
    }

    #[test]
    fn the_content_alone_is_left_for_whoever_knows_no_chunks() {
        let mut buf = Buf::small();
        buf.append(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-A: b\r\n\r\nGET");
        let mut rest = Rest::chunked();
        let taken = rest.take_content(&mut buf);
        assert_eq!((buf.filled(), taken.content), (&b"abcde"[..], 5));
        assert_eq!(taken.tail, b"X-A: b\r\n\r\n");
        assert!(rest.is_done());
    }

    #[test]
    fn a_length_is_counted_down_and_never_passed() {
        let mut rest = Rest::from(Body::Length(5));
        assert_eq!(rest.take(b"abc").pass, 3);
        assert_eq!(rest.most(), 2);
        let taken = rest.take(b"deGET");
        assert_eq!((taken.pass, taken.used, taken.content), (2, 2, 2));
        assert!(rest.is_done());
        assert_eq!(rest.take(b"GET").used, 0);
    }
}
