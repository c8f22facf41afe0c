//! Frames: their types, their fields, and where they may stand (RFC 9000 §12.4, §19).
//!
//! Owns what can be judged from one frame alone: its encoding, its limits by format, the packets it may be in. Knows
//! no state, so whether a stream exists or a path ID is allowed is for the frame's owner. `frame_ack` and
//! `frame_path` hold the frames with a format of some length, `frame_read` the way from bytes. Hot path: borrows from
//! the packet, allocates nothing.

use super::cursor::{Count, Sink, Writer};
use super::frame_ack::{Ack, AckFrequency};
use super::frame_path;
use super::packet::PacketKind;
use super::varint::varint_len;
use crate::error::TransportError;
use crate::id::{Direction, StreamId};

pub(crate) use super::frame_path::NewConnectionId;
pub(crate) use super::frame_read::Frames;

/// The numbers of the frame types: RFC 9000 §12.4, RFC 9221 §4, draft-ietf-quic-multipath-21 §4 from `PATH_ACK` on, and
/// draft-ietf-quic-ack-frequency.
pub(crate) mod types {
    pub(crate) const PADDING: u64 = 0x00;
    pub(crate) const PING: u64 = 0x01;
    pub(crate) const ACK: u64 = 0x02;
    pub(crate) const ACK_ECN: u64 = 0x03;
    pub(crate) const RESET_STREAM: u64 = 0x04;
    pub(crate) const STOP_SENDING: u64 = 0x05;
    pub(crate) const CRYPTO: u64 = 0x06;
    pub(crate) const NEW_TOKEN: u64 = 0x07;
    /// The first of eight; the low bits are `STREAM_FIN`, `STREAM_LEN` and `STREAM_OFF`.
    pub(crate) const STREAM: u64 = 0x08;
    pub(crate) const STREAM_LAST: u64 = 0x0f;
    pub(crate) const MAX_DATA: u64 = 0x10;
    pub(crate) const MAX_STREAM_DATA: u64 = 0x11;
    pub(crate) const MAX_STREAMS_BIDI: u64 = 0x12;
    pub(crate) const MAX_STREAMS_UNI: u64 = 0x13;
    pub(crate) const DATA_BLOCKED: u64 = 0x14;
    pub(crate) const STREAM_DATA_BLOCKED: u64 = 0x15;
    pub(crate) const STREAMS_BLOCKED_BIDI: u64 = 0x16;
    pub(crate) const STREAMS_BLOCKED_UNI: u64 = 0x17;
    pub(crate) const NEW_CONNECTION_ID: u64 = 0x18;
    pub(crate) const RETIRE_CONNECTION_ID: u64 = 0x19;
    pub(crate) const PATH_CHALLENGE: u64 = 0x1a;
    pub(crate) const PATH_RESPONSE: u64 = 0x1b;
    pub(crate) const CONNECTION_CLOSE: u64 = 0x1c;
    pub(crate) const APPLICATION_CLOSE: u64 = 0x1d;
    pub(crate) const HANDSHAKE_DONE: u64 = 0x1e;
    pub(crate) const IMMEDIATE_ACK: u64 = 0x1f;
    /// Reaches to the end of the packet (RFC 9221 §4).
    pub(crate) const DATAGRAM: u64 = 0x30;
    pub(crate) const DATAGRAM_LEN: u64 = 0x31;
    pub(crate) const PATH_ACK: u64 = 0x3e;
    pub(crate) const PATH_ACK_ECN: u64 = 0x3f;
    pub(crate) const ACK_FREQUENCY: u64 = 0xaf;
    pub(crate) const PATH_ABANDON: u64 = 0x3e75;
    pub(crate) const PATH_STATUS_BACKUP: u64 = 0x3e76;
    pub(crate) const PATH_STATUS_AVAILABLE: u64 = 0x3e77;
    pub(crate) const PATH_NEW_CONNECTION_ID: u64 = 0x3e78;
    pub(crate) const PATH_RETIRE_CONNECTION_ID: u64 = 0x3e79;
    pub(crate) const MAX_PATH_ID: u64 = 0x3e7a;
    pub(crate) const PATHS_BLOCKED: u64 = 0x3e7b;
    pub(crate) const PATH_CIDS_BLOCKED: u64 = 0x3e7c;
}

