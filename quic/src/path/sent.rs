//! The packets of one number space that were sent and are not settled yet.
//!
//! Owns a ring of small records in packet-number order and, beside it, the receipts of their frames. Decides nothing:
//! `loss` says what is lost, `space` asks. Hot path: no allocation once the ring has grown to the window.

use std::collections::VecDeque;

use crate::base::time::Instant;
use crate::wire::receipt::{Receipt, Receipts};

/// Settled records that may wait behind a lost one, beyond as many as are outstanding.
const SETTLED_KEPT: usize = 512;

/// What became of a packet number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Sent, and neither acknowledged nor declared lost.
    Outstanding,
    /// Acknowledged.
    Acked,
    /// Declared lost; an acknowledgement may still come and then saves a repeat.
    Lost,
    /// Never sent: left out on purpose, so that a peer that acknowledges it is caught lying (RFC 9000 §21.4).
    Skipped,
}

/// How a packet travelled, as far as it matters when it is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// In a datagram of its own, or as the first of its train.
    #[default]
    Leader,
    /// Behind another packet of its train.
    Follower,
    /// As a probe for a larger datagram size. Its peer acknowledges it, but it asks for no repeat, and its loss says
    /// nothing of congestion (RFC 9000 §14.4) and nothing of the path's health.
    MtuProbe,
    /// On another route than the path rides: what becomes of it says nothing of the path.
    Aside,
}

/// One packet number's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    /// Where its receipts start, counted over the life of the space, modulo 2^32.
    first_receipt: u32,
    receipts: u16,
    /// Size of the packet in bytes.
    pub(crate) bytes: u16,
    pub(crate) fate: Fate,
    /// It asks for an acknowledgement, and so counts in flight (RFC 9002 §2). Not set for an MTU probe: no timer waits
    /// for it but its own.
    pub(crate) eliciting: bool,
    /// It counts in flight: it asks for an acknowledgement or carries padding.
    pub(crate) in_flight: bool,
    pub(crate) carriage: Carriage,
    /// Its content was queued again because the path became suspect.
    pub(crate) overdue: bool,
}

const _: () = assert!(size_of::<Sent>() <= 24);

/// What the sender knows of a packet when it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    pub(crate) at: Instant,
    pub(crate) bytes: u16,
    pub(crate) eliciting: bool,
    pub(crate) in_flight: bool,
    pub(crate) carriage: Carriage,
}

/// Records from the oldest unsettled packet number to the newest.
#[derive(Debug, Default)]
pub(crate) struct SentRing {
    records: VecDeque<Sent>,
    receipts: VecDeque<Receipt>,
    /// Packet number of the first record.
    base: u64,
    /// Absolute position of the first receipt kept, modulo 2^32.
    receipts_base: u32,
    outstanding: u32,
    eliciting: u32,
    in_flight_bytes: u64,
}

