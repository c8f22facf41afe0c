//! Packet headers, read (RFC 8999; RFC 9000 §17).
//!
//! Owns what stands before the packet number. What is still masked (the low bits of the first byte, the packet
//! number) is left alone until `crypto` unmasked it. Judges no version, no token, no connection ID.

use super::cid_bytes::Cid;
use super::cursor::Reader;
use super::packet::{self, FIXED, KEY_PHASE, PacketKind, SPIN, VERSION_1};

/// The shortest stateless reset: what looks like a short header and a packet number, and the token (RFC 9000 §10.3).
pub(crate) const STATELESS_RESET_LEN_MIN: usize = 21;

/// What every version of QUIC keeps (RFC 8999 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invariant<'a> {
    pub(crate) long: bool,
    /// 0 in a Version Negotiation packet and in a short header.
    pub(crate) version: u32,
    /// Up to 255 bytes in a long header.
    pub(crate) dcid: &'a [u8],
    /// Up to 255 bytes in a long header; empty in a short one.
    pub(crate) scid: &'a [u8],
}

/// The invariant part of the first packet in `datagram`, if it is all there. A short header does not tell how long its
/// connection ID is: `short_cid_len` does.
#[inline]
pub(crate) fn invariant(datagram: &[u8], short_cid_len: usize) -> Option<Invariant<'_>> {
    let mut reader = Reader::new(datagram);
    let long = packet::is_long(reader.u8()?);
    if !long {
        return Some(Invariant { long, version: 0, dcid: reader.take(short_cid_len)?, scid: &[] });
    }
    let version = reader.u32()?;
    let dcid = cid_field(&mut reader)?;
    let scid = cid_field(&mut reader)?;
    Some(Invariant { long, version, dcid, scid })
}

/// The versions in a Version Negotiation packet, in the server's order; `None` if it is none, or lists nothing or half
/// a version (RFC 9000 §17.2.1).
pub(crate) fn offered_versions(datagram: &[u8]) -> Option<impl Iterator<Item = u32>> {
    let mut reader = Reader::new(datagram);
    let long = packet::is_long(reader.u8()?);
    let version = reader.u32()?;
    cid_field(&mut reader)?;
    cid_field(&mut reader)?;
    let (list, half) = reader.rest().as_chunks::<4>();
    let sound = long && version == 0 && !list.is_empty() && half.is_empty();
    sound.then(|| list.iter().map(|&bytes| u32::from_be_bytes(bytes)))
}

/// The token that `datagram` carries if it is a stateless reset, which only a comparison can tell (RFC 9000 §10.3.1).
#[inline]
pub(crate) fn stateless_reset_token(datagram: &[u8]) -> Option<&[u8; 16]> {
    let plausible = datagram.len() >= STATELESS_RESET_LEN_MIN && !packet::is_long(datagram[0]);
    datagram.last_chunk().filter(|_| plausible)
}

/// A connection ID behind its length in one byte.
#[inline]
fn cid_field<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = reader.u8()?;
    reader.take(len.into())
}

/// The kinds of packets with a long header, with what only they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LongKind<'a> {
    Initial {
        /// Empty if there is none.
        token: &'a [u8],
    },
    ZeroRtt,
    Handshake,
    /// Takes the whole datagram and has no packet number.
    Retry,
}

impl LongKind<'_> {
    /// The kind of the frames inside; a Retry packet has none.
    #[inline]
    pub(crate) const fn packet_kind(self) -> Option<PacketKind> {
        match self {
            Self::Initial { .. } => Some(PacketKind::Initial),
            Self::ZeroRtt => Some(PacketKind::ZeroRtt),
            Self::Handshake => Some(PacketKind::Handshake),
            Self::Retry => None,
        }
    }
}

/// Why a packet with a long header is no packet of version 1. It is discarded, and so is the rest of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// The datagram ends before the header, or before the packet that it announces.
    CutShort,
    /// The header is a short one.
    Short,
    /// The version is another one, or 0.
    Version,
    /// The fixed bit is not set.
    FixedBit,
    /// A connection ID has more than 20 bytes.
    CidTooLong,
}

