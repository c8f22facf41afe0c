//! ACK and `PATH_ACK` (RFC 9000 §19.3; draft-ietf-quic-multipath-21 §4.1), and `ACK_FREQUENCY`
//! (draft-ietf-quic-ack-frequency).
//!
//! Owns the coding of acknowledged ranges. A decoded frame was checked to its last byte, so walking its ranges cannot
//! fail. Whether the packets were ever sent is for the path's space to judge (MP-211).

use std::ops::RangeInclusive;

use super::cursor::{Reader, Sink, Writer};
use super::frame::{CUT_SHORT, numbers, typed, types};
use super::varint::varint_len;
use crate::base::ranges::RangeSet;
use crate::error::TransportError;
use crate::id::PathId;

const BELOW_ZERO: TransportError = TransportError::frame_encoding("acknowledged range below packet number 0");

/// How many packets with each ECN codepoint a packet number space received so far (RFC 9000 §19.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EcnCounts {
    pub(crate) ect0: u64,
    pub(crate) ect1: u64,
    pub(crate) ce: u64,
}

/// A received ACK or `PATH_ACK`; its ranges stay encoded in the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack<'a> {
    /// The path whose packets are acknowledged, as the peer wrote it; 0 in a plain ACK (MP-282).
    pub(crate) path: u64,
    /// An ACK of RFC 9000.
    pub(crate) plain: bool,
    pub(crate) largest: u64,
    /// Not yet scaled by the peer's `ack_delay_exponent`.
    pub(crate) delay_raw: u64,
    pub(crate) ecn: Option<EcnCounts>,
    first_len: u64,
    more_count: u64,
    more: &'a [u8],
}

impl<'a> Ack<'a> {
    /// The fields after the type, checked completely (MP-212).
    #[inline]
    pub(super) fn decode(frame_type: u64, reader: &mut Reader<'a>) -> Result<Self, TransportError> {
        let plain = matches!(frame_type, types::ACK | types::ACK_ECN);
        let mut next = || reader.varint().ok_or(CUT_SHORT);
        let path = if plain { 0 } else { next()? };
        let (largest, delay_raw, more_count, first_len) = (next()?, next()?, next()?, next()?);
        let mut low = largest.checked_sub(first_len).ok_or(BELOW_ZERO)?;
        let more = reader.rest();
        for _ in 0..more_count {
            let gap = reader.varint().ok_or(CUT_SHORT)?;
            let len = reader.varint().ok_or(CUT_SHORT)?;
            low = low.checked_sub(gap + 2 + len).ok_or(BELOW_ZERO)?;
        }
        let more = &more[..more.len() - reader.remaining()];
        let ecn = match frame_type & 1 {
            0 => None,
            _ => Some(decode_ecn(reader).ok_or(CUT_SHORT)?),
        };
        Ok(Self { path, plain, largest, delay_raw, ecn, first_len, more_count, more })
    }

    /// The acknowledged packet numbers, highest range first.
    #[inline]
    pub(crate) fn ranges(&self) -> AckRanges<'a> {
        let first = self.largest - self.first_len..=self.largest;
        AckRanges { next: Some(first), more: Reader::new(self.more) }
    }

    pub(super) fn put(&self, to: &mut impl Sink) {
        let path = (!self.plain).then_some(self.path);
        put_type(to, path, self.ecn.is_some());
        numbers(to, &[self.largest, self.delay_raw, self.more_count, self.first_len]);
        to.slice(self.more);
        put_ecn(to, self.ecn);
    }
}

/// An `ACK_FREQUENCY` frame: how its sender would like to hear of its packets (draft-ietf-quic-ack-frequency).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckFrequency {
    pub(crate) sequence: u64,
    /// So many ack-eliciting packets may go without an acknowledgement.
    pub(crate) threshold: u64,
    /// The `max_ack_delay` that is asked for, in microseconds.
    pub(crate) delay_us: u64,
    /// How far a missing packet may lie behind before it is told at once; 0 for any distance.
    pub(crate) reordering: u64,
}

impl AckFrequency {
    /// The fields after the type; `None` if cut short.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut next = || reader.varint();
        Some(Self { sequence: next()?, threshold: next()?, delay_us: next()?, reordering: next()? })
    }

    pub(super) fn put(&self, to: &mut impl Sink) {
        numbers(to, &[types::ACK_FREQUENCY, self.sequence, self.threshold, self.delay_us, self.reordering]);
    }
}

/// The ranges of an [`Ack`], descending, read from the packet's own bytes.
#[derive(Clone, Debug)]
pub(crate) struct AckRanges<'a> {
    next: Option<RangeInclusive<u64>>,
    more: Reader<'a>,
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<u64>;

    #[inline]
    fn next(&mut self) -> Option<RangeInclusive<u64>> {
        let range = self.next.take()?;
        if let (Some(gap), Some(len)) = (self.more.varint(), self.more.varint()) {
            let high = range.start() - gap - 2; // checked when decoded
            self.next = Some(high - len..=high);
        }
        Some(range)
    }
}

