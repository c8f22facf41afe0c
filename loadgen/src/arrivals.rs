//! When pieces of work are to begin in the open loop: at a rate, evenly or as a Poisson process.
//!
//! Owns the sequence of intended start times, which a seed repeats. Knows neither what begins nor whether it could; the
//! times never depend on how the server does, and that is what coordinated omission would be.

use std::time::Duration;

use braid_quic::Instant;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::load::Pattern;

/// An endless sequence of intended start times.
pub(crate) struct Arrivals {
    start: Instant,
    pattern: Pattern,
    mean_gap_ns: f64,
    /// Arrivals before the next one.
    count: u64,
    /// Sum of the random gaps so far.
    elapsed_ns: f64,
    rng: ChaCha12Rng,
    next: Instant,
}

impl Arrivals {
    /// Arrivals after `start`, `per_second` in the mean. `part` of `parts` shares one schedule with the others: constant
    /// gaps are interleaved, random ones independent.
    pub(crate) fn new(
        pattern: Pattern,
        per_second: f64,
        start: Instant,
        seed: u64,
        (part, parts): (usize, usize),
    ) -> Self {
        let mean_gap_ns = 1e9 / per_second;
        let offset = mean_gap_ns * part as f64 / parts.max(1) as f64;
        let rng = ChaCha12Rng::seed_from_u64(seed.wrapping_add(part as u64));
        let start = start + Duration::from_nanos(offset as u64);
        let mut this = Self { start, pattern, mean_gap_ns, count: 0, elapsed_ns: 0.0, rng, next: start };
        this.place();
        this
    }

    /// The next one.
    pub(crate) fn next_at(&self) -> Instant {
        self.next
    }

    /// The next one, if its time has come. The one after it is next then.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let due = (self.next <= now).then_some(self.next)?;
        self.count += 1;
        self.place();
        Some(due)
    }

    /// Times come from sums, not from one time after another, so that rounding does not add up.
    fn place(&mut self) {
        let after_ns = match self.pattern {
            Pattern::Constant => self.count as f64 * self.mean_gap_ns,
            Pattern::Poisson => {
                self.elapsed_ns += exponential(self.rng.next_u64()) * self.mean_gap_ns;
                self.elapsed_ns
            }
        };
        self.next = self.start + Duration::from_nanos(after_ns as u64);
    }
}

/// A sample of the exponential distribution with mean 1, from 64 random bits.
fn exponential(bits: u64) -> f64 {
    let uniform = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64; // strictly between 0 and 1
    -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(1_000);

    fn arrivals(pattern: Pattern, per_second: f64, seed: u64) -> Arrivals {
        Arrivals::new(pattern, per_second, START, seed, (0, 1))
    }

    fn first(mut arrivals: Arrivals, count: usize) -> Vec<u64> {
        let forever = Instant::from_nanos(u64::MAX / 2);
        (0..count).map(|_| arrivals.take_due(forever).unwrap().as_nanos()).collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spread_and_do_not_drift() {
        assert_eq!(first(arrivals(Pattern::Constant, 1e6, 1), 4), [1_000, 2_000, 3_000, 4_000]);
        let thirds = first(arrivals(Pattern::Constant, 3.0, 1), 3_000_001);
        assert_eq!(thirds[3_000_000], 1_000 + 1_000_000 * 1_000_000_000, "a million seconds later");
    }

    #[test]
    fn parts_of_a_constant_schedule_are_interleaved() {
        let part = |part| first(Arrivals::new(Pattern::Constant, 1e6, START, 1, (part, 2)), 2);
        assert_eq!((part(0), part(1)), (vec![1_000, 2_000], vec![1_500, 2_500]));
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut arrivals = arrivals(Pattern::Constant, 1e6, 1);
        assert_eq!(arrivals.take_due(Instant::from_nanos(999)), None);
        assert_eq!(arrivals.take_due(Instant::from_nanos(1_999)), Some(START));
        assert_eq!(arrivals.take_due(Instant::from_nanos(1_999)), None);
        assert_eq!(arrivals.next_at(), Instant::from_nanos(2_000));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_as_much_spread_as_mean() {
        let times = first(arrivals(Pattern::Poisson, 1e6, 7), 100_001);
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / 1e5;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 1e5;
        assert!((980.0..1_020.0).contains(&mean), "{mean}");
        assert!((970.0..1_030.0).contains(&variance.sqrt()), "{variance}");
        let long = gaps.iter().filter(|&&gap| gap > 1_000.0).count();
        assert!((36_000..37_600).contains(&long), "e^-1 of all gaps are longer than the mean: {long}");
    }

    #[test]
    fn a_seed_repeats_the_schedule_and_parts_are_independent() {
        let times = |seed| first(arrivals(Pattern::Poisson, 1e3, seed), 10);
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
        let part = |part| first(Arrivals::new(Pattern::Poisson, 1e3, START, 7, (part, 2)), 10);
        assert_ne!(part(0), part(1));
    }

    #[test]
    fn exponential_samples_are_finite_at_both_ends() {
        assert!(exponential(0) > 36.0 && exponential(0).is_finite());
        assert!((0.0..1e-15).contains(&exponential(u64::MAX)));
        assert!((exponential(1 << 63) - std::f64::consts::LN_2).abs() < 1e-9);
    }
}
