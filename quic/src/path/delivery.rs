//! What a route delivers: its rate by rounds, and the losses that belong to one answer of the congestion controller.
//!
//! Owns two small tallies of `route`. Decides nothing: the controller does, and the scheduler reads the rate.

use crate::base::rate::Rate;
use crate::base::time::Instant;
use crate::path::space::LossReport;

/// Losses that the congestion controller answers once: all packets sent before the first answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Episode {
    pub(super) answered_at: Instant,
    pub(super) newest_sent_at: Instant,
    pub(super) missing: u64,
}

impl Episode {
    pub(super) fn after(before: Option<Self>, report: &LossReport, now: Instant) -> Self {
        match before.filter(|before| report.newest_sent_at <= before.answered_at) {
            Some(before) => Self {
                answered_at: before.answered_at,
                newest_sent_at: before.newest_sent_at.max(report.newest_sent_at),
                missing: before.missing + report.packets,
            },
            None => Self { answered_at: now, newest_sent_at: report.newest_sent_at, missing: report.packets },
        }
    }
}

/// How fast a route delivers, measured over rounds: from one packet's departure to its acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    round_from: Instant,
    round_bytes: u64,
    pub(super) rate: u64,
}

impl Delivery {
    pub(super) fn on_acked(&mut self, bytes: u64, newest_sent_at: Instant, now: Instant) {
        self.round_bytes += bytes;
        if newest_sent_at < self.round_from {
            return;
        }
        let span = now.since(self.round_from);
        if self.round_from > Instant::ZERO && !span.is_zero() {
            let rate = Rate::of(self.round_bytes, span).bytes_per_second();
            // Rise at once, sink slowly: a round with little to send says little about the route.
            self.rate = rate.max(self.rate - self.rate / 8);
        }
        self.round_from = now;
        self.round_bytes = 0;
    }
}
