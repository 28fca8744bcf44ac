//! Buffers, lent by each worker for as long as bytes are in them.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// For heads, and bodies that are not long.
pub(super) const SMALL: usize = 16 * 1024;
/// For long bodies.
pub(super) const LARGE: usize = 256 * 1024;

/// Bytes a worker keeps unused in buffers of each kind.
const KEPT_SMALL: usize = 2 * 1024 * 1024;
const KEPT_LARGE: usize = 2 * 1024 * 1024;
/// Bytes a worker lends in large buffers; who comes then gets a small one.
const LENT_LARGE: usize = 64 * 1024 * 1024;
/// Rewritten heads kept, and the largest capacity kept.
const KEPT_HEADS: usize = 64;
const KEPT_HEAD: usize = 8 * 1024;

#[derive(Default)]
struct Store {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    lent_large: usize,
    heads: Vec<Vec<u8>>,
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

/// Bytes between the two ends, in a buffer of the worker's. Given back by its drop.
pub(super) struct Buf {
    /// Zeroed once, when made.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Lent as a large one, whatever it has grown to.
    is_large: bool,
}

impl Buf {
    pub(super) fn small() -> Self {
        let kept = STORE.with_borrow_mut(|store| store.small.pop());
        let bytes = kept.unwrap_or_else(|| vec![0; SMALL]);
        Self { bytes, start: 0, end: 0, is_large: false }
    }

