//! Medians and ranges of a few repetitions.
//!
//! Pure arithmetic. With so few values nothing finer than the range is said.

/// The middle, the least and the most of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
}

impl Summary {
    /// Of all values that are numbers; none without one.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values = values.into_iter().filter(|value| value.is_finite()).collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { median, least, most, count: values.len() })
    }

    /// The range as a part of the median: 0.1 is ten per cent from end to end.
    pub(crate) fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.most - self.least) / self.median.abs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_odd_number_is_one_of_them() {
        let summary = Summary::of([5.0, 1.0, 3.0]).unwrap();
        assert_eq!(summary, Summary { median: 3.0, least: 1.0, most: 5.0, count: 3 });
        assert!((summary.spread() - 4.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        let summary = Summary::of([4.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!(summary, Summary { median: 3.0, least: 1.0, most: 9.0, count: 4 });
        let alone = Summary::of([7.0]).unwrap();
        assert_eq!((alone.median, alone.spread()), (7.0, 0.0));
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([f64::NAN, f64::INFINITY]), None);
        assert_eq!(Summary::of([f64::NAN, 2.0]).unwrap().count, 1);
        assert!(Summary::of([0.0, 0.0]).unwrap().spread().abs() < 1e-12);
    }
}