fn decode_ecn(reader: &mut Reader<'_>) -> Option<EcnCounts> {
    Some(EcnCounts { ect0: reader.varint()?, ect1: reader.varint()?, ce: reader.varint()? })
}

#[inline]
fn put_type(to: &mut impl Sink, path: Option<u64>, ecn: bool) {
    match path {
        None => to.varint(types::ACK + u64::from(ecn)),
        Some(path) => typed(to, types::PATH_ACK + u64::from(ecn), &[path]),
    }
}

#[inline]
fn put_ecn(to: &mut impl Sink, ecn: Option<EcnCounts>) {
    if let Some(counts) = ecn {
        numbers(to, &[counts.ect0, counts.ect1, counts.ce]);
    }
}

/// Writes an acknowledgement of `received`, the newest ranges first and as many as fit into `max_bytes` and the
/// writer. Without a `path` it is a plain ACK. Writes nothing and says `false` if not even one range fits.
pub(crate) fn write_ack(
    writer: &mut Writer<'_>,
    path: Option<PathId>,
    received: &RangeSet,
    delay_raw: u64,
    ecn: Option<EcnCounts>,
    max_bytes: usize,
) -> bool {
    let Some(newest) = received.iter().next_back() else {
        return false;
    };
    let (largest, first_len) = (newest.end - 1, newest.end - 1 - newest.start);
    let room_bytes = max_bytes.min(writer.remaining());
    let type_len = varint_len(writer.code_points().frame_to_wire(types::PATH_ACK));
    let path_len = path.map_or(1, |path| type_len + varint_len(path.0.into()));
    let ecn_len =
        ecn.map_or(0, |counts| varint_len(counts.ect0) + varint_len(counts.ect1) + varint_len(counts.ce));
    let fixed_len = path_len + varint_len(largest) + varint_len(delay_raw) + varint_len(first_len) + ecn_len;
    if fixed_len + varint_len(0) > room_bytes {
        return false;
    }

    let mut used_bytes = fixed_len;
    let mut count = 0;
    for (gap, len) in older(received) {
        let pair_len = varint_len(gap) + varint_len(len);
        if used_bytes + pair_len + varint_len(count + 1) > room_bytes {
            break;
        }
        used_bytes += pair_len;
        count += 1;
    }

    put_type(writer, path.map(|path| path.0.into()), ecn.is_some());
    numbers(writer, &[largest, delay_raw, count, first_len]);
    for (gap, len) in older(received).take(count as usize) {
        numbers(writer, &[gap, len]);
    }
    put_ecn(writer, ecn);
    true
}

/// The ranges below the newest one as pairs of Gap and ACK Range Length, descending (RFC 9000 §19.3.1).
#[inline]
fn older(received: &RangeSet) -> impl Iterator<Item = (u64, u64)> {
    let newer = received.iter().rev();
    newer.zip(received.iter().rev().skip(1)).map(|(newer, older)| {
        let gap = newer.start - older.end - 1;
        (gap, older.end - 1 - older.start)
    })
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "sets of one range are meant")]
mod tests {
    use super::super::frame::{Frame, Frames};
    use super::*;
    use crate::error::TransportErrorCode;
    use proptest::prelude::*;
    use std::ops::Range;

