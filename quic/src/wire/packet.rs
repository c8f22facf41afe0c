//! What packets of version 1 have in common: their kinds, the bits of the first byte, packet numbers.
//!
//! Owns the coding of packet numbers (RFC 9000 §17.1) and the names of the bits (§17.2, §17.3). The fields behind the
//! first byte are `header`'s; what protects them is `crypto`'s.

use super::varint::VARINT_MAX;

/// QUIC version 1 (RFC 9000 §15).
pub(crate) const VERSION_1: u32 = 1;

/// The largest UDP payload, also the default of `max_udp_payload_size` (RFC 9000 §18.2).
pub(crate) const UDP_PAYLOAD_MAX: u64 = 65_527;

/// Every path carries UDP payloads of this size, and some must have it (RFC 9000 §14).
pub(crate) const DATAGRAM_LEN_MIN: usize = 1200;

/// Set in the first byte of a long header.
const LONG: u8 = 0x80;
/// Set in the first byte of every packet but Version Negotiation.
pub(super) const FIXED: u8 = 0x40;
const LONG_RESERVED: u8 = 0x0c;
const SHORT_RESERVED: u8 = 0x18;
pub(super) const SPIN: u8 = 0x20;
pub(super) const KEY_PHASE: u8 = 0x04;

/// The kinds of packets that carry frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PacketKind {
    Initial,
    ZeroRtt,
    Handshake,
    OneRtt,
}

/// Does a packet with this first byte have a long header?
#[inline]
pub(crate) const fn is_long(first: u8) -> bool {
    first & LONG != 0
}

/// Is the fixed bit set, as it must be in version 1?
#[inline]
pub(crate) const fn has_fixed_bit(first: u8) -> bool {
    first & FIXED != 0
}

/// Is a reserved bit set in this unmasked first byte? Judged only after the packet was opened: `PROTOCOL_VIOLATION`.
#[inline]
pub(crate) const fn has_reserved_bits(first: u8) -> bool {
    first & if is_long(first) { LONG_RESERVED } else { SHORT_RESERVED } != 0
}

/// How many bytes the packet number takes, by the unmasked first byte: 1 to 4.
#[inline]
pub(crate) const fn pn_len(first: u8) -> usize {
    (first & 0x03) as usize + 1
}

