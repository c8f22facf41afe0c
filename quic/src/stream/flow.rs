//! Flow control of bytes, for one stream or for all together (RFC 9000 §4.1, §4.2).
//!
//! Owns both directions: `Window` is what we let the peer send and when it may have more, `Credit` what the peer lets
//! us send. Keeps no data and writes no frame. A window tunes itself: it doubles as long as the peer, limited by it,
//! fills it faster than once in two round trips.

use std::time::Duration;

use crate::base::time::Instant;
use crate::error::{TransportError, TransportErrorCode};
use crate::wire::varint::VARINT_MAX;

/// What we let the peer send.
pub(super) struct Window {
    announced: u64,
    received: u64,
    consumed: u64,
    size: u64,
    size_max: u64,
    epoch: Option<Epoch>,
    /// The peer waits for credit, or our last word about it was lost.
    urgent: bool,
}

/// The time in which the present window's worth is being consumed.
#[derive(Clone, Copy)]
struct Epoch {
    since: Instant,
    from: u64,
}

impl Window {
    /// A window of `size` bytes, as the transport parameters announced it, that may grow to `size_max`.
    pub(super) fn new(size: u64, size_max: u64) -> Self {
        let size = size.min(VARINT_MAX);
        let size_max = size_max.clamp(size, VARINT_MAX);
        Self { announced: size, received: 0, consumed: 0, size, size_max, epoch: None, urgent: false }
    }

    /// How far the peer came: for a stream the highest offset, for the connection the sum of them.
    #[inline]
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Counts `bytes` more from the peer.
    #[inline]
    pub(super) fn on_received(&mut self, bytes: u64) -> Result<(), TransportError> {
        if bytes > self.announced - self.received {
            let code = TransportErrorCode::FLOW_CONTROL_ERROR;
            return Err(TransportError::new(code, "more stream data than we allowed"));
        }
        self.received += bytes;
        Ok(())
    }

    /// The application took `bytes`.
    #[inline]
    pub(super) fn on_consumed(&mut self, bytes: u64, now: Instant, rtt: Duration) {
        let epoch = *self.epoch.get_or_insert(Epoch { since: now, from: self.consumed });
        self.consumed += bytes;
        debug_assert!(self.consumed <= self.received);
        if self.consumed - epoch.from < self.size {
            return;
        }
        if grows(now.since(epoch.since), rtt) {
            self.size = self.size.saturating_mul(2).min(self.size_max);
        }
        self.epoch = Some(Epoch { since: now, from: self.consumed });
    }

    /// The application will never take `bytes` that arrived.
    pub(super) fn on_discarded(&mut self, bytes: u64) {
        self.consumed += bytes;
        debug_assert!(self.consumed <= self.received);
    }

    /// Gives up on everything received and not consumed; returns how much that was.
    pub(super) fn discard_rest(&mut self) -> u64 {
        let rest = self.received - self.consumed;
        self.consumed = self.received;
        rest
    }

    /// Should the peer be told a new limit? Once half a window is gained, sooner if the peer is known to wait.
    #[inline]
    pub(super) fn due(&self) -> bool {
        let gain = self.target() - self.announced;
        self.urgent || (gain > 0 && gain >= self.size / 2)
    }

    /// The limit to announce now; the peer may use it from here on.
    pub(super) fn announce(&mut self) -> u64 {
        self.announced = self.target();
        self.urgent = false;
        self.announced
    }

    /// The announcement of `limit` was lost: says it again, unless a later one is under way.
    pub(super) fn on_lost(&mut self, limit: u64) {
        self.urgent |= limit == self.announced;
    }

    /// The peer says that it waits: any gain is worth a frame.
    pub(super) fn on_blocked(&mut self) {
        self.urgent |= self.target() > self.announced;
    }

    /// The limit that `announce` would announce.
    #[inline]
    pub(super) fn target(&self) -> u64 {
        (self.consumed + self.size).min(VARINT_MAX)
    }
}

/// Does a window grow whose worth was consumed in `took`? A sender that fills it once a round trip is limited by it.
fn grows(took: Duration, rtt: Duration) -> bool {
    took < rtt * 2
}

/// What the peer lets us send.
pub(super) struct Credit {
    limit: u64,
    used: u64,
    /// The limit at which we last said that we are blocked.
    reported: Option<u64>,
}

