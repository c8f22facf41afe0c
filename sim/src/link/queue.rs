//! The bottleneck of a direction: a queue and the rate at which it empties.
//!
//! Owns when a datagram's last bit leaves, what overflows and what is marked; several links may share one. Knows nothing of
//! what happens after the departure (`lane` does).

use std::collections::VecDeque;
use std::time::Duration;

use braid_quic::Instant;

use super::{LaneConfig, Setting};
use crate::network::LinkId;
use crate::rng::Rng;
use crate::units::Rate;

/// When the queue is full, or full enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// More than this would wait or be on their way onto the link.
    Bytes(u64),
    /// A datagram would wait longer than this for those before it.
    Time(Duration),
}

/// A rate that jumps between two values after exponentially distributed times; it begins with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoRates {
    /// The rates.
    pub rates: [Rate; 2],
    /// How long each lasts in the mean.
    pub means: [Duration; 2],
}

/// How fast a queue empties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Steady(Rate),
    Changing(TwoRates),
}

/// A queue that empties at a rate.
pub(crate) struct Queue {
    pace: Pace,
    limit: QueueLimit,
    mark_above: Option<QueueLimit>,
    rng: Rng,
    rate: Rate,
    /// When the rate changes next, where it does: known from the first datagram on.
    changes_at: Option<Instant>,
    /// Datagrams whose last bit has not left.
    waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
    free_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    departs: Instant,
    bytes: u64,
    link: LinkId,
}

/// What the queue did with a datagram that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    /// When the last bit leaves.
    pub(super) departs: Instant,
    /// So much waited before it that it is to be marked.
    pub(super) marked: bool,
}

/// A change of rate: what departs after `at` departs at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    at: Instant,
    from: Rate,
    to: Rate,
}

impl Stretch {
    /// When that departs now which was to depart at `departs`.
    pub(crate) fn apply(self, departs: Instant) -> Instant {
        if departs <= self.at {
            return departs;
        }
        self.at + self.from.stretched(departs.since(self.at), self.to)
    }
}

impl Pace {
    fn first_rate(self) -> Rate {
        match self {
            Self::Steady(rate) => rate,
            Self::Changing(two) => two.rates[0],
        }
    }
}

impl Queue {
    pub(crate) fn new(config: &LaneConfig, rng: Rng) -> Self {
        Self {
            pace: config.pace,
            limit: config.limit,
            mark_above: config.mark_above,
            rng,
            rate: config.pace.first_rate(),
            changes_at: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            free_at: Instant::ZERO,
        }
    }

    /// Takes a datagram of a link unless it is full.
    pub(super) fn admit(&mut self, bytes: u64, link: LinkId, now: Instant) -> Option<Queued> {
        if let (Pace::Changing(two), None) = (self.pace, self.changes_at) {
            self.changes_at = Some(now + two.means[0].mul_f64(self.rng.exponential()));
        }
        self.release(now);
        if self.exceeds(self.limit, bytes, now) {
            return None;
        }
        let marked = self.mark_above.is_some_and(|limit| self.exceeds(limit, bytes, now));
        let departs = now.max(self.free_at) + self.rate.time_for(bytes);
        self.free_at = departs;
        self.waiting.push_back(Waiting { departs, bytes, link });
        self.waiting_bytes += bytes;
        Some(Queued { departs, marked })
    }

    /// Changes a setting if it is one of the queue's; the first value tells whether it is.
    pub(crate) fn change(&mut self, setting: Setting, now: Instant) -> (bool, Option<Stretch>) {
        match setting {
            Setting::Rate(rate) => return (true, self.set_pace(Pace::Steady(rate), now)),
            Setting::TwoRates(rates) => return (true, self.set_pace(Pace::Changing(rates), now)),
            Setting::Queue(limit) => self.limit = limit,
            Setting::MarkAbove(limit) => self.mark_above = limit,
            _ => return (false, None),
        }
        (true, None)
    }

    /// When the rate changes by itself.
    pub(crate) fn changes_at(&self) -> Option<Instant> {
        self.changes_at
    }

    /// The time for a change of rate has come.
    pub(crate) fn on_change(&mut self, now: Instant) -> Option<Stretch> {
        let Pace::Changing(two) = self.pace else { return None };
        let next = usize::from(self.rate == two.rates[0]);
        self.changes_at = Some(now + two.means[next].mul_f64(self.rng.exponential()));
        self.set_rate(two.rates[next], now)
    }

    /// When the last bit of what waits has left.
    pub(super) fn empty_at(&self, now: Instant) -> Instant {
        self.free_at.max(now)
    }

    /// Forgets what waits of a link.
    pub(super) fn forget(&mut self, link: LinkId, now: Instant) {
        self.waiting.retain(|waiting| waiting.link != link);
        self.waiting_bytes = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        if self.waiting.is_empty() {
            self.free_at = now;
        }
    }

    fn set_pace(&mut self, pace: Pace, now: Instant) -> Option<Stretch> {
        self.pace = pace;
        self.changes_at = match pace {
            Pace::Steady(_) => None,
            Pace::Changing(two) => Some(now + two.means[0].mul_f64(self.rng.exponential())),
        };
        self.set_rate(pace.first_rate(), now)
    }

