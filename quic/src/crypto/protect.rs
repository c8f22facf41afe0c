//! Packet protection in place, on one contiguous packet: AEAD and header protection (RFC 9001 §5.3, §5.4).
//!
//! Owns the keys of Initial and Handshake packets, and the steps that the `KeyRing` shares. Every packet that fails to
//! open is the caller's to discard and is counted here. Never expands packet numbers and never reads frames.

use std::fmt;
use std::ops::Range;

use super::nonce::Ppn;
use super::provider::{DirectionKeys, HeaderKey, PacketKey};
use super::{SAMPLE_LEN, SAMPLE_OFFSET, TAG_LEN};
use crate::error::{TransportError, TransportErrorCode};
use crate::id::PathId;
use crate::wire::packet;

/// Why a packet was not sealed. It must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealError {
    /// The key has sealed as many packets as it may: update keys, or close with `AEAD_LIMIT_REACHED`.
    LimitReached,
    /// Our mistake: no room for a sample, a packet number that does not rise, a path that the cipher does not know.
    Refused,
}

impl SealError {
    /// The error that closes the connection, which is no fault of the peer.
    pub(crate) const fn blame(self) -> TransportError {
        match self {
            Self::LimitReached => LIMIT_REACHED,
            Self::Refused => {
                TransportError::new(TransportErrorCode::INTERNAL_ERROR, "packet cannot be sealed")
            }
        }
    }
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// Not authentic: discard it and count it.
    Failed,
    /// Authentic, with a reserved bit set.
    ReservedBits,
    /// Authentic, with keys that may not be used, or no longer.
    KeyUpdate,
    /// Too many packets of this connection were not authentic.
    LimitReached,
}

impl OpenError {
    /// The error that closes the connection; `None` when only the packet is to be discarded.
    pub(crate) const fn blame(self) -> Option<TransportError> {
        match self {
            Self::Failed => None,
            Self::ReservedBits => Some(TransportError::protocol_violation("reserved header bits are set")),
            Self::KeyUpdate => Some(KEY_UPDATE),
            Self::LimitReached => Some(LIMIT_REACHED),
        }
    }
}

const LIMIT_REACHED: TransportError =
    TransportError::new(TransportErrorCode::AEAD_LIMIT_REACHED, "key used up");
pub(super) const KEY_UPDATE: TransportError =
    TransportError::new(TransportErrorCode::KEY_UPDATE_ERROR, "keys not in order");

/// What header protection hid. The packet's own bytes are in clear now, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unmasked {
    /// The first byte.
    pub(crate) first: u8,
    /// The packet number as far as it was sent.
    pub(crate) truncated_pn: u64,
    /// How many bytes it had, 1 to 4.
    pub(crate) pn_len: usize,
}

/// The keys of Initial or of Handshake packets.
pub(crate) struct LevelKeys {
    local: DirectionKeys,
    remote: DirectionKeys,
    sealed: u64,
    failures: u64,
}

impl LevelKeys {
    pub(super) const fn new(local: DirectionKeys, remote: DirectionKeys) -> Self {
        Self { local, remote, sealed: 0, failures: 0 }
    }

    /// Seals packet number `pn`, written at `pn_offset` in `pn_len` bytes. The last 16 bytes of `packet` are room for
    /// the tag.
    pub(crate) fn seal(
        &mut self,
        pn: u64,
        packet: &mut [u8],
        pn_offset: usize,
        pn_len: usize,
    ) -> Result<(), SealError> {
        if self.sealed >= self.local.packet.confidentiality_limit() {
            return Err(SealError::LimitReached);
        }
        self.sealed += 1;
        let ppn = Ppn::new(PathId::ZERO, pn);
        seal(&self.local.packet, &self.local.header, ppn, packet, pn_offset, pn_len)
    }

    /// Removes header protection from `packet`, which ends where this packet ends; `None` when it is too short.
    pub(crate) fn unmask(&self, packet: &mut [u8], pn_offset: usize) -> Option<Unmasked> {
        unmask(&self.remote.header, packet, pn_offset)
    }

    /// Opens an unmasked packet and returns where its frames are.
    pub(crate) fn open(
        &mut self,
        pn: u64,
        packet: &mut [u8],
        payload_offset: usize,
    ) -> Result<Range<usize>, OpenError> {
        if self.failures > self.remote.packet.integrity_limit() {
            return Err(OpenError::LimitReached);
        }
        let opened = open(&self.remote.packet, Ppn::new(PathId::ZERO, pn), packet, payload_offset);
        self.failures += u64::from(opened == Err(OpenError::Failed));
        opened
    }

    /// How many packets failed to open: they count for the whole connection (`KeyRing::add_failures`).
    pub(crate) const fn failures(&self) -> u64 {
        self.failures
    }
}

impl fmt::Debug for LevelKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LevelKeys").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

/// Encrypts the payload, puts its tag behind it, then hides the header.
#[inline]
pub(super) fn seal(
    key: &PacketKey,
    header_key: &HeaderKey,
    ppn: Ppn,
    packet: &mut [u8],
    pn_offset: usize,
    pn_len: usize,
) -> Result<(), SealError> {
    let header_len = pn_offset + pn_len;
    let sample_at = pn_offset + SAMPLE_OFFSET;
    let fits = pn_offset > 0 && (1..=4).contains(&pn_len) && packet.len() >= sample_at + SAMPLE_LEN;
    debug_assert!(fits, "a packet needs a header and four bytes of number and payload");
    if !fits {
        return Err(SealError::Refused);
    }
    debug_assert_eq!(usize::from(packet[0] & 3) + 1, pn_len, "the first byte tells the length of the number");
    let (header, body) = packet.split_at_mut(header_len);
    let (payload, tag_room) = body.split_at_mut(body.len() - TAG_LEN);
    let tag = key.seal(ppn, header, payload).ok_or(SealError::Refused)?;
    tag_room.copy_from_slice(&tag);

    let (front, rest) = packet.split_at_mut(sample_at);
    let (first, front) = front.split_at_mut(1);
    let number = &mut front[pn_offset - 1..header_len - 1];
    header_key.mask(&rest[..SAMPLE_LEN], &mut first[0], number).ok_or(SealError::Refused)
}

/// Reveals the header; `None` when `bytes` is too short for a sample.
#[inline]
pub(super) fn unmask(header_key: &HeaderKey, bytes: &mut [u8], pn_offset: usize) -> Option<Unmasked> {
    let (front, rest) = bytes.split_at_mut_checked(pn_offset.checked_add(SAMPLE_OFFSET)?)?;
    let sample = rest.get(..SAMPLE_LEN)?;
    let (first, front) = front.split_first_mut()?;
    let number = front.get_mut(pn_offset.checked_sub(1)?..)?;
    header_key.unmask(sample, first, number)?;
    let pn_len = packet::pn_len(*first);
    Some(Unmasked { first: *first, truncated_pn: packet::truncated_pn(&number[..pn_len]), pn_len })
}

/// Decrypts the payload and checks what may be judged only now: the reserved bits.
#[inline]
pub(super) fn open(
    key: &PacketKey,
    ppn: Ppn,
    bytes: &mut [u8],
    payload_offset: usize,
) -> Result<Range<usize>, OpenError> {
    let (header, payload) = bytes.split_at_mut_checked(payload_offset).ok_or(OpenError::Failed)?;
    let len = key.open(ppn, header, payload).ok_or(OpenError::Failed)?;
    let first = header.first().copied().unwrap_or_default();
    if packet::has_reserved_bits(first) {
        return Err(OpenError::ReservedBits);
    }
    Ok(payload_offset..payload_offset + len)
}
