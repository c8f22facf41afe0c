//! Trains: how many packets may leave a route in one go, and whether the network carries them.
//!
//! Owns what is known of segmentation on one route: refused by the system (an error says so), or broken without a word.
//! Some kernels, virtual machines and network cards spoil the segments of a train, all of them or all but the first, and
//! report success; only what is acknowledged shows it. Never decides how many bytes may leave (`route`).

use std::time::Duration;

use crate::base::time::Instant;
use crate::path::doubt::{Arrived, Doubt, Missing, Patience, Rule};

/// How long single packets are sent after the system refused segmentation, or after trains were first found broken.
const SINGLES_FOR: Duration = Duration::from_secs(60);

/// The longest wait before trains are tried again.
const SINGLES_FOR_MAX: Duration = Duration::from_secs(3600);

/// When trains are taken for broken: twelve packets that followed another in their train, lost in three bursts a round
/// trip or more apart, with none of that kind arriving between, though others were acknowledged.
///
/// Losses at random with probability p hit twelve such packets in a row with p^12: 5 in 10^7 times at 30 %, never at
/// 5 %. Losses in bursts can take whole trains, but three flights in a row of which no such packet arrives are rare
/// even at 30 %, where a flight is one short train (1 in 1000; else never). A mistake costs single packets for a minute.
const BROKEN: Rule = Rule { bursts: 3, packets: 12 };

/// What is known of trains on a route.
#[derive(Debug)]
pub(crate) struct Trains {
    packets_max: u16,
    singles_until: Instant,
    doubt: Doubt,
    patience: Patience,
    /// When they were found broken last.
    broken_at: Option<Instant>,
    holes: u32,
}

impl Trains {
    /// Trains of up to `packets_max` packets, thought to work.
    pub(crate) fn new(packets_max: u16) -> Self {
        Self {
            packets_max: packets_max.max(1),
            singles_until: Instant::ZERO,
            doubt: Doubt::default(),
            patience: Patience::default(),
            broken_at: None,
            holes: 0,
        }
    }

    /// Most packets in the next train.
    #[inline]
    pub(crate) fn packets_max(&self, now: Instant) -> u16 {
        if now < self.singles_until { 1 } else { self.packets_max }
    }

    /// How often trains were found broken.
    pub(crate) fn holes(&self) -> u32 {
        self.holes
    }

    /// The system refused to segment a train; the train itself was sent in single datagrams.
    pub(crate) fn on_refused(&mut self, now: Instant) {
        self.singles_until = self.singles_until.max(now + SINGLES_FOR);
    }

    /// Packets that followed another in their train arrived.
    #[inline]
    pub(crate) fn on_acked(&mut self, followers: &Arrived) {
        self.doubt.on_acked(followers);
    }

    /// Such packets were lost.
    pub(crate) fn on_lost(&mut self, followers: &Missing, now: Instant) {
        if self.doubt.on_lost(followers, BROKEN, now).is_some() {
            self.holes += 1;
            self.broken_at = Some(now);
            self.singles_until = self.patience.next(SINGLES_FOR, SINGLES_FOR_MAX, now);
        }
    }

