//! The ten frame types of the extension as bytes, and how to tell them from others.

use super::encoded;
use crate::wire::cid_bytes::Cid;
use crate::wire::frame::{Frame, NewConnectionId};

/// One frame of each of the ten types about `path`, each with the type's number and otherwise harmless.
pub(crate) fn ten(path: u64) -> [(u64, Vec<u8>); 10] {
    let ack = |first: u8| {
        let path = &encoded(&[Frame::PathsBlocked(path)])[2..];
        let counts: &[u8] = if first == 0x3f { &[0, 0, 0] } else { &[] };
        [&[first][..], path, &[0, 0, 0, 0], counts].concat()
    };
    [
        (0x3e, ack(0x3e)),
        (0x3f, ack(0x3f)),
        (0x3e75, encoded(&[Frame::PathAbandon { path, code: 0 }])),
        (0x3e76, encoded(&[Frame::PathStatus { path, sequence: 1, backup: true }])),
        (0x3e77, encoded(&[Frame::PathStatus { path, sequence: 1, backup: false }])),
        (0x3e78, encoded(&[new_cid(path, 0, 0, 0x77)])),
        (0x3e79, encoded(&[Frame::RetireConnectionId { path, plain: false, sequence: 0 }])),
        (0x3e7a, encoded(&[Frame::MaxPathId(path)])),
        (0x3e7b, encoded(&[Frame::PathsBlocked(path)])),
        (0x3e7c, encoded(&[Frame::PathCidsBlocked { path, next_sequence: 0 }])),
    ]
}

/// A `PATH_NEW_CONNECTION_ID` with an ID that nobody minted, made of `byte`s.
pub(crate) fn new_cid(path: u64, sequence: u64, retire_prior_to: u64, byte: u8) -> Frame<'static> {
    let cid = Cid::new(&[byte; 8]).unwrap();
    let reset_token = [byte; 16];
    Frame::NewConnectionId(NewConnectionId {
        path,
        plain: false,
        sequence,
        retire_prior_to,
        cid,
        reset_token,
    })
}

/// Does the extension define this frame, or this form of it?
pub(crate) fn is_of_multipath(frame: &Frame<'_>) -> bool {
    match frame {
        Frame::Ack(ack) => !ack.plain,
        Frame::NewConnectionId(new) => !new.plain,
        Frame::RetireConnectionId { plain, .. } => !plain,
        Frame::PathAbandon { .. }
        | Frame::PathStatus { .. }
        | Frame::MaxPathId(_)
        | Frame::PathsBlocked(_)
        | Frame::PathCidsBlocked { .. } => true,
        _ => false,
    }
}
