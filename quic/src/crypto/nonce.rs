//! The number that makes every nonce unique: path ID and packet number together.
//!
//! Owns the 96-bit layout of draft-ietf-quic-multipath-21 §2.4 (MP-030). The AEAD of the provider builds the nonce
//! itself; the tests here and in `vectors` hold it to that layout. Knows no key.

use crate::id::PathId;

/// Packet numbers are below this (RFC 9000 §12.3).
pub(crate) const PACKET_NUMBER_END: u64 = 1 << 62;

/// A packet number and the path in whose number space it counts.
///
/// The path is the one we issued the packet's destination connection ID for, never guessed from addresses (MP-035).
/// On path 0 everything is as in RFC 9001, so nothing switches when multipath is agreed (MP-034).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ppn {
    pub(crate) path: PathId,
    /// Reconstructed in full, below 2^62.
    pub(crate) pn: u64,
}

impl Ppn {
    /// Packet `pn` of `path`.
    #[inline]
    pub(crate) const fn new(path: PathId, pn: u64) -> Self {
        debug_assert!(pn < PACKET_NUMBER_END);
        Self { path, pn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::fixture::unhex;

    /// 32 bits of path ID, two zero bits, 62 bits of packet number, all big-endian (MP-030).
    fn octets(ppn: Ppn) -> [u8; 12] {
        ((u128::from(ppn.path.0) << 64) | u128::from(ppn.pn)).to_be_bytes()[4..].try_into().unwrap()
    }

    /// The initialization vector XOR the number, which is padded in front where the vector is longer.
    fn multipath_nonce(iv: &[u8], ppn: Ppn) -> Vec<u8> {
        let mut nonce = iv.to_vec();
        let padding = iv.len() - 12;
        nonce[padding..].iter_mut().zip(octets(ppn)).for_each(|(octet, number)| *octet ^= number);
        nonce
    }

    const IV: &str = "6b26114b9cba2b63a9e8dd4f";

    /// MP-030, MP-031
    #[test]
    fn the_example_of_the_draft_comes_out() {
        let ppn = Ppn::new(PathId(3), 54_321);
        assert_eq!(octets(ppn)[..], unhex("00000003000000000000d431"));
        assert_eq!(multipath_nonce(&unhex(IV), ppn), unhex("6b2611489cba2b63a9e8097e"));
    }

    /// MP-030, MP-032
    #[test]
    fn every_byte_of_path_and_number_has_its_place() {
        let cases = [
            (0, 54_321, "6b26114b9cba2b63a9e8097e"),
            (1, 0, "6b26114a9cba2b63a9e8dd4f"),
            (u32::MAX, 54_321, "94d9eeb49cba2b63a9e8097e"),
            (0x0102_0304, 54_321, "6a24124f9cba2b63a9e8097e"),
            (3, PACKET_NUMBER_END - 1, "6b261148a345d49c561722b0"),
        ];
        for (path, pn, nonce) in cases {
            assert_eq!(multipath_nonce(&unhex(IV), Ppn::new(PathId(path), pn)), unhex(nonce), "{path} {pn}");
        }
    }

    /// MP-032
    #[test]
    fn a_longer_vector_is_padded_in_front() {
        let iv = unhex("001122336b26114b9cba2b63a9e8dd4f");
        let nonce = multipath_nonce(&iv, Ppn::new(PathId(3), 54_321));
        assert_eq!(nonce, unhex("001122336b2611489cba2b63a9e8097e"));
    }
}
