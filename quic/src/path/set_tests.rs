//! The memory of paths that lived, over more of them than one connection will ever see.

use super::*;
use crate::base::rng::Rng;
use crate::cid::CidTable;
use crate::config::Shard;
use crate::wire::cursor::Writer;
use crate::wire::receipt::Receipts;

/// MP-176, P-34
#[test]
fn a_hundred_thousand_paths_come_and_go_and_nothing_grows() {
    let mut cids = CidTable::new(Shard::default(), [1; 16], [2; 32], 3);
    let mut rng = Rng::new([4; 32]);
    let mut turn = Turn { now: Instant::ZERO, slot: 0, cids: &mut cids, rng: &mut rng };
    let mut paths = Paths::new(Role::Client, 3);
    paths.on_negotiated(2);
    paths.reserve(&mut turn);
    let held = turn.cids.sizes();
    for n in 0..100_000 {
        let id = paths.take_unused().unwrap();
        assert_eq!(id, PathId(n), "the next one, never one that lived");
        assert!(paths.abandon(id, PathErrorCode::NO_ERROR));
        let (mut buffer, mut receipts) = ([0; 1200], Receipts::default());
        paths.write_frames(&mut Writer::new(&mut buffer), &mut receipts, PathId::ZERO);
        if let Some(path) = paths.get_mut(id) {
            path.on_abandon_sent(Instant::ZERO);
        }
        paths.on_peer_abandon(&mut turn, u64::from(n), Instant::ZERO).unwrap();
        receipts.iter().for_each(|receipt| paths.on_settled(receipt, true));
        assert_eq!(paths.forget_finished(&mut turn).len(), 1);
        paths.on_max_path_id(&mut turn, u64::from(n) + 3).unwrap();
        assert_eq!((paths.list.len(), paths.forgotten.len(), turn.cids.sizes()), (3, 1, held));
    }
    // The peer cannot revive one either.
    assert!(paths.named(77).unwrap().is_none() && paths.named(99_999).unwrap().is_none());
}
