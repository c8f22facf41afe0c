//! A link between the client and the server: what may be said about it.
//!
//! Owns the settings of a link, each direction by itself, and how a scenario writes them. What they do to datagrams is in
//! `queue` (the bottleneck) and `lane` (all that comes after it); addresses are `network`'s.

mod chance;
mod lane;
mod queue;

use std::time::Duration;

use crate::network::{LinkId, Way};
use crate::units::Rate;

pub use self::chance::{BurstLoss, Jitter};
pub use self::lane::LaneStats;
pub(crate) use self::lane::{Flight, Lane, Load};
pub(crate) use self::queue::{Pace, Queue, Stretch};
pub use self::queue::{QueueLimit, TwoRates};

/// A queue of default size holds at least this much, so that slow, short links carry a burst.
const QUEUE_BYTES_MIN: u64 = 30_000;

/// One path between the client and the server; both directions alike unless said otherwise.
#[derive(Clone, Debug)]
pub struct Link {
    pub(crate) up: LaneConfig,
    pub(crate) down: LaneConfig,
    pub(crate) listener: u16,
}

/// One property of one direction of a link, before the start or while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    /// UDP payload per second; what waits leaves at the new rate too.
    Rate(Rate),
    /// A rate that changes at random.
    TwoRates(TwoRates),
    /// When the queue is full.
    Queue(QueueLimit),
    /// Datagrams that are capable of it are marked (ECN CE) where at least this much waits before them.
    MarkAbove(Option<QueueLimit>),
    /// From the last bit's departure to the arrival; counts for what is sent from now on, and nothing overtakes.
    Delay(Duration),
    /// How much the delay varies.
    Jitter(Jitter),
    /// Loses datagrams at random, each with this probability.
    Loss(f64),
    /// Loses datagrams in bursts, instead.
    BurstLoss(BurstLoss),
    /// Holds datagrams back with this probability, each by a random time up to this, so that others overtake them.
    Reorder(f64, Duration),
    /// Delivers datagrams twice with this probability.
    Duplicate(f64),
    /// Flips bits with this probability.
    Corrupt(f64),
    /// Delivers only at multiples of this.
    Coalesce(Duration),
    /// Drops datagrams with more UDP payload than this, and nobody is told: a black hole.
    Mtu(Option<u64>),
    /// The sender's interface refuses datagrams with more UDP payload than this (`Fate::TooBig`).
    LocalMtu(Option<u64>),
    /// The sender's system knows no way (`Fate::Unreachable`).
    Unreachable(bool),
    /// The sender's system has no memory for a train with this probability (`Fate::NoRoom`).
    NoRoom(f64),
    /// What the sender's hardware makes of trains of several datagrams.
    Trains(Trains),
}

/// What becomes of the datagrams of a train that has more than one; single datagrams pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trains {
    /// They leave as they should.
    #[default]
    Intact,
    /// None of them leaves, and nobody is told.
    Lost,
    /// All of them leave with flipped bits.
    Mangled,
}

impl Link {
    /// A clean link: `rate` of UDP payload and a one-way `delay`, with a queue of one bandwidth-delay product.
    pub fn new(rate: Rate, delay: Duration) -> Self {
        let limit = QueueLimit::Bytes(rate.bytes_in(delay * 2).max(QUEUE_BYTES_MIN));
        let lane = LaneConfig { pace: Pace::Steady(rate), limit, delay, ..LaneConfig::default() };
        Self { up: lane.clone(), down: lane, listener: 0 }
    }

    /// Sets one property of both directions.
    #[must_use]
    pub fn with(self, setting: Setting) -> Self {
        self.with_way(Way::Up, setting).with_way(Way::Down, setting)
    }

    /// Sets one property of one direction.
    #[must_use]
    pub fn with_way(mut self, way: Way, setting: Setting) -> Self {
        match way {
            Way::Up => self.up.apply(setting),
            Way::Down => self.down.apply(setting),
        }
        self
    }

    /// Loses datagrams at random with this probability.
    #[must_use]
    pub fn loss(self, probability: f64) -> Self {
        self.with(Setting::Loss(probability))
    }

    /// Loses datagrams in bursts.
    #[must_use]
    pub fn burst_loss(self, bursts: BurstLoss) -> Self {
        self.with(Setting::BurstLoss(bursts))
    }

    /// Varies the delay, without reordering.
    #[must_use]
    pub fn jitter(self, jitter: Jitter) -> Self {
        self.with(Setting::Jitter(jitter))
    }

    /// Holds datagrams back at random, each by a random time up to `by`, so that later ones overtake them.
    #[must_use]
    pub fn reorder(self, probability: f64, by: Duration) -> Self {
        self.with(Setting::Reorder(probability, by))
    }

    /// Delivers datagrams twice at random.
    #[must_use]
    pub fn duplicate(self, probability: f64) -> Self {
        self.with(Setting::Duplicate(probability))
    }

    /// Flips bits in datagrams at random.
    #[must_use]
    pub fn corrupt(self, probability: f64) -> Self {
        self.with(Setting::Corrupt(probability))
    }

    /// Lets at most `bytes` wait or be on their way onto the link.
    #[must_use]
    pub fn queue_bytes(self, bytes: u64) -> Self {
        self.with(Setting::Queue(QueueLimit::Bytes(bytes)))
    }

