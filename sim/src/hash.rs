//! A fast hash, for digests of runs and for the tag of the null protection.
//!
//! Owns `Hash`: 64 bits, equal on every machine, good at noticing any change that chance makes. Not cryptographic.

const ODD_A: u64 = 0xa076_1d64_78bd_642f;
const ODD_B: u64 = 0xe703_7ed1_a0b4_28db;

/// The state of a hash; every `add` depends on the order of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fold(seed ^ ODD_A, ODD_B))
    }

    pub(crate) fn add_u64(&mut self, number: u64) {
        self.0 = fold(self.0 ^ ODD_A, number ^ ODD_B);
    }

    /// Adds `bytes` and their length, so that a boundary between two calls matters.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<16>();
        let mut state = self.0 ^ bytes.len() as u64;
        for block in blocks {
            state = fold_block(state, *block);
        }
        if !rest.is_empty() {
            let mut last = [0; 16];
            last[..rest.len()].copy_from_slice(rest);
            state = fold_block(state, last);
        }
        self.0 = fold(state ^ ODD_B, ODD_A);
    }

    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}

fn fold_block(state: u64, block: [u8; 16]) -> u64 {
    let both = u128::from_le_bytes(block);
    fold(both as u64 ^ state, (both >> 64) as u64 ^ ODD_A ^ state.rotate_left(32))
}

/// Both halves of the product, folded onto each other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut hash = Hash::new(1);
        hash.add_bytes(bytes);
        hash.finish()
    }

    #[test]
    fn every_single_flipped_bit_is_noticed() {
        let bytes: Vec<u8> = (0..100_u8).collect();
        let clean = of(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut dirty = bytes.clone();
            dirty[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(&dirty), clean, "bit {bit}");
        }
    }

    #[test]
    fn trailing_zeros_and_swapped_blocks_are_noticed() {
        assert_ne!(of(&[0; 16]), of(&[0; 17]));
        assert_ne!(of(&[]), of(&[0]));
        let (mut ab, mut ba) = ([1_u8; 32], [2_u8; 32]);
        ab[16..].fill(2);
        ba[16..].fill(1);
        assert_ne!(of(&ab), of(&ba));
    }

    #[test]
    fn the_value_is_the_same_on_every_machine() {
        let mut hash = Hash::new(7);
        hash.add_u64(42);
        hash.add_bytes(b"braid");
        assert_eq!(hash.finish(), 0x3fb5_b224_6672_adb4);
    }
}
