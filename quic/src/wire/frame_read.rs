//! Reading frames: from the bytes of a packet to `Frame`s (RFC 9000 §12.4, §19).
//!
//! Owns what can be wrong with a frame's encoding. What may stand where, and whether it makes sense, is for others. Hot
//! path: borrows from the packet, allocates nothing.

use super::code_points::CodePoints;
use super::cursor::Reader;
use super::frame::{CUT_SHORT, Frame, STREAM_FIN, STREAM_LEN, STREAM_OFF, STREAMS_MAX, types};
use super::frame_ack::{Ack, AckFrequency};
use super::frame_path::{self, NewConnectionId};
use super::varint::{VARINT_MAX, varint_len};
use crate::error::TransportError;
use crate::id::{Direction, StreamId};

const UNKNOWN: TransportError = TransportError::frame_encoding("unknown frame type");

/// The frames of a packet's payload, each with its type on the wire. Ends after the first error.
///
/// A run of PADDING is one item. A payload without frames is an error (RFC 9000 §12.4).
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    reader: Reader<'a>,
    code_points: CodePoints,
    any: bool,
}

impl<'a> Frames<'a> {
    /// The frames in an opened packet's `payload`, with the final numbers of the multipath extension.
    #[cfg(test)]
    #[inline]
    pub(crate) const fn new(payload: &'a [u8]) -> Self {
        Self::with_code_points(payload, CodePoints::Final)
    }

    /// The frames in an opened packet's `payload`, in which the multipath extension has these numbers.
    #[inline]
    pub(crate) const fn with_code_points(payload: &'a [u8], code_points: CodePoints) -> Self {
        Self { reader: Reader::new(payload), code_points, any: false }
    }

    /// Bytes that were not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.reader.remaining()
    }

    /// Reads one frame; there is at least one byte.
    #[inline]
    fn read(&mut self) -> Result<(u64, Frame<'a>), TransportError> {
        let wire = self.read_type()?;
        let frame_type = self.code_points.frame_from_wire(wire);
        match frame_type.map_or(Err(UNKNOWN), |frame_type| decode(frame_type, &mut self.reader)) {
            Ok(frame) => Ok((wire, self.code_points.translated(frame))),
            Err(error) => Err(error.in_frame(wire)),
        }
    }

    /// Reads a frame type, which must be in its shortest encoding (RFC 9000 §12.4).
    #[inline]
    fn read_type(&mut self) -> Result<u64, TransportError> {
        let before = self.reader.remaining();
        let frame_type = self.reader.varint().ok_or(CUT_SHORT)?;
        if before - self.reader.remaining() != varint_len(frame_type) {
            let error = TransportError::protocol_violation("frame type is not in its shortest encoding");
            return Err(error.in_frame(frame_type));
        }
        Ok(frame_type)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(u64, Frame<'a>), TransportError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let first = !self.any;
        self.any = true;
        if self.reader.is_empty() {
            return first.then(|| Err(TransportError::protocol_violation("packet without frames")));
        }
        let item = self.read();
        if item.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(item)
    }
}

/// The fields of a frame of this type.
#[inline]
fn decode<'a>(frame_type: u64, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    match frame_type {
        types::STREAM..=types::STREAM_LAST => decode_stream(frame_type, reader),
        types::ACK | types::ACK_ECN | types::PATH_ACK | types::PATH_ACK_ECN => {
            Ack::decode(frame_type, reader).map(Frame::Ack)
        }
        types::PADDING => {
            let run = reader.rest().iter().take_while(|&&byte| byte == 0).count();
            reader.take(run).map(|_| Frame::Padding).ok_or(CUT_SHORT)
        }
        types::CRYPTO => decode_crypto(reader),
        types::NEW_TOKEN => match reader.prefixed() {
            Some([]) => Err(TransportError::frame_encoding("empty token")),
            Some(token) => Ok(Frame::NewToken { token }),
            None => Err(CUT_SHORT),
        },
        types::MAX_STREAMS_BIDI | types::MAX_STREAMS_UNI => {
            let max = stream_count(reader)?;
            Ok(Frame::MaxStreams { direction: direction_of(frame_type), max })
        }
        types::STREAMS_BLOCKED_BIDI | types::STREAMS_BLOCKED_UNI => {
            let limit = stream_count(reader)?;
            Ok(Frame::StreamsBlocked { direction: direction_of(frame_type), limit })
        }
        types::NEW_CONNECTION_ID | types::PATH_NEW_CONNECTION_ID => {
            NewConnectionId::decode(frame_type, reader).map(Frame::NewConnectionId)
        }
        types::CONNECTION_CLOSE..=types::APPLICATION_CLOSE => {
            decode_close(frame_type, reader).ok_or(CUT_SHORT)
        }
        types::PATH_ABANDON..=types::PATH_CIDS_BLOCKED => {
            frame_path::decode(frame_type, reader).ok_or(CUT_SHORT)
        }
        types::ACK_FREQUENCY => AckFrequency::decode(reader).map(Frame::AckFrequency).ok_or(CUT_SHORT),
        types::PING..=types::IMMEDIATE_ACK => decode_simple(frame_type, reader).ok_or(CUT_SHORT),
        types::DATAGRAM => {
            let data = reader.take(reader.remaining()).ok_or(CUT_SHORT)?;
            Ok(Frame::Datagram { sized: false, data })
        }
        types::DATAGRAM_LEN => {
            let data = reader.prefixed().ok_or(CUT_SHORT)?;
            Ok(Frame::Datagram { sized: true, data })
        }
        _ => Err(UNKNOWN),
    }
}

