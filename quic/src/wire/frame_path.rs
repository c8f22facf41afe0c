//! Frames of the multipath extension (draft-ietf-quic-multipath-21 §4.2-4.7), and both `NEW_CONNECTION_ID` forms.
//!
//! Owns their formats. Path IDs come out as the peer wrote them: the limit we announced (MP-201), forgotten paths
//! (MP-202) and the rules of each frame are for their owners, in this order (MP-207).

use super::cid_bytes::Cid;
use super::cursor::{Reader, Sink};
use super::frame::{CUT_SHORT, Frame, numbers, typed, types};
use crate::error::TransportError;

/// A `NEW_CONNECTION_ID` (RFC 9000 §19.15) or `PATH_NEW_CONNECTION_ID` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewConnectionId {
    /// The path the ID is for, as the peer wrote it; 0 in the plain form.
    pub(crate) path: u64,
    /// The form of RFC 9000.
    pub(crate) plain: bool,
    pub(crate) sequence: u64,
    pub(crate) retire_prior_to: u64,
    pub(crate) cid: Cid,
    pub(crate) reset_token: [u8; 16],
}

impl NewConnectionId {
    /// The fields after the type, with the rules of MP-073.
    pub(super) fn decode(frame_type: u64, reader: &mut Reader<'_>) -> Result<Self, TransportError> {
        let plain = frame_type == types::NEW_CONNECTION_ID;
        let mut next = || reader.varint().ok_or(CUT_SHORT);
        let path = if plain { 0 } else { next()? };
        let (sequence, retire_prior_to) = (next()?, next()?);
        if retire_prior_to > sequence {
            return Err(TransportError::frame_encoding("connection ID retires itself"));
        }
        let cid_len = reader.u8().ok_or(CUT_SHORT)?;
        let cid = match reader.take(cid_len.into()).map(Cid::new) {
            Some(Some(cid)) if !cid.is_empty() => cid,
            None if (1..=20).contains(&cid_len) => return Err(CUT_SHORT),
            _ => return Err(TransportError::frame_encoding("connection ID not of 1 to 20 bytes")),
        };
        let reset_token = reader.array().ok_or(CUT_SHORT)?;
        Ok(Self { path, plain, sequence, retire_prior_to, cid, reset_token })
    }

    fn put(&self, to: &mut impl Sink) {
        if self.plain {
            numbers(to, &[types::NEW_CONNECTION_ID]);
        } else {
            typed(to, types::PATH_NEW_CONNECTION_ID, &[self.path]);
        }
        numbers(to, &[self.sequence, self.retire_prior_to]);
        to.slice(&[self.cid.len() as u8]);
        to.slice(&self.cid);
        to.slice(&self.reset_token);
    }
}

/// The fields of the multipath frames that are a few numbers; `None` if cut short.
pub(super) fn decode<'a>(frame_type: u64, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    let first = reader.varint()?;
    Some(match frame_type {
        types::PATH_ABANDON => Frame::PathAbandon { path: first, code: reader.varint()? },
        types::PATH_STATUS_BACKUP | types::PATH_STATUS_AVAILABLE => {
            let backup = frame_type == types::PATH_STATUS_BACKUP;
            Frame::PathStatus { path: first, sequence: reader.varint()?, backup }
        }
        types::PATH_RETIRE_CONNECTION_ID => {
            Frame::RetireConnectionId { path: first, plain: false, sequence: reader.varint()? }
        }
        types::MAX_PATH_ID => Frame::MaxPathId(first),
        types::PATHS_BLOCKED => Frame::PathsBlocked(first),
        _ => {
            debug_assert!(frame_type == types::PATH_CIDS_BLOCKED);
            Frame::PathCidsBlocked { path: first, next_sequence: reader.varint()? }
        }
    })
}