pub(super) const STREAM_FIN: u64 = 0x01;
pub(super) const STREAM_LEN: u64 = 0x02;
pub(super) const STREAM_OFF: u64 = 0x04;

/// More streams than this cannot be numbered (RFC 9000 §4.6).
pub(crate) const STREAMS_MAX: u64 = 1 << 60;

/// A frame ends before its last field.
pub(super) const CUT_SHORT: TransportError = TransportError::frame_encoding("frame is cut short");

/// One frame. Path IDs are what the peer wrote: possibly above every limit, even above 32 bits (MP-204).
///
/// `plain` marks a frame of RFC 9000 that has a multipath form, and then means path 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Padding,
    Ping,
    Ack(Ack<'a>),
    ResetStream {
        id: StreamId,
        code: u64,
        final_size: u64,
    },
    StopSending {
        id: StreamId,
        code: u64,
    },
    Crypto {
        offset: u64,
        data: &'a [u8],
    },
    NewToken {
        token: &'a [u8],
    },
    Stream {
        id: StreamId,
        offset: u64,
        fin: bool,
        data: &'a [u8],
    },
    MaxData(u64),
    MaxStreamData {
        id: StreamId,
        max: u64,
    },
    MaxStreams {
        direction: Direction,
        max: u64,
    },
    DataBlocked(u64),
    StreamDataBlocked {
        id: StreamId,
        limit: u64,
    },
    StreamsBlocked {
        direction: Direction,
        limit: u64,
    },
    NewConnectionId(NewConnectionId),
    RetireConnectionId {
        path: u64,
        plain: bool,
        sequence: u64,
    },
    PathChallenge([u8; 8]),
    PathResponse([u8; 8]),
    ConnectionClose {
        application: bool,
        code: u64,
        frame_type: u64,
        reason: &'a [u8],
    },
    HandshakeDone,
    AckFrequency(AckFrequency),
    ImmediateAck,
    /// `sized`: it says how long it is; otherwise it ends with the packet.
    Datagram {
        sized: bool,
        data: &'a [u8],
    },
    PathAbandon {
        path: u64,
        code: u64,
    },
    PathStatus {
        path: u64,
        sequence: u64,
        backup: bool,
    },
    MaxPathId(u64),
    PathsBlocked(u64),
    PathCidsBlocked {
        path: u64,
        next_sequence: u64,
    },
}

