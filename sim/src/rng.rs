//! The randomness of the simulator: small, fast and the same on every machine.
//!
//! Owns one xoshiro256** generator per user, each forked from the world's seed under a label, so that one more draw in
//! one place does not shift the draws of another. Not for secrets, and never fed by the operating system.

/// A stream of pseudo-random numbers (xoshiro256**, Blackman and Vigna).
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        let mut step = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut step)) }
    }

    /// The stream of `label` under `seed`: independent of the streams of all other labels.
    pub fn labelled(seed: u64, label: &str) -> Self {
        let folded = label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(seed ^ folded)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low <= high);
        low + self.below(high - low + 1)
    }

    /// True with this probability; draws nothing where the answer is certain.
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        unit(self.next_u64()) < probability
    }

    /// An exponentially distributed number with mean 1, by von Neumann's comparison of uniform ones: a logarithm would
    /// not come out equal on every machine.
    pub fn exponential(&mut self) -> f64 {
        let mut whole = 0.0;
        loop {
            let first = self.next_u64();
            let (mut last, mut run) = (first, 1);
            loop {
                let next = self.next_u64();
                if next >= last {
                    break;
                }
                (last, run) = (next, run + 1);
            }
            if run % 2 == 1 {
                return whole + unit(first);
            }
            whole += 1.0;
        }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }

    /// An array of random octets.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// A number from 0 up to but not including 1: 53 bits fill a double exactly, so every machine has the same.
fn unit(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

/// One step of `SplitMix64`, which spreads a seed over a generator's state.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_gives_the_published_first_numbers_of_seed_0() {
        let mut state = 0;
        assert_eq!(split_mix(&mut state), 0xe220_a839_7b1d_cdaf);
        assert_eq!(split_mix(&mut state), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn xoshiro_gives_the_published_first_numbers_of_state_1_2_3_4() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!([rng.next_u64(), rng.next_u64(), rng.next_u64()], [11520, 0, 1_509_978_240]);
    }

    #[test]
    fn equal_seeds_and_labels_give_equal_streams_and_others_do_not() {
        let draw = |seed, label| Rng::labelled(seed, label).next_u64();
        assert_eq!(draw(7, "up"), draw(7, "up"));
        assert_ne!(draw(7, "up"), draw(7, "down"));
        assert_ne!(draw(7, "up"), draw(8, "up"));
    }

    #[test]
    fn a_chance_of_three_in_ten_comes_true_three_times_in_ten() {
        let mut rng = Rng::new(1);
        let hits = (0..100_000).filter(|_| rng.chance(0.3)).count();
        assert!((29_000..31_000).contains(&hits), "{hits}");
        assert!(!rng.chance(0.0));
        assert!((0..1000).all(|_| rng.chance(1.0)));
    }

    #[test]
    fn exponential_numbers_have_mean_1_and_the_right_tail() {
        let mut rng = Rng::new(4);
        let drawn: Vec<f64> = (0..100_000).map(|_| rng.exponential()).collect();
        let mean = drawn.iter().sum::<f64>() / 100_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        // e^-1 = 0.3679 and e^-3 = 0.0498 of them are above 1 and 3.
        for (bound, share) in [(1.0, 0.3679), (3.0, 0.0498)] {
            let above = drawn.iter().filter(|&&number| number > bound).count() as f64 / 100_000.0;
            assert!((above - share).abs() < 0.01, "{above} above {bound}");
        }
    }

    #[test]
    fn bounds_hold_at_both_ends() {
        let mut rng = Rng::new(2);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&5)));
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn filling_an_odd_length_fills_its_last_octets() {
        let mut bytes = [0_u8; 13];
        Rng::new(3).fill(&mut bytes);
        assert!(bytes[8..].iter().any(|&byte| byte != 0));
    }
}
