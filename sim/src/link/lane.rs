//! One direction of a link: what happens to a datagram between leaving one end and reaching the other.
//!
//! Owns what the sender's system refuses, loss, delay, jitter, reordering, duplication, corruption and outages. The wait
//! for the bottleneck is `queue`'s. Knows nothing of addresses or of what is inside a datagram (`network` moves bytes).

use std::time::Duration;

use braid_quic::{Ecn, Fate, Instant};

use super::queue::Queue;
use super::{LaneConfig, Setting, Trains};
use crate::network::LinkId;
use crate::rng::Rng;

/// An outage that ended this long ago concerns nothing that is still on its way.
const OUTAGE_KEPT: Duration = Duration::from_secs(120);
/// The copy of a duplicated datagram arrives at most this much behind the first.
const DUPLICATE_LATER_MAX: Duration = Duration::from_millis(5);

/// Where the datagrams of one direction ended up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Datagrams handed to the link.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams that arrived, copies included.
    pub arrived: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Lost at random.
    pub lost: u64,
    /// Dropped because the direction was cut.
    pub cut: u64,
    /// Dropped because they were sent to an address that no longer leads anywhere.
    pub astray: u64,
    /// Held back so that others overtook them.
    pub reordered: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delivered with flipped bits.
    pub corrupted: u64,
    /// Dropped because they were larger than the link carries.
    pub too_big: u64,
    /// Lost or corrupted because they were part of a train.
    pub mangled: u64,
    /// Marked as having met congestion.
    pub marked: u64,
}

/// What a lane has to know of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Its UDP payload.
    pub(crate) bytes: u64,
    /// It is one of several that left together.
    pub(crate) in_train: bool,
    /// How it is marked.
    pub(crate) ecn: Ecn,
}

/// A datagram on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// When its last bit left the sender's end; a cut later than this does not stop it.
    pub(crate) departs: Instant,
    /// When it arrives.
    pub(crate) arrives: Instant,
    /// When its copy arrives, if there is one.
    pub(crate) again: Option<Instant>,
    /// It arrives with flipped bits.
    pub(crate) corrupt: bool,
    /// How it is marked when it arrives.
    pub(crate) ecn: Ecn,
}

/// One direction of a link.
pub(crate) struct Lane {
    link: LinkId,
    config: LaneConfig,
    rng: Rng,
    /// The state of losses in bursts.
    bad: bool,
    /// When the last datagram arrives that nothing may overtake.
    last_arrival: Instant,
    outages: Vec<Outage>,
    stats: LaneStats,
}

/// The direction was dark from `from` until `until`, or still is.
#[derive(Clone, Copy, Debug)]
struct Outage {
    from: Instant,
    until: Option<Instant>,
}

impl Lane {
    pub(crate) fn new(link: LinkId, config: LaneConfig, rng: Rng) -> Self {
        Self {
            link,
            config,
            rng,
            bad: false,
            last_arrival: Instant::ZERO,
            outages: Vec::new(),
            stats: LaneStats::default(),
        }
    }

    /// Why the sender's system does not take a train whose largest datagram has `largest` bytes, if it does not.
    pub(crate) fn refuses(&mut self, largest: u64) -> Option<Fate> {
        if self.config.unreachable {
            return Some(Fate::Unreachable);
        }
        if self.config.local_mtu.is_some_and(|most| largest > most) {
            return Some(Fate::TooBig);
        }
        self.rng.chance(self.config.no_room).then_some(Fate::NoRoom)
    }

