//! A place in a buffer, for reading and for writing.
//!
//! A `Reader` answers `None` at the end. A `Writer` trusts its caller: writing past the end is our own mistake and
//! panics, so callers look at `remaining` first. A `Sink` is anything that takes bytes, so that one description of a
//! frame both measures and writes it.

use super::code_points::CodePoints;
use super::varint::{self, varint_len};

/// Reads a buffer from front to back.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// The next byte.
    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next two bytes as a number, big-endian.
    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes as a number, big-endian.
    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next variable-length integer, in any of its encodings.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let (value, len) = varint::decode(self.rest)?;
        self.rest = &self.rest[len..];
        Some(value)
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// The bytes behind a variable-length integer that tells how many they are.
    #[inline]
    pub(crate) fn prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// Everything that is left; the reader stays where it is.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are left.
    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Is nothing left?
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes were read.
    #[inline]
    pub(crate) const fn position(&self) -> usize {
        self.total - self.rest.len()
    }
}

/// Something that takes bytes: a [`Writer`], a vector, or a [`Count`].
pub(crate) trait Sink {
    /// Takes `bytes`.
    fn slice(&mut self, bytes: &[u8]);

    /// Takes `value` as a variable-length integer in its shortest encoding.
    #[inline]
    fn varint(&mut self, value: u64) {
        let width = varint_len(value);
        self.slice(&varint::encode(value, width)[8 - width..]);
    }

    /// The numbers that the multipath extension has here.
    #[inline]
    fn code_points(&self) -> CodePoints {
        CodePoints::Final
    }
}

/// Fills a buffer from front to back.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    code_points: CodePoints,
}

