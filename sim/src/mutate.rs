//! What a hostile or broken peer does to a datagram.
//!
//! Owns one function that makes a plausible wrong datagram from a right one. Keeps no state.

use crate::rng::Rng;

/// Lengths that parsers stumble over: around header, sample and connection-ID limits.
const TELLING_LENGTHS: [usize; 12] = [0, 1, 4, 5, 7, 8, 20, 21, 40, 41, 1199, 1201];
/// Octets that mean something: frame types, extremes, first octets of long and short headers.
const TELLING_OCTETS: [u8; 14] = [0, 1, 2, 6, 8, 0x18, 0x1c, 0x1e, 0x3e, 0x40, 0x7e, 0xc0, 0xe0, 0xff];

/// Changes `datagram` in one to four ways, chosen by `rng`; `donor` is another datagram to steal from.
pub fn mutate(datagram: &mut Vec<u8>, donor: &[u8], rng: &mut Rng) {
    for _ in 0..rng.between(1, 4) {
        match rng.below(10) {
            0..=2 => with_octet(datagram, rng, |octet, rng| *octet ^= 1 << rng.below(8)),
            3 | 4 => with_octet(datagram, rng, |octet, rng| {
                *octet = TELLING_OCTETS[rng.below(TELLING_OCTETS.len() as u64) as usize];
            }),
            5 => with_octet(datagram, rng, |octet, rng| *octet = rng.next_u64() as u8),
            6 => datagram.truncate(rng.below(datagram.len() as u64 + 1) as usize),
            7 => {
                let length = TELLING_LENGTHS[rng.below(TELLING_LENGTHS.len() as u64) as usize];
                datagram.resize(length, 0x55);
            }
            8 => splice(datagram, donor, rng),
            _ => {
                let more = donor.len().min(rng.below(200) as usize);
                datagram.extend_from_slice(&donor[..more]);
            }
        }
    }
}

/// Most faults go to the first octets: that is where headers and the first frames are.
fn with_octet(datagram: &mut [u8], rng: &mut Rng, change: impl FnOnce(&mut u8, &mut Rng)) {
    if datagram.is_empty() {
        return;
    }
    let reach = if rng.chance(0.7) { datagram.len().min(64) } else { datagram.len() };
    let at = rng.below(reach as u64) as usize;
    change(&mut datagram[at], rng);
}

/// Writes a piece of `donor` over a place of the same length.
fn splice(datagram: &mut [u8], donor: &[u8], rng: &mut Rng) {
    let shared = datagram.len().min(donor.len());
    if shared == 0 {
        return;
    }
    let length = rng.between(1, shared.min(64) as u64) as usize;
    let to = rng.below((datagram.len() - length) as u64 + 1) as usize;
    let from = rng.below((donor.len() - length) as u64 + 1) as usize;
    datagram[to..to + length].copy_from_slice(&donor[from..from + length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_mutants_differ_from_the_original_and_none_grows_without_bound() {
        let (original, donor) = (vec![7; 1200], vec![9; 300]);
        let mut rng = Rng::new(1);
        let mut changed = 0;
        for _ in 0..10_000 {
            let mut mutant = original.clone();
            mutate(&mut mutant, &donor, &mut rng);
            changed += usize::from(mutant != original);
            assert!(mutant.len() <= 1201 + 4 * 200);
        }
        assert!(changed > 9_900, "{changed}");
    }

    #[test]
    fn empty_datagrams_and_donors_are_survived() {
        let mut rng = Rng::new(2);
        for _ in 0..1_000 {
            mutate(&mut Vec::new(), &[], &mut rng);
        }
    }
}
