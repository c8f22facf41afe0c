//! The bytes of one stream on their way in, from packets in any order to slices in order.
//!
//! Owns storage and the knowledge of what arrived. Copies each byte once, from the packet into its place. Knows no
//! flow control and no final size; the owner has checked both before it calls.

use std::collections::VecDeque;
use std::ops::Range;

/// Bytes in a block.
pub(super) const BLOCK_BYTES: usize = 16 << 10;
/// Free blocks that a connection keeps for reuse; 128 KiB is more than one turn usually brings.
pub(super) const BLOCKS_KEPT: usize = 8;
/// An empty assembler that has room for more blocks than this gives its memory back.
const SLOTS_KEPT: usize = 64;
const WORD_BITS: usize = u64::BITS as usize;

struct Block {
    /// Room for `BLOCK_BYTES`; its length says how far it was ever written, so that nothing is zeroed first.
    bytes: Vec<u8>,
    /// Which bytes are there, a bit for each; says nothing about those below the in-order end. Empty if nothing came early.
    present: Vec<u64>,
}

impl Block {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(BLOCK_BYTES), present: Vec::new() }
    }

    /// Puts `data` at `at`.
    #[inline]
    fn write(&mut self, at: usize, data: &[u8]) {
        if at > self.bytes.len() {
            self.bytes.resize(at, 0);
        }
        let (known, beyond) = data.split_at(data.len().min(self.bytes.len() - at));
        self.bytes[at..at + known.len()].copy_from_slice(known);
        self.bytes.extend_from_slice(beyond);
    }

    /// Marks `range` as present; returns how many bytes of it were not.
    fn mark(&mut self, range: Range<usize>) -> u64 {
        self.present.resize(BLOCK_BYTES / WORD_BITS, 0);
        let mut new = 0;
        for (word, mask) in words(range) {
            new += (mask & !self.present[word]).count_ones();
            self.present[word] |= mask;
        }
        u64::from(new)
    }

    /// How many bytes of `range` are present.
    fn count(&self, range: Range<usize>) -> u64 {
        if self.present.is_empty() {
            return 0;
        }
        words(range).map(|(word, mask)| u64::from((self.present[word] & mask).count_ones())).sum()
    }

    /// How many bytes from `at` on are present without a gap.
    fn run(&self, at: usize) -> usize {
        if self.present.is_empty() {
            return 0;
        }
        let mut run = 0;
        while at + run < BLOCK_BYTES {
            let bit = (at + run) % WORD_BITS;
            let ones = (self.present[(at + run) / WORD_BITS] >> bit).trailing_ones() as usize;
            run += ones;
            if ones < WORD_BITS - bit {
                break;
            }
        }
        run
    }
}

/// The words that hold the bits of `range`, each with a mask of those bits.
fn words(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (range.start / WORD_BITS, range.end.div_ceil(WORD_BITS));
    (first..last).map(move |word| {
        let from = range.start.saturating_sub(word * WORD_BITS);
        let to = (range.end - word * WORD_BITS).min(WORD_BITS);
        (word, (u64::MAX << from) & (u64::MAX >> (WORD_BITS - to)))
    })
}

/// The free blocks of a connection, the one used last on top, and how much waits in those that are in use.
pub(super) struct Blocks {
    free: Vec<Block>,
    /// Bytes of all streams that arrived before others in front of them.
    early: u64,
    early_peak: u64,
}

impl Blocks {
    /// No block yet.
    pub(super) const fn new() -> Self {
        Self { free: Vec::new(), early: 0, early_peak: 0 }
    }

    /// The most bytes that ever waited for a gap in front of them, all streams together.
    pub(super) fn early_peak(&self) -> u64 {
        self.early_peak
    }

    /// Are free blocks kept?
    pub(super) fn has_spare(&self) -> bool {
        !self.free.is_empty()
    }

    /// Gives all memory back.
    pub(super) fn trim(&mut self) {
        self.free = Vec::new();
    }

    fn on_early(&mut self, bytes: u64) {
        self.early += bytes;
        self.early_peak = self.early_peak.max(self.early);
    }

    fn on_early_gone(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.early);
        self.early -= bytes;
    }

    fn take(&mut self) -> Block {
        self.free.pop().unwrap_or_else(Block::new)
    }

    fn put(&mut self, mut block: Block) {
        if self.free.len() < BLOCKS_KEPT {
            block.present.clear();
            self.free.push(block);
        }
    }
}

/// Puts the bytes of a stream in order.
///
/// Storage is blocks by offset, not a ring: a reader that keeps up sees the same one or two blocks over and over while
/// they are still in the cache, a lone byte far ahead costs one block and not the window, and what was read goes back
/// at once. Beyond the in-order end a bit per byte tells what is there: its size does not depend on how the peer cuts
/// and shuffles its frames, so there is no number of gaps to limit. Without gaps no bit is ever touched.
pub(super) struct Assembler {
    /// The block of offset `read` first; `None` where nothing arrived.
    blocks: VecDeque<Option<Block>>,
    /// Everything below was consumed.
    read: u64,
    /// Everything below arrived.
    next: u64,
    /// How many bytes beyond `next` arrived.
    beyond: u64,
}

