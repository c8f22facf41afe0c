//! The open loop of one worker: what is due begins if something is free, and waits if not.
//!
//! Owns the queue of what waits and its bound. When things are due is `arrivals`', who takes them is `client`'s. What
//! waits keeps its intended start time, so its latency has the waiting in it.

use std::collections::VecDeque;

use braid_quic::Instant;

use crate::arrivals::Arrivals;
use crate::measure::Measure;

/// What may wait on one worker; more is refused, and counted.
pub(crate) const BACKLOG_MAX: usize = 1 << 16;

/// Arrivals, and those among them that wait.
pub(super) struct Schedule {
    arrivals: Arrivals,
    backlog: VecDeque<Instant>,
}

impl Schedule {
    pub(super) fn new(arrivals: Arrivals) -> Self {
        Self { arrivals, backlog: VecDeque::new() }
    }

    /// Takes note of all that is due, and lets `begin` have it in order until it takes no more.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        measure: &mut Measure,
        mut begin: impl FnMut(Instant, &mut Measure) -> bool,
    ) {
        while let Some(intended) = self.arrivals.take_due(now) {
            measure.on_due(intended, now);
            if self.backlog.len() < BACKLOG_MAX {
                self.backlog.push_back(intended);
            } else {
                measure.on_refused(intended);
            }
        }
        while let Some(&intended) = self.backlog.front() {
            if !begin(intended, measure) {
                break;
            }
            self.backlog.pop_front();
        }
        measure.on_backlog(self.backlog.len(), now);
    }

    /// When the next thing is due.
    pub(super) fn next_at(&self) -> Instant {
        self.arrivals.next_at()
    }

    /// The run is over: what waits, and what is due and was not taken note of yet, did not begin.
    pub(super) fn cut(mut self, end: Instant, measure: &mut Measure) {
        self.serve(end, measure, |_, _| false);
        self.backlog.iter().for_each(|&intended| measure.on_unstarted(intended));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Pattern;
    use crate::measure::Window;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// One arrival each millisecond, measured for 100 seconds.
    fn begun() -> (Schedule, Measure) {
        let mut measure = Measure::new();
        measure.open(Window::new(at(0), Duration::ZERO, Duration::from_secs(100)));
        (Schedule::new(Arrivals::new(Pattern::Constant, 1000.0, at(0), 1, (0, 1))), measure)
    }

    #[test]
    fn what_is_due_begins_in_order_and_what_finds_nothing_free_waits() {
        let (mut schedule, mut measure) = begun();
        let mut begun = Vec::new();
        schedule.serve(at(3), &mut measure, |intended, _| {
            begun.push(intended);
            begun.len() < 3
        });
        assert_eq!(begun, [at(0), at(1), at(2)], "the third was not taken");
        schedule.serve(at(3), &mut measure, |intended, _| {
            begun.push(intended);
            true
        });
        assert_eq!(begun[3..], [at(2), at(3)]);
        assert_eq!((schedule.next_at(), measure.open_loop().offered()), (at(4), 4));
        assert_eq!(measure.open_loop().backlog_peak(), 2);
    }

    #[test]
    fn the_backlog_is_bounded_and_what_finds_no_room_is_counted() {
        let (mut schedule, mut measure) = begun();
        schedule.serve(at(BACKLOG_MAX as u64 + 9), &mut measure, |_, _| false);
        assert_eq!((schedule.backlog.len(), measure.open_loop().refused()), (BACKLOG_MAX, 10));
        assert_eq!(measure.open_loop().backlog_peak(), BACKLOG_MAX as u64);
    }

    #[test]
    fn what_waits_at_the_end_did_not_begin_and_counts() {
        let (mut schedule, mut measure) = begun();
        schedule.serve(at(1), &mut measure, |_, _| false);
        schedule.cut(at(3), &mut measure);
        assert_eq!((measure.open_loop().unstarted(), measure.open_loop().offered()), (4, 4));
        assert!(measure.latency_us(1.0).unwrap() > 50_000_000, "as long as the window was open");
    }
}
