//! Packet headers, written (RFC 8999; RFC 9000 §10.3, §17).
//!
//! Owns the layout before the payload, and the packets that have no payload: Version Negotiation and stateless reset.
//! Offsets count from the start of the writer, so packets can be put one behind the other in a datagram. Seals
//! nothing.

use super::cursor::Writer;
use super::header::{LongKind, STATELESS_RESET_LEN_MIN, ShortHeader};
use super::packet::FIXED;
use super::varint::varint_len;

/// The Length field is reserved before the length is known, so it always takes two bytes.
const LENGTH_FIELD_LEN: usize = 2;

/// What a two-byte Length field can say: packet number, payload and tag of a packet with a long header.
pub(crate) const LONG_LENGTH_MAX: usize = 0x3fff;

/// Where a long header left its Length field open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the packet is not complete before `patch_length`"]
pub(crate) struct LengthSlot {
    length_offset: usize,
    pn_offset: usize,
}

impl LengthSlot {
    /// Where the packet number starts, counted from the start of the writer.
    #[inline]
    pub(crate) const fn pn_offset(self) -> usize {
        self.pn_offset
    }
}

/// Writes a long header up to and with its packet number, of which it carries the last `pn_len` bytes.
pub(crate) fn encode_long(
    writer: &mut Writer<'_>,
    kind: LongKind<'_>,
    version: u32,
    dcid: &[u8],
    scid: &[u8],
    pn: u64,
    pn_len: usize,
) -> LengthSlot {
    let kind_bits = match kind {
        LongKind::Initial { .. } => 0x00,
        LongKind::ZeroRtt => 0x10,
        LongKind::Handshake => 0x20,
        LongKind::Retry => 0x30,
    };
    debug_assert!(kind.packet_kind().is_some(), "a Retry has no packet number");
    debug_assert!((1..=4).contains(&pn_len));
    writer.u8(0x80 | FIXED | kind_bits | (pn_len - 1) as u8);
    writer.u32(version);
    cid_field(writer, dcid);
    cid_field(writer, scid);
    if let LongKind::Initial { token } = kind {
        writer.varint(token.len() as u64);
        writer.slice(token);
    }
    let length_offset = writer.len();
    writer.varint_as(0, LENGTH_FIELD_LEN);
    let pn_offset = writer.len();
    write_pn(writer, pn, pn_len);
    LengthSlot { length_offset, pn_offset }
}

/// How many bytes `encode_long` writes.
pub(crate) fn long_header_len(kind: LongKind<'_>, dcid: &[u8], scid: &[u8], pn_len: usize) -> usize {
    let token_len = match kind {
        LongKind::Initial { token } => varint_len(token.len() as u64) + token.len(),
        _ => 0,
    };
    1 + 4 + 1 + dcid.len() + 1 + scid.len() + token_len + LENGTH_FIELD_LEN + pn_len
}

/// Tells the packet its length, once known: `len` bytes of packet number, payload and tag, at most
/// [`LONG_LENGTH_MAX`]. `written` starts where the writer did.
pub(crate) fn patch_length(written: &mut [u8], slot: LengthSlot, len: usize) {
    debug_assert!(len <= LONG_LENGTH_MAX);
    let field = &mut written[slot.length_offset..slot.length_offset + LENGTH_FIELD_LEN];
    Writer::new(field).varint_as(len as u64, LENGTH_FIELD_LEN);
}

/// Writes a short header up to and with its packet number, of which it carries the last `pn_len` bytes; returns where
/// the packet number starts, counted from the start of the writer.
#[inline]
pub(crate) fn encode_short(
    writer: &mut Writer<'_>,
    dcid: &[u8],
    spin: bool,
    key_phase: bool,
    pn: u64,
    pn_len: usize,
) -> usize {
    writer.u8(ShortHeader { spin, key_phase, pn_len }.first_byte());
    writer.slice(dcid);
    let pn_offset = writer.len();
    write_pn(writer, pn, pn_len);
    pn_offset
}

/// How many bytes `encode_short` writes at most, whatever the packet number.
pub(crate) const fn short_header_len_max(dcid_len: usize) -> usize {
    1 + dcid_len + 4
}

