//! Doubt: does the network carry packets of one kind at all, or swallow every one of them while others pass?
//!
//! Owns the evidence and the rule that judges it; what kind is watched, and what follows from the verdict, is the
//! owner's: `mtu` watches large packets, `trains` those behind the first of a train. Ordinary loss must not convict, so
//! a verdict takes many packets, over several round trips, and not one that arrived.

use std::time::Duration;

use crate::base::time::Instant;

/// Packets of the kind that one acknowledgement showed to have arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    /// The largest of them, in bytes.
    pub(crate) largest: u16,
    /// When the newest of them was sent; `None` without any.
    pub(crate) newest_sent_at: Option<Instant>,
}

/// Packets of the kind that one pass of loss detection found missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Missing {
    pub(crate) packets: u32,
    /// The smallest of them, in bytes.
    smallest: u16,
    oldest_sent_at: Instant,
    newest_sent_at: Instant,
}

/// How much it takes to convict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Bursts of losses, each of packets that were sent after the one before had been noticed: a round trip or more
    /// lies between two of them, and something else was acknowledged meanwhile, or nothing could have been noticed.
    pub(crate) bursts: u8,
    /// Lost packets in all of them.
    pub(crate) packets: u32,
}

/// The evidence at hand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubt {
    arrived: Arrived,
    losses: Option<Losses>,
}

/// Losses since the last packet of the kind that arrived.
#[derive(Clone, Copy, Debug)]
struct Losses {
    since: Instant,
    noticed_at: Instant,
    bursts: u8,
    packets: u32,
    smallest: u16,
}

impl Arrived {
    #[inline]
    pub(crate) fn add(&mut self, bytes: u16, sent_at: Instant) {
        self.largest = self.largest.max(bytes);
        self.newest_sent_at = self.newest_sent_at.max(Some(sent_at));
    }

    /// Does it show that packets of `bytes` got through at `sent_at` or later?
    fn disproves(&self, bytes: u16, sent_at: Instant) -> bool {
        self.largest >= bytes && self.newest_sent_at.is_some_and(|newest| newest >= sent_at)
    }
}

impl Missing {
    pub(crate) fn add(&mut self, bytes: u16, sent_at: Instant) {
        let first = self.packets == 0;
        self.packets += 1;
        self.smallest = if first { bytes } else { self.smallest.min(bytes) };
        self.oldest_sent_at = if first { sent_at } else { self.oldest_sent_at.min(sent_at) };
        self.newest_sent_at = self.newest_sent_at.max(sent_at);
    }
}

impl Doubt {
    /// Packets arrived: those that are as large as the smallest that were lost, and were sent no earlier, end the doubt.
    #[inline]
    pub(crate) fn on_acked(&mut self, arrived: &Arrived) {
        if arrived.newest_sent_at > self.arrived.newest_sent_at {
            self.arrived = *arrived;
        }
        if self.losses.is_some_and(|losses| arrived.disproves(losses.smallest, losses.since)) {
            self.losses = None;
        }
    }

    /// Packets were lost. If that makes the verdict, says since when none arrives, and forgets the evidence.
    pub(crate) fn on_lost(&mut self, missing: &Missing, rule: Rule, now: Instant) -> Option<Instant> {
        if missing.packets == 0 || self.arrived.disproves(missing.smallest, missing.newest_sent_at) {
            return None;
        }
        let losses = match self.losses {
            None => Losses {
                since: missing.oldest_sent_at,
                noticed_at: now,
                bursts: 1,
                packets: missing.packets,
                smallest: missing.smallest,
            },
            Some(before) => {
                let news = missing.newest_sent_at >= before.noticed_at;
                Losses {
                    since: before.since,
                    noticed_at: if news { now } else { before.noticed_at },
                    bursts: before.bursts.saturating_add(u8::from(news)),
                    packets: before.packets.saturating_add(missing.packets),
                    smallest: before.smallest.min(missing.smallest),
                }
            }
        };
        let convicted = losses.bursts >= rule.bursts && losses.packets >= rule.packets;
        self.losses = (!convicted).then_some(losses);
        convicted.then_some(losses.since)
    }

