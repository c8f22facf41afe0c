//! Variable-length integers (RFC 9000 §16).
//!
//! Owns their lengths and their coding in slices. `cursor` moves along a buffer.

/// The largest number that a variable-length integer holds.
pub(crate) const VARINT_MAX: u64 = (1 << 62) - 1;

/// How many bytes the shortest encoding of `value` takes: 1, 2, 4 or 8.
#[inline]
pub(crate) const fn varint_len(value: u64) -> usize {
    debug_assert!(value <= VARINT_MAX);
    if value < 1 << 6 {
        1
    } else if value < 1 << 14 {
        2
    } else if value < 1 << 30 {
        4
    } else {
        8
    }
}

/// The number at the start of `bytes`, in any of its encodings, and how many bytes it takes; `None` if cut short.
#[inline]
pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    match first >> 6 {
        0 => Some((u64::from(first), 1)),
        1 => Some((u64::from(u16::from_be_bytes(*bytes.first_chunk()?)) & 0x3fff, 2)),
        2 => Some((u64::from(u32::from_be_bytes(*bytes.first_chunk()?)) & 0x3fff_ffff, 4)),
        _ => Some((u64::from_be_bytes(*bytes.first_chunk()?) & VARINT_MAX, 8)),
    }
}

/// `value` in the last `width` (1, 2, 4 or 8) bytes of an array, which must hold it.
#[inline]
pub(crate) const fn encode(value: u64, width: usize) -> [u8; 8] {
    debug_assert!(varint_len(value) <= width);
    let prefix = match width {
        1 => 0,
        2 => 0x4000,
        4 => 0x8000_0000,
        _ => 0xc000_0000_0000_0000,
    };
    (value | prefix).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_1_decode() {
        assert_eq!(
            decode(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            Some((151_288_809_941_952_652, 8))
        );
        assert_eq!(decode(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(decode(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(decode(&[0x25]), Some((37, 1)));
        assert_eq!(decode(&[0x40, 0x25]), Some((37, 2)));
    }

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_1_encode() {
        assert_eq!(encode(151_288_809_941_952_652, 8), [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]);
        assert_eq!(encode(494_878_333, 4)[4..], [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(encode(15_293, 2)[6..], [0x7b, 0xbd]);
        assert_eq!(encode(37, 1)[7..], [0x25]);
        assert_eq!(encode(37, 2)[6..], [0x40, 0x25]);
    }

    #[test]
    fn lengths_change_at_the_powers_of_two() {
        for (value, len) in
            [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), (1 << 30, 8), (VARINT_MAX, 8)]
        {
            assert_eq!(varint_len(value), len, "{value}");
        }
        assert_eq!(varint_len((1 << 30) - 1), 4);
    }

    #[test]
    fn a_number_that_is_cut_short_is_none() {
        assert_eq!(decode(&[]), None);
        for (first, len) in [(0x40, 2), (0x80, 4), (0xc0, 8)] {
            let bytes = [first, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(decode(&bytes[..len - 1]), None);
            assert_eq!(decode(&bytes[..len]), Some((0, len)));
        }
    }

    proptest! {
        #[test]
        fn every_number_comes_back_in_every_width_that_holds_it(bits in 0..=62u32, noise in any::<u64>()) {
            let value = noise & ((1u64 << bits) - 1);
            for width in [1, 2, 4, 8].into_iter().filter(|&width| width >= varint_len(value)) {
                prop_assert_eq!(decode(&encode(value, width)[8 - width..]), Some((value, width)));
            }
        }
    }
}