/// How many bytes `encode_short` writes.
#[cfg(test)]
#[inline]
pub(crate) const fn short_header_len(dcid: &[u8], pn_len: usize) -> usize {
    1 + dcid.len() + pn_len
}

/// Writes a Version Negotiation packet (RFC 9000 §17.2.1): `dcid` is the source of the packet it answers, `scid` the
/// destination, each up to 255 bytes.
pub(crate) fn encode_version_negotiation(
    writer: &mut Writer<'_>,
    random: u8,
    dcid: &[u8],
    scid: &[u8],
    versions: &[u32],
) {
    debug_assert!(!versions.is_empty());
    writer.u8(0x80 | FIXED | random);
    writer.u32(0);
    cid_field(writer, dcid);
    cid_field(writer, scid);
    for &version in versions {
        writer.u32(version);
    }
}

/// Writes a stateless reset: at least 5 bytes that nobody can predict, then the token (RFC 9000 §10.3).
pub(crate) fn encode_stateless_reset(writer: &mut Writer<'_>, unpredictable: &[u8], token: &[u8; 16]) {
    debug_assert!(unpredictable.len() + token.len() >= STATELESS_RESET_LEN_MIN);
    let start = writer.len();
    writer.slice(unpredictable);
    writer.slice(token);
    let first = &mut writer.written_mut()[start];
    *first = *first & 0x3f | FIXED;
}

fn cid_field(writer: &mut Writer<'_>, cid: &[u8]) {
    debug_assert!(cid.len() <= 255);
    writer.u8(cid.len() as u8);
    writer.slice(cid);
}

