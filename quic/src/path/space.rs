//! One packet number space: what was sent, what was received, what is lost.
//!
//! Owns the `SentRing` and the `Acks` of one path (or of the Initial or Handshake level) and loss detection over them.
//! Knows no addresses and no windows; the route's estimates come in as arguments. Receipts of settled packets are
//! handed to a sink, since only the connection knows whose they are.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::time::Instant;
use crate::crypto::phase::PhaseMark;
use crate::error::TransportError;
use crate::path::acks::Acks;
use crate::path::doubt::{Arrived, Missing};
use crate::path::loss::{self, Verdict};
use crate::path::mtu::DATAGRAM_SIZE_MIN;
use crate::path::sent::{Carriage, Departure, Fate, Sent, SentRing};
use crate::wire::frame_ack::Ack;
use crate::wire::receipt::{Receipt, Receipts};

/// Packet numbers between two that are left out on purpose, at least.
const SKIP_EVERY: u64 = 1 << 10;

/// How many of the numbers left out are remembered after their records are gone.
const SKIPPED_KEPT: usize = 4;

/// Packets outstanding that ask for nothing, from which on no pure acknowledgement leaves: a peer that never acknowledges
/// ours must not make us keep records without end.
pub(crate) const UNANSWERED_MAX: u32 = 1 << 14;

/// What happened to a frame's packet, for the room that owns the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acked,
    /// Acknowledged after it was declared lost.
    AckedLate,
    Lost,
    /// Lost after it was overdue: only for what is never sent again is this news.
    LostOverdue,
    /// Neither, but its path is suspect: send the content again elsewhere.
    Overdue,
}

/// A packet number space.
#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) acks: Acks,
    pub(crate) phase: PhaseMark,
    sent: SentRing,
    largest_acked: Option<u64>,
    /// The same of those that left on the path's own routes: they alone overtake each other.
    largest_heard: Option<u64>,
    /// No outstanding packet lies below.
    settled_below: u64,
    /// When the oldest packet below an acknowledged one counts as lost.
    loss_at: Option<Instant>,
    last_eliciting_at: Option<Instant>,
    /// First and last ack-eliciting packet of the run of losses at the old end.
    lost_run: Option<(Instant, Instant)>,
    next_skip: u64,
    /// The numbers left out last.
    skipped: [Option<u64>; SKIPPED_KEPT],
    /// Packets below this number left on a route that the path does not ride any more: what becomes of them says nothing
    /// about the present one (RFC 9000 §9.4).
    route_from: u64,
    /// Their bytes in flight.
    stale_in_flight_bytes: u64,
}

/// What one acknowledgement frame changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AckReport {
    /// Newly acknowledged packets that counted in flight.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Newly acknowledged packets of any kind.
    pub(crate) newly_acked: u64,
    /// One of them left on the present route and asked for it: the path works. What is acknowledged by the way may have
    /// arrived long ago.
    pub(crate) progress: bool,
    /// When the newest of them was sent.
    pub(crate) newest_sent_at: Option<Instant>,
    /// Send time of the frame's largest packet, if that was newly acknowledged and an ack-eliciting packet was too: an
    /// RTT sample (RFC 9002 §5.1).
    pub(crate) sample_from: Option<Instant>,
    /// Packets declared lost that were not.
    pub(crate) spurious: u64,
    /// The largest packet number acknowledged so far, of packets that left on the path's own routes.
    pub(crate) largest: u64,
    /// Packets larger than every route must carry, late ones and probes included.
    pub(crate) large: Arrived,
    /// Packets that followed another in their train, late ones included.
    pub(crate) followers: Arrived,
    /// Number and size of a probe for a larger datagram size, even if late.
    pub(crate) mtu_probe: Option<(u64, u16)>,
}

/// A packet that loss detection declared lost, for whoever logs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) number: u64,
    /// It was a probe for a larger datagram size.
    pub(crate) mtu_probe: bool,
    /// Later packets prove it lost, rather than the time.
    pub(crate) overtaken: bool,
}

/// What one pass of loss detection found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LossReport {
    /// All but probes for a larger datagram size, and but those that left aside.
    pub(crate) packets: u64,
    /// Those that left aside.
    pub(crate) aside: u64,
    /// Of packets that counted in flight.
    pub(crate) bytes: u64,
    pub(crate) newest_sent_at: Instant,
    /// Ack-eliciting losses with nothing acknowledged between span these two times.
    pub(crate) run: Option<(Instant, Instant)>,
    /// Packets larger than every route must carry.
    pub(crate) large: Missing,
    /// Packets that followed another in their train.
    pub(crate) followers: Missing,
    /// Number of a probe for a larger datagram size.
    pub(crate) mtu_probe: Option<u64>,
    /// Bytes of such probes.
    pub(crate) mtu_probe_bytes: u64,
}

