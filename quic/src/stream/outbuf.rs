//! The bytes of one stream on their way out, from the application's hand to the peer's acknowledgement.
//!
//! Owns the application's chunks, kept by reference until acknowledged, and what of them was sent, acknowledged, or
//! has to be sent again (the repair). Never copies but into a packet. Knows no flow control and no frames. In the
//! usual order of things every operation is O(1).

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::base::ranges::RangeSet;
use crate::wire::cursor::Writer;

/// More chunks than this are not held at once, whatever their size; it bounds our own memory per stream.
pub(super) const CHUNKS_MAX: usize = 4096;
/// An empty buffer that has room for more chunks than this gives its memory back.
const CHUNKS_KEPT: usize = 64;

struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Chunks and their fate. Offsets: `base <= sent <= end`; below `base` everything is acknowledged and freed.
pub(super) struct OutBuf {
    chunks: VecDeque<Chunk>,
    /// The chunk that holds offset `sent`, unless everything is sent.
    cursor: usize,
    base: u64,
    sent: u64,
    end: u64,
    /// Acknowledged beyond `base`.
    acked: RangeSet,
    /// To be sent again: below `sent`, not acknowledged.
    repair: RangeSet,
}

impl OutBuf {
    /// An empty buffer at offset 0.
    pub(super) const fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            cursor: 0,
            base: 0,
            sent: 0,
            end: 0,
            acked: RangeSet::new(),
            repair: RangeSet::new(),
        }
    }

    /// Takes a chunk, which is not empty; `has_room` was asked before.
    pub(super) fn push(&mut self, bytes: Bytes) {
        debug_assert!(!bytes.is_empty() && self.chunks.len() < CHUNKS_MAX);
        let start = self.end;
        self.end += bytes.len() as u64;
        self.chunks.push_back(Chunk { start, bytes });
    }

    /// How many bytes a buffer of `limit` bytes takes now.
    pub(super) fn room(&self, limit: u64) -> u64 {
        if self.chunks.len() < CHUNKS_MAX { limit.saturating_sub(self.held()) } else { 0 }
    }

    /// Is a quarter of a buffer of `limit` bytes free? Less is not worth waking the application for.
    pub(super) fn is_roomy(&self, limit: u64) -> bool {
        self.chunks.len() <= CHUNKS_MAX * 3 / 4 && self.room(limit) >= (limit / 4).max(1)
    }

    /// Bytes taken and not yet freed.
    #[inline]
    pub(super) fn held(&self) -> u64 {
        self.end - self.base
    }

    /// Bytes never sent.
    #[inline]
    pub(super) fn unsent(&self) -> u64 {
        self.end - self.sent
    }

    /// The offset behind the last byte sent.
    #[inline]
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The offset behind the last byte taken.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes to be sent again.
    #[inline]
    pub(super) fn repair_bytes(&self) -> u64 {
        self.repair.total()
    }

    /// The first range to be sent again.
    #[inline]
    pub(super) fn repair_front(&self) -> Option<Range<u64>> {
        self.repair.peek_front()
    }

    /// Copies `len` bytes from `start` on into a packet, and so sends them.
    pub(super) fn write(&mut self, writer: &mut Writer<'_>, start: u64, len: usize) {
        let end = start + len as u64;
        let mut index = self.index_of(start);
        let mut at = start;
        while at < end {
            let chunk = &self.chunks[index];
            let stop = end.min(chunk.end());
            writer.slice(&chunk.bytes[(at - chunk.start) as usize..(stop - chunk.start) as usize]);
            at = stop;
            index += usize::from(at == chunk.end());
        }
        if end > self.sent {
            debug_assert!(start == self.sent && end <= self.end);
            self.sent = end;
            self.cursor = index;
        } else if !self.repair.is_empty() {
            self.repair.remove(start..end);
        }
    }

    /// The peer has `len` bytes from `start` on; again and late is fine.
    pub(super) fn on_acked(&mut self, start: u64, len: u64) {
        let end = (start + len).min(self.sent);
        let start = start.max(self.base);
        if start >= end {
            return;
        }
        if !self.repair.is_empty() {
            self.repair.remove(start..end);
        }
        if start > self.base {
            self.acked.insert(start..end);
            return;
        }
        self.base = end;
        if !self.acked.is_empty() {
            self.acked.insert(start..end);
            self.base = self.acked.pop_front().map_or(end, |first| first.end);
        }
        self.free();
    }

    /// The `len` bytes from `start` on have to be sent again, as far as nobody acknowledged them.
    pub(super) fn on_lost(&mut self, start: u64, len: u64) {
        let end = (start + len).min(self.sent);
        let start = start.max(self.base);
        if start < end {
            for gap in self.acked.missing_in(start..end) {
                self.repair.insert(gap);
            }
        }
    }

    /// Lets go of all bytes; what was sent stays counted.
    pub(super) fn abandon(&mut self) {
        *self = Self { base: self.sent, sent: self.sent, end: self.sent, ..Self::new() };
    }

    fn index_of(&self, offset: u64) -> usize {
        match self.chunks.get(self.cursor) {
            Some(chunk) if chunk.start <= offset && offset < chunk.end() => self.cursor,
            _ => self.chunks.partition_point(|chunk| chunk.end() <= offset),
        }
    }

    fn free(&mut self) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= self.base) {
            self.chunks.pop_front();
            self.cursor = self.cursor.saturating_sub(1);
        }
        if self.chunks.is_empty() && self.chunks.capacity() > CHUNKS_KEPT {
            self.chunks = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(chunks: &[&'static [u8]]) -> OutBuf {
        let mut out = OutBuf::new();
        for chunk in chunks {
            out.push(Bytes::from_static(chunk));
        }
        out
    }

    fn send(out: &mut OutBuf, start: u64, len: usize) -> Vec<u8> {
        let mut packet = [0; 64];
        let mut writer = Writer::new(&mut packet);
        out.write(&mut writer, start, len);
        writer.written().to_vec()
    }

    #[test]
    fn a_write_gathers_from_several_chunks() {
        let mut out = buffer(&[b"abc", b"d", b"efgh"]);
        assert_eq!(send(&mut out, 0, 2), b"ab");
        assert_eq!(send(&mut out, 2, 4), b"cdef");
        assert_eq!(send(&mut out, 6, 2), b"gh");
        assert_eq!((out.unsent(), out.held(), out.sent()), (0, 8, 8));
    }

    #[test]
    fn chunks_are_freed_as_acknowledgements_come_in_order() {
        let mut out = buffer(&[b"abc", b"def"]);
        send(&mut out, 0, 6);
        out.on_acked(0, 4);
        assert_eq!((out.held(), out.chunks.len()), (2, 1));
        out.on_acked(4, 2);
        assert_eq!((out.held(), out.chunks.len()), (0, 0));
    }

    #[test]
    fn an_early_acknowledgement_frees_nothing_until_the_gap_closes() {
        let mut out = buffer(&[b"abc", b"def", b"ghi"]);
        send(&mut out, 0, 9);
        out.on_acked(6, 3);
        out.on_acked(3, 3);
        assert_eq!((out.held(), out.chunks.len()), (9, 3));
        out.on_acked(0, 3);
        assert_eq!((out.held(), out.chunks.len(), out.acked.len()), (0, 0, 0));
    }

    #[test]
    fn only_what_nobody_acknowledged_is_repaired_and_only_once() {
        let mut out = buffer(&[b"abcdefghij"]);
        send(&mut out, 0, 10);
        out.on_acked(4, 2);
        out.on_lost(2, 6);
        out.on_lost(2, 6);
        assert_eq!(out.repair.iter().collect::<Vec<_>>(), [2..4, 6..8]);
        assert_eq!(send(&mut out, 2, 2), b"cd");
        assert_eq!(out.repair_front(), Some(6..8));
        out.on_acked(0, 10);
        assert_eq!((out.repair_bytes(), out.held()), (0, 0));
        out.on_lost(0, 10);
        out.on_acked(0, 10);
        assert_eq!((out.repair_bytes(), out.held()), (0, 0));
    }

    #[test]
    fn the_fresh_end_is_found_again_after_repairs_and_freed_chunks() {
        let mut out = buffer(&[b"abc", b"def", b"ghi"]);
        send(&mut out, 0, 4);
        out.on_lost(0, 4);
        assert_eq!(send(&mut out, 0, 4), b"abcd");
        out.on_acked(0, 4);
        assert_eq!(send(&mut out, 4, 3), b"efg");
        out.on_acked(4, 3);
        out.push(Bytes::from_static(b"jk"));
        assert_eq!(send(&mut out, 7, 4), b"hijk");
    }

    #[test]
    fn an_acknowledgement_beyond_what_was_sent_counts_only_what_was_sent() {
        let mut out = buffer(&[b"abcdef"]);
        send(&mut out, 0, 2);
        out.on_acked(0, 6);
        assert_eq!((out.held(), out.unsent()), (4, 4));
        assert_eq!(send(&mut out, 2, 4), b"cdef");
    }

    #[test]
    fn the_buffer_is_bounded_in_bytes_and_in_chunks() {
        let out = buffer(&[b"abcd"]);
        assert_eq!((out.room(10), out.room(4), out.room(3)), (6, 0, 0));
        assert!(out.is_roomy(5) && !out.is_roomy(4));
        let mut out = OutBuf::new();
        (0..CHUNKS_MAX).for_each(|_| out.push(Bytes::from_static(b"x")));
        assert_eq!(out.room(u64::MAX), 0);
        assert!(!out.is_roomy(u64::MAX));
    }

    #[test]
    fn an_emptied_buffer_gives_its_memory_back() {
        let mut out = OutBuf::new();
        (0..1000).for_each(|_| out.push(Bytes::from_static(b"x")));
        let mut packet = [0; 1000];
        out.write(&mut Writer::new(&mut packet), 0, 1000);
        out.on_acked(0, 1000);
        assert_eq!(out.chunks.capacity(), 0);
    }

    #[test]
    fn an_abandoned_buffer_remembers_only_how_much_was_sent() {
        let mut out = buffer(&[b"abcdef"]);
        send(&mut out, 0, 4);
        out.on_lost(0, 2);
        out.abandon();
        assert_eq!((out.sent(), out.end(), out.held(), out.repair_bytes()), (4, 4, 0, 0));
        out.on_acked(0, 4);
        out.on_lost(0, 4);
        assert_eq!((out.held(), out.repair_bytes()), (0, 0));
    }
}
