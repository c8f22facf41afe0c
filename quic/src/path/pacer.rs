//! Pacing: *when* the next train may leave a path.
//!
//! Owns a token bucket whose depth fits GSO trains. Never decides how much may be in flight (`congestion`) or where
//! data goes (`schedule`). RFC 9002 §7.7. Hot path: no allocation.

use std::time::Duration;

use crate::base::rate::Rate;
use crate::base::time::Instant;

/// The bucket holds what the rate yields in this time, within the bounds below.
const BURST_SPAN: Duration = Duration::from_millis(1);
/// A burst is at least this many datagrams, or two if that exceeds `BURST_SMALL_BYTES` (RFC 9002 §7.7 and §7.2: the
/// initial window).
const BURST_DATAGRAMS_MIN: u64 = 10;
/// See `BURST_DATAGRAMS_MIN`.
const BURST_SMALL_BYTES: u64 = 14_720;
/// A burst is at most one GSO train: this many segments ...
const BURST_DATAGRAMS_MAX: u64 = 64;
/// ... and this many bytes, the largest UDP payload over IPv4.
const BURST_BYTES_MAX: u64 = 65_507;

/// A bucket that fills at the path's rate and empties as bytes leave. It starts full.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    tokens_bytes: u64,
    datagram_bytes: u64,
    filled_at: Instant,
}

impl Pacer {
    /// A full bucket for datagrams of `datagram_size` bytes.
    pub(crate) fn new(datagram_size: u16) -> Self {
        Self { tokens_bytes: u64::MAX, datagram_bytes: u64::from(datagram_size), filled_at: Instant::ZERO }
    }

    /// When `bytes` may leave at once: `now`, or later. More than a burst is allowed as soon as a burst is.
    #[must_use]
    pub(crate) fn ready_at(&self, bytes: u64, rate: Rate, now: Instant) -> Instant {
        let wanted = bytes.min(burst(rate, self.datagram_bytes));
        let missing = wanted.saturating_sub(self.allowance(rate, now));
        now + rate.time_for(missing)
    }

    /// How many bytes may leave now; at most one burst.
    #[must_use]
    pub(crate) fn allowance(&self, rate: Rate, now: Instant) -> u64 {
        let filled = rate.bytes_in(now.since(self.filled_at));
        self.tokens_bytes.saturating_add(filled).min(burst(rate, self.datagram_bytes))
    }

    /// The train worth waiting for when there is much to send: half a burst, so that a turn that comes late by as much
    /// again loses no tokens.
    #[must_use]
    pub(crate) fn train_bytes(&self, rate: Rate) -> u64 {
        (burst(rate, self.datagram_bytes) / 2).max(self.datagram_bytes)
    }

    /// Records that `bytes` left. Probes and acknowledgements may leave without asking, and then cost what is there.
    pub(crate) fn on_sent(&mut self, bytes: u64, rate: Rate, now: Instant) {
        self.tokens_bytes = self.allowance(rate, now).saturating_sub(bytes);
        self.filled_at = self.filled_at.max(now);
    }

    /// The size of a datagram, in bytes.
    pub(crate) fn datagram_size(&self) -> u16 {
        self.datagram_bytes as u16
    }

    /// Datagrams have another size from now on.
    pub(crate) fn on_datagram_size(&mut self, datagram_size: u16) {
        self.datagram_bytes = u64::from(datagram_size);
    }
}

