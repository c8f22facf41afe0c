//! Which numbers the frames and errors of the multipath extension have on the wire.
//!
//! Owns one table with a column for the final text and one for drafts 13 to 18, whose layouts are the same. Everywhere
//! else the final numbers are used; they are translated where a frame is written or read. Which column holds is agreed
//! in the handshake and not known here. Hot path: with the final column nothing is looked up.

use super::frame::{Frame, types};
use crate::error::PathErrorCode;

/// A column of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CodePoints {
    /// draft-ietf-quic-multipath-19 and later.
    #[default]
    Final,
    /// draft-ietf-quic-multipath-13 to -18.
    Draft13,
}

/// Frame types: final, provisional.
const FRAMES: [(u64, u64); 10] = [
    (types::PATH_ACK, 0x1522_8c00),
    (types::PATH_ACK_ECN, 0x1522_8c01),
    (types::PATH_ABANDON, 0x1522_8c05),
    (types::PATH_STATUS_BACKUP, 0x1522_8c07),
    (types::PATH_STATUS_AVAILABLE, 0x1522_8c08),
    (types::PATH_NEW_CONNECTION_ID, 0x1522_8c09),
    (types::PATH_RETIRE_CONNECTION_ID, 0x1522_8c0a),
    (types::MAX_PATH_ID, 0x1522_8c0c),
    (types::PATHS_BLOCKED, 0x1522_8c0d),
    (types::PATH_CIDS_BLOCKED, 0x1522_8c0e),
];

/// Errors of `PATH_ABANDON`: final, provisional.
const ERRORS: [(u64, u64); 4] = [
    (PathErrorCode::APPLICATION_ABANDON_PATH.0, 0x0041_5050_4142_414e),
    (PathErrorCode::PATH_RESOURCE_LIMIT_REACHED.0, 0x0052_534c_494d_4954),
    (PathErrorCode::PATH_UNSTABLE_OR_POOR.0, 0x0055_4e5f_494e_5446),
    (PathErrorCode::NO_CID_AVAILABLE_FOR_PATH.0, 0x004e_4f5f_4349_445f),
];

impl CodePoints {
    /// The number on the wire of the frame type with this final number.
    #[inline]
    pub(crate) fn frame_to_wire(self, frame_type: u64) -> u64 {
        match self {
            Self::Final => frame_type,
            Self::Draft13 => provisional(&FRAMES, frame_type),
        }
    }

    /// The final number of the frame type with this number on the wire; `None` if it means nothing in this column.
    #[inline]
    pub(crate) fn frame_from_wire(self, wire: u64) -> Option<u64> {
        match self {
            Self::Final => Some(wire),
            Self::Draft13 => match FRAMES.iter().find(|(last, first)| *last == wire || *first == wire) {
                Some((last, first)) => (*first == wire).then_some(*last),
                None => Some(wire),
            },
        }
    }

    /// The number on the wire of an error.
    pub(crate) fn error_to_wire(self, code: u64) -> u64 {
        match self {
            Self::Final => code,
            Self::Draft13 => provisional(&ERRORS, code),
        }
    }

    /// A frame that was read, with final numbers inside.
    #[inline]
    pub(crate) fn translated(self, frame: Frame<'_>) -> Frame<'_> {
        match frame {
            Frame::PathAbandon { path, code } if self == Self::Draft13 => {
                let known = ERRORS.iter().find(|(_, first)| *first == code);
                Frame::PathAbandon { path, code: known.map_or(code, |(last, _)| *last) }
            }
            frame => frame,
        }
    }
}

fn provisional(table: &[(u64, u64)], number: u64) -> u64 {
    table.iter().find(|(last, _)| *last == number).map_or(number, |(_, first)| *first)
}

#[cfg(test)]
mod tests {
    use super::super::cid_bytes::Cid;
    use super::super::cursor::Writer;
    use super::super::frame::Frames;
    use super::super::frame_ack::write_ack;
    use super::super::frame_path::NewConnectionId;
    use super::*;
    use crate::base::ranges::RangeSet;
    use crate::error::TransportErrorCode;
    use crate::id::PathId;

    fn written(points: CodePoints, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = [0; 64];
        let mut w = Writer::with_code_points(&mut buffer, points);
        fill(&mut w);
        w.written().to_vec()
    }

    fn frames() -> [Frame<'static>; 12] {
        let cid = Cid::new(&[7; 8]).unwrap();
        let id = NewConnectionId {
            path: 1,
            plain: false,
            sequence: 2,
            retire_prior_to: 0,
            cid,
            reset_token: [9; 16],
        };
        [
            Frame::PathAbandon { path: 1, code: 0x3e },
            Frame::PathAbandon { path: 1, code: 0x3e75 },
            Frame::PathAbandon { path: 1, code: 0x3e76 },
            Frame::PathAbandon { path: 1, code: 0x3e77 },
            Frame::PathAbandon { path: 1, code: 0x1234 },
            Frame::PathStatus { path: 2, sequence: 3, backup: true },
            Frame::PathStatus { path: 2, sequence: 3, backup: false },
            Frame::NewConnectionId(id),
            Frame::RetireConnectionId { path: 1, plain: false, sequence: 2 },
            Frame::MaxPathId(7),
            Frame::PathsBlocked(7),
            Frame::PathCidsBlocked { path: 3, next_sequence: 5 },
        ]
    }

