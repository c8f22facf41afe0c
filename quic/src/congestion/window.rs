//! What every window-based controller does alike: slow start, one reaction per round trip, the bounds.
//!
//! Owns the window, its slow start threshold and the recovery period (RFC 9002 §7). How the window grows outside slow
//! start and by how much it shrinks is each controller's own law.

use super::hystart::{Growth, HyStart};
use super::{Acked, Congestion};
use crate::base::time::Instant;

/// No window grows beyond this (64 GiB): more than any route holds, and small enough that sums of windows never wrap.
const WINDOW_MAX: u64 = 1 << 36;

/// The congestion window of one route.
#[derive(Clone, Debug)]
pub(super) struct Window {
    bytes: u64,
    /// The window at which slow start ends; `u64::MAX` until congestion was met.
    threshold: u64,
    datagram_bytes: u64,
    /// What was sent at this time or before belongs to a round trip that was reacted to (RFC 9002 §7.3.2).
    recovery_since: Option<Instant>,
    hystart: HyStart,
}

impl Window {
    pub(super) fn new(datagram_size: u16) -> Self {
        let datagram_bytes = u64::from(datagram_size);
        Self {
            bytes: initial(datagram_bytes),
            threshold: u64::MAX,
            datagram_bytes,
            recovery_since: None,
            hystart: HyStart::default(),
        }
    }

    pub(super) fn on_sent(&mut self, last_packet_number: u64) {
        self.hystart.on_sent(last_packet_number);
    }

    /// Grows in slow start. Returns how many of the acknowledged bytes are left for the controller's own law: none in
    /// recovery, and none when something else than the window limited the sender (RFC 9002 §7.8).
    pub(super) fn on_acked(&mut self, acked: &Acked) -> u64 {
        if self.in_recovery(acked.newest_sent_at) {
            return 0;
        }
        let growth = if self.in_slow_start() { self.hystart.on_acked(acked) } else { Growth::By(0) };
        match growth {
            Growth::Stop => {
                self.threshold = self.bytes;
                0
            }
            Growth::By(_) if acked.app_limited => 0,
            Growth::By(_) if !self.in_slow_start() => acked.bytes,
            Growth::By(bytes) => {
                let used = bytes.min(self.threshold - self.bytes);
                self.grow(used);
                bytes - used
            }
        }
    }

    pub(super) fn grow(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes).min(WINDOW_MAX);
    }

    /// Whether this congestion is news, not the echo of what was reacted to (RFC 9002 §7.3.1).
    pub(super) fn is_news(&self, congestion: &Congestion) -> bool {
        !self.in_recovery(congestion.sent_at)
    }

    /// Shrinks to `numerator / denominator` and begins a recovery period (RFC 9002 §7.3.2).
    pub(super) fn shrink(&mut self, numerator: u64, denominator: u64, now: Instant) {
        self.bytes = (self.bytes * numerator / denominator).max(minimum(self.datagram_bytes));
        self.threshold = self.bytes;
        self.recovery_since = Some(now);
        self.hystart.on_congestion();
    }

    /// Persistent congestion: slow start again from the minimum, up to the threshold (RFC 9002 §7.6.2).
    pub(super) fn collapse(&mut self) {
        self.bytes = minimum(self.datagram_bytes);
        self.recovery_since = None;
    }

    /// Takes a reduction back.
    pub(super) fn restore(&mut self, bytes: u64, threshold: u64) {
        self.bytes = bytes;
        self.threshold = threshold;
        self.recovery_since = None;
    }

    /// A window that was never used is the initial window of the new size; others only respect the new minimum
    /// (RFC 9002 §7.2).
    pub(super) fn on_datagram_size(&mut self, datagram_size: u16) {
        let is_initial = self.threshold == u64::MAX && self.bytes == initial(self.datagram_bytes);
        self.datagram_bytes = u64::from(datagram_size);
        self.bytes = if is_initial {
            initial(self.datagram_bytes)
        } else {
            self.bytes.max(minimum(self.datagram_bytes))
        };
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(u16::try_from(self.datagram_bytes).unwrap_or(u16::MAX));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn threshold(&self) -> u64 {
        self.threshold
    }

    pub(super) fn datagram_bytes(&self) -> u64 {
        self.datagram_bytes
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.bytes < self.threshold
    }

    fn in_recovery(&self, sent_at: Instant) -> bool {
        self.recovery_since.is_some_and(|since| sent_at <= since)
    }
}

/// The window of a route of which nothing is known (RFC 9002 §7.2).
fn initial(datagram_bytes: u64) -> u64 {
    (10 * datagram_bytes).min((2 * datagram_bytes).max(14_720))
}

/// The smallest window (RFC 9002 §7.2).
fn minimum(datagram_bytes: u64) -> u64 {
    2 * datagram_bytes
}

/// Adds fractions of a byte without losing any: the remainder of one division goes into the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remainder(u64);

impl Remainder {
    /// The whole bytes in `factor * amount / whole` and what was left before.
    pub(super) fn take(&mut self, factor: u64, amount: u64, whole: u64) -> u64 {
        let whole = u128::from(whole.max(1));
        let sum = u128::from(factor) * u128::from(amount) + u128::from(self.0);
        self.0 = (sum % whole) as u64; // below `whole`, which fits
        u64::try_from(sum / whole).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_window_is_ten_datagrams_or_14720_bytes_or_two() {
        assert_eq!(initial(1_200), 12_000);
        assert_eq!(initial(1_452), 14_520);
        assert_eq!(initial(1_472), 14_720);
        assert_eq!(initial(1_500), 14_720);
        assert_eq!(initial(9_000), 18_000);
        assert_eq!(initial(65_507), 131_014);
        assert_eq!(minimum(1_200), 2_400);
    }

    #[test]
    fn a_new_datagram_size_renews_an_unused_window_only() {
        let mut window = Window::new(1_200);
        window.on_datagram_size(1_452);
        assert_eq!(window.bytes(), 14_520);
        window.grow(1);
        window.on_datagram_size(1_200);
        assert_eq!(window.bytes(), 14_521);
        window.on_datagram_size(9_000);
        assert_eq!(window.bytes(), 18_000);
        window.reset();
        assert_eq!((window.bytes(), window.datagram_bytes()), (18_000, 9_000));
    }

    #[test]
    fn a_window_shrinks_to_two_datagrams_and_grows_to_64_gib() {
        let mut window = Window::new(1_200);
        for at in 0..10 {
            window.shrink(1, 2, Instant::from_nanos(at));
        }
        assert_eq!((window.bytes(), window.threshold()), (2_400, 2_400));
        window.grow(u64::MAX);
        assert_eq!(window.bytes(), WINDOW_MAX);
    }

    #[test]
    fn remainders_add_up() {
        let mut rest = Remainder::default();
        let total: u64 = (0..17).map(|_| rest.take(9, 100, 17)).sum();
        assert_eq!(total, 900);
        assert_eq!(Remainder::default().take(u64::MAX, u64::MAX, 1), u64::MAX);
        assert_eq!(Remainder::default().take(7, 1, 0), 7);
    }
}