/// The long header of a packet of version 1 (RFC 9000 §17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongHeader<'a> {
    pub(crate) kind: LongKind<'a>,
    pub(crate) dcid: Cid,
    pub(crate) scid: Cid,
    /// Where the packet number starts, counted from the packet's first byte; for Retry, where its token does.
    pub(crate) pn_offset: usize,
    /// Header, payload and tag of this packet; what follows in the datagram is the next packet.
    pub(crate) packet_len: usize,
}

impl<'a> LongHeader<'a> {
    /// Reads the header of the first packet in `datagram`.
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(datagram);
        let first = reader.u8().ok_or(HeaderError::CutShort)?;
        if !packet::is_long(first) {
            return Err(HeaderError::Short);
        }
        if reader.u32().ok_or(HeaderError::CutShort)? != VERSION_1 {
            return Err(HeaderError::Version);
        }
        if !packet::has_fixed_bit(first) {
            return Err(HeaderError::FixedBit);
        }
        let mut cid = || {
            let bytes = cid_field(&mut reader).ok_or(HeaderError::CutShort)?;
            Cid::new(bytes).ok_or(HeaderError::CidTooLong)
        };
        let (dcid, scid) = (cid()?, cid()?);
        let kind = match first >> 4 & 0x03 {
            0 => LongKind::Initial { token: reader.prefixed().ok_or(HeaderError::CutShort)? },
            1 => LongKind::ZeroRtt,
            2 => LongKind::Handshake,
            _ => {
                let (pn_offset, packet_len) = (reader.position(), datagram.len());
                return Ok(Self { kind: LongKind::Retry, dcid, scid, pn_offset, packet_len });
            }
        };
        let len = reader.varint().ok_or(HeaderError::CutShort)?;
        if len > reader.remaining() as u64 {
            return Err(HeaderError::CutShort);
        }
        let pn_offset = reader.position();
        Ok(Self { kind, dcid, scid, pn_offset, packet_len: pn_offset + len as usize })
    }
}

/// What the first byte of a short header says, once unmasked (RFC 9000 §17.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShortHeader {
    pub(crate) spin: bool,
    pub(crate) key_phase: bool,
    pub(crate) pn_len: usize,
}

impl ShortHeader {
    /// Reads the unmasked first byte; says nothing about the reserved bits.
    #[cfg(test)]
    #[inline]
    pub(crate) const fn from_first_byte(first: u8) -> Self {
        let pn_len = packet::pn_len(first);
        Self { spin: first & SPIN != 0, key_phase: first & KEY_PHASE != 0, pn_len }
    }

