//! What a worker measures: requests, latencies, the longest stall, and why something failed.
//!
//! Owns the rule what counts: only what falls into the measured window, but failures always. Reads no clock and knows
//! no connection; `client` tells it facts, and the workers' measures are merged at the end.

mod failures;
pub(crate) mod intervals;
mod latency;
mod open_loop;

use std::time::Duration;

use braid_quic::Instant;

pub(crate) use self::failures::Failures;
use self::intervals::Intervals;
pub(crate) use self::latency::{LATENCY_MAX_US, Latencies};
pub(crate) use self::open_loop::OpenLoop;

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
    latencies: Latencies,
    /// Latencies second by second, where they are logged.
    intervals: Option<Intervals>,
    open_loop: OpenLoop,
    datagrams: Datagrams,
    handshakes_resumed: u64,
    longest_stall: Duration,
    uploaded_bytes: u64,
    failures: Failures,
}

impl Measure {
    /// A measure that counts failures only, until its window is known.
    pub(crate) fn new() -> Self {
        Self {
            window: Window::CLOSED,
            completed: 0,
            latencies: Latencies::default(),
            intervals: None,
            open_loop: OpenLoop::default(),
            datagrams: Datagrams::default(),
            handshakes_resumed: 0,
            longest_stall: Duration::ZERO,
            uploaded_bytes: 0,
            failures: Failures::default(),
        }
    }

    /// Keeps the latencies of each second too.
    #[must_use]
    pub(crate) fn with_intervals(self) -> Self {
        Self { intervals: Some(Intervals::default()), ..self }
    }

    /// From now on it is known what counts.
    pub(crate) fn open(&mut self, window: Window) {
        self.window = window;
    }

    /// What counts.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// A request that was to start at `started` is answered completely. It counts where it completes.
    pub(crate) fn on_completed(&mut self, started: Instant, now: Instant) {
        if self.window.contains(now) {
            self.completed += 1;
            self.record(now.since(started), now);
        }
    }

    /// Something that was to begin at `intended` became due, and was taken note of `now` (open loop).
    pub(crate) fn on_due(&mut self, intended: Instant, now: Instant) {
        if self.window.contains(intended) {
            self.open_loop.on_due(now.since(intended));
        }
    }

    /// So much that is due could not begin yet (open loop).
    pub(crate) fn on_backlog(&mut self, length: usize, now: Instant) {
        if self.window.contains(now) {
            self.open_loop.on_backlog(length as u64);
        }
    }

    /// What was due did not even find room to wait (open loop). It counts with the longest latency that there is.
    pub(crate) fn on_refused(&mut self, intended: Instant) {
        if self.window.contains(intended) {
            self.open_loop.on_refused();
            self.latencies.record_us(LATENCY_MAX_US);
        }
    }

    /// What was to start at `intended` had not begun when the run ended (open loop). It took at least that long.
    pub(crate) fn on_unstarted(&mut self, intended: Instant) {
        if intended < self.window.end {
            self.open_loop.on_unstarted();
            self.record(self.window.end.since(intended), self.last_moment());
        }
    }

    /// What was to start at `intended` had begun and was not complete when the run ended (open loop).
    pub(crate) fn on_unfinished(&mut self, intended: Instant) {
        if intended < self.window.end {
            self.open_loop.on_unfinished();
            self.record(self.window.end.since(intended), self.last_moment());
        }
    }

    /// A datagram was handed over.
    pub(crate) fn on_datagram_sent(&mut self, now: Instant) {
        self.datagrams.sent += u64::from(self.window.contains(now));
    }

    /// A datagram of `bytes` that was to leave at `intended` was acknowledged.
    pub(crate) fn on_datagram_acked(&mut self, bytes: usize, intended: Instant, now: Instant) {
        if self.window.contains(now) {
            self.datagrams.acked += 1;
            self.datagrams.acked_bytes += bytes as u64;
        }
        self.on_completed(intended, now);
    }

    /// A datagram was declared lost.
    pub(crate) fn on_datagram_lost(&mut self, now: Instant) {
        self.datagrams.lost += u64::from(self.window.contains(now));
    }

    /// A handshake that was to begin at `intended` was confirmed.
    pub(crate) fn on_handshake(&mut self, resumed: bool, intended: Instant, now: Instant) {
        self.handshakes_resumed += u64::from(resumed && self.window.contains(now));
        self.on_completed(intended, now);
    }

    fn record(&mut self, latency: Duration, now: Instant) {
        let us = self.latencies.record(latency);
        if let Some(intervals) = &mut self.intervals {
            intervals.record(us, now.since(self.window.begin));
        }
    }