    /// The losses have another explanation.
    pub(crate) fn forget(&mut self) {
        self.losses = None;
    }
}

/// Waits that double as long as each turns out to have been too short.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    wait: Duration,
    until: Instant,
}

impl Patience {
    /// When to try again after a failure at `now`: after `first`, or after twice the last wait, `most` at most, if what
    /// was tried after that one failed again within as much time.
    pub(crate) fn next(&mut self, first: Duration, most: Duration, now: Instant) -> Instant {
        let again = !self.wait.is_zero() && now <= self.until + self.wait;
        self.wait = if again { (self.wait * 2).min(most) } else { first };
        self.until = now + self.wait;
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { bursts: 3, packets: 6 };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn missing(bytes: u16, times: &[u64]) -> Missing {
        let mut missing = Missing::default();
        for &ms in times {
            missing.add(bytes, at(ms));
        }
        missing
    }

    fn arrived(bytes: u16, ms: u64) -> Arrived {
        let mut arrived = Arrived::default();
        arrived.add(bytes, at(ms));
        arrived
    }

    #[test]
    fn three_bursts_each_sent_after_the_last_was_noticed_make_a_verdict() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.on_lost(&missing(1400, &[1, 2, 3]), RULE, at(10)), None);
        assert_eq!(
            doubt.on_lost(&missing(1400, &[8, 9]), RULE, at(15)),
            None,
            "under way when it was noticed"
        );
        assert_eq!(doubt.on_lost(&missing(1400, &[11]), RULE, at(20)), None);
        assert_eq!(doubt.on_lost(&missing(1400, &[20]), RULE, at(30)), Some(at(1)));
        assert_eq!(doubt.on_lost(&missing(1400, &[31]), RULE, at(40)), None, "all evidence is used up");
    }

    #[test]
    fn too_few_packets_make_no_verdict() {
        let mut doubt = Doubt::default();
        for burst in 0..5 {
            let sent = 10 * burst;
            assert_eq!(doubt.on_lost(&missing(1400, &[sent]), RULE, at(sent + 5)), None);
        }
        assert!(doubt.on_lost(&missing(1400, &[50]), RULE, at(55)).is_some(), "the sixth packet");
    }

    #[test]
    fn one_that_arrives_ends_the_doubt_if_it_was_sent_later_and_is_as_large() {
        let two_bursts = || {
            let mut doubt = Doubt::default();
            doubt.on_lost(&missing(1400, &[1, 2, 3]), RULE, at(10));
            doubt.on_lost(&missing(1452, &[11, 12, 13]), RULE, at(20));
            doubt
        };
        let verdict = |mut doubt: Doubt| doubt.on_lost(&missing(1452, &[21]), RULE, at(30)).is_some();
        assert!(verdict(two_bursts()));
        for (arrival, convicts) in
            [(arrived(1400, 1), false), (arrived(1452, 0), true), (arrived(1399, 15), true)]
        {
            let mut doubt = two_bursts();
            doubt.on_acked(&arrival);
            assert_eq!(verdict(doubt), convicts, "{arrival:?}");
        }
    }

    #[test]
    fn losses_noticed_after_a_later_packet_arrived_raise_no_doubt() {
        let mut doubt = Doubt::default();
        for round in 0..10 {
            let sent = 10 * round;
            doubt.on_acked(&arrived(1452, sent + 1));
            assert_eq!(doubt.on_lost(&missing(1452, &[sent, sent, sent]), RULE, at(sent + 5)), None);
        }
    }

    #[test]
    fn patience_doubles_while_trials_fail_at_once_and_starts_over_after_a_success() {
        let mut patience = Patience::default();
        let (first, most) = (Duration::from_secs(60), Duration::from_secs(200));
        assert_eq!(patience.next(first, most, at(0)), at(60_000));
        assert_eq!(patience.next(first, most, at(61_000)), at(61_000 + 120_000));
        assert_eq!(patience.next(first, most, at(182_000)), at(182_000 + 200_000));
        assert_eq!(
            patience.next(first, most, at(600_000)),
            at(660_000),
            "it worked for longer than the wait"
        );
    }
}