/// How many bytes may leave back to back.
fn burst(rate: Rate, datagram_bytes: u64) -> u64 {
    let least = (BURST_DATAGRAMS_MIN * datagram_bytes).min(BURST_SMALL_BYTES.max(2 * datagram_bytes));
    let most = (BURST_DATAGRAMS_MAX * datagram_bytes).min(BURST_BYTES_MAX);
    rate.bytes_in(BURST_SPAN).clamp(least, most.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT_100: Rate = Rate::from_bytes_per_second(12_500_000); // 12,500 bytes in a millisecond
    const GBIT_10: Rate = Rate::from_bytes_per_second(1_250_000_000);

    fn us(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1_000)
    }

    #[test]
    fn a_burst_is_a_millisecond_of_the_rate_within_ten_datagrams_and_a_gso_train() {
        assert_eq!(burst(Rate::ZERO, 1_200), 12_000);
        assert_eq!(burst(MBIT_100, 1_200), 12_500);
        assert_eq!(burst(GBIT_10, 1_200), 65_507);
        assert_eq!(burst(GBIT_10, 1_000), 64_000);
        assert_eq!(burst(Rate::UNLIMITED, 1_452), 65_507);
    }

    #[test]
    fn large_datagrams_keep_a_burst_to_two_of_them() {
        assert_eq!(burst(Rate::ZERO, 1_500), 14_720);
        assert_eq!(burst(Rate::ZERO, 9_000), 18_000);
        assert_eq!(burst(Rate::ZERO, 65_507), 131_014);
        assert_eq!(burst(GBIT_10, 65_507), 131_014);
    }

    #[test]
    fn a_fresh_path_may_send_one_burst_at_once_and_then_waits() {
        let mut pacer = Pacer::new(1_200);
        let now = us(5_000_000);
        assert_eq!(pacer.allowance(MBIT_100, now), 12_500);
        assert_eq!(pacer.ready_at(12_500, MBIT_100, now), now);
        pacer.on_sent(12_500, MBIT_100, now);
        assert_eq!(pacer.allowance(MBIT_100, now), 0);
        assert_eq!(pacer.ready_at(1_250, MBIT_100, now), us(5_000_100));
        assert_eq!(pacer.allowance(MBIT_100, us(5_000_100)), 1_250);
    }

    #[test]
    fn what_may_leave_at_the_instant_given_may_really_leave_then() {
        let mut pacer = Pacer::new(1_200);
        let rate = Rate::from_bytes_per_second(7_777_777);
        let mut now = us(1);
        for bytes in [1, 999, 1_200, 12_000, 65_507, 1_000_000] {
            now = pacer.ready_at(bytes, rate, now);
            assert_eq!(pacer.ready_at(bytes, rate, now), now);
            assert!(pacer.allowance(rate, now) >= bytes.min(12_000));
            pacer.on_sent(bytes, rate, now);
        }
    }

    #[test]
    fn over_a_second_the_rate_is_kept_whatever_the_trains() {
        for train in [1_200, 4_800, 12_000] {
            let mut pacer = Pacer::new(1_200);
            let (mut now, mut sent) = (us(0), 0);
            while now < us(1_000_000) {
                pacer.on_sent(train, MBIT_100, now);
                sent += train;
                now = pacer.ready_at(train, MBIT_100, now);
            }
            assert!(
                (12_480_000..=12_500_000 + 12_500 + train).contains(&sent),
                "{sent} bytes in trains of {train}"
            );
        }
    }

    #[test]
    fn idleness_earns_no_more_than_one_burst() {
        let mut pacer = Pacer::new(1_200);
        pacer.on_sent(12_500, MBIT_100, us(0));
        assert_eq!(pacer.allowance(MBIT_100, us(60_000_000)), 12_500);
        assert_eq!(pacer.allowance(MBIT_100, Instant::NEVER), 12_500);
    }

    #[test]
    fn a_train_worth_waiting_for_is_half_a_burst_and_at_least_a_datagram() {
        assert_eq!(Pacer::new(1_200).train_bytes(MBIT_100), 6_250);
        assert_eq!(Pacer::new(1_452).train_bytes(GBIT_10), 32_753);
        assert_eq!(Pacer::new(65_507).train_bytes(MBIT_100), 65_507);
    }

    #[test]
    fn a_clock_that_stands_still_or_a_rate_of_zero_gives_nothing() {
        let mut pacer = Pacer::new(1_200);
        pacer.on_sent(12_000, Rate::ZERO, us(9));
        pacer.on_sent(1, Rate::ZERO, us(8));
        assert_eq!(pacer.allowance(Rate::ZERO, us(1_000_000)), 0);
        assert_eq!(pacer.ready_at(1, Rate::ZERO, us(9)), us(9) + Duration::from_nanos(u64::MAX));
        assert_eq!(pacer.ready_at(0, Rate::ZERO, us(9)), us(9));
        assert_eq!(pacer.ready_at(u64::MAX, Rate::UNLIMITED, us(9)), us(9));
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing_twice() {
        let mut pacer = Pacer::new(1_200);
        pacer.on_sent(12_500, MBIT_100, us(1_000));
        pacer.on_sent(1_200, MBIT_100, us(500));
        assert_eq!(pacer.allowance(MBIT_100, us(1_000)), 0);
    }

    #[test]
    fn larger_datagrams_deepen_the_bucket() {
        let mut pacer = Pacer::new(1_200);
        pacer.on_datagram_size(1_452);
        assert_eq!(pacer.allowance(Rate::ZERO, us(0)), 14_520);
    }
}
