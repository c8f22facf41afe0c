//! The rules of loss detection (RFC 9002 §6 and §7.6) and of suspicion, as pure functions.
//!
//! Owns no state: `space` asks with numbers, and acts.

use std::time::Duration;

use crate::base::time::Instant;

/// A packet this far behind an acknowledged one is lost (RFC 9002 §6.1.1).
pub(crate) const REORDER_PACKETS: u64 = 3;

/// Periods of the probe timeout that losses must span to be persistent congestion (RFC 9002 §7.6.1).
const PERSISTENT_PERIODS: u32 = 3;

/// Doublings of the probe timeout at most; a healed path is found again within seconds.
const BACKOFF_MAX: u32 = 6;

/// The longest time between two probes of one path.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// What became of an outstanding packet below an acknowledged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Lost,
    /// Lost at this time, unless it is acknowledged before.
    Wait(Instant),
}

/// Is packet `number`, sent at `sent_at`, lost, now that `largest` is acknowledged? (RFC 9002 §6.1)
#[inline]
pub(crate) fn verdict(number: u64, sent_at: Instant, largest: u64, delay: Duration, now: Instant) -> Verdict {
    debug_assert!(number <= largest);
    let lost_at = sent_at + delay;
    if is_overtaken(number, largest) || lost_at <= now {
        return Verdict::Lost;
    }
    Verdict::Wait(lost_at)
}

/// Were so many later packets sent up to the acknowledged `largest` that `number` is lost? (RFC 9002 §6.1.1)
#[inline]
pub(crate) fn is_overtaken(number: u64, largest: u64) -> bool {
    largest - number >= REORDER_PACKETS
}

/// How long to wait for an acknowledgement before the `count`-th probe (from 0), `base` being the probe timeout
/// (RFC 9002 §6.2.1).
///
/// The back-off is capped, so that an outage costs seconds after it healed, not half a minute.
pub(crate) fn probe_after(base: Duration, count: u32) -> Duration {
    let backed_off = base.saturating_mul(1 << count.min(BACKOFF_MAX));
    backed_off.min(PROBE_EVERY.max(base))
}

/// Do losses of ack-eliciting packets sent from `first` to `last`, with none between acknowledged, mean that the path
/// was dead for long? (RFC 9002 §7.6.2) `probe_timeout` includes the peer's `max_ack_delay`.
pub(crate) fn is_persistent(first: Instant, last: Instant, probe_timeout: Duration) -> bool {
    last.since(first) > probe_timeout * PERSISTENT_PERIODS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// MP-297
    #[test]
    fn three_packets_behind_is_lost_and_two_is_not() {
        assert_eq!(verdict(7, at(100), 10, ms(50), at(101)), Verdict::Lost);
        assert_eq!(verdict(8, at(100), 10, ms(50), at(101)), Verdict::Wait(at(150)));
    }

    #[test]
    fn time_alone_makes_a_packet_lost() {
        assert_eq!(verdict(9, at(100), 10, ms(50), at(149)), Verdict::Wait(at(150)));
        assert_eq!(verdict(9, at(100), 10, ms(50), at(150)), Verdict::Lost);
    }

    #[test]
    fn probes_back_off_but_never_beyond_two_seconds() {
        assert_eq!(probe_after(ms(45), 0), ms(45));
        assert_eq!(probe_after(ms(45), 3), ms(360));
        assert_eq!(probe_after(ms(45), 40), ms(2000));
        assert_eq!(probe_after(ms(3000), 2), ms(3000), "a longer timeout than the cap is kept");
    }

    /// MP-297
    #[test]
    fn losses_over_more_than_three_probe_timeouts_are_persistent() {
        assert!(!is_persistent(at(0), at(300), ms(100)));
        assert!(is_persistent(at(0), at(301), ms(100)));
    }
}
