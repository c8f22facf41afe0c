//! The connection IDs of one path: ours that the peer may use, and the peer's that we may use.
//!
//! Owns their sequence numbers, the frames that issue and retire them, and the limits (RFC 9000 §5.1, MP-055 to
//! MP-078). Minting is the endpoint's (`Turn`); which path may have IDs at all is decided in `set`.

use smallvec::SmallVec;

use crate::base::ranges::RangeSet;
use crate::error::{TransportError, TransportErrorCode};
use crate::id::PathId;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::cursor::Writer;
use crate::wire::frame::{Frame, NewConnectionId};
use crate::wire::receipt::{Receipt, Receipts};

/// Connection IDs of ours that the peer holds for a path in use: one in use, one for a change (MP-061).
const ISSUED_IN_USE: usize = 2;

/// ... and for a path not used yet (MP-058).
const ISSUED_IN_RESERVE: usize = 1;

/// Connection IDs that the peer may hold out to us for one path; we announce it as `active_connection_id_limit`.
pub(crate) const ACTIVE_CID_LIMIT: u64 = 4;

/// Retirements that may wait for being sent. A peer that forces more is abusive (RFC 9000 §5.1.2).
const RETIREMENTS_MAX: usize = 3 * ACTIVE_CID_LIMIT as usize;

/// How far a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    Queued,
    Sent,
    Acked,
}

#[derive(Clone, Copy, Debug)]
struct Issued {
    sequence: u64,
    cid: Cid,
    token: [u8; 16],
    post: Post,
}

/// Our connection IDs of one path.
#[derive(Debug, Default)]
pub(crate) struct LocalCids {
    issued: SmallVec<[Issued; 2]>,
    next_sequence: u64,
}

impl LocalCids {
    /// The ID of the handshake, which the peer knows already.
    pub(crate) fn adopt(&mut self, cid: Cid, token: [u8; 16]) {
        debug_assert_eq!(self.next_sequence, 0);
        self.issued.push(Issued { sequence: 0, cid, token, post: Post::Acked });
        self.next_sequence = 1;
    }

    /// Mints what is missing, up to what the path needs and the peer keeps (`peer_limit`, MP-066).
    pub(crate) fn fill(&mut self, turn: &mut Turn<'_>, path: PathId, in_use: bool, peer_limit: u64) {
        let wanted = if in_use { ISSUED_IN_USE } else { ISSUED_IN_RESERVE };
        let wanted = wanted.min(usize::try_from(peer_limit).unwrap_or(usize::MAX));
        while self.issued.len() < wanted {
            let sequence = self.next_sequence;
            let (cid, token) = turn.mint(path, sequence);
            self.issued.push(Issued { sequence, cid, token, post: Post::Queued });
            self.next_sequence += 1;
        }
    }

    /// The peer will not use `sequence` again (RFC 9000 §19.16). `carried_by` is the ID of the packet that said so.
    pub(crate) fn on_retire(
        &mut self,
        turn: &mut Turn<'_>,
        sequence: u64,
        carried_by: &[u8],
    ) -> Result<(), TransportError> {
        if sequence >= self.next_sequence {
            return Err(TransportError::protocol_violation("retired a connection ID that was never issued"));
        }
        let Some(at) = self.issued.iter().position(|issued| issued.sequence == sequence) else {
            return Ok(());
        };
        if &*self.issued[at].cid == carried_by {
            return Err(TransportError::protocol_violation("retired the connection ID of its own packet"));
        }
        turn.cids.release(&self.issued.remove(at).cid);
        Ok(())
    }

    /// Any of our IDs, for packets that only need to name us (long headers).
    pub(crate) fn first(&self) -> Cid {
        self.issued.first().map_or(Cid::EMPTY, |issued| issued.cid)
    }

    /// The sequence number that comes next; a peer that asks for a later one is wrong (MP-252).
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(crate) fn wants(&self) -> bool {
        self.issued.iter().any(|issued| issued.post == Post::Queued)
    }