    /// A large one, or a small one where too many large ones are lent.
    pub(super) fn large() -> Self {
        let kept = STORE.with_borrow_mut(|store| {
            if store.lent_large >= LENT_LARGE {
                return None;
            }
            store.lent_large += LARGE;
            Some(store.large.pop())
        });
        match kept {
            Some(kept) => {
                let bytes = kept.unwrap_or_else(|| vec![0; LARGE]);
                Self { bytes, start: 0, end: 0, is_large: true }
            }
            None => Self::small(),
        }
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room behind the bytes, but for `reserve` at the end.
    pub(super) fn room(&mut self, reserve: usize) -> &mut [u8] {
        let until = self.bytes.len().saturating_sub(reserve).max(self.end);
        &mut self.bytes[self.end..until]
    }

    /// `count` bytes were put into the room.
    pub(super) fn add(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Takes `count` bytes from the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Forgets all but the first `count` bytes.
    pub(super) fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    /// Makes room for at least `wanted` bytes behind the bytes, and grows for it if need be.
    pub(super) fn make_room(&mut self, wanted: usize) {
        if self.bytes.len() - self.end >= wanted {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.bytes.len() - self.end < wanted {
            let grown = (self.end + wanted).next_power_of_two();
            self.bytes.resize(grown, 0);
        }
    }

    /// Puts `bytes` behind the bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Leaves `count` bytes free in front of what will be read into an empty buffer.
    pub(super) fn indent(&mut self, count: usize) {
        if self.is_empty() {
            (self.start, self.end) = (count, count);
        }
    }

    /// Makes a chunk of the bytes: its size before them, a line end behind. The place for it is
    /// left by [`Buf::indent`], or by what was consumed, and by the reserve.
    pub(super) fn make_chunk(&mut self) {
        let mut line = [0_u8; CHUNK_FRONT];
        let mut at = line.len() - 2;
        line[at..].copy_from_slice(b"\r\n");
        let mut size = self.len();
        while at > 0 && (size > 0 || at == line.len() - 2) {
            at -= 1;
            line[at] = b"0123456789abcdef"[size & 15];
            size >>= 4;
        }
        let front = &line[at..];
        // Bytes without their size would be taken for something else: rather make the place.
        if self.start < front.len() {
            drop(self.bytes.splice(..0, [0; CHUNK_FRONT]));
            self.start += CHUNK_FRONT;
            self.end += CHUNK_FRONT;
        }
        if self.bytes.len() < self.end + CHUNK_BACK {
            self.bytes.resize(self.end + CHUNK_BACK, 0);
        }
        let begin = self.start - front.len();
        self.bytes[begin..self.start].copy_from_slice(front);
        self.bytes[self.end..self.end + CHUNK_BACK].copy_from_slice(b"\r\n");
        self.start = begin;
        self.end += CHUNK_BACK;
    }

    /// Moves the parts at `ranges`, ascending and counted from the front, together to the front;
    /// the rest is forgotten.
    pub(super) fn keep(&mut self, ranges: &[std::ops::Range<usize>]) {
        let mut to = self.start;
        for range in ranges {
            let from = self.start_of(range.start)..self.start_of(range.end);
            let length = from.len();
            self.bytes.copy_within(from, to);
            to += length;
        }
        self.end = to;
    }

    fn start_of(&self, at: usize) -> usize {
        (self.start + at).min(self.end)
    }
}

/// Most bytes of the line before a chunk.
pub(super) const CHUNK_FRONT: usize = 10;
/// Bytes behind a chunk.
pub(super) const CHUNK_BACK: usize = 2;

impl Drop for Buf {
    fn drop(&mut self) {
        let (bytes, is_large) = (std::mem::take(&mut self.bytes), self.is_large);
        // The store may be gone already when a runtime is torn down at the end of its thread.
        let _ = STORE.try_with(|store| {
            let Ok(mut store) = store.try_borrow_mut() else { return };
            if is_large {
                store.lent_large = store.lent_large.saturating_sub(LARGE);
            }
            match bytes.len() {
                SMALL if store.small.len() < KEPT_SMALL / SMALL => store.small.push(bytes),
                LARGE if store.large.len() < KEPT_LARGE / LARGE => store.large.push(bytes),
                _ => {}
            }
        });
    }
}

/// A head that is being written, in a vector of the worker's.
#[derive(Default)]
pub(super) struct Text(Vec<u8>);

impl Text {
    pub(super) fn take() -> Self {
        Self(STORE.with_borrow_mut(|store| store.heads.pop()).unwrap_or_default())
    }
}

impl Deref for Text {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Text {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.0);
        if text.capacity() == 0 || text.capacity() > KEPT_HEAD {
            return;
        }
        text.clear();
        let _ = STORE.try_with(|store| {
            if let Ok(mut store) = store.try_borrow_mut()
                && store.heads.len() < KEPT_HEADS
            {
                store.heads.push(text);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(bytes: &[u8]) -> Buf {
        let mut buf = Buf::small();
        buf.append(bytes);
        buf
    }

    #[test]
    fn what_is_consumed_makes_room_and_what_is_too_long_makes_it_grow() {
        let mut buf = holding(b"head and body");
        buf.consume(9);
        assert_eq!(buf.filled(), b"body");
        buf.make_room(SMALL);
        assert_eq!(buf.filled(), b"body");
        assert!(buf.room(0).len() >= SMALL);
        buf.append(&vec![b'x'; 3 * SMALL]);
        assert_eq!(buf.len(), 4 + 3 * SMALL);
        buf.truncate(2);
        assert_eq!(buf.filled(), b"bo");
    }

    #[test]
    fn a_chunk_is_made_around_the_bytes_where_they_are() {
        for (body, line) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (4096, "1000\r\n")] {
            let mut buf = Buf::small();
            buf.indent(CHUNK_FRONT);
            buf.append(&vec![b'x'; body]);
            buf.make_chunk();
            let expected = [line.as_bytes(), &vec![b'x'; body], b"\r\n"].concat();
            assert_eq!(buf.filled(), expected);
        }
    }

    #[test]
    fn a_chunk_is_one_where_no_place_was_left_for_its_size() {
        let mut buf = holding(&vec![b'x'; SMALL]);
        buf.make_chunk();
        assert_eq!(buf.filled(), [b"4000\r\n", &vec![b'x'; SMALL][..], b"\r\n"].concat());
    }

    #[test]
    fn the_parts_to_keep_come_together() {
        let mut buf = holding(b"..3\r\nabc\r\n2\r\nde\r\n0");
        buf.consume(2);
        buf.keep(&[3..6, 11..13]);
        assert_eq!(buf.filled(), b"abcde");
        buf.keep(&[]);
        assert!(buf.is_empty());
    }

    #[test]
    fn a_dropped_buffer_is_lent_again_and_large_ones_are_counted() {
        let kept = || STORE.with_borrow(|s| (s.small.len(), s.large.len(), s.lent_large));
        let (small, large, lent) = kept();
        let pair = (Buf::small(), Buf::large());
        assert_eq!(kept().2, lent + LARGE);
        drop(pair);
        assert_eq!(kept(), (small.max(1), large.max(1), lent));
        let mut grown = (Buf::small(), Buf::large());
        grown.0.make_room(LARGE);
        grown.1.make_room(2 * LARGE);
        drop(grown);
        assert_eq!(kept().2, lent, "whatever they have grown to");
    }
}
