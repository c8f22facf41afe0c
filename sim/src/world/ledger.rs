//! What was delivered, and when nothing was.
//!
//! Owns the count of in-order bytes that the applications of one connection read, and the longest gap between two of them
//! while a transfer was open; keeps the `book` of its transfers. Knows nothing of paths or packets.

use std::time::Duration;

use braid_quic::{Instant, StreamId};

use super::book::{Book, TransferId};

/// The deliveries of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(super) book: Book,
    gaps: Gaps,
    delivered: u64,
    completed_at: Option<Instant>,
}

/// Times without a delivery while something was open.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    open: usize,
    last_at: Instant,
    longest: Duration,
    longest_at: Instant,
}

impl Ledger {
    /// A stream of a transfer was opened; its two directions complete one by one.
    pub(crate) fn on_opened(&mut self, transfer: Option<TransferId>, stream: StreamId, now: Instant) {
        if let Some(transfer) = transfer {
            self.book.on_opened(transfer, stream);
        }
        if self.gaps.open == 0 {
            self.gaps.last_at = now;
        }
        self.gaps.open += 2;
        self.completed_at = None;
    }

    /// An application read `bytes` that were in order.
    pub(crate) fn on_delivered(&mut self, bytes: u64, now: Instant) {
        self.delivered += bytes;
        self.gaps.measure(now);
        self.gaps.last_at = now;
    }

    /// One direction of a stream is complete: its reader saw the end.
    pub(crate) fn on_completed(&mut self, stream: StreamId, now: Instant) {
        debug_assert!(self.gaps.open > 0);
        self.book.on_completed(stream, now);
        self.gaps.measure(now);
        self.gaps.open -= 1;
        if self.gaps.open == 0 {
            self.completed_at = Some(now);
        }
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The longest stall, one that still lasts included, and when it began.
    pub(crate) fn longest_stall(&self, now: Instant) -> (Duration, Instant) {
        let mut until_now = self.gaps;
        until_now.measure(now);
        (until_now.longest, until_now.longest_at)
    }

    /// When the last direction of the last open transfer completed, if none is open.
    pub(crate) fn completed_at(&self) -> Option<Instant> {
        self.completed_at
    }
}

impl Gaps {
    fn measure(&mut self, now: Instant) {
        let gap = now.since(self.last_at);
        if self.open > 0 && gap > self.longest {
            (self.longest, self.longest_at) = (gap, self.last_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ms;

    const STREAM: StreamId = StreamId::from_wire(0);

    fn at(span: Duration) -> Instant {
        Instant::ZERO + span
    }

    #[test]
    fn only_gaps_while_a_transfer_is_open_are_stalls() {
        let mut ledger = Ledger::default();
        ledger.on_opened(None, STREAM, at(ms(1_000)));
        ledger.on_delivered(10, at(ms(1_020)));
        ledger.on_delivered(10, at(ms(1_070)));
        ledger.on_completed(STREAM, at(ms(1_075)));
        assert_eq!(ledger.completed_at(), None, "the other direction is still open");
        ledger.on_completed(STREAM, at(ms(1_080)));
        assert_eq!(ledger.longest_stall(at(ms(9_000))), (ms(50), at(ms(1_020))));
        ledger.on_opened(None, STREAM, at(ms(9_000)));
        assert_eq!(ledger.completed_at(), None);
        ledger.on_completed(STREAM, at(ms(9_005)));
        ledger.on_completed(STREAM, at(ms(9_010)));
        assert_eq!(ledger.longest_stall(at(ms(9_500))).0, ms(50));
        assert_eq!((ledger.delivered(), ledger.completed_at()), (20, Some(at(ms(9_010)))));
    }

    #[test]
    fn a_stall_that_still_lasts_counts() {
        let mut ledger = Ledger::default();
        ledger.on_opened(None, STREAM, at(ms(0)));
        ledger.on_delivered(1, at(ms(10)));
        assert_eq!(ledger.longest_stall(at(ms(500))), (ms(490), at(ms(10))));
    }
}
