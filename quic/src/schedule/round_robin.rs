//! Round robin: a train per path in turn.
//!
//! Owns whose turn it was. Skips a path that cannot send rather than wait for it, so a bulk transfer ends up in
//! proportion to the windows; a transfer of a few trains takes as long as the slowest path.

use super::{Decision, Demand, PathView, Reason, Scheduler, earliest, eligible, wait};
use crate::base::time::Instant;
use crate::id::PathId;

/// The next eligible path, by path ID, after the one that sent last.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    last: Option<PathId>,
}

impl Scheduler for RoundRobin {
    fn pick(&mut self, paths: &[PathView], demand: &Demand, now: Instant) -> Decision {
        if let Demand::Repair { .. } = demand {
            return earliest(paths, now);
        }
        let open = eligible(paths).filter(|(_, path)| path.can_send(now));
        match open.min_by_key(|(_, path)| (self.last.is_some_and(|last| path.id <= last), path.id)) {
            Some((index, _)) => Decision::Send(index),
            None => wait(eligible(paths)),
        }
    }

    /// Only now is the turn over: a train that was picked but did not leave costs no turn.
    fn on_sent(&mut self, path: PathId, _bytes: u64) {
        self.last = Some(path);
    }

    fn rule(&self, demand: &Demand) -> Reason {
        if let Demand::Repair { .. } = demand { Reason::Earliest } else { Reason::Turn }
    }
}
