//! Decisions of the scheduler in a form to read: one line each.
//!
//! Owns the line and a `Log` that keeps nothing else. `12.345678 fresh 120000 -> 1 lowest_rtt | 0 rtt 40 left 1200 in
//! flight 10800 | 1 rtt 10.2 left 24000 in flight 0` reads: milliseconds, what was to be sent in bytes, the path it went
//! to and why, then each path it could have taken.

use std::fmt;
use std::time::Duration;

use super::record::{Decided, Record};
use super::{Log, LogFactory};
use crate::base::time::{Instant, nanos};
use crate::schedule::{Decision, Demand, PathView};

/// One decision, `since` the origin that the reader knows; times are in milliseconds, amounts in bytes of UDP payload
/// (what is to be sent: of stream data).
pub struct Line<'a> {
    since: Duration,
    at: Instant,
    decided: Decided<'a>,
}

impl<'a> Line<'a> {
    /// The line for a decision at `at`, with times counted from `origin`.
    pub fn new(at: Instant, origin: Instant, decided: Decided<'a>) -> Self {
        Self { since: at.since(origin), at, decided }
    }

    fn path(&self, f: &mut fmt::Formatter<'_>, path: &PathView) -> fmt::Result {
        write!(f, " | {} rtt {} left {}", path.id, Millis(path.rtt), path.window_left)?;
        write!(f, " in flight {}", path.in_flight)?;
        if path.ready_at > self.at {
            write!(f, " paced {}", Millis(path.ready_at.since(self.at)))?;
        }
        if path.loss_permille > 0 {
            write!(f, " loss {}", path.loss_permille)?;
        }
        if path.backup {
            f.write_str(" backup")?;
        }
        if path.suspect {
            f.write_str(" suspect")?;
        }
        Ok(())
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.decided.demand {
            Demand::Repair { .. } => "repair",
            Demand::Fresh { .. } => "fresh",
        };
        write!(f, "{:.6} {kind} {} -> ", Millis(self.since), self.decided.demand.bytes())?;
        match (self.decided.path(), self.decided.decision) {
            (Some(path), _) => write!(f, "{path}")?,
            (None, Decision::Wait { until: Some(until) }) => {
                write!(f, "wait {}", Millis(until.since(self.at)))?;
            }
            (None, _) => f.write_str("wait")?,
        }
        write!(f, " {}", self.decided.reason)?;
        self.decided.paths.iter().try_for_each(|path| self.path(f, path))
    }
}

/// A time in milliseconds, to the nanosecond with a precision of 6 and to the microsecond without.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = nanos(self.0);
        let (whole, rest) = (nanos / 1_000_000, nanos % 1_000_000);
        match (f.precision(), rest / 1_000) {
            (Some(_), _) => write!(f, "{whole}.{rest:06}"),
            (None, 0) => write!(f, "{whole}"),
            (None, micros) => {
                f.write_str(format_args!("{whole}.{micros:03}").to_string().trim_end_matches('0'))
            }
        }
    }
}

/// Hands the line of each decision of every connection to `print`, with times counted from `origin`.
pub fn decisions(origin: Instant, print: impl Fn(&Line<'_>) + Send + Sync + Clone + 'static) -> LogFactory {
    LogFactory::new(move |_| Some(Box::new(Decisions { origin, print: print.clone() })))
}

struct Decisions<F> {
    origin: Instant,
    print: F,
}

impl<F: Fn(&Line<'_>) + Send> Log for Decisions<F> {
    fn record(&mut self, at: Instant, record: &Record<'_>) {
        if let Record::Decided(decided) = *record {
            (self.print)(&Line::new(at, self.origin, decided));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PathId;
    use crate::schedule::Reason;

    const NOW: Instant = Instant::from_nanos(5_012_345_678);

    fn path(id: u32, rtt_us: u64, window_left: u64) -> PathView {
        PathView {
            id: PathId(id),
            backup: false,
            suspect: false,
            rtt: Duration::from_micros(rtt_us),
            rtt_var: Duration::ZERO,
            one_way_delay: Duration::ZERO,
            delivery_rate: 0,
            window_left,
            in_flight: 12_000 - window_left,
            queued: 0,
            ready_at: NOW,
            segment_size: 1_200,
            loss_permille: 0,
        }
    }

    fn line(demand: Demand, decision: Decision, reason: Reason, paths: &[PathView]) -> String {
        let decided = Decided { demand, paths, decision, reason };
        Line::new(NOW, Instant::from_nanos(5_000_000_000), decided).to_string()
    }

    #[test]
    fn a_decision_is_one_line() {
        let paths = [path(0, 40_000, 1_200), path(1, 10_200, 12_000)];
        assert_eq!(
            line(Demand::Fresh { bytes: 120_000 }, Decision::Send(1), Reason::LowestRtt, &paths),
            "12.345678 fresh 120000 -> 1 lowest_rtt | 0 rtt 40 left 1200 in flight 10800 \
             | 1 rtt 10.2 left 12000 in flight 0"
        );
    }

    #[test]
    fn what_speaks_against_a_path_stands_behind_it() {
        let paced =
            PathView { ready_at: NOW + Duration::from_micros(1_250), loss_permille: 16, ..path(0, 1, 0) };
        let paths = [paced, PathView { backup: true, suspect: true, ..path(3, 2_000, 0) }];
        let until = Some(paced.ready_at);
        assert_eq!(
            line(Demand::Repair { bytes: 7 }, Decision::Wait { until }, Reason::Pacer, &paths),
            "12.345678 repair 7 -> wait 1.25 pacer | 0 rtt 0.001 left 0 in flight 12000 paced 1.25 loss 16 \
             | 3 rtt 2 left 0 in flight 12000 backup suspect"
        );
        let never = line(Demand::Fresh { bytes: 1 }, Decision::Wait { until: None }, Reason::Window, &[]);
        assert_eq!(never, "12.345678 fresh 1 -> wait window");
    }
}