/// Puts the frames about paths and connection IDs.
pub(super) fn put(frame: &Frame<'_>, to: &mut impl Sink) {
    match *frame {
        Frame::NewConnectionId(ref frame) => frame.put(to),
        Frame::RetireConnectionId { plain: true, sequence, .. } => {
            numbers(to, &[types::RETIRE_CONNECTION_ID, sequence]);
        }
        Frame::RetireConnectionId { path, sequence, .. } => {
            typed(to, types::PATH_RETIRE_CONNECTION_ID, &[path, sequence]);
        }
        Frame::PathAbandon { path, code } => {
            let code = to.code_points().error_to_wire(code);
            typed(to, types::PATH_ABANDON, &[path, code]);
        }
        Frame::PathStatus { path, sequence, backup: true } => {
            typed(to, types::PATH_STATUS_BACKUP, &[path, sequence]);
        }
        Frame::PathStatus { path, sequence, backup: false } => {
            typed(to, types::PATH_STATUS_AVAILABLE, &[path, sequence]);
        }
        Frame::MaxPathId(max) => typed(to, types::MAX_PATH_ID, &[max]),
        Frame::PathsBlocked(max) => typed(to, types::PATHS_BLOCKED, &[max]),
        Frame::PathCidsBlocked { path, next_sequence } => {
            typed(to, types::PATH_CIDS_BLOCKED, &[path, next_sequence]);
        }
        _ => debug_assert!(false, "{frame:?} is written by `frame`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cursor::Writer;
    use super::super::frame::Frames;
    use super::*;
    use crate::error::TransportErrorCode;

    fn decode(bytes: &[u8]) -> Result<Frame<'_>, TransportError> {
        let mut frames = Frames::new(bytes);
        let first = frames.next().unwrap().map(|(_, frame)| frame);
        assert_eq!(frames.next(), None);
        first
    }

    /// The bytes decode to the frame, and the frame is written as the bytes.
    fn both_ways(bytes: &[u8], frame: &Frame<'_>) {
        assert_eq!(decode(bytes).as_ref(), Ok(frame));
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer);
        frame.write(&mut writer);
        assert_eq!(writer.written(), bytes);
    }

    #[test]
    fn the_examples_of_the_multipath_frame_table_go_both_ways() {
        both_ways(&[0x7e, 0x75, 1, 0x3e], &Frame::PathAbandon { path: 1, code: 0x3e });
        both_ways(&[0x7e, 0x76, 2, 3], &Frame::PathStatus { path: 2, sequence: 3, backup: true });
        both_ways(&[0x7e, 0x77, 2, 4], &Frame::PathStatus { path: 2, sequence: 4, backup: false });
        both_ways(&[0x7e, 0x79, 1, 2], &Frame::RetireConnectionId { path: 1, plain: false, sequence: 2 });
        both_ways(&[0x7e, 0x7a, 7], &Frame::MaxPathId(7));
        both_ways(&[0x7e, 0x7b, 7], &Frame::PathsBlocked(7));
        both_ways(&[0x7e, 0x7c, 3, 5], &Frame::PathCidsBlocked { path: 3, next_sequence: 5 });
    }

    /// `PATH_NEW_CONNECTION_ID` of path 1, sequence 0, retire prior to 0, with an ID of `cid_len` bytes.
    fn new_connection_id(cid_len: u8) -> Vec<u8> {
        let mut bytes = vec![0x7e, 0x78, 1, 0, 0, cid_len];
        bytes.extend((1..=cid_len).chain([0xaa; 16]));
        bytes
    }

    #[test]
    fn a_connection_id_for_a_path_goes_both_ways() {
        let cid = Cid::new(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let mut frame = NewConnectionId {
            path: 1,
            plain: false,
            sequence: 0,
            retire_prior_to: 0,
            cid,
            reset_token: [0xaa; 16],
        };
        both_ways(&new_connection_id(8), &Frame::NewConnectionId(frame));
        frame = NewConnectionId { path: 0, plain: true, sequence: 4, retire_prior_to: 4, ..frame };
        let plain = [&[0x18, 4, 4, 8][..], &new_connection_id(8)[6..]].concat();
        both_ways(&plain, &Frame::NewConnectionId(frame));
    }

    /// MP-073
    #[test]
    fn connection_ids_have_1_to_20_bytes() {
        let malformed = |bytes: &[u8]| decode(bytes).unwrap_err();
        for len in [0, 21, 255] {
            let error = malformed(&new_connection_id(len));
            assert_eq!(error.code, TransportErrorCode::FRAME_ENCODING_ERROR);
            assert_eq!((error.frame_type, error.reason), (0x3e78, "connection ID not of 1 to 20 bytes"));
        }
        assert!(decode(&new_connection_id(1)).is_ok() && decode(&new_connection_id(20)).is_ok());
        assert_ne!(
            malformed(&[0x18, 0, 0, 21]),
            CUT_SHORT.in_frame(0x18),
            "too long matters more than cut short"
        );
    }

    /// MP-073
    #[test]
    fn a_connection_id_cannot_retire_itself() {
        let mut bytes = new_connection_id(8);
        bytes[3..5].copy_from_slice(&[3, 4]);
        assert_eq!(decode(&bytes).unwrap_err().code, TransportErrorCode::FRAME_ENCODING_ERROR);
        bytes[3..5].copy_from_slice(&[4, 4]);
        assert!(decode(&bytes).is_ok());
    }

    #[test]
    fn a_path_id_above_32_bits_is_kept_whole_for_its_owner_to_refuse() {
        let mut bytes = vec![0x7e, 0x75];
        bytes.extend(0xc000_0001_0000_0001_u64.to_be_bytes());
        bytes.push(0);
        assert_eq!(decode(&bytes), Ok(Frame::PathAbandon { path: 0x1_0000_0001, code: 0 }));
        assert!(matches!(decode(&bytes).unwrap(), Frame::PathAbandon { path: 0x1_0000_0001, .. }));
    }
}
