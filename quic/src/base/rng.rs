//! Randomness that peers must not guess: connection IDs, challenges, skipped packet numbers.
//!
//! Owns one `ChaCha12` stream per endpoint, seeded from outside, so that a simulated run repeats itself exactly. Never
//! asks the operating system.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A cryptographically strong stream of random numbers.
pub(crate) struct Rng(ChaCha12Rng);

impl Rng {
    /// A stream that is fully determined by `seed`.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// An array of random octets.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random number below `bound`, which is not zero. (The bias, at most `bound` / 2^64, does not matter here.)
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams_and_others_do_not() {
        let take = |seed: u8| Rng::new([seed; 32]).array::<16>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new([3; 32]);
        for bound in 1..200 {
            assert!(rng.below(bound) < bound);
        }
    }
}
