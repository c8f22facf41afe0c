//! A link: what happens to one datagram between leaving one end and reaching the other.
//!
//! Owns rate, delay, the drop-tail queue, loss, reordering, duplication, corruption and outages, separately for each
//! direction (`Lane`). Knows nothing of addresses or of what is inside a datagram (`network` moves the bytes).

use std::collections::VecDeque;
use std::time::Duration;

use braid_quic::Instant;

use crate::rng::Rng;
use crate::units::Rate;

/// The copy of a duplicated datagram arrives at most this much behind the first.
const DUPLICATE_LATER_MAX: Duration = Duration::from_millis(5);
/// A queue of default size holds at least this much, so that slow, short links carry a burst.
const QUEUE_BYTES_MIN: u64 = 30_000;

/// One path between the client and the server; both directions alike unless said otherwise.
#[derive(Clone, Debug)]
pub struct Link {
    pub(crate) up: LaneConfig,
    pub(crate) down: LaneConfig,
    pub(crate) listener: u16,
}

impl Link {
    /// A clean link: `rate` of UDP payload and a one-way `delay`, with a queue of one bandwidth-delay product.
    pub fn new(rate: Rate, delay: Duration) -> Self {
        let queue = QueueLimit::Bytes(rate.bytes_in(delay * 2).max(QUEUE_BYTES_MIN));
        let lane = LaneConfig {
            rate,
            delay,
            queue,
            loss: 0.0,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            duplicate: 0.0,
            corrupt: 0.0,
            coalesce: Duration::ZERO,
        };
        Self { up: lane.clone(), down: lane, listener: 0 }
    }

    /// Loses datagrams at random with this probability.
    #[must_use]
    pub fn loss(self, probability: f64) -> Self {
        self.both(|lane| lane.loss = probability)
    }

    /// Holds datagrams back at random, each by a random time up to `by`, so that later ones overtake them.
    #[must_use]
    pub fn reorder(self, probability: f64, by: Duration) -> Self {
        self.both(|lane| (lane.reorder, lane.reorder_by) = (probability, by))
    }

    /// Delivers datagrams twice at random.
    #[must_use]
    pub fn duplicate(self, probability: f64) -> Self {
        self.both(|lane| lane.duplicate = probability)
    }

    /// Flips bits in datagrams at random.
    #[must_use]
    pub fn corrupt(self, probability: f64) -> Self {
        self.both(|lane| lane.corrupt = probability)
    }

    /// Lets at most `bytes` wait or be on their way onto the link.
    #[must_use]
    pub fn queue_bytes(self, bytes: u64) -> Self {
        self.both(|lane| lane.queue = QueueLimit::Bytes(bytes))
    }

    /// Lets a datagram wait at most `span` for those before it.
    #[must_use]
    pub fn queue_time(self, span: Duration) -> Self {
        self.both(|lane| lane.queue = QueueLimit::Time(span))
    }

    /// Delivers only at multiples of `span`, as a network card does that coalesces interrupts: this is what gives the
    /// receiver several datagrams at one instant, and so buffers of more than one segment.
    #[must_use]
    pub fn coalesce(self, span: Duration) -> Self {
        self.both(|lane| lane.coalesce = span)
    }

    /// Gives the direction from the server to the client another rate.
    #[must_use]
    pub fn down_rate(mut self, rate: Rate) -> Self {
        self.down.rate = rate;
        self
    }

    /// Ends at the server's listener of this number; each has its own address and `LocalId`.
    #[must_use]
    pub fn to_listener(mut self, listener: u16) -> Self {
        self.listener = listener;
        self
    }

    fn both(mut self, change: impl Fn(&mut LaneConfig)) -> Self {
        change(&mut self.up);
        change(&mut self.down);
        self
    }
}

/// What a datagram meets in one direction of a link.
#[derive(Clone, Debug)]
pub(crate) struct LaneConfig {
    pub(crate) rate: Rate,
    pub(crate) delay: Duration,
    queue: QueueLimit,
    loss: f64,
    reorder: f64,
    reorder_by: Duration,
    duplicate: f64,
    corrupt: f64,
    coalesce: Duration,
}

/// When the queue is full.
#[derive(Clone, Copy, Debug)]
enum QueueLimit {
    Bytes(u64),
    Time(Duration),
}

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
}

