//! The client's secrets: from the system, or from `--seed` so that a run can be repeated.
//!
//! Owns how a small number becomes keys. What is made from a seed is no secret to anybody who knows the seed, which
//! is all right for a load generator and for nothing else.

use aws_lc_rs::digest::{SHA256, digest};

/// A seed for what need not be secret, where the command line has none.
pub(crate) fn random_seed() -> u64 {
    let mut octets = [0; 8];
    aws_lc_rs::rand::fill(&mut octets).expect("the system has randomness");
    u64::from_be_bytes(octets)
}

/// Keys that all workers of a run share.
pub(crate) struct Secrets([u8; 32]);

impl Secrets {
    /// Keys that `seed` determines, or that nobody can guess.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let mut root = [0; 32];
        match seed {
            Some(seed) => root[..8].copy_from_slice(&seed.to_be_bytes()),
            None => aws_lc_rs::rand::fill(&mut root).expect("the system has randomness"),
        }
        Self(root)
    }

    /// Masks the worker in connection IDs.
    pub(crate) fn cid_key(&self) -> [u8; 16] {
        *self.derive(b"connection ids").first_chunk().expect("32 octets begin with 16")
    }

    /// Makes stateless reset tokens.
    pub(crate) fn reset_key(&self) -> [u8; 32] {
        self.derive(b"stateless resets")
    }

    fn derive(&self, label: &[u8]) -> [u8; 32] {
        let input = [label, &self.0].concat();
        digest(&SHA256, &input).as_ref().try_into().expect("SHA-256 has 32 octets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_keys_and_others_do_not() {
        let keys = |seed| (Secrets::new(seed).cid_key(), Secrets::new(seed).reset_key());
        assert_eq!(keys(Some(7)), keys(Some(7)));
        assert_ne!(keys(Some(7)), keys(Some(8)));
        assert_ne!(keys(None), keys(None));
    }

    #[test]
    fn the_two_keys_have_nothing_in_common() {
        let secrets = Secrets::new(Some(1));
        assert_ne!(secrets.cid_key()[..], secrets.reset_key()[..16]);
    }
}
