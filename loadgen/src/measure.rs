//! What a worker measures: requests, latencies, the longest stall, and why something failed.
//!
//! Owns the rule what counts: only what falls into the measured window, but failures always. Reads no clock and knows
//! no connection; `client` tells it facts, and the workers' measures are merged at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use braid_quic::Instant;
use hdrhistogram::Histogram;

/// Latencies are kept from one microsecond to this; a request that takes longer counts as this.
pub(crate) const LATENCY_MAX_US: u64 = 60_000_000;
/// Significant digits of latencies.
const LATENCY_DIGITS: u8 = 3;
/// Different reasons of failure that are kept apart; the rest are counted together.
pub(crate) const REASONS_MAX: usize = 16;

/// The measured time: after the warm-up, until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    begin: Instant,
    end: Instant,
}

impl Window {
    /// Before anybody knows when it opens: nothing is measured.
    const CLOSED: Self = Self { begin: Instant::NEVER, end: Instant::NEVER };

    /// A window that opens `warmup` after `start` and stays open for `duration`.
    pub(crate) fn new(start: Instant, warmup: Duration, duration: Duration) -> Self {
        let begin = start + warmup;
        Self { begin, end: begin + duration }
    }

    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    pub(crate) fn end(&self) -> Instant {
        self.end
    }

    /// Is `at` measured?
    pub(crate) fn contains(&self, at: Instant) -> bool {
        self.begin <= at && at < self.end
    }

    /// How much of the time from `from` to `to` is measured.
    fn overlap(&self, from: Instant, to: Instant) -> Duration {
        to.min(self.end).since(from.max(self.begin))
    }
}

/// Everything that one worker measured, or several together.
pub(crate) struct Measure {
    window: Window,
    completed: u64,
    latencies_us: Histogram<u64>,
    longest_stall: Duration,
    uploaded_bytes: u64,
    failures: Failures,
}

impl Measure {
    /// A measure that counts failures only, until its window is known.
    pub(crate) fn new() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS);
        Self {
            window: Window::CLOSED,
            completed: 0,
            latencies_us: latencies_us.expect("these bounds are constants that the histogram takes"),
            longest_stall: Duration::ZERO,
            uploaded_bytes: 0,
            failures: Failures::default(),
        }
    }

    /// From now on it is known what counts.
    pub(crate) fn open(&mut self, window: Window) {
        self.window = window;
    }

    /// A request that was open from `started` is answered completely. It counts where it completes.
    pub(crate) fn on_completed(&mut self, started: Instant, now: Instant) {
        if !self.window.contains(now) {
            return;
        }
        self.completed += 1;
        let us = u64::try_from(now.since(started).as_micros()).unwrap_or(u64::MAX);
        self.latencies_us.saturating_record(us.clamp(1, LATENCY_MAX_US));
    }

    /// Something of an open request moved now that had not moved since `since`.
    pub(crate) fn on_progress(&mut self, since: Instant, now: Instant) {
        self.longest_stall = self.longest_stall.max(self.window.overlap(since, now));
    }

    /// The connection took `bytes` of an upload.
    pub(crate) fn on_uploaded(&mut self, bytes: u64, now: Instant) {
        if self.window.contains(now) {
            self.uploaded_bytes += bytes;
        }
    }

    /// `count` requests or connections failed.
    pub(crate) fn on_failed(&mut self, count: u64, reason: &str) {
        self.failures.add(count, reason);
    }

    /// Takes over what another worker measured in the same window.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.completed += other.completed;
        self.latencies_us.add(&other.latencies_us).expect("all histograms have the same bounds");
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.uploaded_bytes += other.uploaded_bytes;
        for (reason, &count) in &other.failures.reasons {
            self.failures.add(count, reason);
        }
    }

    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// The latency that `percent` of the completed requests did not exceed; `None` if none completed.
    pub(crate) fn latency_us(&self, percent: f64) -> Option<u64> {
        (!self.latencies_us.is_empty()).then(|| self.latencies_us.value_at_percentile(percent))
    }

    pub(crate) fn longest_stall(&self) -> Duration {
        self.longest_stall
    }

    pub(crate) fn uploaded_bytes(&self) -> u64 {
        self.uploaded_bytes
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.failures
    }
}

/// How often something failed, by reason.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    total: u64,
    reasons: BTreeMap<String, u64>,
}

impl Failures {
    const OTHER: &str = "other reasons";