    #[test]
    fn the_bytes_are_those_of_both_columns() {
        // The types, with the error where there is one, as the checklist's table 0 prints them.
        let rows: [(&[u8], &[u8]); 12] = [
            (
                &[0x7e, 0x75, 1, 0x3e],
                &[0x95, 0x22, 0x8c, 0x05, 1, 0xc0, 0x41, 0x50, 0x50, 0x41, 0x42, 0x41, 0x4e],
            ),
            (
                &[0x7e, 0x75, 1, 0x7e, 0x75],
                &[0x95, 0x22, 0x8c, 0x05, 1, 0xc0, 0x52, 0x53, 0x4c, 0x49, 0x4d, 0x49, 0x54],
            ),
            (
                &[0x7e, 0x75, 1, 0x7e, 0x76],
                &[0x95, 0x22, 0x8c, 0x05, 1, 0xc0, 0x55, 0x4e, 0x5f, 0x49, 0x4e, 0x54, 0x46],
            ),
            (
                &[0x7e, 0x75, 1, 0x7e, 0x77],
                &[0x95, 0x22, 0x8c, 0x05, 1, 0xc0, 0x4e, 0x4f, 0x5f, 0x43, 0x49, 0x44, 0x5f],
            ),
            (&[0x7e, 0x75, 1, 0x52, 0x34], &[0x95, 0x22, 0x8c, 0x05, 1, 0x52, 0x34]),
            (&[0x7e, 0x76, 2, 3], &[0x95, 0x22, 0x8c, 0x07, 2, 3]),
            (&[0x7e, 0x77, 2, 3], &[0x95, 0x22, 0x8c, 0x08, 2, 3]),
            (&[0x7e, 0x78, 1, 2, 0, 8], &[0x95, 0x22, 0x8c, 0x09, 1, 2, 0, 8]),
            (&[0x7e, 0x79, 1, 2], &[0x95, 0x22, 0x8c, 0x0a, 1, 2]),
            (&[0x7e, 0x7a, 7], &[0x95, 0x22, 0x8c, 0x0c, 7]),
            (&[0x7e, 0x7b, 7], &[0x95, 0x22, 0x8c, 0x0d, 7]),
            (&[0x7e, 0x7c, 3, 5], &[0x95, 0x22, 0x8c, 0x0e, 3, 5]),
        ];
        for (frame, (last, first)) in frames().iter().zip(rows) {
            for (points, expected) in [(CodePoints::Final, last), (CodePoints::Draft13, first)] {
                let bytes = written(points, |w| {
                    assert!(frame.fits(w));
                    frame.write(w);
                });
                assert!(bytes.starts_with(expected), "{frame:?}: {bytes:x?}");
                let read = Frames::with_code_points(&bytes, points).next().unwrap().unwrap();
                assert_eq!(read.1, *frame);
                assert!(read.1.is_multipath());
                let exact = &mut vec![0; bytes.len()][..];
                assert!(frame.fits(&Writer::with_code_points(exact, points)));
                let short = &mut vec![0; bytes.len() - 1][..];
                assert!(!frame.fits(&Writer::with_code_points(short, points)));
            }
        }
    }

    #[test]
    fn acknowledgements_are_those_of_both_columns() {
        let mut received = RangeSet::new();
        received.insert(3..10);
        for (points, ecn, first) in [
            (CodePoints::Final, false, &[0x3e][..]),
            (CodePoints::Final, true, &[0x3f]),
            (CodePoints::Draft13, false, &[0x95, 0x22, 0x8c, 0x00]),
            (CodePoints::Draft13, true, &[0x95, 0x22, 0x8c, 0x01]),
        ] {
            let ecn = ecn.then(Default::default);
            let bytes = written(points, |w| assert!(write_ack(w, Some(PathId(1)), &received, 0, ecn, 64)));
            assert_eq!(bytes[..first.len()], *first);
            let read = Frames::with_code_points(&bytes, points).next().unwrap().unwrap().1;
            assert_eq!(written(points, |w| read.write(w)), bytes);
            let mut small = vec![0; bytes.len() - 1];
            let mut w = Writer::with_code_points(&mut small, points);
            assert!(!write_ack(&mut w, Some(PathId(1)), &received, 0, ecn, 64), "one byte less");
            let plain = written(points, |w| assert!(write_ack(w, None, &received, 0, None, 64)));
            assert_eq!(plain[0], 0x02, "plain ones are the same in all columns");
        }
    }

    #[test]
    fn the_frames_of_one_column_are_unknown_in_the_other() {
        for (points, other) in
            [(CodePoints::Final, CodePoints::Draft13), (CodePoints::Draft13, CodePoints::Final)]
        {
            for (frame_type, _) in FRAMES {
                let bytes = written(other, |w| w.varint(other.frame_to_wire(frame_type)));
                let error = Frames::with_code_points(&bytes, points).next().unwrap().unwrap_err();
                assert_eq!(error.code, TransportErrorCode::FRAME_ENCODING_ERROR);
                assert_eq!(error.frame_type, other.frame_to_wire(frame_type), "as it was on the wire");
                assert_eq!(error.reason, "unknown frame type");
            }
        }
    }
}