    /// Takes a datagram, and tells when it arrives if it does.
    pub(crate) fn admit(&mut self, queue: &mut Queue, load: Load, now: Instant) -> Option<Flight> {
        self.stats.sent += 1;
        self.stats.sent_bytes += load.bytes;
        if self.is_cut() {
            self.stats.cut += 1;
            return None;
        }
        let mangled = load.in_train && self.config.trains != Trains::Intact;
        self.stats.mangled += u64::from(mangled);
        if mangled && self.config.trains == Trains::Lost {
            return None;
        }
        if self.config.mtu.is_some_and(|most| load.bytes > most) {
            self.stats.too_big += 1;
            return None;
        }
        let Some(queued) = queue.admit(load.bytes, self.link, now) else {
            self.stats.overflowed += 1;
            return None;
        };
        // A lost datagram has occupied the link all the same.
        if self.is_lost() {
            self.stats.lost += 1;
            return None;
        }
        let marked = queued.marked && load.ecn != Ecn::NotEct;
        self.stats.marked += u64::from(marked);
        let ecn = if marked { Ecn::Ce } else { load.ecn };
        let flight = self.fly(queued.departs, ecn);
        Some(Flight { corrupt: flight.corrupt || mangled, ..flight })
    }

    /// Changes a setting that is not the queue's.
    pub(crate) fn change(&mut self, setting: Setting) {
        self.config.apply(setting);
    }

    /// Whether a datagram that departed then arrives: it does unless the direction was dark at that moment, or its
    /// address leads nowhere (`at_home`).
    pub(crate) fn on_arrival(&mut self, departed: Instant, at_home: bool) -> bool {
        let dark = self.outages.iter().any(|outage| outage.covers(departed));
        match (dark, at_home) {
            (true, _) => self.stats.cut += 1,
            (false, false) => self.stats.astray += 1,
            (false, true) => self.stats.arrived += 1,
        }
        !dark && at_home
    }

    /// Goes dark: what waits in the queue and what comes is dropped, what has departed still arrives.
    pub(crate) fn cut(&mut self, queue: &mut Queue, now: Instant) {
        if !self.is_cut() {
            self.outages.retain(|outage| outage.until.is_none_or(|until| now.since(until) <= OUTAGE_KEPT));
            self.outages.push(Outage { from: now, until: None });
            queue.forget(self.link, now);
            self.last_arrival = Instant::ZERO;
        }
    }

    /// Takes nothing any more; what waits in the queue still leaves.
    pub(crate) fn shut(&mut self, queue: &Queue, now: Instant) {
        if !self.is_cut() {
            self.outages.push(Outage { from: queue.empty_at(now), until: None });
        }
    }