impl Frame<'_> {
    /// Must the packet be acknowledged soon because of this frame? (RFC 9002 §2; MP-205)
    #[inline]
    pub(crate) const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Padding | Self::Ack(_) | Self::ConnectionClose { .. })
    }

    /// Does it only probe a route (RFC 9000 §9.1)? `PATH_NEW_CONNECTION_ID` counts as `NEW_CONNECTION_ID` does (MP-121).
    #[inline]
    pub(crate) const fn is_probing(&self) -> bool {
        matches!(
            self,
            Self::Padding | Self::PathChallenge(_) | Self::PathResponse(_) | Self::NewConnectionId(_)
        )
    }

    /// May this frame be in a packet of this kind? (RFC 9000 §12.4, §12.5; MP-003) If not: `PROTOCOL_VIOLATION`.
    #[inline]
    pub(crate) const fn allowed_in(&self, packet: PacketKind) -> bool {
        match packet {
            PacketKind::OneRtt => true,
            PacketKind::ZeroRtt => match self {
                Self::Ack(_)
                | Self::Crypto { .. }
                | Self::NewToken { .. }
                | Self::RetireConnectionId { .. }
                | Self::PathResponse(_)
                | Self::HandshakeDone
                | Self::AckFrequency(_)
                | Self::ImmediateAck
                | Self::PathAbandon { .. }
                | Self::PathStatus { .. }
                | Self::MaxPathId(_)
                | Self::PathsBlocked(_)
                | Self::PathCidsBlocked { .. } => false,
                Self::NewConnectionId(frame) => frame.plain,
                _ => true,
            },
            PacketKind::Initial | PacketKind::Handshake => match self {
                Self::Padding | Self::Ping | Self::Crypto { .. } => true,
                Self::Ack(ack) => ack.plain,
                Self::ConnectionClose { application, .. } => !*application,
                _ => false,
            },
        }
    }

    /// Does the multipath extension define this frame? To an endpoint that did not offer it, it is unknown (MP-018).
    #[inline]
    pub(crate) const fn is_multipath(&self) -> bool {
        match self {
            Self::Ack(ack) => !ack.plain,
            Self::NewConnectionId(frame) => !frame.plain,
            Self::RetireConnectionId { plain, .. } => !*plain,
            Self::PathAbandon { .. }
            | Self::PathStatus { .. }
            | Self::MaxPathId(_)
            | Self::PathsBlocked(_)
            | Self::PathCidsBlocked { .. } => true,
            _ => false,
        }
    }

    /// Does the extension for the frequency of acknowledgements define this frame? To an endpoint that did not offer it, it
    /// is unknown.
    #[inline]
    pub(crate) const fn is_ack_frequency(&self) -> bool {
        matches!(self, Self::AckFrequency(_) | Self::ImmediateAck)
    }

    /// Is there room for the frame?
    pub(crate) fn fits(&self, writer: &Writer<'_>) -> bool {
        let mut count = Count::with_code_points(writer.code_points());
        self.put(&mut count);
        count.bytes() <= writer.remaining()
    }

    /// Writes the frame; the caller knows that it fits.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        self.put(writer);
    }

    /// How many bytes `write` writes, with the final numbers of the multipath extension.
    pub(crate) fn len(&self) -> usize {
        let mut count = Count::default();
        self.put(&mut count);
        count.bytes()
    }

    fn put(&self, to: &mut impl Sink) {
        match *self {
            Self::Padding => numbers(to, &[types::PADDING]),
            Self::Ping => numbers(to, &[types::PING]),
            Self::Ack(ref ack) => ack.put(to),
            Self::ResetStream { id, code, final_size } => {
                numbers(to, &[types::RESET_STREAM, id.as_u64(), code, final_size]);
            }
            Self::StopSending { id, code } => numbers(to, &[types::STOP_SENDING, id.as_u64(), code]),
            Self::Crypto { offset, data } => {
                put_crypto_header(to, offset, data.len());
                to.slice(data);
            }
            Self::NewToken { token } => {
                numbers(to, &[types::NEW_TOKEN, token.len() as u64]);
                to.slice(token);
            }
            Self::Stream { id, offset, fin, data } => {
                put_stream_header(to, id, offset, Some(data.len()), fin);
                to.slice(data);
            }
            Self::MaxData(max) => numbers(to, &[types::MAX_DATA, max]),
            Self::MaxStreamData { id, max } => numbers(to, &[types::MAX_STREAM_DATA, id.as_u64(), max]),
            Self::MaxStreams { direction, max } => {
                numbers(to, &[by_direction(types::MAX_STREAMS_BIDI, direction), max]);
            }
            Self::DataBlocked(limit) => numbers(to, &[types::DATA_BLOCKED, limit]),
            Self::StreamDataBlocked { id, limit } => {
                numbers(to, &[types::STREAM_DATA_BLOCKED, id.as_u64(), limit]);
            }
            Self::StreamsBlocked { direction, limit } => {
                numbers(to, &[by_direction(types::STREAMS_BLOCKED_BIDI, direction), limit]);
            }
            Self::PathChallenge(data) => {
                numbers(to, &[types::PATH_CHALLENGE]);
                to.slice(&data);
            }
            Self::PathResponse(data) => {
                numbers(to, &[types::PATH_RESPONSE]);
                to.slice(&data);
            }
            Self::ConnectionClose { application, code, frame_type, reason } => {
                if application {
                    numbers(to, &[types::APPLICATION_CLOSE, code]);
                } else {
                    numbers(to, &[types::CONNECTION_CLOSE, code, frame_type]);
                }
                to.varint(reason.len() as u64);
                to.slice(reason);
            }
            Self::HandshakeDone => numbers(to, &[types::HANDSHAKE_DONE]),
            Self::AckFrequency(ref frame) => frame.put(to),
            Self::ImmediateAck => numbers(to, &[types::IMMEDIATE_ACK]),
            Self::Datagram { sized: true, data } => {
                numbers(to, &[types::DATAGRAM_LEN, data.len() as u64]);
                to.slice(data);
            }
            Self::Datagram { sized: false, data } => {
                numbers(to, &[types::DATAGRAM]);
                to.slice(data);
            }
            _ => frame_path::put(self, to),
        }
    }
}

