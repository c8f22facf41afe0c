//! What one number space has received and still owes an acknowledgement for.
//!
//! Owns the ranges of received packet numbers, duplicate detection and the decision *when* to acknowledge (RFC 9000
//! §13.2), by a habit that the peer may change (`frequency`). It decides once per turn: packets only raise the debt,
//! whoever sends next pays it in one frame.

use crate::base::address::Ecn;
use crate::base::ranges::RangeSet;
use crate::base::time::{Instant, nanos};
use crate::id::PathId;
use crate::path::frequency::Habit;
use crate::wire::cursor::Writer;
use crate::wire::frame_ack::{EcnCounts, write_ack};
use crate::wire::receipt::{Receipt, Receipts};

/// Beyond this the oldest range is forgotten; a peer that reorders this much will retransmit.
pub(crate) const ACK_RANGES_MAX: usize = 64;

/// Ranges from which on each new gap is told at once, whatever the habit: they should be told before they are forgotten.
const RANGES_UNTOLD_MAX: usize = ACK_RANGES_MAX / 2;

/// Ranges from which on our acknowledgements ask for an acknowledgement themselves now and then, so that old ranges
/// can be dropped (RFC 9000 §13.2.4).
const RANGES_BEFORE_PING: usize = 8;

/// Acknowledgements sent without anything ack-eliciting before one carries a PING, when there are so many ranges ...
const ACKS_BEFORE_PING: u32 = 16;

/// ... and when there are few: their own records must be settled some time.
const ACKS_BEFORE_PING_ALWAYS: u32 = 128;

/// When an acknowledgement is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Debt {
    None,
    By(Instant),
    Now,
}

/// The receiving half of a number space.
#[derive(Debug)]
pub(crate) struct Acks {
    received: RangeSet,
    /// Everything below counts as received: it was reported, and the report was acknowledged or forgotten.
    floor: u64,
    largest: Option<(u64, Instant)>,
    debt: Debt,
    eliciting_since_ack: u64,
    /// The largest packet number that asked for an acknowledgement.
    largest_eliciting: u64,
    /// The largest packet number in an acknowledgement that was sent.
    told: Option<u64>,
    /// The last packet was marked (CE).
    marked: bool,
    reports_since_eliciting: u32,
    reports: u64,
    ecn: EcnCounts,
    saw_ecn: bool,
}

impl Default for Acks {
    fn default() -> Self {
        Self {
            received: RangeSet::default(),
            floor: 0,
            largest: None,
            debt: Debt::None,
            eliciting_since_ack: 0,
            largest_eliciting: 0,
            told: None,
            marked: false,
            reports_since_eliciting: 0,
            reports: 0,
            ecn: EcnCounts::default(),
            saw_ecn: false,
        }
    }
}

impl Acks {
    /// The packet number that a truncated one is expanded against (RFC 9000 §A.3).
    #[inline]
    pub(crate) fn expected(&self) -> u64 {
        self.largest.map_or(0, |(number, _)| number + 1)
    }

    /// The largest packet number received.
    pub(crate) fn largest(&self) -> Option<u64> {
        self.largest.map(|(number, _)| number)
    }

    /// Was `number` received before, or is it too old to tell?
    #[inline]
    pub(crate) fn is_duplicate(&self, number: u64) -> bool {
        number < self.floor || self.received.contains(number)
    }

    /// Records a packet that was opened and is no duplicate. `habit`: when its acknowledgement is due.
    #[inline]
    pub(crate) fn on_received(&mut self, number: u64, eliciting: bool, ecn: Ecn, habit: Habit, now: Instant) {
        let in_order = self.expected() == number;
        let newest = self.largest.is_none_or(|(largest, _)| number > largest);
        self.received.insert(number..number + 1);
        if self.received.len() > ACK_RANGES_MAX
            && let Some(forgotten) = self.received.pop_front()
        {
            self.floor = forgotten.end;
        }
        if newest {
            self.largest = Some((number, now));
        }
        self.count(ecn);
        let marked = ecn == Ecn::Ce;
        let newly_marked = marked && !self.marked;
        self.marked = marked;
        if eliciting {
            self.eliciting_since_ack += 1;
            self.largest_eliciting = self.largest_eliciting.max(number);
            // "Expediting ECN Signals": where most packets go without an acknowledgement, only the first mark is urgent.
            let urgent = if habit.threshold > 1 { newly_marked } else { marked };
            let urgent = urgent || self.is_out_of_order(number, in_order, habit.reordering);
            self.owe(urgent || self.eliciting_since_ack > habit.threshold, habit, now);
        }
    }

