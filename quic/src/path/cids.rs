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
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::base::time::Instant;
    use crate::cid::CidTable;
    use crate::config::Shard;

    struct Bench {
        cids: CidTable,
        rng: Rng,
    }

    impl Bench {
        fn new() -> Self {
            Self { cids: CidTable::new(Shard::default(), [1; 16], [2; 32], 3), rng: Rng::new([4; 32]) }
        }

        fn turn(&mut self) -> Turn<'_> {
            Turn { now: Instant::ZERO, slot: 0, cids: &mut self.cids, rng: &mut self.rng }
        }
    }

    fn new(sequence: u64, retire_prior_to: u64) -> NewConnectionId {
        let cid = Cid::new(&[sequence as u8; 8]).unwrap();
        let reset_token = [sequence as u8; 16];
        NewConnectionId { path: 1, plain: false, sequence, retire_prior_to, cid, reset_token }
    }

    fn frames(write: impl FnOnce(&mut Writer<'_>, &mut Receipts)) -> usize {
        let (mut buffer, mut receipts) = ([0; 1000], Receipts::default());
        write(&mut Writer::new(&mut buffer), &mut receipts);
        receipts.len()
    }

    /// MP-061, MP-066
    #[test]
    fn a_path_in_use_has_a_spare_id_and_a_reserved_one_has_one_id() {
        let mut bench = Bench::new();
        let mut local = LocalCids::default();
        local.fill(&mut bench.turn(), PathId(1), false, 8);
        assert_eq!(local.len(), 1);
        local.fill(&mut bench.turn(), PathId(1), true, 8);
        assert_eq!((local.len(), bench.cids.sizes().0), (2, 2));
        local.fill(&mut bench.turn(), PathId(1), true, 1);
        assert_eq!(local.len(), 2, "the peer's limit only stops new ones");
    }

    #[test]
    fn an_issued_id_is_repeated_until_it_is_acknowledged() {
        let mut bench = Bench::new();
        let mut local = LocalCids::default();
        local.fill(&mut bench.turn(), PathId(1), true, 8);
        assert_eq!(frames(|w, receipts| local.write(w, receipts, PathId(1), false)), 2);
        assert!(!local.wants());
        local.on_lost(1);
        assert_eq!(frames(|w, receipts| local.write(w, receipts, PathId(1), false)), 1);
        local.on_acked(1);
        local.on_lost(1);
        assert!(!local.wants(), "a late loss of an acknowledged frame changes nothing");
    }

    /// MP-075
    #[test]
    fn retiring_what_was_never_issued_or_is_in_use_is_a_violation() {
        let mut bench = Bench::new();
        let mut local = LocalCids::default();
        local.fill(&mut bench.turn(), PathId(1), true, 8);
        let first = local.first();
        assert!(local.on_retire(&mut bench.turn(), 2, &[]).is_err());
        assert!(local.on_retire(&mut bench.turn(), 0, &first).is_err());
        assert!(local.on_retire(&mut bench.turn(), 0, &[]).is_ok());
        assert!(local.on_retire(&mut bench.turn(), 0, &[]).is_ok(), "a repeat is harmless");
        assert_eq!(bench.cids.owner(&first), None);
    }

    #[test]
    fn the_first_id_stays_in_use_and_the_others_wait_in_order() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        remote.on_new(&mut bench.turn(), &new(2, 0)).unwrap();
        remote.on_new(&mut bench.turn(), &new(1, 0)).unwrap();
        remote.on_new(&mut bench.turn(), &new(0, 0)).unwrap();
        assert_eq!(remote.current(), Some(new(2, 0).cid));
        assert_eq!(remote.spare(), Some(new(0, 0).cid));
        assert_eq!(remote.next_sequence(), 3);
    }

    /// Sequence numbers of the retirements that would be written now.
    fn retired(remote: &RemoteCids) -> Vec<u64> {
        remote.retiring.iter().map(|&(sequence, _)| sequence).collect()
    }

    #[test]
    fn a_path_that_moves_takes_a_new_id_and_gets_the_old_one_back_when_it_returns() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        (0..3).for_each(|n| remote.on_new(&mut bench.turn(), &new(n, 0)).unwrap());
        remote.rotate(&mut bench.turn());
        assert_eq!((remote.current(), remote.parked()), (Some(new(1, 0).cid), Some(new(0, 0).cid)));
        assert_eq!(bench.cids.reset_by(&[0; 16]), Some(0), "the peer may still reset it");
        remote.rotate(&mut bench.turn());
        assert_eq!((remote.current(), remote.parked()), (Some(new(2, 0).cid), Some(new(0, 0).cid)));
        assert_eq!(retired(&remote), [1], "where it never arrived it does not return to");
        remote.unpark(&mut bench.turn());
        assert_eq!((remote.current(), remote.parked()), (Some(new(0, 0).cid), None));
        assert_eq!(retired(&remote), [1, 2]);
    }

    #[test]
    fn without_a_spare_id_the_one_in_use_stays() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        remote.on_new(&mut bench.turn(), &new(0, 0)).unwrap();
        remote.rotate(&mut bench.turn());
        assert_eq!((remote.current(), remote.parked()), (Some(new(0, 0).cid), None));
        remote.drop_spare(&mut bench.turn());
        assert_eq!((remote.current(), remote.spare()), (Some(new(0, 0).cid), None));
    }

    #[test]
    fn parked_ids_count_and_can_be_retired_by_the_peer() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        (0..ACTIVE_CID_LIMIT).for_each(|n| remote.on_new(&mut bench.turn(), &new(n, 0)).unwrap());
        remote.rotate(&mut bench.turn());
        let one_more = remote.on_new(&mut bench.turn(), &new(ACTIVE_CID_LIMIT, 0));
        assert_eq!(one_more.unwrap_err().code, TransportErrorCode::CONNECTION_ID_LIMIT_ERROR);
        remote.on_new(&mut bench.turn(), &new(9, 9)).unwrap();
        assert_eq!((remote.current(), remote.parked()), (Some(new(9, 9).cid), None));
    }

    /// MP-072, MP-074
    #[test]
    fn retire_prior_to_moves_on_and_late_older_ids_are_retired_at_once() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        remote.on_new(&mut bench.turn(), &new(0, 0)).unwrap();
        remote.on_new(&mut bench.turn(), &new(3, 2)).unwrap();
        assert_eq!(remote.current(), Some(new(3, 2).cid));
        remote.on_new(&mut bench.turn(), &new(1, 0)).unwrap();
        assert_eq!(frames(|w, receipts| remote.write(w, receipts, PathId(1), false)), 2);
        remote.on_lost(1);
        remote.on_acked(0);
        assert_eq!(frames(|w, receipts| remote.write(w, receipts, PathId(1), false)), 1);
        assert_eq!(bench.cids.reset_by(&[3; 16]), Some(0));
        assert_eq!(bench.cids.reset_by(&[0; 16]), None, "MP-174");
    }

    /// MP-064
    #[test]
    fn a_repeated_frame_is_harmless_and_a_changed_one_is_not() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        remote.on_new(&mut bench.turn(), &new(0, 0)).unwrap();
        remote.on_new(&mut bench.turn(), &new(0, 0)).unwrap();
        let changed = NewConnectionId { reset_token: [9; 16], ..new(0, 0) };
        assert!(remote.on_new(&mut bench.turn(), &changed).is_err());
        let twice = NewConnectionId { cid: new(0, 0).cid, ..new(1, 0) };
        assert!(remote.on_new(&mut bench.turn(), &twice).is_err());
    }

    /// RFC 9000 §19.15: a frame may come again, even after what it issued is spent.
    #[test]
    fn a_late_repeat_brings_no_retired_id_back() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        (0..2).for_each(|n| remote.on_new(&mut bench.turn(), &new(n, 0)).unwrap());
        remote.rotate(&mut bench.turn());
        remote.drop_parked(&mut bench.turn());
        remote.on_acked(0);
        remote.on_new(&mut bench.turn(), &new(0, 0)).unwrap();
        assert_eq!((remote.current(), remote.spare()), (Some(new(1, 0).cid), None));
        assert_eq!(bench.cids.reset_by(&[0; 16]), None);
        remote.on_new(&mut bench.turn(), &new(2, 0)).unwrap();
        assert_eq!(remote.spare(), Some(new(2, 0).cid));
    }

    /// A peer that skips numbers while it makes us retire costs no memory without end.
    #[test]
    fn what_was_retired_is_remembered_within_bounds() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        remote.on_new(&mut bench.turn(), &new(0, 0)).unwrap();
        for n in 1..120 {
            remote.on_new(&mut bench.turn(), &new(2 * n, 0)).unwrap();
            remote.rotate(&mut bench.turn());
            remote.drop_parked(&mut bench.turn());
            remote.on_acked(2 * n - 2);
            assert_eq!(remote.current(), Some(new(2 * n, 0).cid));
        }
        assert!(remote.retired.len() <= RETIRED_KEPT);
    }

    /// MP-065
    #[test]
    fn one_id_beyond_the_limit_is_an_error() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        for sequence in 0..ACTIVE_CID_LIMIT {
            remote.on_new(&mut bench.turn(), &new(sequence, 0)).unwrap();
        }
        let error = remote.on_new(&mut bench.turn(), &new(ACTIVE_CID_LIMIT, 0)).unwrap_err();
        assert_eq!(error.code, TransportErrorCode::CONNECTION_ID_LIMIT_ERROR);
    }

    /// MP-078
    #[test]
    fn a_peer_that_only_makes_us_retire_is_stopped() {
        let (mut bench, mut remote) = (Bench::new(), RemoteCids::default());
        let flood = (0..100).try_for_each(|n| remote.on_new(&mut bench.turn(), &new(n + 1, n + 1)));
        assert_eq!(flood.unwrap_err().code, TransportErrorCode::CONNECTION_ID_LIMIT_ERROR);
    }
}