/// Puts the type of a frame of the multipath extension, and variable-length integers behind it.
#[inline]
pub(super) fn typed(to: &mut impl Sink, frame_type: u64, values: &[u64]) {
    to.varint(to.code_points().frame_to_wire(frame_type));
    numbers(to, values);
}

/// Puts variable-length integers one after another.
#[inline]
pub(super) fn numbers(to: &mut impl Sink, values: &[u64]) {
    for &value in values {
        to.varint(value);
    }
}

const fn by_direction(bidirectional: u64, direction: Direction) -> u64 {
    bidirectional + matches!(direction, Direction::Unidirectional) as u64
}

/// Writes all of a STREAM frame but its data, of which `len` bytes follow; `None`: all the rest of the packet.
#[inline]
pub(crate) fn stream_header(
    writer: &mut Writer<'_>,
    id: StreamId,
    offset: u64,
    len: Option<usize>,
    fin: bool,
) {
    put_stream_header(writer, id, offset, len, fin);
}

/// How many bytes `stream_header` writes.
#[inline]
pub(crate) const fn stream_header_len(id: StreamId, offset: u64, len: Option<usize>) -> usize {
    let offset_len = if offset == 0 { 0 } else { varint_len(offset) };
    let len_len = match len {
        Some(len) => varint_len(len as u64),
        None => 0,
    };
    1 + varint_len(id.as_u64()) + offset_len + len_len
}

#[inline]
fn put_stream_header(to: &mut impl Sink, id: StreamId, offset: u64, len: Option<usize>, fin: bool) {
    let off_bit = if offset == 0 { 0 } else { STREAM_OFF };
    let len_bit = if len.is_none() { 0 } else { STREAM_LEN };
    to.varint(types::STREAM | off_bit | len_bit | u64::from(fin));
    to.varint(id.as_u64());
    if offset != 0 {
        to.varint(offset);
    }
    if let Some(len) = len {
        to.varint(len as u64);
    }
}

/// Writes all of a CRYPTO frame but its data, of which `len` bytes follow.
#[inline]
pub(crate) fn crypto_header(writer: &mut Writer<'_>, offset: u64, len: usize) {
    put_crypto_header(writer, offset, len);
}

/// How many bytes `crypto_header` writes.
#[inline]
pub(crate) const fn crypto_header_len(offset: u64, len: usize) -> usize {
    1 + varint_len(offset) + varint_len(len as u64)
}

#[inline]
fn put_crypto_header(to: &mut impl Sink, offset: u64, len: usize) {
    numbers(to, &[types::CRYPTO, offset, len as u64]);
}
