//! The verdict on one number: better only if the intervals of both medians lie apart.
//!
//! Pure: two estimates in, a verdict out. Two intervals that each hold in 95 of 100 cases and do not overlap are a
//! stricter test than one of their difference at that level: what is called a difference here is one.

use crate::report::metrics::Better;

/// A median and the interval for the true one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimates {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What two estimates say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Overlap,
    /// By how many percent of A's median B's differs, and by how many at least and at most.
    Better { b_wins: bool, percent: f64, least: f64, most: f64 },
}

/// Which of the two is better.
pub(super) fn verdict(a: Estimates, b: Estimates, better: Better) -> Verdict {
    let b_is_higher = b.low > a.high;
    let b_is_lower = b.high < a.low;
    if !b_is_higher && !b_is_lower {
        return Verdict::Overlap;
    }
    let percent = |of_b: f64, of_a: f64| (of_b / of_a - 1.0) * 100.0;
    Verdict::Better {
        b_wins: b_is_higher == (better == Better::Higher),
        percent: percent(b.median, a.median),
        least: percent(b.low, a.high),
        most: percent(b.high, a.low),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimates(low: f64, median: f64, high: f64) -> Estimates {
        Estimates { median, low, high }
    }

    #[test]
    fn intervals_that_touch_or_overlap_say_nothing() {
        let a = estimates(90.0, 100.0, 110.0);
        for b in [estimates(110.0, 120.0, 130.0), estimates(80.0, 85.0, 90.0), estimates(95.0, 96.0, 97.0), a]
        {
            assert_eq!(verdict(a, b, Better::Higher), Verdict::Overlap);
        }
    }

    #[test]
    fn intervals_apart_say_who_and_by_how_much() {
        let (a, b) = (estimates(80.0, 100.0, 120.0), estimates(150.0, 200.0, 240.0));
        let higher = verdict(a, b, Better::Higher);
        assert_eq!(higher, Verdict::Better { b_wins: true, percent: 100.0, least: 25.0, most: 200.0 });
        let Verdict::Better { b_wins, .. } = verdict(a, b, Better::Lower) else { panic!() };
        assert!(!b_wins, "more latency is not better");
        let Verdict::Better { b_wins, percent, least, most } = verdict(b, a, Better::Lower) else { panic!() };
        assert!(b_wins && (percent + 50.0).abs() < 1e-9 && (most + 20.0).abs() < 1e-9, "{percent} {most}");
        assert!((least + 66.666_666).abs() < 1e-3, "{least}");
    }
}
