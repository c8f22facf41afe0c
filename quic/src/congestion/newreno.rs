//! `NewReno`: a datagram more per round trip, half after congestion (RFC 9002 §7).
//!
//! Owns only what is its own: linear growth and the factor of reduction. `window` does the rest.

use super::window::{Remainder, Window};
use super::{Acked, Congestion, Controller, Sent};

/// The controller of RFC 9002, with `HyStart++` in its first slow start.
#[derive(Clone, Debug)]
pub struct NewReno {
    window: Window,
    growth: Remainder,
}

impl NewReno {
    /// A fresh window for datagrams of `datagram_size` bytes.
    pub fn new(datagram_size: u16) -> Self {
        Self { window: Window::new(datagram_size), growth: Remainder::default() }
    }
}

impl Controller for NewReno {
    fn on_sent(&mut self, sent: &Sent) {
        self.window.on_sent(sent.last_packet_number);
    }

    /// RFC 9002 §7.3.3: one datagram for each window acknowledged.
    fn on_acked(&mut self, acked: &Acked) {
        let bytes = self.window.on_acked(acked);
        let growth = self.growth.take(self.window.datagram_bytes(), bytes, self.window.bytes());
        self.window.grow(growth);
    }

    fn on_congestion(&mut self, congestion: &Congestion) {
        if self.window.is_news(congestion) {
            self.window.shrink(1, 2, congestion.now);
            self.growth = Remainder::default();
        }
        if congestion.persistent {
            self.window.collapse();
        }
    }

    fn on_datagram_size(&mut self, datagram_size: u16) {
        self.window.on_datagram_size(datagram_size);
    }

    fn reset(&mut self) {
        self.window.reset();
        self.growth = Remainder::default();
    }

    fn window(&self) -> u64 {
        self.window.bytes()
    }

    fn in_slow_start(&self) -> bool {
        self.window.in_slow_start()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{acked, at, lost};
    use super::*;

    /// A window of 24,000 bytes in congestion avoidance; everything sent after 1 s is beyond recovery.
    fn after_congestion() -> NewReno {
        let mut reno = NewReno::new(1_200);
        reno.on_acked(&acked(900, 36_000));
        reno.on_congestion(&lost(1_000, 950));
        assert_eq!(reno.window(), 24_000);
        reno
    }

    #[test]
    fn slow_start_grows_by_what_is_acknowledged() {
        let mut reno = NewReno::new(1_200);
        assert_eq!(reno.window(), 12_000);
        reno.on_acked(&acked(50, 12_000));
        assert_eq!(reno.window(), 24_000);
        assert!(reno.in_slow_start());
    }

    #[test]
    fn congestion_avoidance_grows_by_a_datagram_per_window_however_it_is_acknowledged() {
        let mut once = after_congestion();
        once.on_acked(&acked(1_100, 24_000));
        assert_eq!(once.window(), 25_200);

        let mut bit_by_bit = after_congestion();
        for _ in 0..20 {
            bit_by_bit.on_acked(&acked(1_100, 1_200));
        }
        assert!((25_160..=25_200).contains(&bit_by_bit.window()), "{}", bit_by_bit.window());
    }

    #[test]
    fn what_was_sent_before_recovery_neither_grows_nor_shrinks_the_window() {
        let mut reno = after_congestion();
        reno.on_congestion(&lost(1_010, 1_000));
        assert_eq!(reno.window(), 24_000);
        reno.on_acked(&Acked { newest_sent_at: at(1_000), ..acked(1_040, 9_600) });
        assert_eq!(reno.window(), 24_000);
        reno.on_congestion(&lost(1_100, 1_001));
        assert_eq!(reno.window(), 12_000);
    }

    #[test]
    fn a_mark_costs_as_much_as_a_loss() {
        let mut reno = after_congestion();
        reno.on_congestion(&Congestion { ecn: true, lost_bytes: 0, ..lost(1_100, 1_050) });
        assert_eq!(reno.window(), 12_000);
        assert!(!reno.in_slow_start());
    }

    #[test]
    fn persistent_congestion_starts_slowly_again_up_to_the_threshold() {
        let mut reno = after_congestion();
        reno.on_congestion(&Congestion { persistent: true, ..lost(3_000, 1_200) });
        assert_eq!(reno.window(), 2_400);
        assert!(reno.in_slow_start());
        reno.on_acked(&acked(3_100, 2_400));
        assert_eq!(reno.window(), 4_800);
        reno.on_acked(&acked(3_200, 8_400)); // 7,200 bytes to the threshold of 12,000, the rest in linear growth
        assert_eq!(reno.window(), 12_000 + 120);
        assert!(!reno.in_slow_start());
    }

    #[test]
    fn persistent_congestion_in_recovery_collapses_but_does_not_halve_again() {
        let mut reno = after_congestion();
        reno.on_congestion(&Congestion { persistent: true, ..lost(3_000, 1_000) });
        assert_eq!(reno.window(), 2_400);
        reno.on_acked(&acked(3_100, 100_000));
        assert_eq!(reno.window(), 24_000 + 1_200 * (100_000 - 21_600) / 24_000);
    }

    #[test]
    fn a_sender_that_is_not_limited_by_the_window_does_not_grow_it() {
        let mut reno = NewReno::new(1_200);
        reno.on_acked(&Acked { app_limited: true, ..acked(50, 12_000) });
        assert_eq!(reno.window(), 12_000);
        let mut reno = after_congestion();
        reno.on_acked(&Acked { app_limited: true, ..acked(1_100, 24_000) });
        assert_eq!(reno.window(), 24_000);
    }

    #[test]
    fn a_new_route_starts_anew() {
        let mut reno = after_congestion();
        reno.reset();
        assert_eq!(reno.window(), 12_000);
        assert!(reno.in_slow_start());
        reno.on_acked(&Acked { newest_sent_at: at(0), ..acked(2_000, 12_000) });
        assert_eq!(reno.window(), 24_000);
    }
}
