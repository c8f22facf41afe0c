//! What streams carry: octets that tell their stream, their direction and their offset.
//!
//! Owns one table of pseudo-random octets from which every stream's content is cut, so writing copies nothing and
//! checking is a comparison of slices. Content repeats after a prime number of octets.

use std::sync::LazyLock;

use braid_quic::StreamId;
use bytes::Bytes;

use crate::network::Way;
use crate::rng::Rng;

/// After this many octets the content repeats; a prime, so that no power of two of ours hides a shift.
const PERIOD: usize = 131_071;
/// The longest piece that is cut from the table at once.
const PIECE_BYTES_MAX: usize = 65_536;

/// The table, long enough that a piece may begin anywhere in the period.
static TABLE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut table = vec![0; PERIOD];
    Rng::labelled(0, "content").fill(&mut table);
    table.extend_from_within(..PIECE_BYTES_MAX);
    Bytes::from(table)
});

/// The content of a stream from `offset` on, `length` octets of it, in pieces that share one allocation.
pub(crate) fn pieces(stream: StreamId, way: Way, offset: u64, length: u64) -> impl Iterator<Item = Bytes> {
    let mut at = offset;
    let end = offset + length;
    std::iter::from_fn(move || {
        let take = (end - at).min(PIECE_BYTES_MAX as u64) as usize;
        let from = index(stream, way, at);
        at += take as u64;
        (take > 0).then(|| TABLE.slice(from..from + take))
    })
}

/// Is this the content of the stream at `offset`?
pub(crate) fn matches(stream: StreamId, way: Way, offset: u64, bytes: &[u8]) -> bool {
    let mut at = offset;
    bytes.chunks(PIECE_BYTES_MAX).all(|piece| {
        let from = index(stream, way, at);
        at += piece.len() as u64;
        TABLE[from..from + piece.len()] == *piece
    })
}

fn index(stream: StreamId, way: Way, offset: u64) -> usize {
    let start = stream.as_u64() * 7_919 + u64::from(way == Way::Up) * 50_021;
    ((start + offset) % PERIOD as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId::from_wire(4);

    fn content(stream: StreamId, way: Way, offset: u64, length: u64) -> Vec<u8> {
        pieces(stream, way, offset, length).flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn pieces_fit_together_whatever_their_boundaries() {
        let whole = content(STREAM, Way::Down, 0, 300_000);
        assert_eq!(whole.len(), 300_000);
        assert_eq!(&whole[100_000..200_000], content(STREAM, Way::Down, 100_000, 100_000));
        assert!(matches(STREAM, Way::Down, 0, &whole));
        assert!(matches(STREAM, Way::Down, 131_000, &whole[131_000..131_200]), "across the period");
        assert_eq!(pieces(STREAM, Way::Down, 5, 0).count(), 0);
    }

    #[test]
    fn a_wrong_octet_offset_stream_or_direction_is_noticed() {
        let bytes = content(STREAM, Way::Up, 1_000, 64);
        assert!(matches(STREAM, Way::Up, 1_000, &bytes));
        assert!(!matches(STREAM, Way::Up, 1_001, &bytes));
        assert!(!matches(StreamId::from_wire(8), Way::Up, 1_000, &bytes));
        assert!(!matches(STREAM, Way::Down, 1_000, &bytes));
        let mut wrong = bytes;
        wrong[63] ^= 1;
        assert!(!matches(STREAM, Way::Up, 1_000, &wrong));
    }
}