    fn decode(bytes: &[u8]) -> Result<Frame<'_>, TransportError> {
        Frames::new(bytes).next().unwrap().map(|(_, frame)| frame)
    }

    fn ack(bytes: &[u8]) -> Ack<'_> {
        match decode(bytes) {
            Ok(Frame::Ack(ack)) => ack,
            other => panic!("{other:?}"),
        }
    }

    fn set(ranges: &[Range<u64>]) -> RangeSet {
        let mut set = RangeSet::new();
        for range in ranges {
            set.insert(range.clone());
        }
        set
    }

    fn written(
        path: Option<u32>,
        set: &RangeSet,
        ecn: Option<EcnCounts>,
        max_bytes: usize,
    ) -> Option<Vec<u8>> {
        let mut buffer = [0; 600];
        let mut writer = Writer::new(&mut buffer);
        let done = write_ack(&mut writer, path.map(PathId), set, 5, ecn, max_bytes);
        assert!(writer.len() <= max_bytes);
        assert_eq!(done, writer.len() > 0);
        done.then(|| writer.written().to_vec())
    }

    #[test]
    fn the_examples_of_the_multipath_frame_table_decode() {
        let plain = ack(&[0x3e, 1, 0, 0, 0, 0]);
        assert_eq!((plain.path, plain.plain, plain.largest, plain.ecn), (1, false, 0, None));
        assert_eq!(plain.ranges().collect::<Vec<_>>(), [0..=0]);
        let marked = ack(&[0x3f, 1, 0x0a, 0, 0, 0, 1, 0, 0]);
        assert_eq!(marked.ecn, Some(EcnCounts { ect0: 1, ect1: 0, ce: 0 }));
        assert_eq!(marked.ranges().collect::<Vec<_>>(), [10..=10]);
    }

    #[test]
    fn the_examples_of_the_multipath_frame_table_are_written() {
        let mut buffer = [0; 20];
        let mut writer = Writer::new(&mut buffer);
        assert!(write_ack(&mut writer, Some(PathId(1)), &set(&[0..1]), 0, None, 20));
        let ecn = Some(EcnCounts { ect0: 1, ect1: 0, ce: 0 });
        assert!(write_ack(&mut writer, Some(PathId(1)), &set(&[10..11]), 0, ecn, 20));
        assert_eq!(writer.written(), [0x3e, 1, 0, 0, 0, 0, 0x3f, 1, 0x0a, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn gaps_count_from_the_packet_below_the_smallest_acknowledged() {
        // 0, 2..=3 and 7..=9: the gap of one packet (1) is coded 0, that of three (4..=6) is coded 2.
        let bytes = [0x02, 9, 5, 2, 2, 2, 1, 0, 0];
        assert_eq!(ack(&bytes).ranges().collect::<Vec<_>>(), [7..=9, 2..=3, 0..=0]);
        assert_eq!(written(None, &set(&[0..1, 2..4, 7..10]), None, 99), Some(bytes.to_vec()));
    }

    /// MP-212
    #[test]
    fn a_range_that_runs_below_zero_is_malformed() {
        let malformed = |bytes: &[u8]| decode(bytes).unwrap_err().code;
        let expected = TransportErrorCode::FRAME_ENCODING_ERROR;
        assert_eq!(malformed(&[0x02, 4, 0, 0, 5]), expected, "first range");
        assert_eq!(malformed(&[0x02, 4, 0, 1, 0, 3, 0]), expected, "gap");
        assert_eq!(malformed(&[0x02, 4, 0, 1, 0, 1, 2]), expected, "later range");
        assert!(decode(&[0x02, 4, 0, 1, 0, 1, 1]).is_ok(), "down to exactly 0");
        assert_eq!(malformed(&[0x3e, 0, 1, 0, 0, 2]), expected, "of a path");
    }

    #[test]
    fn a_count_of_ranges_that_are_not_there_is_cut_short() {
        let mut bytes = vec![0x02, 60, 0];
        bytes.extend([0xff; 8]); // 2^62-1 ranges
        bytes.extend([0, 0, 0]);
        assert_eq!(decode(&bytes), Err(CUT_SHORT.in_frame(2)));
        assert_eq!(decode(&[0x03, 4, 0, 0, 0, 1, 1]), Err(CUT_SHORT.in_frame(3)), "an ECN count is missing");
    }

    #[test]
    fn a_full_frame_keeps_the_newest_ranges() {
        let many: Vec<_> = (0..200).map(|i| i * 3..i * 3 + 1).collect();
        let bytes = written(Some(7), &set(&many), None, 60).unwrap();
        assert!(bytes.len() > 57, "{} bytes", bytes.len());
        let ranges: Vec<_> = ack(&bytes).ranges().collect();
        assert!(ranges.len() > 25);
        let newest = (0..200).rev().map(|i| i * 3..=i * 3).take(ranges.len());
        assert!(ranges.iter().cloned().eq(newest));
    }

    #[test]
    fn the_count_growing_to_two_bytes_is_paid_for() {
        let many: Vec<_> = (0..66).map(|i| i * 3..i * 3 + 1).collect();
        // Six bytes with a short count, and two for each further range; the 65th makes the count a byte longer.
        for (max_bytes, expected) in
            [(131, 63), (132, 64), (134, 64), (135, 65), (136, 65), (137, 66), (200, 66)]
        {
            let bytes = written(None, &set(&many), None, max_bytes).unwrap();
            assert_eq!(ack(&bytes).ranges().count(), expected, "in {max_bytes} bytes");
        }
    }

    #[test]
    fn nothing_is_written_without_room_or_packets() {
        assert_eq!(written(None, &set(&[0..1]), None, 4), None);
        assert!(written(None, &set(&[0..1]), None, 5).is_some());
        assert_eq!(written(None, &RangeSet::new(), None, 99), None);
        let mut small = [0; 4];
        let mut writer = Writer::new(&mut small);
        assert!(!write_ack(&mut writer, None, &set(&[0..1]), 0, None, 99));
    }

    proptest! {
        #[test]
        fn every_set_comes_back(
            steps in prop::collection::vec((0..70_000u64, 1..70_000u64), 1..40),
            path in prop::option::of(any::<u32>()),
            ecn in prop::option::of((0..1u64 << 62, 0..1u64 << 62, 0..1u64 << 62)),
        ) {
            let mut received = RangeSet::new();
            let mut at = 0;
            for (gap, len) in steps {
                received.insert(at + gap..at + gap + len);
                at += gap + len;
            }
            let ecn = ecn.map(|(ect0, ect1, ce)| EcnCounts { ect0, ect1, ce });
            let bytes = written(path, &received, ecn, 600).unwrap();
            let decoded = ack(&bytes);
            prop_assert_eq!((decoded.path, decoded.plain), (path.unwrap_or(0).into(), path.is_none()));
            prop_assert_eq!((decoded.delay_raw, decoded.ecn), (5, ecn));
            let ranges = decoded.ranges().map(|range| *range.start()..range.end() + 1);
            prop_assert!(ranges.eq(received.iter().rev()));
        }
    }
}