    /// Is this packet so far out of order, or does it show so large a gap, that the peer should know at once? (RFC 9000
    /// §13.2.1; draft-ietf-quic-ack-frequency, "Response to Out-of-Order Packets")
    #[inline]
    fn is_out_of_order(&self, number: u64, in_order: bool, reordering: u64) -> bool {
        match reordering {
            _ if !in_order && self.received.len() > RANGES_UNTOLD_MAX => true,
            0 => false,
            1 => !in_order,
            _ => self.is_beyond(number, reordering),
        }
    }

    fn is_beyond(&self, number: u64, reordering: u64) -> bool {
        if self.told.is_some_and(|told| number + reordering <= told) {
            return true; // the peer thinks it lost
        }
        // Who heard that `told` arrived can tell what is lost so far behind it.
        let untold = self.told.map_or(0, |told| (told + 1).saturating_sub(reordering)).max(self.floor);
        if self.received.iter().next_back().is_none_or(|newest| newest.start <= untold) {
            return false;
        }
        let missing = self.received.missing_in(untold..self.largest_eliciting).next();
        missing.is_some_and(|gap| self.largest_eliciting - gap.start >= reordering)
    }

    /// Raises the debt for one ack-eliciting packet (RFC 9000 §13.2.1).
    fn owe(&mut self, at_once: bool, habit: Habit, now: Instant) {
        self.debt = match self.debt {
            Debt::Now => Debt::Now,
            _ if at_once => Debt::Now,
            Debt::By(instant) => Debt::By(instant),
            Debt::None if habit.delay.is_zero() => Debt::Now,
            Debt::None => Debt::By(now + habit.delay),
        };
    }

    fn count(&mut self, ecn: Ecn) {
        match ecn {
            Ecn::NotEct => return,
            Ecn::Ect0 => self.ecn.ect0 += 1,
            Ecn::Ect1 => self.ecn.ect1 += 1,
            Ecn::Ce => self.ecn.ce += 1,
        }
        self.saw_ecn = true;
    }

    /// Must an acknowledgement leave now?
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.debt == Debt::Now
    }

    /// Would an acknowledgement tell the peer something? Then any packet that leaves anyway takes it along.
    #[inline]
    pub(crate) fn is_owed(&self) -> bool {
        self.debt != Debt::None
    }

    /// When the acknowledgement must leave, if it waits.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.debt {
            Debt::By(instant) => Some(instant),
            Debt::None | Debt::Now => None,
        }
    }

    /// The wait is over.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.debt = Debt::Now;
        }
    }

    /// Asks for an acknowledgement to leave at once, for instance because the path is about to go.
    pub(crate) fn hurry(&mut self) {
        if self.debt != Debt::None {
            self.debt = Debt::Now;
        }
    }

    /// Writes one ACK or (with `path`) `PATH_ACK` frame if there is something to acknowledge and room for it.
    pub(crate) fn write(
        &mut self,
        w: &mut Writer<'_>,
        receipts: &mut Receipts,
        path: PathId,
        form: AckForm,
        now: Instant,
    ) -> bool {
        let Some((largest, at)) = self.largest.filter(|_| !self.received.is_empty()) else { return false };
        let delay_raw = (nanos(now.since(at)) / 1_000) >> form.delay_exponent;
        let room = w.remaining();
        let named = form.multipath.then_some(path);
        if !write_ack(w, named, &self.received, delay_raw, self.saw_ecn.then_some(self.ecn), room) {
            return false;
        }
        receipts.push(Receipt::ack(path, largest));
        self.told = Some(largest);
        self.debt = Debt::None;
        self.eliciting_since_ack = 0;
        self.reports_since_eliciting += 1;
        self.reports += 1;
        true
    }

    /// Of acknowledgements that go two ways by turns: is it the path's own turn?
    pub(crate) fn is_turn_of_own_path(&self) -> bool {
        self.reports.is_multiple_of(2)
    }

    /// Should this acknowledgement carry a PING, so that the peer's reply lets us forget old ranges?
    pub(crate) fn wants_reply(&self) -> bool {
        let patience = if self.received.len() >= RANGES_BEFORE_PING {
            ACKS_BEFORE_PING
        } else {
            ACKS_BEFORE_PING_ALWAYS
        };
        self.reports_since_eliciting >= patience
    }

    /// Something ack-eliciting left together with an acknowledgement.
    pub(crate) fn on_eliciting_sent(&mut self) {
        self.reports_since_eliciting = 0;
    }

    /// The peer has our report up to `largest`: it need not be repeated (RFC 9000 §13.2.4).
    pub(crate) fn on_ack_acked(&mut self, largest: u64) {
        // Keep the newest range whole: it is cheap and every later report starts with it.
        let keep = self.received.iter().next_back().map_or(0, |newest| newest.start);
        let below = (largest + 1).min(keep);
        self.received.drop_below(below);
        self.floor = self.floor.max(below);
    }

    /// Ranges held, for audits.
    pub(crate) fn ranges(&self) -> usize {
        self.received.len()
    }
}