/// The packet number as it stands in the packet: 1 to 4 bytes.
#[inline]
pub(crate) fn truncated_pn(bytes: &[u8]) -> u64 {
    debug_assert!((1..=4).contains(&bytes.len()));
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// How many bytes of `pn` a packet must carry, so that the peer can expand it (RFC 9000 §17.1, A.2).
#[inline]
pub(crate) fn pn_len_for(pn: u64, largest_acked: Option<u64>) -> usize {
    debug_assert!(pn <= VARINT_MAX && largest_acked.is_none_or(|acked| acked < pn));
    let unacked = largest_acked.map_or(pn + 1, |acked| pn - acked);
    match unacked {
        0..0x80 => 1,
        0x80..0x8000 => 2,
        0x8000..0x80_0000 => 3,
        _ => 4,
    }
}

/// The packet number nearest to `expected_next` (largest received plus 1) that ends in the `pn_len` bytes of
/// `truncated` (RFC 9000 §17.1, A.3).
#[inline]
pub(crate) const fn expand_pn(truncated: u64, pn_len: usize, expected_next: u64) -> u64 {
    debug_assert!(pn_len >= 1 && pn_len <= 4 && expected_next <= VARINT_MAX + 1);
    let window = 1 << (pn_len * 8);
    let half = window / 2;
    debug_assert!(truncated < window);
    let candidate = expected_next & !(window - 1) | truncated;
    if candidate + half <= expected_next && candidate + window <= VARINT_MAX {
        candidate + window
    } else if candidate >= window && (candidate > expected_next + half || candidate > VARINT_MAX) {
        candidate - window
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_2_and_a_3_hold() {
        assert_eq!(pn_len_for(0xac_5c02, Some(0xab_e8b3)), 2);
        assert_eq!(pn_len_for(0xac_e8fe, Some(0xab_e8b3)), 3);
        assert_eq!(expand_pn(0x9b32, 2, 0xa82f_30ea + 1), 0xa82f_9b32);
    }

    #[test]
    fn a_number_takes_more_than_twice_the_unacknowledged_range() {
        assert_eq!((pn_len_for(0, None), pn_len_for(126, None), pn_len_for(127, None)), (1, 1, 2));
        assert_eq!((pn_len_for(1127, Some(1000)), pn_len_for(1128, Some(1000))), (1, 2));
        assert_eq!((pn_len_for(0x7fff, Some(0)), pn_len_for(0x8000, Some(0))), (2, 3));
        assert_eq!((pn_len_for(0x7f_ffff, Some(0)), pn_len_for(0x80_0000, Some(0))), (3, 4));
    }

    #[test]
    fn numbers_expand_around_zero() {
        assert_eq!(expand_pn(0, 1, 0), 0);
        assert_eq!(expand_pn(0xff, 1, 0), 0xff, "there is nothing below 0");
        assert_eq!(expand_pn(0xff, 1, 0x100), 0xff);
        assert_eq!(expand_pn(0x80, 1, 0x100), 0x180, "half a window ahead, not behind");
        assert_eq!(expand_pn(0, 1, 0x180), 0x200, "the same, across a border");
        assert_eq!(expand_pn(0x81, 1, 0x100), 0x81);
    }

    #[test]
    fn numbers_expand_up_to_the_last_one() {
        assert_eq!(expand_pn(0xff, 1, VARINT_MAX), VARINT_MAX);
        assert_eq!(expand_pn(0, 1, VARINT_MAX), VARINT_MAX - 0xff, "never beyond");
        assert_eq!(expand_pn(0, 1, VARINT_MAX + 1), VARINT_MAX - 0xff);
        assert_eq!(expand_pn(0xffff_ffff, 4, VARINT_MAX + 1), VARINT_MAX);
    }

    #[test]
    fn bits_of_the_first_byte_depend_on_the_header_form() {
        assert!(is_long(0xc3) && !is_long(0x43));
        assert!(has_fixed_bit(0x40) && !has_fixed_bit(0x80));
        assert!(
            has_reserved_bits(0xc4) && !has_reserved_bits(0x44),
            "0x04 is the key phase of a short header"
        );
        assert!(has_reserved_bits(0x50) && !has_reserved_bits(0xd0), "0x10 is a type bit of a long header");
        assert_eq!((pn_len(0x40), pn_len(0xc3)), (1, 4));
        assert_eq!(truncated_pn(&[0x9b, 0x32]), 0x9b32);
    }

    proptest! {
        /// Whatever the peer received between what it acknowledged and this packet, it finds the same number.
        #[test]
        fn a_truncated_number_is_understood_by_a_peer_that_knows_more(
            acked in 0..(1u64 << 62) - (1 << 31),
            ahead in prop_oneof![1..300u64, 1..70_000u64, 1..1u64 << 31],
            known in any::<prop::sample::Index>(),
        ) {
            let pn = acked + ahead;
            let len = pn_len_for(pn, Some(acked));
            let largest_received = acked + known.index(ahead as usize) as u64;
            let truncated = truncated_pn(&(pn as u32).to_be_bytes()[4 - len..]);
            prop_assert_eq!(expand_pn(truncated, len, largest_received + 1), pn);
        }

        #[test]
        fn an_expanded_number_ends_in_what_was_sent_and_is_no_larger_than_the_last(
            truncated in any::<u32>(),
            len in 1..=4usize,
            back in prop_oneof![0..1000u64, 0..=1u64 << 62],
        ) {
            let truncated = u64::from(truncated) & ((1 << (len * 8)) - 1);
            for expected in [back, (1 << 62) - back] {
                let pn = expand_pn(truncated, len, expected);
                prop_assert!(pn <= VARINT_MAX);
                prop_assert_eq!(pn & ((1 << (len * 8)) - 1), truncated);
            }
        }
    }
}