    /// The window is half open: its end belongs to no second.
    fn last_moment(&self) -> Instant {
        Instant::from_nanos(self.window.end.as_nanos().saturating_sub(1))
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
        self.latencies.merge(&other.latencies);
        if let Some(theirs) = &other.intervals {
            self.intervals.get_or_insert_default().merge(theirs);
        }
        self.open_loop.merge(&other.open_loop);
        self.datagrams.merge(&other.datagrams);
        self.handshakes_resumed += other.handshakes_resumed;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.uploaded_bytes += other.uploaded_bytes;
        for (reason, count) in other.failures.iter() {
            self.failures.add(count, reason);
        }
    }

    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// The latency that `percent` of the completed requests did not exceed; `None` if none completed.
    pub(crate) fn latency_us(&self, percent: f64) -> Option<u64> {
        self.latencies.percentile_us(percent)
    }

    /// The latencies of each second, where they were kept.
    pub(crate) fn intervals(&self) -> Option<&Intervals> {
        self.intervals.as_ref()
    }

    pub(crate) fn open_loop(&self) -> &OpenLoop {
        &self.open_loop
    }

    /// Of the completed handshakes, those that took up an earlier session.
    pub(crate) fn handshakes_resumed(&self) -> u64 {
        self.handshakes_resumed
    }

    pub(crate) fn datagrams(&self) -> &Datagrams {
        &self.datagrams
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

/// Datagrams of the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Datagrams {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) acked_bytes: u64,
    pub(crate) lost: u64,
}

impl Datagrams {
    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.acked_bytes += other.acked_bytes;
        self.lost += other.lost;
    }
}

#[cfg(test)]
mod tests {
    use super::failures::REASONS_MAX;
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

    /// A server that answers in one millisecond, but stops for a second: what should have started meanwhile waited.
    #[test]
    fn a_stall_counts_for_everything_that_should_have_started_in_it() {
        let mut measure = measure();
        for n in 0..200_u64 {
            let intended = at(1000 + 10 * n);
            let answered = if (50..150).contains(&n) { at(2500) } else { at(1001 + 10 * n) };
            measure.on_due(intended, intended);
            measure.on_completed(intended, answered);
        }
        assert_eq!(measure.completed(), 200);
        assert_eq!(measure.latency_us(50.0).unwrap(), 1000, "100 of 200 took a millisecond");
        assert_eq!(
            measure.latency_us(75.0).unwrap() / 10_000,
            50,
            "a quarter waited for half a second or more"
        );
        assert_eq!(measure.latency_us(100.0).unwrap() / 10_000, 100);
    }

    #[test]
    fn what_could_not_begin_counts_with_the_time_that_it_waited() {
        let mut measure = measure();
        measure.on_unstarted(at(2600));
        measure.on_unfinished(at(2800));
        measure.on_unstarted(at(3000)); // not of this run any more
        let open = measure.open_loop();
        assert_eq!((open.unstarted(), open.unfinished(), measure.completed()), (1, 1, 0));
        assert_eq!(measure.latency_us(50.0).unwrap() / 1000, 200);
        assert_eq!(measure.latency_us(100.0).unwrap() / 1000, 400);
        measure.on_refused(at(2000));
        measure.on_refused(at(500)); // of the warm-up
        assert_eq!(measure.open_loop().refused(), 1);
        assert!(measure.latency_us(100.0).unwrap() >= LATENCY_MAX_US);
    }

    #[test]
    fn datagrams_count_where_their_fate_is_known() {
        let mut measure = measure();
        measure.on_datagram_sent(at(999));
        measure.on_datagram_sent(at(1000));
        measure.on_datagram_acked(100, at(999), at(1001));
        measure.on_datagram_lost(at(1001));
        measure.on_datagram_lost(at(3000));
        assert_eq!(*measure.datagrams(), Datagrams { sent: 1, acked: 1, acked_bytes: 100, lost: 1 });
        assert_eq!(measure.completed(), 1);
    }

    #[test]
    fn each_second_has_its_own_latencies_where_they_are_logged() {
        let mut one = measure().with_intervals();
        one.on_completed(at(1100), at(1200));
        let mut two = measure().with_intervals();
        two.on_completed(at(2000), at(2300));
        two.on_unstarted(at(2900));
        one.merge(&two);
        let counts: Vec<usize> = one.intervals().unwrap().iter().map(<[_]>::len).collect();
        assert_eq!(counts, [1, 2]);
        assert!(measure().intervals().is_none());
    }

    #[test]
    fn handshakes_that_took_up_a_session_are_counted_among_the_others() {
        let (mut one, mut two) = (measure(), measure());
        one.on_handshake(true, at(990), at(999));
        one.on_handshake(true, at(1000), at(1001));
        one.on_handshake(false, at(1000), at(1001));
        two.on_handshake(true, at(1000), at(1001));
        one.merge(&two);
        assert_eq!((one.completed(), one.handshakes_resumed()), (3, 2));
    }
}
