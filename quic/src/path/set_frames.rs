//! The frames about paths: those of the peer on their way in, ours on their way out, and what became of ours.
//!
//! Owns which path a frame names and whether it can still be processed (MP-201 to MP-204). What a frame does to a path is
//! `Path`'s; the limits and the list of paths are `set`'s.

use smallvec::SmallVec;

use super::Paths;
use crate::base::time::Instant;
use crate::error::TransportError;
use crate::id::PathId;
use crate::path::Path;
use crate::path::cids::{LocalCids, Post, RemoteCids};
use crate::turn::Turn;
use crate::wire::cursor::Writer;
use crate::wire::frame::{Frame, NewConnectionId};
use crate::wire::receipt::{Receipt, ReceiptKind, Receipts};

/// From the peer.
impl Paths {
    /// The path that a frame names, if it can still be processed (MP-201, MP-202, MP-204).
    pub(crate) fn named(&mut self, id: u64) -> Result<Option<&mut Path>, TransportError> {
        if id > self.our_limit {
            return Err(TransportError::protocol_violation("path ID above the limit"));
        }
        Ok(u32::try_from(id).ok().and_then(|id| self.entry(PathId(id))))
    }

    /// `NEW_CONNECTION_ID` and `PATH_NEW_CONNECTION_ID` (MP-063 to MP-065, MP-230).
    pub(crate) fn on_new_cid(
        &mut self,
        turn: &mut Turn<'_>,
        frame: &NewConnectionId,
    ) -> Result<(), TransportError> {
        let elsewhere = |path: &Path| u64::from(path.id().0) != frame.path && path.remote.holds(&frame.cid);
        if self.list.iter().any(elsewhere) {
            return Err(TransportError::protocol_violation("one connection ID for two paths"));
        }
        match self.named(frame.path)? {
            Some(path) if !path.stage().is_abandoned() => path.remote.on_new(turn, frame),
            _ => Ok(()),
        }
    }

    /// `RETIRE_CONNECTION_ID` and `PATH_RETIRE_CONNECTION_ID` (MP-068, MP-075).
    pub(crate) fn on_retire_cid(
        &mut self,
        turn: &mut Turn<'_>,
        id: u64,
        sequence: u64,
        carried_by: &[u8],
    ) -> Result<(), TransportError> {
        match self.named(id)? {
            Some(path) if !path.stage().is_abandoned() => path.local.on_retire(turn, sequence, carried_by)?,
            _ => return Ok(()),
        }
        self.reserve(turn);
        Ok(())
    }

    /// The peer lets us open more paths (MP-240 to MP-242).
    pub(crate) fn on_max_path_id(&mut self, turn: &mut Turn<'_>, maximum: u64) -> Result<(), TransportError> {
        if maximum > u64::from(u32::MAX) || maximum < self.peer_initial_limit {
            return Err(TransportError::protocol_violation("MAX_PATH_ID out of range"));
        }
        if maximum > self.peer_limit {
            self.peer_limit = maximum;
            self.blocked_at = None;
            self.reserve(turn);
        }
        Ok(())
    }

    /// `PATH_STATUS_*`. `true` if the advice changed.
    pub(crate) fn on_status(&mut self, id: u64, sequence: u64, backup: bool) -> Result<bool, TransportError> {
        let path = self.named(id)?.filter(|path| !path.stage().is_abandoned());
        Ok(path.is_some_and(|path| path.status.on_frame(sequence, backup)))
    }

    /// `PATHS_BLOCKED` informs only (MP-250, MP-251).
    pub(crate) fn on_paths_blocked(&mut self, maximum: u64) -> Result<(), TransportError> {
        self.named(maximum).map(|_| ())
    }

    /// `PATH_CIDS_BLOCKED` informs only (MP-251, MP-252).
    pub(crate) fn on_cids_blocked(&mut self, id: u64, next_sequence: u64) -> Result<(), TransportError> {
        match self.named(id)? {
            Some(path) if !path.stage().is_abandoned() && next_sequence > path.local.next_sequence() => {
                Err(TransportError::protocol_violation("PATH_CIDS_BLOCKED beyond what was issued"))
            }
            _ => Ok(()),
        }
    }

    /// The peer gave a path up (MP-163, MP-165). The ID if that is news, and whether the peer said so before we did.
    pub(crate) fn on_peer_abandon(
        &mut self,
        turn: &mut Turn<'_>,
        id: u64,
        until: Instant,
    ) -> Result<Option<(PathId, bool)>, TransportError> {
        let Some(path) = self.named(id)? else { return Ok(None) };
        let first = !path.stage().is_abandoned();
        if !path.on_peer_abandon(until) {
            return Ok(None);
        }
        path.remote.drop_all(turn);
        Ok(Some((path.id(), first)))
    }
}