impl Credit {
    /// Credit up to `limit`, none of it used.
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, used: 0, reported: None }
    }

    /// How many bytes may still be sent for the first time.
    #[inline]
    pub(super) fn left(&self) -> u64 {
        self.limit - self.used
    }

    /// `bytes` were sent for the first time.
    #[inline]
    pub(super) fn on_used(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.left());
        self.used += bytes;
    }

    /// The peer allows `limit`; smaller, late values mean nothing (RFC 9000 §4.1).
    pub(super) fn on_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Should the peer hear that we, who have bytes to send, are blocked? Once per limit.
    #[inline]
    pub(super) fn report_due(&self) -> bool {
        self.left() == 0 && self.reported != Some(self.limit)
    }

    /// How far we may send.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The report was written.
    pub(super) fn on_reported(&mut self) {
        self.reported = Some(self.limit);
    }

    /// A report was lost: makes another if we are still blocked.
    pub(super) fn on_report_lost(&mut self) {
        self.reported = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn the_last_allowed_byte_is_taken_and_the_next_is_an_error() {
        let mut window = Window::new(100, 100);
        assert_eq!(window.on_received(100), Ok(()));
        assert_eq!(window.on_received(1).unwrap_err().code, TransportErrorCode::FLOW_CONTROL_ERROR);
        assert_eq!(window.on_received(u64::MAX).unwrap_err().code, TransportErrorCode::FLOW_CONTROL_ERROR);
    }

    #[test]
    fn a_limit_is_due_when_half_the_window_was_consumed() {
        let mut window = Window::new(100, 100);
        window.on_received(60).unwrap();
        window.on_consumed(49, at(0), RTT);
        assert!(!window.due());
        window.on_consumed(1, at(0), RTT);
        assert!(window.due());
        assert_eq!(window.announce(), 150);
        assert!(!window.due());
    }

    #[test]
    fn a_blocked_peer_gets_any_gain_at_once_but_no_frame_without_gain() {
        let mut window = Window::new(100, 100);
        window.on_blocked();
        assert!(!window.due());
        window.on_received(1).unwrap();
        window.on_discarded(1);
        assert!(!window.due());
        window.on_blocked();
        assert!(window.due());
        assert_eq!(window.announce(), 101);
    }

    #[test]
    fn only_the_loss_of_the_newest_limit_matters() {
        let mut window = Window::new(100, 100);
        window.on_received(60).unwrap();
        window.on_discarded(60);
        assert_eq!(window.announce(), 160);
        window.on_lost(100);
        assert!(!window.due());
        window.on_lost(160);
        assert!(window.due());
    }

    #[test]
    fn a_window_consumed_within_two_round_trips_doubles_up_to_its_maximum() {
        let mut window = Window::new(100, 300);
        let turn = |now, bytes, window: &mut Window| {
            window.announce();
            window.on_received(bytes).unwrap();
            window.on_consumed(bytes, now, RTT);
            window.announce() - window.received()
        };
        assert_eq!(turn(at(0), 50, &mut window), 100, "half a window");
        assert_eq!(turn(at(19), 50, &mut window), 200);
        assert_eq!(turn(at(20), 200, &mut window), 300, "no more than the maximum");
        assert_eq!(turn(at(21), 300, &mut window), 300);
    }

    #[test]
    fn a_window_consumed_slowly_stays() {
        let mut window = Window::new(100, 300);
        window.on_received(100).unwrap();
        window.on_consumed(50, at(0), RTT);
        window.on_consumed(50, at(20), RTT);
        assert_eq!(window.announce(), 200);
    }

    #[test]
    fn limits_end_at_the_largest_number_on_the_wire() {
        let mut window = Window::new(u64::MAX, u64::MAX);
        assert_eq!(window.announced, VARINT_MAX);
        window.on_received(5).unwrap();
        window.on_discarded(5);
        assert!(!window.due());
        assert_eq!(window.announce(), VARINT_MAX);
    }

    #[test]
    fn credit_never_shrinks_and_blocking_is_reported_once_per_limit() {
        let mut credit = Credit::new(10);
        assert!(!credit.report_due());
        credit.on_used(10);
        assert!(credit.report_due());
        assert_eq!(credit.limit(), 10);
        credit.on_reported();
        assert!(!credit.report_due());
        credit.on_limit(7);
        assert_eq!(credit.left(), 0);
        credit.on_report_lost();
        assert!(credit.report_due());
        credit.on_limit(20);
        assert!(!credit.report_due());
        assert_eq!(credit.left(), 10);
    }

    #[test]
    fn a_limit_of_zero_is_reported_too() {
        assert!(Credit::new(0).report_due());
    }
}
