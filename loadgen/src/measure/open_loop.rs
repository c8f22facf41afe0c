//! How well the open loop kept its schedule.
//!
//! Owns what tells a slow generator from a slow server: how late what was due was taken note of is the generator's own
//! doing, what waited because nothing was free is the server's, and what never began is counted too.

use std::time::Duration;

use super::Latencies;

/// The open loop of one worker over the measured time, or of several together.
#[derive(Debug, Default)]
pub(crate) struct OpenLoop {
    offered: u64,
    lag: Latencies,
    backlog_peak: u64,
    unstarted: u64,
    unfinished: u64,
    refused: u64,
}

impl OpenLoop {
    pub(super) fn on_due(&mut self, lag: Duration) {
        self.offered += 1;
        self.lag.record(lag);
    }

    pub(super) fn on_backlog(&mut self, length: u64) {
        self.backlog_peak = self.backlog_peak.max(length);
    }

    pub(super) fn on_unstarted(&mut self) {
        self.unstarted += 1;
    }

    pub(super) fn on_unfinished(&mut self) {
        self.unfinished += 1;
    }

    pub(super) fn on_refused(&mut self) {
        self.refused += 1;
    }

    /// Peaks of several workers add up to the most that could have waited at once.
    pub(super) fn merge(&mut self, other: &Self) {
        self.offered += other.offered;
        self.lag.merge(&other.lag);
        self.backlog_peak += other.backlog_peak;
        self.unstarted += other.unstarted;
        self.unfinished += other.unfinished;
        self.refused += other.refused;
    }

    /// What became due.
    pub(crate) fn offered(&self) -> u64 {
        self.offered
    }

    /// How late it was taken note of.
    pub(crate) fn lag_us(&self, percent: f64) -> Option<u64> {
        self.lag.percentile_us(percent)
    }

    /// The most that ever waited for something free.
    pub(crate) fn backlog_peak(&self) -> u64 {
        self.backlog_peak
    }

    /// What waited still when the run ended.
    pub(crate) fn unstarted(&self) -> u64 {
        self.unstarted
    }

    /// What had begun and was not complete when the run ended.
    pub(crate) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// What found no room to wait.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_workers_add_up() {
        let us = Duration::from_micros;
        let (mut one, mut two) = (OpenLoop::default(), OpenLoop::default());
        one.on_due(us(5));
        one.on_backlog(3);
        one.on_backlog(2);
        two.on_due(us(9));
        two.on_backlog(4);
        two.on_unstarted();
        two.on_refused();
        two.on_unfinished();
        one.merge(&two);
        assert_eq!((one.offered(), one.backlog_peak(), one.lag_us(100.0)), (2, 7, Some(9)));
        assert_eq!((one.unstarted(), one.refused(), one.unfinished()), (1, 1, 1));
        assert_eq!(OpenLoop::default().lag_us(50.0), None);
    }
}