#[inline]
fn write_pn(writer: &mut Writer<'_>, pn: u64, pn_len: usize) {
    let bytes = (pn as u32).to_be_bytes();
    match pn_len {
        1 => writer.u8(bytes[3]),
        2 => writer.slice(&bytes[2..]),
        3 => writer.slice(&bytes[1..]),
        _ => writer.slice(&bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::{LongHeader, invariant, offered_versions, stateless_reset_token};
    use super::super::packet::{VERSION_1, truncated_pn};
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = [0xee; 2000];
        let mut writer = Writer::new(&mut buffer);
        fill(&mut writer);
        writer.written().to_vec()
    }

    #[test]
    fn the_headers_of_rfc_9001_appendix_a_are_written() {
        let client_dcid = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let initial = bytes_of(|writer| {
            let slot =
                encode_long(writer, LongKind::Initial { token: &[] }, VERSION_1, &client_dcid, &[], 2, 4);
            patch_length(writer.written_mut(), slot, 1182);
        });
        let expected = [
            0xc3, 0, 0, 0, 1, 8, 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08, 0, 0, 0x44, 0x9e, 0, 0, 0, 2,
        ];
        assert_eq!(initial, expected, "A.2");
        let short = bytes_of(|writer| assert_eq!(encode_short(writer, &[], false, false, 654_360_564, 3), 1));
        assert_eq!(short, [0x42, 0x00, 0xbf, 0xf4], "A.5");
    }

    #[test]
    fn two_packets_in_one_datagram_are_told_apart() {
        let datagram = bytes_of(|writer| {
            let slot = encode_long(writer, LongKind::Initial { token: b"t" }, VERSION_1, &[1], &[2], 0, 1);
            writer.zeros(30);
            patch_length(writer.written_mut(), slot, 31);
            let start = writer.len();
            let slot = encode_long(writer, LongKind::Handshake, VERSION_1, &[1], &[2], 7, 2);
            assert_eq!(slot.pn_offset(), start + long_header_len(LongKind::Handshake, &[1], &[2], 2) - 2);
            writer.zeros(20);
            patch_length(writer.written_mut(), slot, 22);
        });
        let first = LongHeader::parse(&datagram).unwrap();
        assert_eq!(first.kind, LongKind::Initial { token: b"t" });
        let rest = &datagram[first.packet_len..];
        let second = LongHeader::parse(rest).unwrap();
        assert_eq!((second.kind, second.packet_len), (LongKind::Handshake, rest.len()));
        assert_eq!(rest[second.pn_offset..second.pn_offset + 2], [0, 7]);
    }

    #[test]
    fn a_version_negotiation_packet_echoes_connection_ids_of_any_length() {
        let (dcid, scid) = ([1; 255], [2; 30]);
        let packet = bytes_of(|writer| {
            encode_version_negotiation(writer, 0x2a, &dcid, &scid, &[VERSION_1, 0x0a0a_0a0a]);
        });
        let seen = invariant(&packet, 12).unwrap();
        assert_eq!((seen.long, seen.version, seen.dcid, seen.scid), (true, 0, &dcid[..], &scid[..]));
        assert_eq!(offered_versions(&packet).unwrap().collect::<Vec<_>>(), [1, 0x0a0a_0a0a]);
        assert!(offered_versions(&packet[..packet.len() - 1]).is_none(), "half a version");
        assert!(offered_versions(&packet[..packet.len() - 8]).is_none(), "no version");
        let mut other = packet.clone();
        other[4] = 1;
        assert!(offered_versions(&other).is_none(), "not version 0");
    }

    #[test]
    fn a_stateless_reset_looks_like_a_short_header_and_ends_in_its_token() {
        for random in [[0x00; 5], [0xff; 5]] {
            let packet = bytes_of(|writer| encode_stateless_reset(writer, &random, &[9; 16]));
            assert_eq!((packet.len(), packet[0] & 0xc0), (STATELESS_RESET_LEN_MIN, 0x40));
            assert_eq!(packet[1..5], random[1..]);
            assert_eq!(stateless_reset_token(&packet), Some(&[9; 16]));
        }
    }

    proptest! {
        #[test]
        fn a_long_header_comes_back(
            which in 0..3,
            token in prop::collection::vec(any::<u8>(), 0..100),
            dcid in prop::collection::vec(any::<u8>(), 0..=20),
            scid in prop::collection::vec(any::<u8>(), 0..=20),
            pn in any::<u32>(),
            pn_len in 1..=4usize,
            payload_len in 0..1500usize,
        ) {
            let kind = match which {
                0 => LongKind::Initial { token: &token },
                1 => LongKind::ZeroRtt,
                _ => LongKind::Handshake,
            };
            let packet = bytes_of(|writer| {
                let slot = encode_long(writer, kind, VERSION_1, &dcid, &scid, pn.into(), pn_len);
                assert_eq!(writer.len(), long_header_len(kind, &dcid, &scid, pn_len));
                writer.zeros(payload_len);
                patch_length(writer.written_mut(), slot, pn_len + payload_len);
            });
            let header = LongHeader::parse(&packet).unwrap();
            prop_assert_eq!(header.kind, kind);
            prop_assert_eq!((&*header.dcid, &*header.scid), (&dcid[..], &scid[..]));
            prop_assert_eq!(header.packet_len, packet.len());
            let sent = truncated_pn(&packet[header.pn_offset..header.pn_offset + pn_len]);
            prop_assert_eq!(sent, u64::from(pn) & ((1 << (pn_len * 8)) - 1));
        }

        #[test]
        fn a_short_header_comes_back(
            dcid in prop::collection::vec(any::<u8>(), 0..=20),
            (spin, key_phase) in any::<(bool, bool)>(),
            pn in any::<u32>(),
            pn_len in 1..=4usize,
        ) {
            let mut pn_offset = 0;
            let packet =
                bytes_of(|writer| pn_offset = encode_short(writer, &dcid, spin, key_phase, pn.into(), pn_len));
            prop_assert_eq!(packet.len(), short_header_len(&dcid, pn_len));
            prop_assert_eq!(ShortHeader::from_first_byte(packet[0]), ShortHeader { spin, key_phase, pn_len });
            prop_assert_eq!(invariant(&packet, dcid.len()).unwrap().dcid, &dcid[..]);
            let sent = truncated_pn(&packet[pn_offset..]);
            prop_assert_eq!(sent, u64::from(pn) & ((1 << (pn_len * 8)) - 1));
        }
    }
}
