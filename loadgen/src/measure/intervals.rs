//! Latencies second by second, for logs that other tools read.
//!
//! Owns the seconds. A second that is over is kept as its counts alone: a histogram has 150 KB, its counts a few. The
//! format of the file is `hdr`'s.

use std::time::Duration;

use super::Latencies;

/// The length of an interval.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// More intervals than the longest run has; what is later counts in the last.
pub(crate) const INTERVALS_MAX: usize = 24 * 3600;

/// The latencies of each second of the measured time.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    /// Values in microseconds and how often they occurred, by second. Empty for the second that goes on.
    seconds: Vec<Vec<(u64, u64)>>,
    /// The last second of `seconds`.
    current: Latencies,
    is_open: bool,
}

impl Intervals {
    /// A latency that was known so long after the begin.
    pub(super) fn record(&mut self, us: u64, after: Duration) {
        let second = (after.as_secs() as usize).min(INTERVALS_MAX - 1);
        if second >= self.seconds.len() {
            self.close();
            self.seconds.resize(second + 1, Vec::new());
            self.is_open = true;
        }
        // Time does not go back, but what is told late may belong to a second that is over.
        if second + 1 == self.seconds.len() && self.is_open {
            self.current.record_us(us);
        } else {
            self.seconds[second].push((us, 1));
        }
    }

    /// Takes over what another worker recorded.
    pub(super) fn merge(&mut self, other: &Self) {
        self.close();
        self.seconds.resize(self.seconds.len().max(other.seconds.len()), Vec::new());
        for (ours, theirs) in self.seconds.iter_mut().zip(&other.seconds) {
            ours.extend_from_slice(theirs);
        }
        if let Some(last) = other.seconds.len().checked_sub(1) {
            self.seconds[last].extend(other.current.counts());
        }
    }

    /// The counts of each second, in order. Complete after a merge.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[(u64, u64)]> {
        self.seconds.iter().map(Vec::as_slice)
    }

    fn close(&mut self) {
        if self.is_open {
            let counts = self.current.take_counts();
            self.seconds.last_mut().expect("an open second is the last one").extend(counts);
            self.is_open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn merged(parts: &[&Intervals]) -> Vec<Vec<(u64, u64)>> {
        let mut all = Intervals::default();
        for part in parts {
            all.merge(part);
        }
        all.iter().map(<[_]>::to_vec).collect()
    }

    #[test]
    fn seconds_without_anything_are_empty_and_equal_values_are_counted() {
        let mut intervals = Intervals::default();
        intervals.record(7, ms(0));
        intervals.record(7, ms(999));
        intervals.record(9, ms(2500));
        assert_eq!(merged(&[&intervals]), [vec![(7, 2)], vec![], vec![(9, 1)]]);
    }

    #[test]
    fn what_is_told_late_belongs_to_its_own_second() {
        let mut intervals = Intervals::default();
        intervals.record(9, ms(1500));
        intervals.record(5, ms(500));
        assert_eq!(merged(&[&intervals]), [vec![(5, 1)], vec![(9, 1)]]);
    }

    #[test]
    fn workers_come_together_second_by_second() {
        let (mut one, mut two) = (Intervals::default(), Intervals::default());
        one.record(1, ms(1500));
        two.record(2, ms(100));
        assert_eq!(merged(&[&one, &two]), [vec![(2, 1)], vec![(1, 1)]]);
        assert_eq!(merged(&[]), Vec::<Vec<_>>::new());
    }

    #[test]
    fn seconds_are_bounded() {
        let mut intervals = Intervals::default();
        intervals.record(1, Duration::from_secs(INTERVALS_MAX as u64 * 2));
        assert_eq!(intervals.iter().count(), INTERVALS_MAX);
    }
}