impl Space {
    /// The number of the next packet; now and then one is left out, at random (RFC 9000 §21.4).
    #[inline]
    pub(crate) fn next_number(&mut self, draw: impl FnOnce(u64) -> u64, now: Instant) -> u64 {
        let next = self.sent.next_number();
        if next < self.next_skip {
            return next;
        }
        let first = self.next_skip == 0;
        self.next_skip = next + SKIP_EVERY + draw(SKIP_EVERY);
        if !first {
            self.sent.skip(now);
            self.skipped.rotate_right(1);
            self.skipped[0] = Some(next);
        }
        self.sent.next_number()
    }

    /// The number of the next packet, none ever left out.
    pub(crate) fn peek_number(&self) -> u64 {
        self.sent.next_number()
    }

    pub(crate) fn largest_acked(&self) -> Option<u64> {
        self.largest_acked
    }

    #[inline]
    pub(crate) fn on_sent(&mut self, departure: Departure, receipts: &Receipts) {
        if departure.eliciting {
            self.last_eliciting_at = Some(departure.at);
        }
        self.sent.push(departure, receipts);
    }

    /// Bytes of this space in flight on the present route.
    #[inline]
    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.sent.in_flight_bytes() - self.stale_in_flight_bytes
    }

    /// The path rides another route from the next packet on.
    pub(crate) fn on_route_changed(&mut self) {
        self.route_from = self.sent.next_number();
        self.stale_in_flight_bytes = self.sent.in_flight_bytes();
        self.lost_run = None;
    }

    /// Did packet `number` leave on a route that the path left? Takes it off the books of such packets.
    fn settle_stale(&mut self, number: u64, sent: &Sent) -> bool {
        let stale = number < self.route_from;
        if stale && sent.in_flight && sent.fate == Fate::Outstanding {
            self.stale_in_flight_bytes -= u64::from(sent.bytes);
        }
        stale
    }

    /// Are packets outstanding that ask for an acknowledgement?
    #[inline]
    pub(crate) fn awaits_ack(&self) -> bool {
        self.sent.has_eliciting()
    }

    /// Takes in an acknowledgement: settles packets, hands their receipts to `sink`.
    ///
    /// # Errors
    /// A packet that was never sent is a protocol violation (RFC 9000 §13.1, MP-211).
    pub(crate) fn on_ack(
        &mut self,
        ack: &Ack<'_>,
        mut sink: impl FnMut(&Receipt, Outcome),
    ) -> Result<AckReport, TransportError> {
        if ack.largest >= self.sent.next_number() {
            return Err(TransportError::protocol_violation("acknowledged a packet that was never sent"));
        }
        let mut report = AckReport::default();
        let mut eliciting = false;
        for range in ack.ranges() {
            if self.skipped.iter().flatten().any(|number| range.contains(number)) {
                return Err(TransportError::protocol_violation("acknowledged a packet number left out"));
            }
            let (low, high) = (*range.start().max(&self.sent.base()), *range.end());
            if high < self.sent.base() {
                break;
            }
            for number in low..=high {
                let Some(sent) = self.sent.get(number).copied() else { continue };
                let aside = sent.carriage == Carriage::Aside;
                let elsewhere = self.settle_stale(number, &sent) || aside;
                let outcome = match sent.fate {
                    Fate::Acked | Fate::Skipped => continue,
                    Fate::Lost => Outcome::AckedLate,
                    Fate::Outstanding => Outcome::Acked,
                };
                match outcome {
                    _ if elsewhere => {}
                    Outcome::Acked => {
                        report.on_outstanding(&sent);
                        report.on_arrived(number, &sent);
                    }
                    _ => {
                        report.spurious += u64::from(sent.carriage != Carriage::MtuProbe);
                        report.on_arrived(number, &sent);
                    }
                }
                report.newly_acked += 1;
                if !aside {
                    self.largest_heard = self.largest_heard.max(Some(number));
                }
                if !elsewhere {
                    report.progress |= sent.eliciting || sent.carriage == Carriage::MtuProbe;
                    eliciting |= sent.eliciting;
                    report.newest_sent_at = report.newest_sent_at.max(Some(sent.at));
                }
                if number == ack.largest && !elsewhere {
                    report.sample_from = Some(sent.at);
                }
                self.sent.receipts(number).for_each(|receipt| sink(receipt, outcome));
                self.sent.settle(number, Fate::Acked);
            }
        }
        if !eliciting {
            report.sample_from = None;
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest));
        report.largest = self.largest_heard.unwrap_or(ack.largest);
        Ok(report)
    }

    /// Declares lost what is (RFC 9002 §6.1); `delay` is the route's loss delay, `keep` how long lost packets are
    /// remembered for late acknowledgements. `gone` hears of each lost packet.
    pub(crate) fn detect_lost(
        &mut self,
        delay: Duration,
        keep: Duration,
        now: Instant,
        mut gone: impl FnMut(Gone),
        mut sink: impl FnMut(&Receipt, Outcome),
    ) -> LossReport {
        let mut report = LossReport::default();
        self.loss_at = None;
        if let Some(largest) = self.largest_heard {
            let mut number = self.settled_below.max(self.sent.base());
            while number <= largest {
                let Some(sent) = self.sent.get(number).copied() else { break };
                match sent.fate {
                    Fate::Acked if sent.eliciting => self.lost_run = None,
                    Fate::Acked | Fate::Skipped | Fate::Lost => {}
                    Fate::Outstanding => match loss::verdict(number, sent.at, largest, delay, now) {
                        Verdict::Lost => {
                            self.lose(number, &sent, &mut report, &mut sink);
                            let mtu_probe = sent.carriage == Carriage::MtuProbe;
                            gone(Gone { number, mtu_probe, overtaken: loss::is_overtaken(number, largest) });
                        }
                        Verdict::Wait(at) => {
                            self.loss_at = Some(at);
                            break;
                        }
                    },
                }
                number += 1;
                self.settled_below = number;
            }
        }
        self.sent.forget(now - keep);
        report
    }

    fn lose(
        &mut self,
        number: u64,
        sent: &Sent,
        report: &mut LossReport,
        sink: &mut impl FnMut(&Receipt, Outcome),
    ) {
        let stale = self.settle_stale(number, sent);
        self.sent.settle(number, Fate::Lost);
        if !stale {
            report.on_missing(number, sent);
        }
        if sent.carriage == Carriage::MtuProbe {
            return; // no repeat, and no congestion (RFC 9000 §14.4)
        }
        if sent.carriage == Carriage::Aside {
            report.aside += 1;
            return; // it carries nothing that would be missed
        }
        report.packets += 1;
        if sent.in_flight && !stale {
            // Losses of acknowledgements say nothing about congestion that RFC 9002 §7 would answer.
            report.newest_sent_at = report.newest_sent_at.max(sent.at);
            report.bytes += u64::from(sent.bytes);
        }
        if sent.eliciting && !stale {
            let first = self.lost_run.map_or(sent.at, |run| run.0);
            self.lost_run = Some((first, sent.at));
            report.run = self.lost_run;
        }
        self.sent.receipts(number).for_each(|receipt| sink(receipt, lost(sent)));
    }

    /// The losses at hand were answered; the next run starts anew.
    pub(crate) fn forget_lost_run(&mut self) {
        self.lost_run = None;
    }

    /// Hands out the receipts of everything outstanding, once, because the path became suspect.
    pub(crate) fn hand_over(&mut self, mut sink: impl FnMut(&Receipt, Outcome)) {
        let from = self.settled_below.max(self.sent.base());
        for number in from..self.sent.next_number() {
            let fresh =
                self.sent.get(number).is_some_and(|sent| sent.fate == Fate::Outstanding && !sent.overdue);
            if fresh {
                self.sent.receipts(number).for_each(|receipt| sink(receipt, Outcome::Overdue));
                self.sent.mark_overdue(number);
            }
        }
    }

    /// Hands out the receipts of the oldest packets that carry something to repeat, `count` at most, because a probe is
    /// due: to repeat them saves the round trip that an empty probe would cost (RFC 9002 §6.2.4). Empty probes that left
    /// before do not hide them.
    pub(crate) fn hand_over_oldest(&mut self, count: usize, mut sink: impl FnMut(&Receipt, Outcome)) {
        let from = self.settled_below.max(self.sent.base());
        let oldest: SmallVec<[u64; 2]> = self
            .sent
            .from(from)
            .filter(|(_, sent)| sent.fate == Fate::Outstanding && sent.eliciting && !sent.overdue)
            .map(|(number, _)| number)
            .filter(|&number| self.sent.receipts(number).any(Receipt::is_repeatable))
            .take(count)
            .collect();
        for number in oldest {
            self.sent.receipts(number).for_each(|receipt| sink(receipt, Outcome::Overdue));
            self.sent.mark_overdue(number);
        }
    }

    /// Gives up waiting for a probe for a larger datagram size. Returns the bytes that are no longer in flight.
    pub(crate) fn give_up(&mut self, number: u64) -> u64 {
        let before = self.sent.get(number).filter(|sent| sent.fate == Fate::Outstanding).copied();
        before.map_or(0, |sent| {
            let stale = self.settle_stale(number, &sent);
            self.sent.settle(number, Fate::Lost);
            if sent.in_flight && !stale { u64::from(sent.bytes) } else { 0 }
        })
    }

    /// Are so many records unsettled that no further packet should leave that nobody will acknowledge?
    pub(crate) fn is_saturated(&self) -> bool {
        let (outstanding, eliciting, _) = self.sent.sums();
        outstanding - eliciting >= UNANSWERED_MAX
    }

    /// Gives everything outstanding up as lost, because the space goes (MP-171). Returns the bytes that were in flight.
    pub(crate) fn lose_all(&mut self, mut sink: impl FnMut(&Receipt, Outcome)) -> u64 {
        let bytes = self.in_flight_bytes();
        self.stale_in_flight_bytes = 0;
        for number in self.sent.base()..self.sent.next_number() {
            if let Some(sent) = self.sent.get(number).copied().filter(|sent| sent.fate == Fate::Outstanding) {
                self.sent.receipts(number).for_each(|receipt| sink(receipt, lost(&sent)));
                self.sent.settle(number, Fate::Lost);
            }
        }
        self.loss_at = None;
        bytes
    }

    /// When the loss timer fires.
    pub(crate) fn loss_at(&self) -> Option<Instant> {
        self.loss_at
    }

    /// When the newest ack-eliciting packet left, if some are outstanding: the probe timeout counts from here.
    pub(crate) fn last_eliciting_at(&self) -> Option<Instant> {
        self.last_eliciting_at.filter(|_| self.awaits_ack())
    }

    /// When the oldest packet left that should have been acknowledged by now were the path alive: the oldest
    /// outstanding ack-eliciting one above the largest acknowledged.
    ///
    /// Unlike the newest it does not move as long as an endless sender hears nothing, so silence is noticed after one
    /// probe timeout and not after a window plus one.
    pub(crate) fn oldest_unheard_at(&self) -> Option<Instant> {
        if !self.awaits_ack() {
            return None;
        }
        let from = self.largest_heard.map_or(0, |largest| largest + 1).max(self.settled_below);
        self.sent
            .from(from)
            .find(|(_, sent)| sent.eliciting && sent.fate == Fate::Outstanding)
            .map(|(_, sent)| sent.at)
    }

    /// Checks the sums; for audits.
    pub(crate) fn audit(&self) -> Result<(), String> {
        if self.sent.sums() != self.sent.recount() {
            return Err(format!("sent ring: kept {:?}, counted {:?}", self.sent.sums(), self.sent.recount()));
        }
        if self.acks.ranges() > crate::path::acks::ACK_RANGES_MAX {
            return Err(format!("{} ack ranges", self.acks.ranges()));
        }
        Ok(())
    }
}

