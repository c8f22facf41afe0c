//! Tests of `cids`: issuing, retiring, moving on to another ID, and the limits of all that.

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