/// How an acknowledgement is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckForm {
    /// `PATH_ACK` instead of ACK (MP-281).
    pub(crate) multipath: bool,
    /// Our `ack_delay_exponent` (RFC 9000 §18.2).
    pub(crate) delay_exponent: u8,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HABIT: Habit = Habit::usual(Duration::from_millis(25));
    const FORM: AckForm = AckForm { multipath: true, delay_exponent: 3 };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn receive(acks: &mut Acks, number: u64) {
        assert!(!acks.is_duplicate(number));
        acks.on_received(number, true, Ecn::NotEct, HABIT, at(number));
    }

    fn written(acks: &mut Acks) -> Vec<u8> {
        let (mut buffer, mut receipts) = ([0; 200], Receipts::default());
        let mut w = Writer::new(&mut buffer);
        assert!(acks.write(&mut w, &mut receipts, PathId(1), FORM, at(5)));
        w.written().to_vec()
    }

    #[test]
    fn the_first_packet_waits_and_the_second_does_not() {
        let mut acks = Acks::default();
        receive(&mut acks, 0);
        assert!(!acks.is_due());
        assert_eq!(acks.deadline(), Some(at(25)));
        receive(&mut acks, 1);
        assert!(acks.is_due());
        assert_eq!(acks.deadline(), None);
    }

    #[test]
    fn a_gap_a_late_packet_or_a_congestion_mark_is_reported_at_once() {
        let mut gap = Acks::default();
        receive(&mut gap, 1);
        assert!(gap.is_due());
        let mut marked = Acks::default();
        marked.on_received(0, true, Ecn::Ce, HABIT, at(0));
        assert!(marked.is_due());
    }

    /// Receives `numbers` and acknowledges whatever is due; which of them made it due.
    fn told_at(acks: &mut Acks, habit: Habit, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let due = |number: &u64| {
            acks.on_received(*number, true, Ecn::NotEct, habit, at(*number));
            let due = acks.is_due();
            if due {
                written(acks);
            }
            due
        };
        numbers.into_iter().filter(due).collect()
    }

    fn patient(threshold: u64, reordering: u64) -> Habit {
        Habit { threshold, reordering, ..HABIT }
    }

    #[test]
    fn more_packets_than_the_threshold_are_acknowledged_at_once() {
        let every = |threshold| told_at(&mut Acks::default(), patient(threshold, 3), 0..12);
        assert_eq!(every(0), (0..12).collect::<Vec<_>>());
        assert_eq!(every(1), [1, 3, 5, 7, 9, 11]);
        assert_eq!(every(4), [4, 9]);
        assert!(every(u64::MAX).is_empty());
    }

    /// The tables of draft-ietf-quic-ack-frequency, "Examples".
    #[test]
    fn gaps_are_told_as_in_the_draft() {
        let told = |reordering, numbers: &[u64]| {
            told_at(&mut Acks::default(), patient(100, reordering), numbers.iter().copied())
        };
        assert_eq!(told(3, &[0, 1, 3, 4, 5, 8, 9, 10]), [5, 9, 10]);
        assert_eq!(told(5, &[0, 1, 3, 5, 6, 7, 8, 9]), [7, 9]);
        assert!(told(0, &[0, 5, 3, 99]).is_empty(), "no gap is worth one");
        assert_eq!(told(1, &[0, 2, 3, 5, 4]), [2, 5, 4], "every one is");
    }

    #[test]
    fn a_packet_that_the_peer_thinks_lost_is_told_at_once_and_one_that_is_a_little_late_is_not() {
        let mut acks = Acks::default();
        assert_eq!(told_at(&mut acks, patient(100, 3), [0, 1, 2, 3, 5, 6, 8, 9]), [8]);
        assert!(told_at(&mut acks, patient(100, 3), [7]).is_empty());
        assert_eq!(told_at(&mut acks, patient(100, 3), [4]), [4]);
    }

    #[test]
    fn where_few_packets_are_acknowledged_only_the_first_congestion_mark_is_urgent() {
        let marked = |habit| {
            let mut acks = Acks::default();
            let due = |(number, ecn)| {
                acks.on_received(number, true, ecn, habit, at(number));
                acks.is_due() && !written(&mut acks).is_empty()
            };
            let marks = [Ecn::Ce, Ecn::Ce, Ecn::Ect0, Ecn::Ce];
            (0..).zip(marks).map(due).collect::<Vec<_>>()
        };
        assert_eq!(marked(patient(100, 3)), [true, false, false, true]);
        assert_eq!(marked(patient(1, 3)), [true, true, false, true]);
    }

    #[test]
    fn gaps_are_told_before_there_are_too_many_to_remember() {
        let mut acks = Acks::default();
        let told = told_at(&mut acks, patient(u64::MAX, 0), (0..=RANGES_UNTOLD_MAX as u64).map(|n| 2 * n));
        assert_eq!(told, [2 * RANGES_UNTOLD_MAX as u64]);
    }

    #[test]
    fn packets_that_ask_for_nothing_raise_no_debt() {
        let mut acks = Acks::default();
        acks.on_received(0, false, Ecn::NotEct, HABIT, at(0));
        acks.on_received(5, false, Ecn::NotEct, HABIT, at(0));
        assert!(!acks.is_owed());
    }

    #[test]
    fn the_deadline_turns_a_wait_into_a_debt_once() {
        let mut acks = Acks::default();
        receive(&mut acks, 0);
        acks.on_deadline(at(24));
        assert!(!acks.is_due());
        acks.on_deadline(at(25));
        assert!(acks.is_due());
        written(&mut acks);
        assert!(!acks.is_owed());
    }

    #[test]
    fn the_frame_has_the_bytes_of_the_draft() {
        let mut acks = Acks::default();
        acks.on_received(0, true, Ecn::NotEct, HABIT, at(5));
        assert_eq!(written(&mut acks), [0x3e, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn duplicates_are_known_within_ranges_and_below_the_floor() {
        let mut acks = Acks::default();
        (0..=ACK_RANGES_MAX as u64).for_each(|n| receive(&mut acks, 2 * n));
        assert_eq!(acks.ranges(), ACK_RANGES_MAX);
        assert!(acks.is_duplicate(0), "forgotten, so it counts as received");
        assert!(!acks.is_duplicate(1), "the floor is where the forgotten range ended");
        assert!(acks.is_duplicate(2));
        assert!(!acks.is_duplicate(3));
    }

    #[test]
    fn what_the_peer_knows_is_dropped_but_the_newest_range() {
        let mut acks = Acks::default();
        for n in [0, 1, 2, 5, 6, 9] {
            receive(&mut acks, n);
        }
        acks.on_ack_acked(9);
        assert_eq!(acks.ranges(), 1);
        assert!(acks.is_duplicate(3), "too old to tell");
        assert!(acks.is_duplicate(9));
        assert!(!acks.is_duplicate(10));
    }

    #[test]
    fn many_ranges_and_no_reply_ask_for_one() {
        let mut acks = Acks::default();
        (0..RANGES_BEFORE_PING as u64).for_each(|n| receive(&mut acks, 2 * n));
        for _ in 0..ACKS_BEFORE_PING {
            assert!(!acks.wants_reply());
            written(&mut acks);
        }
        assert!(acks.wants_reply());
        acks.on_eliciting_sent();
        assert!(!acks.wants_reply());
    }

    #[test]
    fn without_gaps_a_reply_is_asked_for_more_rarely() {
        let mut acks = Acks::default();
        for number in 0..u64::from(ACKS_BEFORE_PING_ALWAYS) {
            assert!(!acks.wants_reply());
            receive(&mut acks, number);
            written(&mut acks);
        }
        assert!(acks.wants_reply());
    }
}