impl LossReport {
    fn on_missing(&mut self, number: u64, sent: &Sent) {
        if sent.carriage == Carriage::MtuProbe {
            self.mtu_probe = Some(number);
            self.mtu_probe_bytes += u64::from(sent.bytes);
            return;
        }
        if sent.bytes > DATAGRAM_SIZE_MIN {
            self.large.add(sent.bytes, sent.at);
        }
        if sent.carriage == Carriage::Follower {
            self.followers.add(sent.bytes, sent.at);
        }
    }
}

impl AckReport {
    fn on_outstanding(&mut self, sent: &Sent) {
        if sent.in_flight {
            self.packets += 1;
            self.bytes += u64::from(sent.bytes);
        }
    }

    #[inline]
    fn on_arrived(&mut self, number: u64, sent: &Sent) {
        if sent.bytes > DATAGRAM_SIZE_MIN {
            self.large.add(sent.bytes, sent.at);
        }
        match sent.carriage {
            Carriage::Leader | Carriage::Aside => {}
            Carriage::Follower => self.followers.add(sent.bytes, sent.at),
            Carriage::MtuProbe => self.mtu_probe = Some((number, sent.bytes)),
        }
    }
}

/// What to say of a lost packet.
const fn lost(sent: &Sent) -> Outcome {
    if sent.overdue { Outcome::LostOverdue } else { Outcome::Lost }
}

#[cfg(test)]
#[path = "space_tests.rs"]
mod tests;