/// One direction of a link.
pub(crate) struct Lane {
    config: LaneConfig,
    rng: Rng,
    /// Datagrams whose last bit has not left, with the time when it will.
    waiting: VecDeque<(Instant, u64)>,
    waiting_bytes: u64,
    free_at: Instant,
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
    pub(crate) fn new(config: LaneConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            free_at: Instant::ZERO,
            outages: Vec::new(),
            stats: LaneStats::default(),
        }
    }

    /// Takes a datagram, and tells when it arrives if it does.
    pub(crate) fn admit(&mut self, bytes: u64, now: Instant) -> Option<Flight> {
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes;
        if self.is_cut() {
            self.stats.cut += 1;
            return None;
        }
        self.release(now);
        if self.is_full_for(bytes, now) {
            self.stats.overflowed += 1;
            return None;
        }
        let departs = now.max(self.free_at) + self.config.rate.time_for(bytes);
        self.free_at = departs;
        self.waiting.push_back((departs, bytes));
        self.waiting_bytes += bytes;
        // A lost datagram has occupied the link all the same.
        if self.rng.chance(self.config.loss) {
            self.stats.lost += 1;
            return None;
        }
        Some(self.fly(departs))
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
    pub(crate) fn cut(&mut self, now: Instant) {
        if !self.is_cut() {
            self.outages.push(Outage { from: now, until: None });
            self.waiting.clear();
            self.waiting_bytes = 0;
            self.free_at = now;
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

    pub(crate) fn stats(&self) -> LaneStats {
        self.stats
    }

    /// Forgets the datagrams that have left the queue.
    fn release(&mut self, now: Instant) {
        while let Some(&(departs, bytes)) = self.waiting.front()
            && departs <= now
        {
            self.waiting.pop_front();
            self.waiting_bytes -= bytes;
        }
    }

    fn is_full_for(&self, bytes: u64, now: Instant) -> bool {
        match self.config.queue {
            QueueLimit::Bytes(limit) => self.waiting_bytes + bytes > limit,
            QueueLimit::Time(limit) => self.free_at.since(now) > limit,
        }
    }

    /// Draws what happens between departure and arrival.
    fn fly(&mut self, departs: Instant) -> Flight {
        let mut arrives = departs + self.config.delay;
        if self.rng.chance(self.config.reorder) {
            self.stats.reordered += 1;
            arrives += self.up_to(self.config.reorder_by);
        }
        let again = self.rng.chance(self.config.duplicate).then(|| arrives + self.up_to(DUPLICATE_LATER_MAX));
        let corrupt = self.rng.chance(self.config.corrupt);
        self.stats.duplicated += u64::from(again.is_some());
        self.stats.corrupted += u64::from(corrupt);
        let coalesce = self.config.coalesce;
        Flight {
            departs,
            arrives: next_multiple(arrives, coalesce),
            again: again.map(|at| next_multiple(at, coalesce)),
            corrupt,
        }
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
    use crate::units::{mbps, ms, us};

    fn lane(link: Link) -> Lane {
        Lane::new(link.up, Rng::new(1))
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
            lane.stats(),
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
    fn the_default_queue_is_a_bandwidth_delay_product_of_the_round_trip() {
        let link = Link::new(mbps(80), ms(10)); // 10 MB/s x 20 ms = 200,000 bytes
        assert!(matches!(link.up.queue, QueueLimit::Bytes(200_000)));
        let slow = Link::new(mbps(1), ms(1));
        assert!(matches!(slow.down.queue, QueueLimit::Bytes(QUEUE_BYTES_MIN)));
    }

    #[test]
    fn what_departed_before_the_cut_arrives_and_what_waited_does_not() {
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        let on_the_wire = lane.admit(1250, at(ms(0))).unwrap(); // departs at 1 ms
        let in_the_queue = lane.admit(1250, at(ms(0))).unwrap(); // departs at 2 ms
        lane.cut(at(us(1_500)));
        assert!(lane.admit(1250, at(ms(3))).is_none());
        assert!(lane.on_arrival(on_the_wire.departs, true));
        assert!(!lane.on_arrival(in_the_queue.departs, true));
        assert_eq!((lane.stats().arrived, lane.stats().cut), (1, 2));
    }

    #[test]
    fn a_datagram_that_departs_at_the_very_instant_of_the_cut_arrives() {
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        let flight = lane.admit(1250, at(ms(0))).unwrap();
        lane.cut(at(ms(1)));
        assert!(lane.on_arrival(flight.departs, true));
    }

    #[test]
    fn a_restored_lane_starts_with_an_empty_queue() {
        let mut lane = lane(Link::new(mbps(10), ms(20)));
        for _ in 0..10 {
            lane.admit(1250, at(ms(0)));
        }
        lane.cut(at(ms(1)));
        lane.cut(at(ms(2))); // a second cut changes nothing
        lane.restore(at(ms(4)));
        let flight = lane.admit(1250, at(ms(4))).unwrap();
        assert_eq!(flight.departs, at(ms(5)));
        assert!(lane.on_arrival(flight.departs, true));
        assert!(!lane.on_arrival(at(ms(4)), true), "dark up to the instant it was restored");
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
        let stats = lane.stats();
        assert!((1_800..2_200).contains(&stats.lost), "{stats:?}");
        assert!((3_300..3_900).contains(&stats.reordered), "{stats:?}");
        assert!((800..1_000).contains(&stats.duplicated), "{stats:?}");
        assert!((290..430).contains(&stats.corrupted), "{stats:?}");
    }
}
