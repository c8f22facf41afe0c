//! What was delivered, and when nothing was.
//!
//! Owns the count of in-order bytes that applications read and the longest gap between two of them while a transfer was
//! open. Knows nothing of paths or packets.

use std::time::Duration;

use braid_quic::Instant;

/// The deliveries of one world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    delivered: u64,
    open: usize,
    last_at: Instant,
    longest_stall: Duration,
    stalled_at: Instant,
    completed_at: Option<Instant>,
}

impl Ledger {
    /// A transfer was asked for; its two directions complete one by one.
    pub(crate) fn on_opened(&mut self, now: Instant) {
        if self.open == 0 {
            self.last_at = now;
        }
        self.open += 2;
        self.completed_at = None;
    }

    /// An application read `bytes` that were in order.
    pub(crate) fn on_delivered(&mut self, bytes: u64, now: Instant) {
        self.delivered += bytes;
        self.measure(now);
        self.last_at = now;
    }

    /// One direction of a transfer is complete: its reader saw the end.
    pub(crate) fn on_completed(&mut self, now: Instant) {
        debug_assert!(self.open > 0);
        self.measure(now);
        self.open -= 1;
        if self.open == 0 {
            self.completed_at = Some(now);
        }
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The longest stall, one that still lasts included, and when it began.
    pub(crate) fn longest_stall(&self, now: Instant) -> (Duration, Instant) {
        let mut until_now = self.clone();
        until_now.measure(now);
        (until_now.longest_stall, until_now.stalled_at)
    }

    /// When the last direction of the last open transfer completed, if none is open.
    pub(crate) fn completed_at(&self) -> Option<Instant> {
        self.completed_at
    }

    fn measure(&mut self, now: Instant) {
        let gap = now.since(self.last_at);
        if self.open > 0 && gap > self.longest_stall {
            (self.longest_stall, self.stalled_at) = (gap, self.last_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ms;

    fn at(span: Duration) -> Instant {
        Instant::ZERO + span
    }

    #[test]
    fn only_gaps_while_a_transfer_is_open_are_stalls() {
        let mut ledger = Ledger::default();
        ledger.on_opened(at(ms(1_000)));
        ledger.on_delivered(10, at(ms(1_020)));
        ledger.on_delivered(10, at(ms(1_070)));
        ledger.on_completed(at(ms(1_075)));
        assert_eq!(ledger.completed_at(), None, "the other direction is still open");
        ledger.on_completed(at(ms(1_080)));
        assert_eq!(ledger.longest_stall(at(ms(9_000))), (ms(50), at(ms(1_020))));
        ledger.on_opened(at(ms(9_000)));
        assert_eq!(ledger.completed_at(), None);
        ledger.on_completed(at(ms(9_005)));
        ledger.on_completed(at(ms(9_010)));
        assert_eq!(ledger.longest_stall(at(ms(9_500))).0, ms(50));
        assert_eq!((ledger.delivered(), ledger.completed_at()), (20, Some(at(ms(9_010)))));
    }

    #[test]
    fn a_stall_that_still_lasts_counts() {
        let mut ledger = Ledger::default();
        ledger.on_opened(at(ms(0)));
        ledger.on_delivered(1, at(ms(10)));
        assert_eq!(ledger.longest_stall(at(ms(500))), (ms(490), at(ms(10))));
    }
}