    /// What was lost from `since` on was lost for its size: trains are not to blame.
    pub(crate) fn on_explained(&mut self, since: Instant) {
        self.doubt.forget();
        if self.broken_at.is_some_and(|at| at >= since) {
            self.broken_at = None;
            self.singles_until = Instant::ZERO;
            self.patience = Patience::default();
            self.holes -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// A sender of trains on a route with a round trip of 50 ms, and what is lost.
    struct Sender {
        trains: Trains,
        now_ms: u64,
    }

    impl Sender {
        fn new() -> Self {
            Self { trains: Trains::new(64), now_ms: 1000 }
        }

        /// One flight of trains of `length` packets; `lost` is asked for each packet. Losses are noticed only if
        /// something of the flight or of the probes behind it arrives, which here is always so.
        fn flight(&mut self, trains: u64, length: u64, mut lost: impl FnMut(u64) -> bool) {
            let (mut arrived, mut missing) = (Arrived::default(), Missing::default());
            for train in 0..trains {
                for packet in 0..length {
                    let sent_at = at(self.now_ms + train);
                    match (lost(packet), packet > 0 && self.trains.packets_max(sent_at) > 1) {
                        (_, false) => {}
                        (true, true) => missing.add(1200, sent_at),
                        (false, true) => arrived.add(1200, sent_at),
                    }
                }
            }
            self.now_ms += 50;
            self.trains.on_acked(&arrived);
            self.trains.on_lost(&missing, at(self.now_ms));
        }

        fn sends_trains(&self) -> bool {
            self.trains.packets_max(at(self.now_ms)) > 1
        }
    }

    #[test]
    fn without_segmentation_trains_are_single_packets_for_a_minute() {
        let mut trains = Trains::new(64);
        trains.on_refused(at(0));
        assert_eq!(trains.packets_max(at(59_999)), 1);
        assert_eq!(trains.packets_max(at(60_000)), 64);
        assert_eq!(trains.holes(), 0, "a refusal is no hole");
    }

    #[test]
    fn trains_of_which_only_the_first_packet_arrives_are_given_up_after_three_flights() {
        let mut sender = Sender::new();
        for flight in 0..3 {
            assert!(sender.sends_trains(), "{flight}");
            sender.flight(2, 5, |packet| packet > 0);
        }
        assert!(!sender.sends_trains());
        assert_eq!(sender.trains.holes(), 1);
    }

    #[test]
    fn broken_trains_are_tried_again_with_growing_patience() {
        let mut sender = Sender::new();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            while sender.sends_trains() {
                sender.flight(2, 5, |_| true);
            }
            let from = sender.now_ms;
            while !sender.sends_trains() {
                sender.now_ms += 1000;
            }
            pauses.push((sender.now_ms - from) / 1000);
        }
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn trains_of_a_route_that_healed_are_trusted_again() {
        let mut sender = Sender::new();
        (0..3).for_each(|_| sender.flight(2, 5, |_| true));
        sender.now_ms += 60_000;
        (0..2000).for_each(|_| sender.flight(2, 5, |_| false));
        assert!(sender.sends_trains());
        (0..3).for_each(|_| sender.flight(2, 5, |_| true));
        assert_eq!(sender.trains.singles_until, at(sender.now_ms + 60_000), "patience starts over");
    }

    #[test]
    fn losses_that_turn_out_to_be_a_matter_of_size_acquit_trains() {
        let mut sender = Sender::new();
        (0..3).for_each(|_| sender.flight(2, 5, |_| true));
        assert!(!sender.sends_trains());
        sender.trains.on_explained(at(1000));
        assert!(sender.sends_trains());
        assert_eq!(sender.trains.holes(), 0);
    }

    /// How often trains are given up in 100,000 flights under a loss model, which hears of the first packet of a flight.
    fn convictions(trains: u64, length: u64, mut lost: impl FnMut(bool) -> bool) -> u32 {
        let mut sender = Sender::new();
        for _ in 0..100_000 {
            let mut first = true;
            sender.flight(trains, length, |_| lost(std::mem::take(&mut first)));
            if !sender.sends_trains() {
                sender.now_ms += 4_000_000; // try again at once
            }
        }
        sender.trains.holes()
    }

    #[test]
    fn losses_at_random_convict_nobody() {
        for (permille, seed) in [(50, 1), (300, 2)] {
            for (trains, length) in [(1, 2), (1, 10), (4, 16)] {
                let mut rng = Rng::new([seed; 32]);
                let count = convictions(trains, length, |_| rng.below(1000) < permille);
                assert_eq!(count, 0, "{permille} permille, {trains} trains of {length}");
            }
        }
    }

    #[test]
    fn losses_in_bursts_hardly_convict_anybody() {
        // Two states as Gilbert and Elliott have them: bursts of eight packets on average, all of them lost. Between two
        // flights lies a round trip, much longer than a burst, so that each begins in either state by its share.
        for (bad_permille, trains, length, most) in
            [(50, 1, 10, 3), (50, 4, 16, 0), (300, 1, 10, 150), (300, 4, 16, 0)]
        {
            let mut rng = Rng::new([3; 32]);
            let mut bad = false;
            let enter = 125 * bad_permille / (1000 - bad_permille);
            let count = convictions(trains, length, |first| {
                bad = match (first, bad) {
                    (true, _) => rng.below(1000) < bad_permille,
                    (false, true) => rng.below(1000) >= 125,
                    (false, false) => rng.below(1000) < enter,
                };
                bad
            });
            assert!(count <= most, "{count} of at most {most}: {bad_permille} permille, {trains} x {length}");
        }
    }
}
