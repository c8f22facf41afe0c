//! A distribution of latencies.
//!
//! Owns its bounds and its resolution: 1 us to 60 s, three significant digits. What takes longer counts as 60 s.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies are kept from one microsecond to this; a request that takes longer counts as this.
pub(crate) const LATENCY_MAX_US: u64 = 60_000_000;
/// Significant digits of latencies.
const DIGITS: u8 = 3;

/// Latencies in microseconds.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS);
        Self(histogram.expect("these bounds are constants that the histogram takes"))
    }
}

impl Latencies {
    /// Takes one more; returns it as it counts.
    pub(crate) fn record(&mut self, latency: Duration) -> u64 {
        self.record_us(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn record_us(&mut self, us: u64) -> u64 {
        let us = us.clamp(1, LATENCY_MAX_US);
        self.0.saturating_record(us);
        us
    }

    /// Takes `count` of the same.
    pub(crate) fn record_many_us(&mut self, us: u64, count: u64) {
        self.0.saturating_record_n(us.clamp(1, LATENCY_MAX_US), count);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// What `percent` of them did not exceed; `None` if there are none.
    pub(crate) fn percentile_us(&self, percent: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_percentile(percent))
    }

    /// Every value that occurred, and how often.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// The same; then there are none any more.
    pub(crate) fn take_counts(&mut self) -> Vec<(u64, u64)> {
        let counts = self.counts().collect();
        self.0.reset();
        counts
    }

    /// The histogram itself, for whoever writes it down.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}
