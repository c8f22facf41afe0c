//! What several paths were worth: aggregation benefit and the statistics over a sweep.
//!
//! Owns the formula of De Coninck and Bonaventure, "Multipath QUIC: Design and Evaluation" (2017) and what
//! median and quartiles mean here. Takes plain numbers; knows neither links nor runs.

/// Experimental aggregation benefit, from goodputs in any one unit: 0 is the best single path, 1 is the sum of all,
/// -1 is nothing at all. `None` if no single path brought anything, for then there is nothing to compare with.
pub(crate) fn eben(multipath: f64, single: [f64; 2]) -> Option<f64> {
    let best = single[0].max(single[1]);
    let others = single[0] + single[1] - best;
    if best <= 0.0 {
        return None;
    }
    if multipath < best {
        return Some((multipath - best) / best);
    }
    // A second path that brings nothing cannot be aggregated: its benefit is 0 whatever the noise says.
    Some(if others > 0.0 { (multipath - best) / others } else { 0.0 })
}

/// The value in the middle, or the mean of the two there; infinite values count as what they are.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which a share `q` of the values lies, between neighbours by linear interpolation.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // Equal neighbours need no arithmetic, which infinite ones would not survive.
    if below.total_cmp(&above).is_eq() { below } else { below + (above - below) * place.fract() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_benefit_is_0_at_the_best_path_and_1_at_the_sum() {
        // By hand: paths of 8 and 2; (9 - 8) / (10 - 8) = 0.5.
        assert_eq!(eben(8.0, [8.0, 2.0]), Some(0.0));
        assert_eq!(eben(9.0, [2.0, 8.0]), Some(0.5));
        assert_eq!(eben(10.0, [8.0, 2.0]), Some(1.0));
        assert_eq!(eben(11.0, [8.0, 2.0]), Some(1.5), "more than the sum is possible");
    }

    #[test]
    fn below_the_best_path_the_benefit_is_a_share_of_it() {
        // By hand: (6 - 8) / 8 = -0.25.
        assert_eq!(eben(6.0, [8.0, 2.0]), Some(-0.25));
        assert_eq!(eben(0.0, [8.0, 2.0]), Some(-1.0));
    }

    #[test]
    fn a_path_that_brings_nothing_adds_nothing_and_two_of_them_say_nothing() {
        assert_eq!(eben(8.5, [8.0, 0.0]), Some(0.0));
        assert_eq!(eben(4.0, [0.0, 8.0]), Some(-0.5));
        assert_eq!(eben(4.0, [0.0, 0.0]), None);
    }

    // Values that are exact in binary.
    #[allow(clippy::float_cmp)]
    #[test]
    fn quartiles_lie_between_neighbours() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0, 4.0], 0.25), 1.0);
        assert_eq!(quantile(&[0.0, 1.0], 0.75), 0.75);
        assert_eq!(quantile(&[7.0], 0.25), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[allow(clippy::float_cmp)]
    #[test]
    fn a_run_that_never_ends_moves_the_median_only_when_it_is_in_the_middle() {
        let never = f64::INFINITY;
        assert_eq!(median(&[1.0, never, 2.0]), 2.0);
        assert_eq!(median(&[1.0, never, never]), never);
        assert_eq!(median(&[1.0, never]), never);
    }
}