impl Assembler {
    /// Nothing arrived yet; takes no memory.
    pub(super) const fn new() -> Self {
        Self { blocks: VecDeque::new(), read: 0, next: 0, beyond: 0 }
    }

    /// The offset behind the last byte that arrived in order.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many bytes can be read.
    #[inline]
    pub(super) fn readable(&self) -> u64 {
        self.next - self.read
    }

    /// Takes the bytes of a frame; returns how many of them were new.
    #[inline]
    pub(super) fn insert(&mut self, offset: u64, data: &[u8], blocks: &mut Blocks) -> u64 {
        let known = self.next.saturating_sub(offset).min(data.len() as u64) as usize;
        let (offset, data) = (offset + known as u64, &data[known..]);
        if data.is_empty() {
            return 0;
        }
        self.store(offset, data, blocks);
        let end = offset + data.len() as u64;
        if offset > self.next {
            let new = self.mark(offset..end);
            self.beyond += new;
            blocks.on_early(new);
            return new;
        }
        self.next = end;
        if self.beyond == 0 {
            return data.len() as u64;
        }
        let waited = self.beyond;
        let early = self.count(offset..end);
        self.beyond -= early;
        self.close_gap();
        blocks.on_early_gone(waited - self.beyond);
        data.len() as u64 - early
    }

    /// Up to two slices of in-order bytes; empty if there are none.
    pub(super) fn slices(&self) -> (&[u8], &[u8]) {
        let first = self.slice_from(self.read);
        (first, self.slice_from(self.read + first.len() as u64))
    }

    /// Lets go of `count` bytes, which are readable.
    pub(super) fn consume(&mut self, count: u64, blocks: &mut Blocks) {
        debug_assert!(count <= self.readable());
        let passed = self.index_of(self.read + count);
        self.read += count;
        for block in self.blocks.drain(..passed.min(self.blocks.len())).flatten() {
            blocks.put(block);
        }
        if self.read == self.next && self.beyond == 0 {
            self.clear(blocks);
        }
    }

    /// Lets go of everything that is there.
    pub(super) fn clear(&mut self, blocks: &mut Blocks) {
        blocks.on_early_gone(self.beyond);
        self.beyond = 0;
        self.read = self.next;
        self.blocks.drain(..).flatten().for_each(|block| blocks.put(block));
        if self.blocks.capacity() > SLOTS_KEPT {
            self.blocks = VecDeque::new();
        }
    }

    /// How many blocks are in use.
    #[cfg(test)]
    pub(super) fn blocks_used(&self) -> usize {
        self.blocks.iter().flatten().count()
    }

    fn store(&mut self, offset: u64, data: &[u8], blocks: &mut Blocks) {
        let mut rest = data;
        for (index, range) in self.pieces(offset..offset + data.len() as u64) {
            if index >= self.blocks.len() {
                self.blocks.resize_with(index + 1, || None);
            }
            let block = self.blocks[index].get_or_insert_with(|| blocks.take());
            let (piece, later) = rest.split_at(range.len());
            block.write(range.start, piece);
            rest = later;
        }
    }

    fn mark(&mut self, range: Range<u64>) -> u64 {
        self.pieces(range)
            .map(|(index, range)| self.blocks[index].as_mut().map_or(0, |block| block.mark(range)))
            .sum()
    }

    fn count(&self, range: Range<u64>) -> u64 {
        self.pieces(range)
            .map(|(index, range)| self.blocks[index].as_ref().map_or(0, |block| block.count(range)))
            .sum()
    }

    /// Moves the in-order end over what arrived early.
    fn close_gap(&mut self) {
        while self.beyond > 0 {
            let at = self.next as usize % BLOCK_BYTES;
            let block = self.blocks.get(self.index_of(self.next)).and_then(Option::as_ref);
            let run = block.map_or(0, |block| block.run(at));
            self.next += run as u64;
            self.beyond -= run as u64;
            if at + run < BLOCK_BYTES {
                return;
            }
        }
    }

    fn slice_from(&self, offset: u64) -> &[u8] {
        let at = offset as usize % BLOCK_BYTES;
        let len = (BLOCK_BYTES - at).min((self.next - offset) as usize);
        match self.blocks.get(self.index_of(offset)) {
            Some(Some(block)) => &block.bytes[at..at + len],
            _ => &[],
        }
    }

    fn index_of(&self, offset: u64) -> usize {
        (offset / BLOCK_BYTES as u64 - self.read / BLOCK_BYTES as u64) as usize
    }

    /// The parts of `range` in each block: which block, and where in it.
    fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let mut index = self.index_of(range.start);
        let mut at = range.start;
        std::iter::from_fn(move || {
            let start = at as usize % BLOCK_BYTES;
            let len = (BLOCK_BYTES - start).min((range.end - at) as usize);
            at += len as u64;
            index += 1;
            (len > 0).then_some((index - 1, start..start + len))
        })
    }
}

#[cfg(test)]
#[path = "assembler_tests.rs"]
mod tests;
