//! Chance that has a memory or a shape: losses in bursts, delays that vary.
//!
//! Owns the model of Gilbert and Elliott and the distributions of jitter. Draws from the generator it is given, with exact
//! arithmetic only, so that every machine draws the same.

use std::time::Duration;

use crate::rng::Rng;

/// Losses as Gilbert and Elliott describe them: a good and a bad state, drawn anew after each datagram.
///
/// Bursts of the bad state last 1 / `to_good` datagrams in the mean; `to_bad` / (`to_bad` + `to_good`) of all datagrams
/// meet it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstLoss {
    /// Probability that the bad state follows the good one.
    pub to_bad: f64,
    /// Probability that the good state follows the bad one.
    pub to_good: f64,
    /// Probability that a datagram is lost in the good state.
    pub loss_good: f64,
    /// Probability that a datagram is lost in the bad state.
    pub loss_bad: f64,
}

impl BurstLoss {
    /// Is the next datagram lost? `bad` is the state, which begins as false.
    pub(super) fn strikes(self, bad: &mut bool, rng: &mut Rng) -> bool {
        let lost = rng.chance(if *bad { self.loss_bad } else { self.loss_good });
        if rng.chance(if *bad { self.to_good } else { self.to_bad }) {
            *bad = !*bad;
        }
        lost
    }
}

/// How a delay varies from datagram to datagram; never below zero, and without reordering: who comes early waits for
/// those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all.
    #[default]
    None,
    /// By up to this, more or less, every value being as likely as any other.
    Uniform(Duration),
    /// By a Laplace distribution of this scale, but at most by `cap` more or less.
    Laplace {
        /// The mean of the deviation's size.
        scale: Duration,
        /// The largest deviation.
        cap: Duration,
    },
}

impl Jitter {
    /// The delay of the next datagram.
    pub(super) fn vary(self, delay: Duration, rng: &mut Rng) -> Duration {
        let by = match self {
            Self::None => return delay,
            Self::Uniform(most) => Duration::from_nanos(rng.between(0, most.as_nanos() as u64)),
            Self::Laplace { scale, cap } => scale.mul_f64(rng.exponential()).min(cap),
        };
        if rng.chance(0.5) { delay + by } else { delay.saturating_sub(by) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ms;

    #[test]
    fn bursts_are_as_long_and_as_frequent_as_the_model_says() {
        // Everything is lost in the bad state: bursts of 1 / 0.25 = 4, and 0.01 / 0.26 = 3.85 % are lost.
        let model = BurstLoss { to_bad: 0.01, to_good: 0.25, loss_good: 0.0, loss_bad: 1.0 };
        let (mut rng, mut bad) = (Rng::new(1), false);
        let lost: Vec<bool> = (0..400_000).map(|_| model.strikes(&mut bad, &mut rng)).collect();
        let total = lost.iter().filter(|&&lost| lost).count() as f64;
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
        let (share, length) = (total / 400_000.0, total / bursts);
        assert!((share - 0.03846).abs() < 0.003, "{share}");
        assert!((length - 4.0).abs() < 0.2, "{length}");
    }

    #[test]
    fn both_states_lose_with_their_own_probability() {
        // Equally often good and bad: (0.1 + 0.5) / 2 = 30 % are lost.
        let model = BurstLoss { to_bad: 0.2, to_good: 0.2, loss_good: 0.1, loss_bad: 0.5 };
        let (mut rng, mut bad) = (Rng::new(2), false);
        let lost = (0..100_000).filter(|_| model.strikes(&mut bad, &mut rng)).count() as f64 / 100_000.0;
        assert!((lost - 0.3).abs() < 0.01, "{lost}");
    }

    #[test]
    fn laplace_jitter_has_its_scale_and_its_cap_and_lies_on_both_sides() {
        let jitter = Jitter::Laplace { scale: ms(10), cap: ms(30) };
        let mut rng = Rng::new(3);
        let drawn: Vec<Duration> = (0..50_000).map(|_| jitter.vary(ms(100), &mut rng)).collect();
        let deviation: f64 = drawn.iter().map(|delay| delay.abs_diff(ms(100)).as_secs_f64()).sum();
        // The mean of an exponential with mean 10 cut at 30 is 10 (1 - e^-3) = 9.50.
        let mean = deviation / 50_000.0 * 1_000.0;
        assert!((mean - 9.50).abs() < 0.2, "{mean}");
        assert_eq!(drawn.iter().max(), Some(&ms(130)));
        assert_eq!(drawn.iter().min(), Some(&ms(70)));
        let later = drawn.iter().filter(|&&delay| delay > ms(100)).count();
        assert!((24_000..26_000).contains(&later), "{later}");
    }

    #[test]
    fn uniform_jitter_stays_within_its_span_and_no_delay_is_negative() {
        let mut rng = Rng::new(4);
        for _ in 0..1_000 {
            let delay = Jitter::Uniform(ms(5)).vary(ms(3), &mut rng);
            assert!(delay <= ms(8));
            assert_eq!(Jitter::None.vary(ms(3), &mut rng), ms(3));
        }
        let spread = Jitter::Uniform(ms(5));
        let near_zero = (0..1_000).filter(|_| spread.vary(ms(3), &mut rng).is_zero()).count();
        assert!((120..280).contains(&near_zero), "a fifth is cut at zero: {near_zero}");
    }
}