    /// Writes the frames that issue IDs; `plain` for `NEW_CONNECTION_ID`, which is for path 0 without multipath.
    pub(crate) fn write(&mut self, w: &mut Writer<'_>, receipts: &mut Receipts, path: PathId, plain: bool) {
        for issued in self.issued.iter_mut().filter(|issued| issued.post == Post::Queued) {
            let frame = Frame::NewConnectionId(NewConnectionId {
                path: u64::from(path.0),
                plain,
                sequence: issued.sequence,
                retire_prior_to: 0,
                cid: issued.cid,
                reset_token: issued.token,
            });
            if !frame.fits(w) {
                return;
            }
            frame.write(w);
            receipts.push(Receipt::new_connection_id(path, issued.sequence));
            issued.post = Post::Sent;
        }
    }

    pub(crate) fn on_acked(&mut self, sequence: u64) {
        self.post(sequence, Post::Acked);
    }

    pub(crate) fn on_lost(&mut self, sequence: u64) {
        self.post(sequence, Post::Queued);
    }

    fn post(&mut self, sequence: u64, post: Post) {
        let found = self.issued.iter_mut().find(|issued| issued.sequence == sequence);
        if let Some(issued) = found.filter(|issued| issued.post != Post::Acked) {
            issued.post = post;
        }
    }

    /// Takes all IDs back: the path or the connection is gone.
    pub(crate) fn release(&mut self, turn: &mut Turn<'_>) {
        self.issued.drain(..).for_each(|issued| turn.cids.release(&issued.cid));
    }

    /// Issues one more ID, in a frame that asks to retire all before it and that the caller says himself.
    #[cfg(test)]
    pub(crate) fn issue_silently(&mut self, turn: &mut Turn<'_>, path: PathId) -> NewConnectionId {
        let sequence = self.next_sequence;
        let (cid, reset_token) = turn.mint(path, sequence);
        self.issued.push(Issued { sequence, cid, token: reset_token, post: Post::Acked });
        self.next_sequence += 1;
        let path = u64::from(path.0);
        NewConnectionId { path, plain: false, sequence, retire_prior_to: sequence, cid, reset_token }
    }

    /// IDs that packets may carry.
    pub(crate) fn len(&self) -> usize {
        self.issued.len()
    }
}

/// Ranges of sequence numbers that are remembered as retired. A peer that issues them one after the other, as it must,
/// fills few.
const RETIRED_KEPT: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Held {
    sequence: u64,
    cid: Cid,
    token: Option<[u8; 16]>,
}

/// The peer's connection IDs of one path. The first one is in use.
#[derive(Debug, Default)]
pub(crate) struct RemoteCids {
    held: SmallVec<[Held; 2]>,
    /// The ID of the route that the path left and may return to; it may go nowhere else (RFC 9000 §9.5).
    parked: Option<Held>,
    retire_prior_to: u64,
    /// Sequence numbers to retire, and how far each frame has come.
    retiring: SmallVec<[(u64, Post); 2]>,
    /// All that were ever retired: a late repeat of the frame that issued one does not bring it back.
    retired: RangeSet,
}

impl RemoteCids {
    /// The ID that the peer chose in the handshake; a server's token comes later.
    pub(crate) fn adopt(&mut self, cid: Cid) {
        self.held.clear();
        self.held.push(Held { sequence: 0, cid, token: None });
    }

    /// The reset token of the handshake's ID, from the server's transport parameters.
    pub(crate) fn adopt_token(&mut self, turn: &mut Turn<'_>, token: [u8; 16]) {
        if let Some(held) = self.held.iter_mut().find(|held| held.sequence == 0) {
            held.token = Some(token);
            turn.cids.listen_for(token, turn.slot);
        }
    }

    /// The ID that our packets of this path carry.
    #[inline]
    pub(crate) fn current(&self) -> Option<Cid> {
        self.held.first().map(|held| held.cid)
    }

