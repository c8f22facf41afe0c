//! Datagrams on their way, ordered by the time at which they arrive.
//!
//! Owns the heap and the buffers, which it reuses. What becomes of a datagram on arrival is `engine`'s.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use braid_quic::Instant;
use quinn_udp::EcnCodepoint;

use super::sessions::SessionId;
use crate::link::Stretch;
use crate::network::Way;

/// Buffers kept for reuse.
const SPARE_MAX: usize = 4_096;

/// Where a datagram comes from and goes to, and the mark of congestion that it carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    pub(super) path: usize,
    pub(super) way: Way,
    pub(super) session: SessionId,
    pub(super) ecn: Option<EcnCodepoint>,
}

/// A datagram on its way.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) at: Instant,
    /// When it left the queue, for the link to judge whether it was dark then.
    pub(super) departed: Instant,
    pub(super) leg: Leg,
    pub(super) bytes: Vec<u8>,
    /// What comes at one instant keeps its order.
    sequence: u64,
}

/// All that is on its way.
#[derive(Debug, Default)]
pub(super) struct Departures {
    heap: BinaryHeap<Departure>,
    spare: Vec<Vec<u8>>,
    sequence: u64,
}

impl Departures {
    /// Keeps a copy of a datagram that departed and arrives `at`.
    pub(super) fn push(&mut self, at: Instant, departed: Instant, leg: Leg, datagram: &[u8]) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(datagram);
        self.sequence += 1;
        self.heap.push(Departure { at, departed, leg, bytes, sequence: self.sequence });
    }

    /// When the next one arrives.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|next| next.at)
    }

    /// The next one that has arrived by `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Departure> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop()
    }

    /// Moves the departures and arrivals of one way of a path whose rate has changed; what was in order stays so.
    /// Returns when the last of them arrives.
    pub(super) fn postpone(&mut self, path: usize, way: Way, stretch: Stretch) -> Instant {
        let mut all = std::mem::take(&mut self.heap).into_vec();
        all.sort_unstable_by_key(|departure| departure.sequence);
        let mine = all.iter_mut().filter(|departure| (departure.leg.path, departure.leg.way) == (path, way));
        let (mut latest_before, mut latest) = (Instant::ZERO, Instant::ZERO);
        for departure in mine {
            let trip = departure.at.since(departure.departed);
            let in_order = departure.at >= latest_before;
            latest_before = latest_before.max(departure.at);
            departure.departed = stretch.apply(departure.departed);
            let arrives = departure.departed + trip;
            departure.at = if in_order { arrives.max(latest) } else { arrives };
            latest = latest.max(departure.at);
        }
        self.heap = all.into();
        latest
    }

    /// Takes a buffer back.
    pub(super) fn give_back(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

// The heap gives the greatest first, so the earliest is the greatest.
impl Ord for Departure {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Departure {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Departure {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Departure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(departures: &mut Departures, at_ms: u64, datagram: &[u8]) {
        let at = Instant::from_nanos(at_ms * 1_000_000);
        let leg = Leg { path: 0, way: Way::Up, session: SessionId(0), ecn: None };
        departures.push(at, at, leg, datagram);
    }

    #[test]
    fn the_earliest_comes_first_and_equals_keep_their_order() {
        let mut departures = Departures::default();
        for (at_ms, datagram) in [(5, b"c"), (2, b"a"), (2, b"b"), (9, b"d")] {
            put(&mut departures, at_ms, datagram);
        }
        assert!(departures.take_due(Instant::from_nanos(1_999_999)).is_none());
        let mut seen = Vec::new();
        while let Some(due) = departures.take_due(Instant::from_nanos(5_000_000)) {
            seen.extend_from_slice(&due.bytes);
            departures.give_back(due.bytes);
        }
        assert_eq!(seen, b"abc");
        assert_eq!(departures.next_at(), Some(Instant::from_nanos(9_000_000)));
    }

    #[test]
    fn a_buffer_that_is_used_again_holds_only_the_new_datagram() {
        let mut departures = Departures::default();
        put(&mut departures, 1, b"a long one");
        let first = departures.take_due(Instant::NEVER).unwrap();
        departures.give_back(first.bytes);
        put(&mut departures, 1, b"short");
        assert_eq!(departures.take_due(Instant::NEVER).unwrap().bytes, b"short");
    }
}
