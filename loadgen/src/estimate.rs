//! What a few repeated measurements say: the median, and an interval in which the true one lies.
//!
//! Owns the interval between two order statistics that holds for every distribution (the sign test's): of `n` values in
//! order, the true median lies between the k-th from below and the k-th from above unless fewer than `k` fell on one of
//! its sides, and the number on one side is binomial. Runs are few and their noise is not normal, so nothing is assumed.

/// The interval holds at least so often.
pub(crate) const CONFIDENCE: f64 = 0.95;
/// Fewer values have no interval of that confidence: of 5 all lie on one side in 1 of 16 cases.
pub(crate) const VALUES_MIN: usize = 6;

/// The median of some values and an interval for the true one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) interval: Option<Interval>,
}

/// Where the true median lies, with this confidence or a higher one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) confidence: f64,
}

/// What `values` say; `None` without values.
pub(crate) fn estimate(values: &[f64]) -> Option<Estimate> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let (lower, upper) = (*sorted.get(count.checked_sub(1)? / 2)?, *sorted.get(count / 2)?);
    let median = f64::midpoint(lower, upper);
    let interval = rank(count).map(|(rank, confidence)| Interval {
        low: sorted[rank - 1],
        high: sorted[count - rank],
        confidence,
    });
    Some(Estimate { median, interval })
}

/// The highest rank `k`, from 1, whose interval still has the confidence; and the confidence that it has.
fn rank(count: usize) -> Option<(usize, f64)> {
    (1..=count / 2).map(|rank| (rank, coverage(count, rank))).take_while(|(_, it)| *it >= CONFIDENCE).last()
}

/// How often the true median lies between the `rank`-th of `count` values and the `rank`-th from above: 1 - 2 P(X < rank)
/// where X is binomial with p = 1/2.
fn coverage(count: usize, rank: usize) -> f64 {
    let mut term = 0.5_f64.powf(count as f64); // P(X = 0)
    let mut below = 0.0;
    for successes in 0..rank {
        below += term;
        term *= (count - successes) as f64 / (successes + 1) as f64;
    }
    1.0 - 2.0 * below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(values: &[f64]) -> Option<(f64, f64)> {
        estimate(values)?.interval.map(|interval| (interval.low, interval.high))
    }

    #[test]
    fn the_coverage_is_that_of_the_tables_of_the_sign_test() {
        for (count, rank, expected) in
            [(5, 1, 0.9375), (6, 1, 0.96875), (8, 1, 0.992_187_5), (9, 2, 0.960_937_5), (15, 4, 0.964_843_75)]
        {
            assert!((coverage(count, rank) - expected).abs() < 1e-12, "{count} {rank}");
        }
        for (count, expected) in
            [(0, None), (5, None), (6, Some(1)), (8, Some(1)), (9, Some(2)), (15, Some(4))]
        {
            assert_eq!(rank(count).map(|(rank, _)| rank), expected, "{count}");
        }
        assert!(rank(VALUES_MIN).is_some() && rank(VALUES_MIN - 1).is_none());
        assert_eq!(rank(1000).map(|(rank, _)| rank), Some(469));
    }

    #[test]
    fn the_median_is_the_middle_one_or_lies_between_the_middle_two() {
        assert_eq!(estimate(&[]), None);
        assert_eq!(estimate(&[3.0]), Some(Estimate { median: 3.0, interval: None }));
        assert_eq!(estimate(&[3.0, 1.0]).unwrap().median.to_string(), "2");
        assert_eq!(estimate(&[9.0, 1.0, 2.0]).unwrap().median.to_string(), "2");
    }

    #[test]
    fn few_values_have_no_interval_and_more_have_a_narrower_one() {
        assert_eq!(interval(&[1.0, 2.0, 3.0, 4.0, 5.0]), None);
        assert_eq!(interval(&[6.0, 1.0, 3.0, 2.0, 5.0, 4.0]), Some((1.0, 6.0)));
        let nine: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(interval(&nine), Some((2.0, 8.0)));
        let confidence = estimate(&nine).unwrap().interval.unwrap().confidence;
        assert!((confidence - 0.960_937_5).abs() < 1e-12);
    }
}