    /// An ID that was not used yet: for another address (RFC 9000 §9.5).
    pub(crate) fn spare(&self) -> Option<Cid> {
        self.held.get(1).map(|held| held.cid)
    }

    /// How many such there are.
    pub(crate) fn spares(&self) -> usize {
        self.held.len().saturating_sub(1)
    }

    /// The ID for the route that the path left.
    pub(crate) fn parked(&self) -> Option<Cid> {
        self.parked.map(|held| held.cid)
    }

    /// The path moves to another route: the spare ID is used from now on, if there is one, and the one in use is kept in
    /// case the path returns. Without a spare one nothing changes.
    pub(crate) fn rotate(&mut self, turn: &mut Turn<'_>) {
        if self.held.len() < 2 || self.retiring.len() + 1 >= RETIREMENTS_MAX {
            return;
        }
        let left = self.held.remove(0);
        match self.parked {
            None => self.parked = Some(left),
            // The route between was never proven; only the one before it may be returned to.
            Some(_) => self.give_up(turn, &left),
        }
    }

    /// The path returns to the route that it left, and to that route's ID.
    pub(crate) fn unpark(&mut self, turn: &mut Turn<'_>) {
        let Some(parked) = self.parked.take() else { return };
        if !self.held.is_empty() {
            let left = self.held.remove(0);
            self.give_up(turn, &left);
        }
        self.held.insert(0, parked);
    }

    /// The path will not return.
    pub(crate) fn drop_parked(&mut self, turn: &mut Turn<'_>) {
        if let Some(parked) = self.parked.take() {
            self.give_up(turn, &parked);
        }
    }

    /// The spare ID was shown to an address where the path does not go: it is spent (RFC 9000 §9.5).
    pub(crate) fn drop_spare(&mut self, turn: &mut Turn<'_>) {
        if self.held.len() > 1 && self.retiring.len() < RETIREMENTS_MAX {
            let spare = self.held.remove(1);
            self.give_up(turn, &spare);
        }
    }

    /// Retires an ID that is held no more. There is room for it: whoever calls has looked or replaces one that counted.
    fn give_up(&mut self, turn: &mut Turn<'_>, held: &Held) {
        held.token.iter().for_each(|token| turn.cids.stop_listening_for(token));
        self.note_retired(held.sequence);
    }

    fn note_retired(&mut self, sequence: u64) {
        self.retiring.push((sequence, Post::Queued));
        self.retired.insert(sequence..sequence + 1);
        if self.retired.len() > RETIRED_KEPT {
            self.retired.pop_front();
        }
    }

    /// All IDs that the peer counts as active.
    fn active(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().chain(&self.parked)
    }

    /// Does this path hold `cid` under another sequence number than `sequence`?
    pub(crate) fn holds_otherwise(&self, cid: &Cid, sequence: u64) -> bool {
        self.active().any(|held| held.cid == *cid && held.sequence != sequence)
    }

    /// Does this path hold `cid`?
    pub(crate) fn holds(&self, cid: &Cid) -> bool {
        self.active().any(|held| held.cid == *cid)
    }