    fn add(&mut self, count: u64, reason: &str) {
        self.total += count;
        let known = self.reasons.contains_key(reason) || self.reasons.len() < REASONS_MAX;
        let reason = if known { reason } else { Self::OTHER };
        *self.reasons.entry(reason.to_owned()).or_default() += count;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Each reason and how often it was met.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.reasons.iter().map(|(reason, &count)| (reason.as_str(), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Warm-up until 1 s, then measured until 3 s.
    fn measure() -> Measure {
        opened(Window::new(at(0), ms(1000), ms(2000)))
    }

    fn opened(window: Window) -> Measure {
        let mut measure = Measure::new();
        measure.open(window);
        measure
    }

    #[test]
    fn before_the_window_is_known_only_failures_count() {
        let mut measure = Measure::new();
        measure.on_completed(at(1), at(2));
        measure.on_progress(at(1), at(2));
        measure.on_uploaded(5, at(2));
        measure.on_failed(1, "refused");
        assert_eq!((measure.completed(), measure.longest_stall(), measure.uploaded_bytes()), (0, ms(0), 0));
        assert_eq!(measure.failures().total(), 1);
    }

    #[test]
    fn a_request_counts_where_it_completes() {
        let mut measure = measure();
        measure.on_completed(at(0), at(999));
        assert_eq!((measure.completed(), measure.latency_us(50.0)), (0, None));
        measure.on_completed(at(900), at(1000));
        measure.on_completed(at(2900), at(3000)); // the window is half open
        assert_eq!(measure.completed(), 1);
        assert_eq!(measure.latency_us(100.0).unwrap() / 1000, 100);
    }

    #[test]
    fn percentiles_have_three_digits() {
        let mut measure = measure();
        for us in 1..=1000_u64 {
            let started = Instant::from_nanos(2_000_000_000 - us * 1000);
            measure.on_completed(started, at(2000));
        }
        assert_eq!(measure.latency_us(50.0), Some(500));
        assert_eq!(measure.latency_us(99.0), Some(990));
        assert!(matches!(measure.latency_us(99.9), Some(999 | 1000))); // 99.9 has no exact binary form
        assert_eq!(measure.latency_us(100.0), Some(1000));
    }

    #[test]
    fn latencies_beyond_the_bounds_count_as_the_bounds() {
        let mut measure = opened(Window::new(at(0), ms(0), ms(1_000_000)));
        measure.on_completed(at(5), at(5));
        assert_eq!(measure.latency_us(100.0), Some(1));
        measure.on_completed(at(0), at(200_000));
        let longest = measure.latency_us(100.0).unwrap();
        assert!((LATENCY_MAX_US..LATENCY_MAX_US / 1000 * 1001).contains(&longest), "{longest}");
    }

    #[test]
    fn only_the_measured_part_of_a_stall_counts() {
        let mut measure = measure();
        measure.on_progress(at(0), at(990));
        assert_eq!(measure.longest_stall(), ms(0));
        measure.on_progress(at(0), at(1010));
        assert_eq!(measure.longest_stall(), ms(10));
        measure.on_progress(at(1500), at(1700));
        measure.on_progress(at(1700), at(1750));
        assert_eq!(measure.longest_stall(), ms(200));
        measure.on_progress(at(2500), at(9000));
        assert_eq!(measure.longest_stall(), ms(500));
    }

    #[test]
    fn uploads_of_the_warm_up_do_not_count_but_failures_do() {
        let mut measure = measure();
        measure.on_uploaded(5, at(999));
        measure.on_uploaded(7, at(1000));
        measure.on_failed(2, "refused");
        assert_eq!((measure.uploaded_bytes(), measure.failures().total()), (7, 2));
    }

    #[test]
    fn reasons_are_kept_apart_up_to_a_bound() {
        let mut measure = measure();
        for n in 0..REASONS_MAX as u64 + 3 {
            measure.on_failed(1, &format!("reason {n}"));
        }
        measure.on_failed(1, "reason 0");
        let failures = measure.failures();
        assert_eq!((failures.iter().count(), failures.total()), (REASONS_MAX + 1, REASONS_MAX as u64 + 4));
        assert!(failures.iter().any(|reason| reason == (Failures::OTHER, 3)));
        assert!(failures.iter().any(|reason| reason == ("reason 0", 2)));
    }

    #[test]
    fn merging_adds_counts_and_keeps_the_longest_stall() {
        let mut one = measure();
        one.on_completed(at(1400), at(1500));
        one.on_progress(at(1400), at(1500));
        one.on_failed(1, "reset");
        let mut two = measure();
        two.on_completed(at(1100), at(1500));
        two.on_progress(at(1100), at(1500));
        two.on_failed(2, "reset");
        two.on_uploaded(9, at(1500));
        one.merge(&two);
        assert_eq!((one.completed(), one.longest_stall(), one.uploaded_bytes()), (2, ms(400), 9));
        assert_eq!(one.latency_us(100.0).unwrap() / 1000, 400);
        assert_eq!(one.failures().iter().collect::<Vec<_>>(), [("reset", 3)]);
    }
}