    /// Carries datagrams again.
    pub(crate) fn restore(&mut self, now: Instant) {
        if let Some(outage) = self.outages.last_mut().filter(|outage| outage.until.is_none()) {
            outage.until = Some(now);
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.outages.last().is_some_and(|outage| outage.until.is_none())
    }

    /// Nothing that is sent now arrives.
    pub(crate) fn is_dark(&self) -> bool {
        self.is_cut() || self.config.unreachable
    }

    pub(crate) fn stats(&self) -> LaneStats {
        self.stats
    }

    fn is_lost(&mut self) -> bool {
        match self.config.bursts {
            Some(bursts) => bursts.strikes(&mut self.bad, &mut self.rng),
            None => self.rng.chance(self.config.loss),
        }
    }

    /// Draws what happens between departure and arrival.
    fn fly(&mut self, departs: Instant, ecn: Ecn) -> Flight {
        let mut arrives = departs + self.config.jitter.vary(self.config.delay, &mut self.rng);
        if self.rng.chance(self.config.reorder) {
            self.stats.reordered += 1;
            arrives += self.up_to(self.config.reorder_by);
        } else {
            arrives = arrives.max(self.last_arrival);
            self.last_arrival = arrives;
        }
        let again = self.rng.chance(self.config.duplicate).then(|| arrives + self.up_to(DUPLICATE_LATER_MAX));
        let corrupt = self.rng.chance(self.config.corrupt);
        self.stats.duplicated += u64::from(again.is_some());
        self.stats.corrupted += u64::from(corrupt);
        Flight {
            departs,
            arrives: self.coalesced(arrives),
            again: again.map(|at| self.coalesced(at)),
            corrupt,
            ecn,
        }
    }

    /// When the receiver hears of what arrives at `at`.
    pub(crate) fn coalesced(&self, at: Instant) -> Instant {
        next_multiple(at, self.config.coalesce)
    }

    /// What has been sent arrives by then, because the rate has changed.
    pub(crate) fn on_postponed(&mut self, last_arrival: Instant) {
        self.last_arrival = last_arrival;
    }

    fn up_to(&mut self, span: Duration) -> Duration {
        Duration::from_nanos(self.rng.between(0, span.as_nanos() as u64))
    }
}

impl Outage {
    fn covers(self, at: Instant) -> bool {
        self.from < at && self.until.is_none_or(|until| at <= until)
    }
}

/// The first multiple of `span` that is not before `at`; `at` itself where `span` is zero.
fn next_multiple(at: Instant, span: Duration) -> Instant {
    match span.as_nanos() as u64 {
        0 => at,
        step => Instant::from_nanos(at.as_nanos().div_ceil(step) * step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{BurstLoss, Jitter, Link};
    use crate::units::{Rate, mbps, ms, us};

    /// A lane with a queue of its own.
    struct OneLane {
        lane: Lane,
        queue: Queue,
    }

    impl OneLane {
        fn admit(&mut self, bytes: u64, now: Instant) -> Option<Flight> {
            self.lane.admit(&mut self.queue, Load { bytes, in_train: false, ecn: Ecn::NotEct }, now)
        }

        fn cut(&mut self, now: Instant) {
            self.lane.cut(&mut self.queue, now);
        }

        fn shut(&mut self, now: Instant) {
            self.lane.shut(&self.queue, now);
        }
    }

    fn lane(link: Link) -> OneLane {
        let queue = Queue::new(&link.up, Rng::new(2));
        OneLane { lane: Lane::new(LinkId(0), link.up, Rng::new(1)), queue }
    }

    fn at(span: Duration) -> Instant {
        Instant::ZERO + span
    }

    #[test]
    fn datagrams_leave_one_after_the_other_and_then_take_the_delay() {
        // 1250 bytes at 10 Mb/s take 1 ms.
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        let first = lane.admit(1250, at(ms(5))).unwrap();
        let second = lane.admit(1250, at(ms(5))).unwrap();
        let later = lane.admit(625, at(ms(30))).unwrap();
        assert_eq!((first.departs, first.arrives), (at(ms(6)), at(ms(26))));
        assert_eq!((second.departs, second.arrives), (at(ms(7)), at(ms(27))));
        assert_eq!(later.arrives, at(us(50_500)), "an idle link serves at once");
        assert_eq!((first.again, first.corrupt), (None, false));
    }

    #[test]
    fn a_queue_in_bytes_drops_the_datagram_that_would_exceed_it() {
        let mut lane = lane(Link::new(mbps(10), ms(20)).queue_bytes(3_000));
        assert!(lane.admit(1250, at(ms(0))).is_some());
        assert!(lane.admit(1250, at(ms(0))).is_some());
        assert!(lane.admit(501, at(ms(0))).is_none(), "2500 + 501 > 3000");
        assert!(lane.admit(500, at(ms(0))).is_some(), "exactly full");
        assert!(lane.admit(1250, at(us(999))).is_none(), "the first has not left yet");
        assert!(lane.admit(1250, at(ms(1))).is_some(), "the first has left");
        assert_eq!(
            lane.lane.stats(),
            LaneStats { sent: 6, sent_bytes: 6_001, overflowed: 2, ..LaneStats::default() }
        );
    }

    #[test]
    fn a_queue_in_time_drops_the_datagram_that_would_wait_longer() {
        let mut lane = lane(Link::new(mbps(10), ms(20)).queue_time(ms(2)));
        for _ in 0..3 {
            assert!(lane.admit(1250, at(ms(0))).is_some(), "waits 0, 1 and 2 ms");
        }
        assert!(lane.admit(1250, at(ms(0))).is_none(), "would wait 3 ms");
        assert!(lane.admit(1250, at(ms(1))).is_some());
    }

    #[test]
    fn what_departed_before_the_cut_arrives_and_what_waited_does_not() {
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        let on_the_wire = lane.admit(1250, at(ms(0))).unwrap(); // departs at 1 ms
        let in_the_queue = lane.admit(1250, at(ms(0))).unwrap(); // departs at 2 ms
        lane.cut(at(us(1_500)));
        assert!(lane.admit(1250, at(ms(3))).is_none());
        assert!(lane.lane.on_arrival(on_the_wire.departs, true));
        assert!(!lane.lane.on_arrival(in_the_queue.departs, true));
        assert_eq!((lane.lane.stats().arrived, lane.lane.stats().cut), (1, 2));
    }

    #[test]
    fn a_lane_that_is_shut_still_delivers_what_waits_and_takes_nothing_more() {
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        lane.admit(1250, at(ms(0))).unwrap();
        let in_the_queue = lane.admit(1250, at(ms(0))).unwrap(); // departs at 2 ms
        lane.shut(at(us(500)));
        assert!(lane.admit(1250, at(ms(1))).is_none());
        assert!(lane.lane.on_arrival(in_the_queue.departs, true));
        lane.lane.restore(at(ms(5)));
        let later = lane.admit(1250, at(ms(5))).unwrap();
        assert!(lane.lane.on_arrival(later.departs, true));
        assert_eq!((lane.lane.stats().arrived, lane.lane.stats().cut), (2, 1));
    }

    #[test]
    fn a_datagram_that_departs_at_the_very_instant_of_the_cut_arrives() {
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        let flight = lane.admit(1250, at(ms(0))).unwrap();
        lane.cut(at(ms(1)));
        assert!(lane.lane.on_arrival(flight.departs, true));
    }

    #[test]
    fn a_restored_lane_starts_with_an_empty_queue() {
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        for _ in 0..10 {
            lane.admit(1250, at(ms(0)));
        }
        lane.cut(at(ms(1)));
        lane.cut(at(ms(2))); // a second cut changes nothing
        lane.lane.restore(at(ms(4)));
        let flight = lane.admit(1250, at(ms(4))).unwrap();
        assert_eq!(flight.departs, at(ms(5)));
        assert!(lane.lane.on_arrival(flight.departs, true));
        assert!(!lane.lane.on_arrival(at(ms(4)), true), "dark up to the instant it was restored");
    }

    #[test]
    fn coalescing_moves_arrivals_to_the_next_multiple() {
        let mut lane = lane(Link::new(mbps(10), ms(20)).coalesce(ms(4)));
        let arrivals: Vec<_> = (0..4).map(|_| lane.admit(1250, at(ms(0))).unwrap().arrives).collect();
        assert_eq!(arrivals, [at(ms(24)), at(ms(24)), at(ms(24)), at(ms(24))]);
        assert_eq!(lane.admit(1250, at(ms(0))).unwrap().arrives, at(ms(28)), "25 ms becomes 28 ms");
    }

    #[test]
    fn misfortunes_happen_as_often_as_they_should_and_stay_in_their_bounds() {
        let link = Link::new(Rate::UNLIMITED, ms(10))
            .loss(0.1)
            .reorder(0.2, ms(3))
            .duplicate(0.05)
            .corrupt(0.02)
            .queue_bytes(u64::MAX);
        let mut lane = lane(link);
        for _ in 0..20_000 {
            if let Some(flight) = lane.admit(100, at(ms(1))) {
                assert!((at(ms(11))..=at(ms(14))).contains(&flight.arrives));
                assert!(flight.again.is_none_or(|again| again <= flight.arrives + DUPLICATE_LATER_MAX));
            }
        }
        let stats = lane.lane.stats();
        assert!((1_800..2_200).contains(&stats.lost), "{stats:?}");
        assert!((3_300..3_900).contains(&stats.reordered), "{stats:?}");
        assert!((800..1_000).contains(&stats.duplicated), "{stats:?}");
        assert!((290..430).contains(&stats.corrupted), "{stats:?}");
    }

    #[test]
    fn what_is_too_big_for_the_path_vanishes_and_what_is_too_big_for_the_interface_is_refused() {
        let mut lane = lane(Link::new(mbps(10), ms(20)).mtu(1_300).with(Setting::LocalMtu(Some(1_400))));
        assert!(lane.admit(1_300, at(ms(0))).is_some());
        assert!(lane.admit(1_301, at(ms(0))).is_none());
        assert_eq!((lane.lane.stats().too_big, lane.lane.stats().sent), (1, 2));
        assert_eq!(lane.lane.refuses(1_400), None);
        assert_eq!(lane.lane.refuses(1_401), Some(Fate::TooBig));
        lane.lane.change(Setting::Mtu(None));
        assert!(lane.admit(1_301, at(ms(0))).is_some(), "the black hole is gone");
    }

    #[test]
    fn a_system_without_a_way_or_without_room_says_so() {
        let mut lane = lane(Link::new(mbps(10), ms(20)).with(Setting::NoRoom(0.25)));
        let refused = (0..10_000).filter(|_| lane.lane.refuses(1_200) == Some(Fate::NoRoom)).count();
        assert!((2_300..2_700).contains(&refused), "{refused}");
        lane.lane.change(Setting::Unreachable(true));
        assert_eq!(lane.lane.refuses(1_200), Some(Fate::Unreachable));
    }

    #[test]
    fn hardware_that_spoils_trains_lets_single_datagrams_pass() {
        for (trains, arrives) in [(Trains::Lost, false), (Trains::Mangled, true)] {
            let mut lane = lane(Link::new(mbps(10), ms(20)).with(Setting::Trains(trains)));
            let load = Load { bytes: 1_200, in_train: true, ecn: Ecn::NotEct };
            let flight = lane.lane.admit(&mut lane.queue, load, at(ms(0)));
            assert_eq!(flight.map(|flight| flight.corrupt), arrives.then_some(true));
            assert!(!lane.admit(1_200, at(ms(0))).unwrap().corrupt);
            assert_eq!(lane.lane.stats().mangled, 1);
        }
    }

    #[test]
    fn only_datagrams_that_can_be_marked_are_marked() {
        let threshold = Some(crate::link::QueueLimit::Bytes(1_000));
        let mut lane = lane(Link::new(mbps(10), ms(20)).with(Setting::MarkAbove(threshold)));
        let mut marks = |ecn| {
            let load = Load { bytes: 1_200, in_train: false, ecn };
            lane.lane.admit(&mut lane.queue, load, at(ms(0))).unwrap().ecn
        };
        assert_eq!(marks(Ecn::Ect0), Ecn::Ce);
        assert_eq!(marks(Ecn::NotEct), Ecn::NotEct);
        assert_eq!(lane.lane.stats().marked, 1);
    }

    #[test]
    fn neither_jitter_nor_a_shorter_delay_reorders() {
        let jitter = Jitter::Laplace { scale: ms(10), cap: ms(100) };
        let mut lane = lane(Link::new(mbps(100), ms(50)).jitter(jitter).queue_bytes(u64::MAX));
        let mut last = Instant::ZERO;
        let mut waits = Vec::new();
        for number in 0..5_000_u64 {
            if number == 4_000 {
                lane.lane.change(Setting::Delay(ms(1)));
            }
            let now = at(us(number * 500));
            let flight = lane.admit(1_250, now).unwrap();
            assert!(flight.arrives >= last, "datagram {number}");
            last = flight.arrives;
            waits.push(flight.arrives.since(flight.departs));
        }
        waits[..4_000].sort();
        assert!(waits[400] != waits[3_600], "delays vary: {:?} to {:?}", waits[400], waits[3_600]);
        assert!(
            waits[4_990..].iter().any(|wait| *wait < ms(40)),
            "the new delay is shorter: {:?}",
            waits[4_999]
        );
    }

    #[test]
    fn losses_in_bursts_come_in_bursts() {
        let bursts = BurstLoss { to_bad: 0.01, to_good: 0.2, loss_good: 0.0, loss_bad: 1.0 };
        let mut lane = lane(Link::new(Rate::UNLIMITED, ms(1)).burst_loss(bursts));
        let lost: Vec<bool> = (0..100_000).map(|_| lane.admit(100, at(ms(1))).is_none()).collect();
        let total = lost.iter().filter(|&&lost| lost).count();
        let begun = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let length = total as f64 / begun as f64;
        assert!((length - 5.0).abs() < 0.4, "{length}");
        assert_eq!(lane.lane.stats().lost, total as u64);
    }
}