    /// The peer issues an ID (RFC 9000 §19.15, MP-065, MP-072 to MP-074).
    pub(crate) fn on_new(
        &mut self,
        turn: &mut Turn<'_>,
        frame: &NewConnectionId,
    ) -> Result<(), TransportError> {
        if let Some(held) = self.active().find(|held| held.sequence == frame.sequence) {
            let same = held.cid == frame.cid && held.token.is_none_or(|token| token == frame.reset_token);
            return if same {
                Ok(())
            } else {
                Err(TransportError::protocol_violation("reissued a sequence number"))
            };
        }
        if self.holds_otherwise(&frame.cid, frame.sequence) {
            return Err(TransportError::protocol_violation("issued a connection ID twice"));
        }
        let known = self.retired.contains(frame.sequence);
        if frame.sequence < self.retire_prior_to || known {
            return if known { Ok(()) } else { self.retire(frame.sequence) };
        }
        // The one in use stays in front, also where the path returned to an older one.
        let later = self.held.iter().skip(1).take_while(|held| held.sequence < frame.sequence).count();
        let at = if self.held.is_empty() { 0 } else { 1 + later };
        let new = Held { sequence: frame.sequence, cid: frame.cid, token: Some(frame.reset_token) };
        self.held.insert(at, new);
        turn.cids.listen_for(frame.reset_token, turn.slot);
        self.retire_below(turn, frame.retire_prior_to)?;
        if self.active().count() as u64 > ACTIVE_CID_LIMIT {
            return Err(TransportError::new(
                TransportErrorCode::CONNECTION_ID_LIMIT_ERROR,
                "more connection IDs than the limit",
            ));
        }
        Ok(())
    }

    fn retire_below(&mut self, turn: &mut Turn<'_>, prior_to: u64) -> Result<(), TransportError> {
        self.retire_prior_to = self.retire_prior_to.max(prior_to);
        while let Some(at) = self.held.iter().position(|held| held.sequence < self.retire_prior_to) {
            let held = self.held.remove(at);
            held.token.iter().for_each(|token| turn.cids.stop_listening_for(token));
            self.retire(held.sequence)?;
        }
        if let Some(parked) = self.parked.take_if(|held| held.sequence < self.retire_prior_to) {
            parked.token.iter().for_each(|token| turn.cids.stop_listening_for(token));
            self.retire(parked.sequence)?;
        }
        Ok(())
    }

    fn retire(&mut self, sequence: u64) -> Result<(), TransportError> {
        if self.retiring.len() >= RETIREMENTS_MAX {
            let code = TransportErrorCode::CONNECTION_ID_LIMIT_ERROR;
            return Err(TransportError::new(code, "too many connection IDs to retire at once"));
        }
        self.note_retired(sequence);
        Ok(())
    }

    pub(crate) fn wants(&self) -> bool {
        self.retiring.iter().any(|&(_, post)| post == Post::Queued)
    }

    pub(crate) fn write(&mut self, w: &mut Writer<'_>, receipts: &mut Receipts, path: PathId, plain: bool) {
        for (sequence, post) in self.retiring.iter_mut().filter(|(_, post)| *post == Post::Queued) {
            let frame = Frame::RetireConnectionId { path: u64::from(path.0), sequence: *sequence, plain };
            if !frame.fits(w) {
                return;
            }
            frame.write(w);
            receipts.push(Receipt::retire_connection_id(path, *sequence));
            *post = Post::Sent;
        }
    }

    pub(crate) fn on_acked(&mut self, sequence: u64) {
        self.retiring.retain(|(retired, _)| *retired != sequence);
    }

    pub(crate) fn on_lost(&mut self, sequence: u64) {
        if let Some(entry) = self.retiring.iter_mut().find(|(retired, _)| *retired == sequence) {
            entry.1 = Post::Queued;
        }
    }

    /// Drops all IDs: the path is abandoned, which retires them without frames (MP-161, MP-175).
    pub(crate) fn drop_all(&mut self, turn: &mut Turn<'_>) {
        for held in self.held.drain(..).chain(self.parked.take()) {
            held.token.iter().for_each(|token| turn.cids.stop_listening_for(token));
        }
        self.retiring.clear();
    }

    /// Reset tokens that are listened for.
    pub(crate) fn tokens(&self) -> usize {
        self.active().filter(|held| held.token.is_some()).count()
    }

    /// The sequence number that we would need next (for `PATH_CIDS_BLOCKED`).
    pub(crate) fn next_sequence(&self) -> u64 {
        self.active().map(|held| held.sequence + 1).max().unwrap_or(self.retire_prior_to)
    }
}

#[cfg(test)]
#[path = "cids_tests.rs"]
mod tests;