    /// Lets a datagram wait at most `span` for those before it.
    #[must_use]
    pub fn queue_time(self, span: Duration) -> Self {
        self.with(Setting::Queue(QueueLimit::Time(span)))
    }

    /// Drops datagrams with more than `bytes` of UDP payload without a word.
    #[must_use]
    pub fn mtu(self, bytes: u64) -> Self {
        self.with(Setting::Mtu(Some(bytes)))
    }

    /// Delivers only at multiples of `span`, as a network card does that coalesces interrupts: this is what gives the
    /// receiver several datagrams at one instant, and so buffers of more than one segment.
    #[must_use]
    pub fn coalesce(self, span: Duration) -> Self {
        self.with(Setting::Coalesce(span))
    }

    /// Gives the direction from the server to the client another rate.
    #[must_use]
    pub fn down_rate(self, rate: Rate) -> Self {
        self.with_way(Way::Down, Setting::Rate(rate))
    }

    /// Shares rate and queue of `other` in both directions: one bottleneck for both links. Delay, loss and all other
    /// trouble stay its own; a new rate of either is one of both.
    #[must_use]
    pub fn sharing(mut self, other: LinkId) -> Self {
        (self.up.shares, self.down.shares) = (Some(other), Some(other));
        self
    }

    /// The same for one direction only.
    #[must_use]
    pub fn sharing_way(mut self, way: Way, other: LinkId) -> Self {
        match way {
            Way::Up => self.up.shares = Some(other),
            Way::Down => self.down.shares = Some(other),
        }
        self
    }

    /// Ends at the server's listener of this number; each has its own address and `LocalId`.
    #[must_use]
    pub fn to_listener(mut self, listener: u16) -> Self {
        self.listener = listener;
        self
    }
}

/// What a datagram meets in one direction of a link.
#[derive(Clone, Debug)]
pub(crate) struct LaneConfig {
    pace: Pace,
    limit: QueueLimit,
    mark_above: Option<QueueLimit>,
    pub(crate) shares: Option<LinkId>,
    delay: Duration,
    jitter: Jitter,
    loss: f64,
    bursts: Option<BurstLoss>,
    reorder: f64,
    reorder_by: Duration,
    duplicate: f64,
    corrupt: f64,
    coalesce: Duration,
    mtu: Option<u64>,
    local_mtu: Option<u64>,
    unreachable: bool,
    no_room: f64,
    trains: Trains,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            pace: Pace::Steady(Rate::UNLIMITED),
            limit: QueueLimit::Bytes(u64::MAX),
            mark_above: None,
            shares: None,
            delay: Duration::ZERO,
            jitter: Jitter::None,
            loss: 0.0,
            bursts: None,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            duplicate: 0.0,
            corrupt: 0.0,
            coalesce: Duration::ZERO,
            mtu: None,
            local_mtu: None,
            unreachable: false,
            no_room: 0.0,
            trains: Trains::Intact,
        }
    }
}

impl LaneConfig {
    fn apply(&mut self, setting: Setting) {
        match setting {
            Setting::Rate(rate) => self.pace = Pace::Steady(rate),
            Setting::TwoRates(rates) => self.pace = Pace::Changing(rates),
            Setting::Queue(limit) => self.limit = limit,
            Setting::MarkAbove(limit) => self.mark_above = limit,
            Setting::Delay(delay) => self.delay = delay,
            Setting::Jitter(jitter) => self.jitter = jitter,
            Setting::Loss(probability) => (self.loss, self.bursts) = (probability, None),
            Setting::BurstLoss(bursts) => (self.loss, self.bursts) = (0.0, Some(bursts)),
            Setting::Reorder(probability, by) => (self.reorder, self.reorder_by) = (probability, by),
            Setting::Duplicate(probability) => self.duplicate = probability,
            Setting::Corrupt(probability) => self.corrupt = probability,
            Setting::Coalesce(span) => self.coalesce = span,
            Setting::Mtu(bytes) => self.mtu = bytes,
            Setting::LocalMtu(bytes) => self.local_mtu = bytes,
            Setting::Unreachable(unreachable) => self.unreachable = unreachable,
            Setting::NoRoom(probability) => self.no_room = probability,
            Setting::Trains(trains) => self.trains = trains,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{mbps, ms};

    #[test]
    fn the_default_queue_is_a_bandwidth_delay_product_of_the_round_trip() {
        let link = Link::new(mbps(80), ms(10)); // 10 MB/s x 20 ms = 200,000 bytes
        assert_eq!(link.up.limit, QueueLimit::Bytes(200_000));
        let slow = Link::new(mbps(1), ms(1));
        assert_eq!(slow.down.limit, QueueLimit::Bytes(QUEUE_BYTES_MIN));
    }

    #[test]
    fn the_two_directions_may_differ_and_the_later_kind_of_loss_counts() {
        let bursts = BurstLoss { to_bad: 0.1, to_good: 0.5, loss_good: 0.0, loss_bad: 1.0 };
        let link = Link::new(mbps(10), ms(5)).loss(0.1).with_way(Way::Down, Setting::BurstLoss(bursts));
        assert_eq!((link.up.loss, link.up.bursts), (0.1, None));
        assert_eq!((link.down.loss, link.down.bursts), (0.0, Some(bursts)));
    }
}