impl SentRing {
    /// The packet number that comes next.
    #[inline]
    pub(crate) fn next_number(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    /// Lowest packet number with a record.
    #[inline]
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Bytes of the outstanding packets that count in flight.
    #[inline]
    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Are packets outstanding that ask for an acknowledgement?
    #[inline]
    pub(crate) fn has_eliciting(&self) -> bool {
        self.eliciting > 0
    }

    /// Records that a packet left under the next number.
    #[inline]
    pub(crate) fn push(&mut self, departure: Departure, receipts: &Receipts) {
        let first_receipt = self.receipts_base.wrapping_add(self.receipts.len() as u32);
        self.receipts.extend(receipts.iter().copied());
        self.records.push_back(Sent {
            at: departure.at,
            first_receipt,
            receipts: receipts.len() as u16,
            bytes: departure.bytes,
            fate: Fate::Outstanding,
            eliciting: departure.eliciting,
            in_flight: departure.in_flight,
            carriage: departure.carriage,
            overdue: false,
        });
        self.outstanding += 1;
        self.eliciting += u32::from(departure.eliciting);
        if departure.in_flight {
            self.in_flight_bytes += u64::from(departure.bytes);
        }
    }

    /// Leaves the next number out.
    pub(crate) fn skip(&mut self, now: Instant) {
        self.records.push_back(Sent {
            at: now,
            first_receipt: self.receipts_base.wrapping_add(self.receipts.len() as u32),
            receipts: 0,
            bytes: 0,
            fate: Fate::Skipped,
            eliciting: false,
            in_flight: false,
            carriage: Carriage::Leader,
            overdue: false,
        });
    }

    /// The record of `number`, unless it is settled and forgotten or was never used.
    #[inline]
    pub(crate) fn get(&self, number: u64) -> Option<&Sent> {
        self.records.get(self.index(number)?)
    }

    /// The receipts of `number`'s frames.
    #[inline]
    pub(crate) fn receipts(&self, number: u64) -> impl Iterator<Item = &Receipt> {
        let span = self.get(number).map_or((0, 0), |sent| {
            let start = sent.first_receipt.wrapping_sub(self.receipts_base) as usize;
            (start, start + usize::from(sent.receipts))
        });
        self.receipts.range(span.0..span.1)
    }

    /// Gives `number` another fate and keeps the sums; returns what its record said before.
    #[inline]
    pub(crate) fn settle(&mut self, number: u64, fate: Fate) -> Option<Sent> {
        debug_assert!(matches!(fate, Fate::Acked | Fate::Lost));
        let index = self.index(number)?;
        let record = self.records.get_mut(index)?;
        let before = *record;
        record.fate = fate;
        if before.fate == Fate::Outstanding {
            self.outstanding -= 1;
            self.eliciting -= u32::from(before.eliciting);
            if before.in_flight {
                self.in_flight_bytes -= u64::from(before.bytes);
            }
        }
        Some(before)
    }

    /// Notes that the content of `number` was queued again elsewhere.
    pub(crate) fn mark_overdue(&mut self, number: u64) {
        if let Some(record) = self.index(number).and_then(|index| self.records.get_mut(index)) {
            record.overdue = true;
        }
    }

    /// The records with their numbers from `from` on, ascending.
    #[inline]
    pub(crate) fn from(&self, from: u64) -> impl Iterator<Item = (u64, &Sent)> {
        let start = from.clamp(self.base, self.next_number());
        self.records
            .range((start - self.base) as usize..)
            .enumerate()
            .map(move |(i, sent)| (start + i as u64, sent))
    }

    /// Records kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Drops settled records at the old end: acknowledged ones at once, lost ones that were sent before `lost_before` or
    /// that keep too many settled ones behind them, since every acknowledgement walks over those.
    #[inline]
    pub(crate) fn forget(&mut self, lost_before: Instant) {
        while let Some(front) = self.records.front() {
            let crowded = self.records.len() > 2 * self.outstanding as usize + SETTLED_KEPT;
            let done = match front.fate {
                Fate::Outstanding => false,
                Fate::Acked | Fate::Skipped => true,
                Fate::Lost => crowded || front.at < lost_before,
            };
            if !done {
                break;
            }
            let receipts = usize::from(front.receipts);
            self.receipts.drain(..receipts);
            self.receipts_base = self.receipts_base.wrapping_add(receipts as u32);
            self.records.pop_front();
            self.base += 1;
        }
    }

    /// The sums, counted anew; for audits.
    pub(crate) fn recount(&self) -> (u32, u32, u64) {
        self.records.iter().filter(|sent| sent.fate == Fate::Outstanding).fold((0, 0, 0), |sum, sent| {
            let bytes = if sent.in_flight { u64::from(sent.bytes) } else { 0 };
            (sum.0 + 1, sum.1 + u32::from(sent.eliciting), sum.2 + bytes)
        })
    }

    /// The sums as kept: outstanding, of these ack-eliciting, bytes in flight.
    pub(crate) fn sums(&self) -> (u32, u32, u64) {
        (self.outstanding, self.eliciting, self.in_flight_bytes)
    }

    #[inline]
    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PathId;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn departure(ms: u64, bytes: u16) -> Departure {
        Departure { at: at(ms), bytes, eliciting: true, in_flight: true, carriage: Carriage::Leader }
    }

    fn receipts(values: &[u64]) -> Receipts {
        let mut receipts = Receipts::default();
        for &value in values {
            receipts.push(Receipt::ack(PathId(0), value));
        }
        receipts
    }

    fn largests(ring: &SentRing, number: u64) -> Vec<u64> {
        ring.receipts(number).map(Receipt::value).collect()
    }

    #[test]
    fn each_packet_keeps_its_own_receipts_while_others_come_and_go() {
        let mut ring = SentRing::default();
        ring.push(departure(0, 100), &receipts(&[1, 2]));
        ring.push(departure(1, 200), &receipts(&[]));
        ring.push(departure(2, 300), &receipts(&[3]));
        assert_eq!(largests(&ring, 0), [1, 2]);
        ring.settle(0, Fate::Acked);
        ring.forget(at(0));
        assert_eq!((ring.base(), ring.next_number()), (1, 3));
        assert_eq!(largests(&ring, 0), [] as [u64; 0]);
        assert_eq!(largests(&ring, 1), [] as [u64; 0]);
        assert_eq!(largests(&ring, 2), [3]);
    }

    #[test]
    fn sums_follow_every_fate_once() {
        let mut ring = SentRing::default();
        (0..4).for_each(|n| ring.push(departure(n, 100), &receipts(&[n])));
        assert_eq!(ring.in_flight_bytes(), 400);
        assert_eq!(ring.settle(1, Fate::Lost).unwrap().fate, Fate::Outstanding);
        assert_eq!(ring.settle(1, Fate::Acked).unwrap().fate, Fate::Lost);
        assert_eq!(ring.settle(1, Fate::Acked).unwrap().fate, Fate::Acked);
        ring.settle(3, Fate::Acked);
        assert_eq!(ring.sums(), (2, 2, 200));
        assert_eq!(ring.sums(), ring.recount());
    }

    #[test]
    fn lost_packets_stay_until_they_are_old_and_skipped_numbers_have_no_weight() {
        let mut ring = SentRing::default();
        ring.push(departure(0, 100), &receipts(&[]));
        ring.skip(at(1));
        ring.push(departure(2, 100), &receipts(&[]));
        ring.settle(0, Fate::Lost);
        ring.forget(at(0));
        assert_eq!(ring.base(), 0);
        ring.forget(at(1));
        assert_eq!(ring.base(), 2);
        assert_eq!(ring.sums(), (1, 1, 100));
        assert!(ring.get(9).is_none());
    }

    #[test]
    fn receipt_positions_survive_wrapping_around() {
        let mut ring = SentRing { receipts_base: u32::MAX - 1, ..SentRing::default() };
        (0..5).for_each(|n| ring.push(departure(n, 1), &receipts(&[n, n + 10])));
        ring.settle(0, Fate::Acked);
        ring.settle(1, Fate::Acked);
        ring.forget(at(0));
        assert_eq!(largests(&ring, 4), [4, 14]);
    }

    #[test]
    fn a_lost_packet_does_not_keep_a_crowd_behind_it() {
        let mut ring = SentRing::default();
        let many = 3 * SETTLED_KEPT as u64;
        (0..many).for_each(|n| ring.push(departure(n, 1), &receipts(&[n])));
        ring.settle(0, Fate::Lost);
        for n in 1..many - 1 {
            ring.settle(n, Fate::Acked);
        }
        ring.forget(at(0));
        assert_eq!((ring.base(), ring.len()), (many - 1, 1));
        assert_eq!(largests(&ring, many - 1), [many - 1]);
    }
}