impl<'a> Writer<'a> {
    /// A writer at the start of `buffer`.
    #[inline]
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0, code_points: CodePoints::Final }
    }

    /// A writer at the start of `buffer` of frames with these numbers.
    #[inline]
    pub(crate) const fn with_code_points(buffer: &'a mut [u8], code_points: CodePoints) -> Self {
        Self { buffer, len: 0, code_points }
    }

    /// Writes one byte.
    #[inline]
    pub(crate) fn u8(&mut self, value: u8) {
        self.buffer[self.len] = value;
        self.len += 1;
    }

    /// Writes two bytes, big-endian.
    #[cfg(test)]
    #[inline]
    pub(crate) fn u16(&mut self, value: u16) {
        self.slice(&value.to_be_bytes());
    }

    /// Writes four bytes, big-endian.
    #[inline]
    pub(crate) fn u32(&mut self, value: u32) {
        self.slice(&value.to_be_bytes());
    }

    /// Writes a variable-length integer in its shortest encoding.
    #[inline]
    pub(crate) fn varint(&mut self, value: u64) {
        match varint_len(value) {
            1 => self.u8(value as u8),
            width => self.varint_as(value, width),
        }
    }

    /// Writes a variable-length integer in `width` bytes: 1, 2, 4 or 8, enough for `value`.
    #[inline]
    pub(crate) fn varint_as(&mut self, value: u64, width: usize) {
        debug_assert!(matches!(width, 1 | 2 | 4 | 8));
        let bytes = varint::encode(value, width);
        match width {
            1 => self.u8(bytes[7]),
            2 => self.slice(&bytes[6..]),
            4 => self.slice(&bytes[4..]),
            _ => self.slice(&bytes),
        }
    }

    /// Writes `bytes`.
    #[inline]
    pub(crate) fn slice(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Writes `count` zeros, which are PADDING frames where frames are expected.
    #[inline]
    pub(crate) fn zeros(&mut self, count: usize) {
        self.buffer[self.len..self.len + count].fill(0);
        self.len += count;
    }

    /// How many bytes were written.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// How many bytes there is room for.
    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// What was written.
    #[cfg(test)]
    #[inline]
    pub(crate) fn written(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// What was written, to be changed in place: a length patched, a packet sealed.
    #[inline]
    pub(crate) fn written_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }

    /// The room that is left, to be filled in place; `advance` tells how much of it was.
    #[cfg(test)]
    #[inline]
    pub(crate) fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.len..]
    }

    /// Counts the first `count` bytes of the room as written.
    #[cfg(test)]
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining());
        self.len += count;
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        Writer::slice(self, bytes);
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        Writer::varint(self, value);
    }

    #[inline]
    fn code_points(&self) -> CodePoints {
        self.code_points
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A sink that only counts.
#[derive(Debug, Default)]
pub(crate) struct Count {
    bytes: usize,
    code_points: CodePoints,
}

impl Count {
    /// Counts frames with these numbers.
    #[inline]
    pub(crate) const fn with_code_points(code_points: CodePoints) -> Self {
        Self { bytes: 0, code_points }
    }

    /// How many bytes came in.
    #[inline]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Sink for Count {
    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        self.bytes += varint_len(value);
    }

    #[inline]
    fn code_points(&self) -> CodePoints {
        self.code_points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut buffer = [0xff; 40];
        let mut writer = Writer::new(&mut buffer);
        writer.u8(1);
        writer.u16(0x0203);
        writer.u32(0x0405_0607);
        writer.varint(37);
        writer.varint_as(37, 4);
        writer.varint(15_293);
        writer.slice(b"abc");
        writer.zeros(2);
        assert_eq!((writer.len(), writer.remaining()), (19, 21));
        let mut reader = Reader::new(writer.written());
        assert_eq!((reader.u8(), reader.u16(), reader.u32()), (Some(1), Some(0x0203), Some(0x0405_0607)));
        assert_eq!((reader.varint(), reader.varint(), reader.varint()), (Some(37), Some(37), Some(15_293)));
        assert_eq!((reader.take(3), reader.position()), (Some(&b"abc"[..]), 17));
        assert_eq!(reader.rest(), [0, 0]);
    }

    #[test]
    fn a_read_past_the_end_takes_nothing() {
        let mut reader = Reader::new(&[0xc0, 1, 2]);
        assert_eq!((reader.varint(), reader.u32(), reader.take(4)), (None, None, None));
        assert_eq!((reader.array::<4>(), reader.remaining()), (None, 3));
        assert_eq!((reader.take(3), reader.u8(), reader.is_empty()), (Some(&[0xc0, 1, 2][..]), None, true));
    }

    #[test]
    fn a_prefix_larger_than_memory_is_none() {
        assert_eq!(Reader::new(&[0xff; 20]).prefixed(), None);
        assert_eq!(Reader::new(&[2, 7, 8, 9]).prefixed(), Some(&[7, 8][..]));
        assert_eq!(Reader::new(&[2, 7]).prefixed(), None);
    }

    #[test]
    fn room_filled_in_place_counts_once_advanced() {
        let mut buffer = [0; 4];
        let mut writer = Writer::new(&mut buffer);
        writer.u8(9);
        writer.spare_mut()[..2].copy_from_slice(&[7, 8]);
        assert_eq!(writer.written(), [9]);
        writer.advance(2);
        writer.written_mut()[0] = 6;
        assert_eq!(writer.written(), [6, 7, 8]);
    }

    #[test]
    #[should_panic(expected = "range end index 3 out of range")]
    fn a_write_past_the_end_is_our_own_mistake() {
        Writer::new(&mut [0; 2]).slice(&[1, 2, 3]);
    }

    #[test]
    fn all_sinks_agree_on_lengths() {
        let mut buffer = [0; 64];
        let (mut writer, mut vector, mut count) = (Writer::new(&mut buffer), Vec::new(), Count::default());
        for value in [0, 63, 64, 16_383, 16_384, 1 << 30, varint::VARINT_MAX] {
            Sink::varint(&mut writer, value);
            vector.varint(value);
            count.varint(value);
        }
        assert_eq!(writer.written(), vector);
        assert_eq!(count.bytes(), vector.len());
    }
}