    /// What waits leaves at the new rate, the rest of a datagram that is half on the link included.
    fn set_rate(&mut self, rate: Rate, now: Instant) -> Option<Stretch> {
        let stretch = Stretch { at: now, from: self.rate, to: rate };
        self.rate = rate;
        self.release(now);
        if self.waiting.is_empty() || stretch.from == rate {
            return None;
        }
        for waiting in &mut self.waiting {
            waiting.departs = stretch.apply(waiting.departs);
        }
        self.free_at = stretch.apply(self.free_at);
        Some(stretch)
    }

    /// Forgets the datagrams that have left.
    fn release(&mut self, now: Instant) {
        while let Some(first) = self.waiting.front()
            && first.departs <= now
        {
            self.waiting_bytes -= first.bytes;
            self.waiting.pop_front();
        }
    }

    fn exceeds(&self, limit: QueueLimit, bytes: u64, now: Instant) -> bool {
        match limit {
            QueueLimit::Bytes(limit) => self.waiting_bytes + bytes > limit,
            QueueLimit::Time(limit) => self.free_at.since(now) > limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Link;
    use crate::units::{mbps, ms, us};

    const LINK: LinkId = LinkId(0);
    const OTHER: LinkId = LinkId(1);

    fn queue(link: &Link) -> Queue {
        Queue::new(&link.up, Rng::new(1))
    }

    fn at(span: Duration) -> Instant {
        Instant::ZERO + span
    }

    #[test]
    fn a_new_rate_counts_for_what_waits_and_for_the_rest_of_what_leaves() {
        let mut queue = queue(&Link::new(mbps(10), ms(20)));
        for expected in [1, 2, 3] {
            assert_eq!(queue.admit(1_250, LINK, at(ms(0))).unwrap().departs, at(ms(expected)));
        }
        // Half of the second datagram has left; the rest takes twice as long.
        let (mine, stretch) = queue.change(Setting::Rate(mbps(5)), at(us(1_500)));
        assert!(mine);
        let stretch = stretch.unwrap();
        assert_eq!(stretch.apply(at(ms(1))), at(ms(1)), "what has left has left");
        assert_eq!(stretch.apply(at(ms(2))), at(us(2_500)));
        assert_eq!(stretch.apply(at(ms(3))), at(us(4_500)));
        assert_eq!(queue.admit(1_250, LINK, at(ms(2))).unwrap().departs, at(us(6_500)));
        assert_eq!(queue.change(Setting::Rate(mbps(10)), at(ms(90))), (true, None), "nothing waits");
    }

    #[test]
    fn marks_begin_where_the_threshold_is_exceeded() {
        let link = Link::new(mbps(10), ms(20));
        let mut by_time = queue(&link.clone().with(Setting::MarkAbove(Some(QueueLimit::Time(ms(2))))));
        let mut by_bytes = queue(&link.with(Setting::MarkAbove(Some(QueueLimit::Bytes(3_750)))));
        for expected in [false, false, false, true] {
            assert_eq!(by_time.admit(1_250, LINK, at(ms(0))).unwrap().marked, expected);
            assert_eq!(by_bytes.admit(1_250, LINK, at(ms(0))).unwrap().marked, expected);
        }
    }

    #[test]
    fn two_rates_last_as_long_as_they_should_in_the_mean() {
        let rates = TwoRates { rates: [mbps(10), mbps(2)], means: [ms(300), ms(100)] };
        let mut queue = queue(&Link::new(mbps(1), ms(1)).with(Setting::TwoRates(rates)));
        assert_eq!(queue.changes_at(), None);
        queue.admit(1_250, LINK, at(ms(0)));
        let (mut now, mut spent) = (at(ms(0)), [Duration::ZERO; 2]);
        for round in 0..20_000 {
            assert_eq!(queue.rate, rates.rates[round % 2]);
            let next = queue.changes_at().unwrap();
            spent[round % 2] += next.since(now);
            now = next;
            queue.on_change(now);
        }
        let mean = |index: usize| spent[index].as_secs_f64() / 10_000.0 * 1_000.0;
        assert!((mean(0) - 300.0).abs() < 10.0, "{}", mean(0));
        assert!((mean(1) - 100.0).abs() < 4.0, "{}", mean(1));
        queue.change(Setting::Rate(mbps(3)), now);
        assert_eq!(queue.changes_at(), None, "a steady rate ends it");
    }

    #[test]
    fn a_link_that_shares_the_queue_keeps_its_place_when_the_other_is_forgotten() {
        let mut queue = queue(&Link::new(mbps(10), ms(20)).queue_bytes(5_000));
        for link in [LINK, OTHER, LINK, OTHER] {
            assert!(queue.admit(1_250, link, at(ms(0))).is_some());
        }
        assert!(queue.admit(1_250, OTHER, at(ms(0))).is_none(), "they fill it together");
        queue.forget(LINK, at(us(100)));
        assert_eq!(queue.admit(1_250, OTHER, at(us(100))).unwrap().departs, at(ms(5)));
        queue.forget(OTHER, at(us(200)));
        assert_eq!(queue.admit(1_250, LINK, at(us(200))).unwrap().departs, at(us(1_200)), "empty");
    }
}