/// To the peer.
impl Paths {
    /// Has any path a frame to send that may travel on any path?
    pub(crate) fn wants_frames(&self) -> bool {
        let queued = |post: &Post| *post == Post::Queued;
        queued(&self.our_limit_post)
            || self.blocked_at.as_ref().is_some_and(|(_, post)| queued(post))
            || self.list.iter().any(|path| {
                path.abandon_to_send().is_some()
                    || !path.stage().is_abandoned()
                        && (path.local.wants()
                            || path.remote.wants()
                            || self.multipath && (path.wants_blocked() || path.status.wants()))
            })
    }

    /// Writes those frames on path `on` as far as there is room. Returns the paths whose `PATH_ABANDON` was written.
    ///
    /// That of a path goes on another one if there is one (MP-162).
    pub(crate) fn write_frames(
        &mut self,
        w: &mut Writer<'_>,
        receipts: &mut Receipts,
        on: PathId,
    ) -> SmallVec<[PathId; 2]> {
        let mut abandoned = SmallVec::new();
        let alone = self.best(Some(on)).is_none();
        self.write_limits(w, receipts);
        let plain = !self.multipath;
        for path in &mut self.list {
            let id = path.id();
            if let Some(code) = path.abandon_to_send()
                && (id != on || alone)
            {
                let frame = Frame::PathAbandon { path: u64::from(id.0), code: code.0 };
                if frame.fits(w) {
                    frame.write(w);
                    receipts.push(Receipt::path_abandon(id));
                    abandoned.push(id);
                }
            }
            if !path.stage().is_abandoned() {
                path.local.write(w, receipts, id, plain);
                path.remote.write(w, receipts, id, plain);
                if !plain && path.wants_blocked() {
                    path.write_blocked(w, receipts);
                }
                // That a path is doubted must not travel there.
                let doubted_here = path.stage().is_suspect() && id == on && !alone;
                if !plain && path.status.wants() && !doubted_here {
                    path.status.write(w, receipts, id);
                }
            }
        }
        abandoned
    }

    fn write_limits(&mut self, w: &mut Writer<'_>, receipts: &mut Receipts) {
        let frame = Frame::MaxPathId(self.our_limit);
        if self.our_limit_post == Post::Queued && frame.fits(w) {
            frame.write(w);
            receipts.push(Receipt::max_path_id(self.our_limit));
            self.our_limit_post = Post::Sent;
        }
        if let Some((limit, post)) = &mut self.blocked_at
            && *post == Post::Queued
            && Frame::PathsBlocked(*limit).fits(w)
        {
            Frame::PathsBlocked(*limit).write(w);
            receipts.push(Receipt::paths_blocked(*limit));
            *post = Post::Sent;
        }
    }

    /// A frame of ours was acknowledged (`acked`), or is to be sent again if that still makes sense.
    pub(crate) fn on_settled(&mut self, receipt: &Receipt, acked: bool) {
        let post = if acked { Post::Acked } else { Post::Queued };
        match receipt.kind() {
            ReceiptKind::MaxPathId
                if receipt.value() == self.our_limit && self.our_limit_post == Post::Sent =>
            {
                self.our_limit_post = post;
            }
            ReceiptKind::PathsBlocked => {
                if let Some((limit, state)) = &mut self.blocked_at
                    && *limit == receipt.value()
                    && *state == Post::Sent
                {
                    *state = post;
                }
            }
            ReceiptKind::PathAbandon => {
                if let Some(path) = self.get_mut(receipt.path()) {
                    path.on_abandon_settled(acked);
                }
            }
            ReceiptKind::PathCidsBlocked => {
                if let Some(path) = self.get_mut(receipt.path()) {
                    path.on_blocked_settled(acked);
                }
            }
            ReceiptKind::PathStatus => {
                if let Some(path) = self.get_mut(receipt.path()) {
                    path.status.on_settled(receipt.value(), acked);
                }
            }
            ReceiptKind::NewConnectionId => {
                if let Some(path) = self.get_mut(receipt.path()) {
                    let settle = if acked { LocalCids::on_acked } else { LocalCids::on_lost };
                    settle(&mut path.local, receipt.value());
                }
            }
            ReceiptKind::RetireConnectionId => {
                if let Some(path) = self.get_mut(receipt.path()) {
                    let settle = if acked { RemoteCids::on_acked } else { RemoteCids::on_lost };
                    settle(&mut path.remote, receipt.value());
                }
            }
            _ => {}
        }
    }
}