/// The types up to `IMMEDIATE_ACK` that have fixed fields and no rule of their own; `None` if cut short.
#[inline]
fn decode_simple<'a>(frame_type: u64, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    Some(match frame_type {
        types::RESET_STREAM => Frame::ResetStream {
            id: stream_id(reader)?,
            code: reader.varint()?,
            final_size: reader.varint()?,
        },
        types::STOP_SENDING => Frame::StopSending { id: stream_id(reader)?, code: reader.varint()? },
        types::MAX_DATA => Frame::MaxData(reader.varint()?),
        types::MAX_STREAM_DATA => Frame::MaxStreamData { id: stream_id(reader)?, max: reader.varint()? },
        types::DATA_BLOCKED => Frame::DataBlocked(reader.varint()?),
        types::STREAM_DATA_BLOCKED => {
            Frame::StreamDataBlocked { id: stream_id(reader)?, limit: reader.varint()? }
        }
        types::RETIRE_CONNECTION_ID => {
            Frame::RetireConnectionId { path: 0, plain: true, sequence: reader.varint()? }
        }
        types::PATH_CHALLENGE => Frame::PathChallenge(reader.array()?),
        types::PATH_RESPONSE => Frame::PathResponse(reader.array()?),
        types::HANDSHAKE_DONE => Frame::HandshakeDone,
        types::IMMEDIATE_ACK => Frame::ImmediateAck,
        _ => {
            debug_assert!(frame_type == types::PING);
            Frame::Ping
        }
    })
}

#[inline]
fn decode_stream<'a>(frame_type: u64, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    let id = stream_id(reader).ok_or(CUT_SHORT)?;
    let offset = if frame_type & STREAM_OFF == 0 { 0 } else { reader.varint().ok_or(CUT_SHORT)? };
    let data = if frame_type & STREAM_LEN == 0 { reader.take(reader.remaining()) } else { reader.prefixed() };
    let data = data.ok_or(CUT_SHORT)?;
    check_end(offset, data)?;
    Ok(Frame::Stream { id, offset, fin: frame_type & STREAM_FIN != 0, data })
}

#[inline]
fn decode_crypto<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    let offset = reader.varint().ok_or(CUT_SHORT)?;
    let data = reader.prefixed().ok_or(CUT_SHORT)?;
    check_end(offset, data)?;
    Ok(Frame::Crypto { offset, data })
}

/// No byte of a stream is numbered above 2^62-1 (RFC 9000 §19.6, §19.8).
#[inline]
const fn check_end(offset: u64, data: &[u8]) -> Result<(), TransportError> {
    if offset + data.len() as u64 > VARINT_MAX {
        return Err(TransportError::frame_encoding("data beyond offset 2^62-1"));
    }
    Ok(())
}

fn decode_close<'a>(frame_type: u64, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    let application = frame_type == types::APPLICATION_CLOSE;
    let code = reader.varint()?;
    let blamed = if application { 0 } else { reader.varint()? };
    Some(Frame::ConnectionClose { application, code, frame_type: blamed, reason: reader.prefixed()? })
}

#[inline]
fn stream_id(reader: &mut Reader<'_>) -> Option<StreamId> {
    reader.varint().map(StreamId::from_wire)
}

fn stream_count(reader: &mut Reader<'_>) -> Result<u64, TransportError> {
    match reader.varint() {
        Some(count) if count <= STREAMS_MAX => Ok(count),
        Some(_) => Err(TransportError::frame_encoding("more than 2^60 streams")),
        None => Err(CUT_SHORT),
    }
}

const fn direction_of(frame_type: u64) -> Direction {
    if frame_type & 1 == 0 { Direction::Bidirectional } else { Direction::Unidirectional }
}
