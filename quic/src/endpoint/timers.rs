//! The timers of all connections: a heap with at most one live entry for each.
//!
//! Owns the order. An entry that is no longer true is left where it is and skipped when it comes up, since moving a
//! timer happens with nearly every packet and letting one fire early does not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::time::Instant;

/// Slot and generation of connections by deadline.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32, u32)>>,
}

impl Timers {
    pub(super) fn push(&mut self, slot: u32, generation: u32, at: Instant) {
        self.heap.push(Reverse((at, slot, generation)));
    }

    /// The earliest entry: slot, generation, time.
    pub(super) fn peek(&self) -> Option<(u32, u32, Instant)> {
        self.heap.peek().map(|Reverse((at, slot, generation))| (*slot, *generation, *at))
    }

    /// Entries kept, true ones and others.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Starts again with only these: slot, generation, time.
    pub(super) fn rebuild(&mut self, live: impl Iterator<Item = (u32, u32, Instant)>) {
        self.heap = live.map(|(slot, generation, at)| Reverse((at, slot, generation))).collect();
    }

    pub(super) fn pop(&mut self) {
        self.heap.pop();
    }

    /// Takes the earliest entry, if it is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(u32, u32, Instant)> {
        let due = self.peek().filter(|(_, _, at)| *at <= now)?;
        self.heap.pop();
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_up_in_order_and_only_when_due() {
        let mut timers = Timers::default();
        let at = Instant::from_nanos;
        timers.push(1, 0, at(30));
        timers.push(2, 0, at(10));
        timers.push(3, 7, at(20));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(25)), Some((2, 0, at(10))));
        assert_eq!(timers.pop_due(at(25)), Some((3, 7, at(20))));
        assert_eq!(timers.pop_due(at(25)), None);
        assert_eq!(timers.peek(), Some((1, 0, at(30))));
    }

    #[test]
    fn rebuilding_keeps_only_what_is_live() {
        let mut timers = Timers::default();
        (0..100).for_each(|n| timers.push(1, 0, Instant::from_nanos(n)));
        timers.rebuild([(1, 0, Instant::from_nanos(7))].into_iter());
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.peek(), Some((1, 0, Instant::from_nanos(7))));
    }
}
