//! One path carries everything; the others stand by.
//!
//! Owns nothing: the carrier is the eligible path with the lowest ID, and changes only when that one becomes suspect, a
//! backup, or goes away. Never adds up capacities: a full window means waiting.

use super::{Decision, Demand, PathView, Reason, Scheduler, eligible, wait};
use crate::base::time::Instant;

/// The eligible path with the lowest ID, for fresh data and repairs alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backup;

impl Scheduler for Backup {
    fn pick(&mut self, paths: &[PathView], _demand: &Demand, now: Instant) -> Decision {
        match eligible(paths).min_by_key(|(_, path)| path.id) {
            Some((index, path)) if path.can_send(now) => Decision::Send(index),
            carrier => wait(carrier.into_iter()),
        }
    }

    fn rule(&self, _demand: &Demand) -> Reason {
        Reason::Carrier
    }
}
