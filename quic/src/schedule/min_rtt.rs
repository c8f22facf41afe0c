//! Lowest round-trip time first: fill the fast path, then the next.
//!
//! Owns nothing: the choice depends on what is seen alone. Never holds data back for a better path (an earliest-arrival
//! scheduler does), so with small buffers a slow path may delay what a fast one brought.

use super::{Decision, Demand, PathView, Reason, Scheduler, earliest, eligible, wait};
use crate::base::time::Instant;

/// The eligible path with the lowest smoothed round-trip time that can send now.
#[derive(Clone, Copy, Debug, Default)]
pub struct MinRtt;

impl Scheduler for MinRtt {
    fn pick(&mut self, paths: &[PathView], demand: &Demand, now: Instant) -> Decision {
        if let Demand::Repair { .. } = demand {
            return earliest(paths, now);
        }
        let open = eligible(paths).filter(|(_, path)| path.can_send(now));
        match open.min_by_key(|(_, path)| (path.rtt, path.id)) {
            Some((index, _)) => Decision::Send(index),
            None => wait(eligible(paths)),
        }
    }

    fn rule(&self, demand: &Demand) -> Reason {
        if let Demand::Repair { .. } = demand { Reason::Earliest } else { Reason::LowestRtt }
    }
}