    /// The first byte before it is masked.
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        debug_assert!(self.pn_len >= 1 && self.pn_len <= 4);
        let spin = if self.spin { SPIN } else { 0 };
        let key_phase = if self.key_phase { KEY_PHASE } else { 0 };
        FIXED | spin | key_phase | (self.pn_len - 1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client Initial of RFC 9001 A.2, up to its packet number 2 in 4 bytes.
    const CLIENT_INITIAL: [u8; 22] =
        [0xc3, 0, 0, 0, 1, 8, 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08, 0, 0, 0x44, 0x9e, 0, 0, 0, 2];

    #[test]
    fn the_client_initial_of_rfc_9001_appendix_a_2_parses() {
        let mut datagram = CLIENT_INITIAL.to_vec();
        datagram.resize(1200, 0);
        let header = LongHeader::parse(&datagram).unwrap();
        assert_eq!(header.kind, LongKind::Initial { token: &[] });
        assert_eq!(format!("{:?} {:?}", header.dcid, header.scid), "8394c8f03e515708 (empty)");
        assert_eq!((header.pn_offset, header.packet_len), (18, 1200));
        let invariant = invariant(&datagram, 12).unwrap();
        assert_eq!((invariant.long, invariant.version, invariant.scid), (true, 1, &[][..]));
        assert_eq!(invariant.dcid, &*header.dcid);
    }

    #[test]
    fn the_retry_of_rfc_9001_appendix_a_4_parses() {
        let mut datagram = vec![0xff, 0, 0, 0, 1, 0, 8, 0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5];
        datagram.extend(*b"token");
        datagram.extend([
            0x04, 0xa2, 0x65, 0xba, 0x2e, 0xff, 0x4d, 0x82, 0x90, 0x58, 0xfb, 0x3f, 0x0f, 0x24, 0x96, 0xba,
        ]);
        let header = LongHeader::parse(&datagram).unwrap();
        assert_eq!((header.kind, header.kind.packet_kind()), (LongKind::Retry, None));
        assert_eq!((header.pn_offset, header.packet_len), (15, datagram.len()));
    }

    #[test]
    fn a_second_packet_in_the_datagram_is_left_for_the_next_call() {
        let datagram = [0xe0, 0, 0, 0, 1, 0, 0, 3, 7, 7, 7, 0x40, 9, 9];
        let header = LongHeader::parse(&datagram).unwrap();
        assert_eq!((header.kind, header.pn_offset, header.packet_len), (LongKind::Handshake, 8, 11));
    }

    #[test]
    fn what_is_no_packet_of_version_1_is_named() {
        let parse = |bytes: &[u8]| LongHeader::parse(bytes).unwrap_err();
        assert_eq!(parse(&[]), HeaderError::CutShort);
        assert_eq!(parse(&[0x40, 0, 0, 0, 1, 0, 0]), HeaderError::Short);
        assert_eq!(parse(&[0xc0, 0, 0, 0, 2, 0, 0]), HeaderError::Version);
        assert_eq!(parse(&[0xc0, 0, 0, 0, 0, 0, 0]), HeaderError::Version);
        assert_eq!(parse(&[0xa0, 0, 0, 0, 1, 0, 0, 0]), HeaderError::FixedBit);
        assert_eq!(parse(&[0xe0, 0, 0, 0, 1, 0, 0, 4, 7, 7, 7]), HeaderError::CutShort);
        assert_eq!(parse(&[0xc0, 0, 0, 0, 1, 0, 0, 0xff, 7, 7, 7]), HeaderError::CutShort, "token");
        let mut long_cid = vec![0xe0, 0, 0, 0, 1, 21];
        long_cid.resize(40, 0);
        assert_eq!(parse(&long_cid), HeaderError::CidTooLong);
        for len in 0..CLIENT_INITIAL.len() {
            assert_eq!(parse(&CLIENT_INITIAL[..len]), HeaderError::CutShort);
        }
    }

    #[test]
    fn other_versions_may_have_connection_ids_of_255_bytes() {
        let mut datagram = vec![0x80, 0xba, 0xba, 0xba, 0xba, 255];
        datagram.extend([1; 255]);
        datagram.push(255);
        datagram.extend([2; 255]);
        let invariant = invariant(&datagram, 12).unwrap();
        assert_eq!(
            (invariant.version, invariant.dcid.len(), invariant.scid),
            (0xbaba_baba, 255, &[2; 255][..])
        );
        assert_eq!(super::invariant(&datagram[..516], 12), None);
    }

    #[test]
    fn a_short_header_needs_its_whole_connection_id() {
        assert_eq!(invariant(&[0x40, 1, 2, 3], 3).unwrap().dcid, [1, 2, 3]);
        assert_eq!(invariant(&[0x40, 1, 2], 3), None);
        assert_eq!(invariant(&[0x40], 0).unwrap().dcid, b"");
    }

    #[test]
    fn a_reset_token_is_looked_for_only_where_it_can_be() {
        let mut datagram = [0; STATELESS_RESET_LEN_MIN];
        datagram[5..].fill(7);
        assert_eq!(stateless_reset_token(&datagram), Some(&[7; 16]));
        assert_eq!(stateless_reset_token(&datagram[..20]), None);
        datagram[0] = 0x80;
        assert_eq!(stateless_reset_token(&datagram), None);
        assert_eq!(stateless_reset_token(&[]), None);
    }

    #[test]
    fn the_first_byte_of_a_short_header_comes_back() {
        for bits in 0..16u8 {
            let pn_len = usize::from(bits >> 2) + 1;
            let header = ShortHeader { spin: bits & 1 != 0, key_phase: bits & 2 != 0, pn_len };
            let first = header.first_byte();
            assert_eq!(ShortHeader::from_first_byte(first), header);
            assert!(
                !packet::is_long(first) && packet::has_fixed_bit(first) && !packet::has_reserved_bits(first)
            );
        }
        assert_eq!(
            ShortHeader { spin: false, key_phase: false, pn_len: 3 }.first_byte(),
            0x42,
            "RFC 9001 A.5"
        );
    }
}
