//! Which packets of one path were protected with which generation of keys.
//!
//! Owns the per-path part of key updates: `PhaseMark` lives in the path's number space, so that packet numbers of
//! different paths are never compared (MP-044, MP-045). Holds no key; the `KeyRing` does.

/// What one path has seen of key generations, both ways.
///
/// Generation 0 are the first 1-RTT keys; the key phase bit is the lowest bit of the generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct PhaseMark {
    sealed: Option<Sealed>,
    opened: Option<Opened>,
}

/// What we sent on this path.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    /// The newest keys used.
    generation: u64,
    /// The first packet sealed with them.
    first: u64,
    last: u64,
}

/// What we received on this path.
#[derive(Clone, Copy, Debug)]
struct Opened {
    /// The newest keys used.
    generation: u64,
    /// The lowest and the highest packet opened with them.
    lowest: u64,
    highest: u64,
    /// The highest packet opened with any older keys.
    older: Option<u64>,
}

impl PhaseMark {
    /// Notes that `pn` is about to be sealed. `false` when the number does not rise: its nonce may have been used.
    #[inline]
    pub(super) fn on_sealed(&mut self, generation: u64, pn: u64) -> bool {
        match &mut self.sealed {
            Some(sealed) if pn <= sealed.last => return false,
            Some(sealed) if sealed.generation == generation => sealed.last = pn,
            _ => self.sealed = Some(Sealed { generation, first: pn, last: pn }),
        }
        true
    }

    /// The newest generation that we sealed with here, if `largest` was sealed with it.
    pub(super) fn generation_sealing(&self, largest: u64) -> Option<u64> {
        self.sealed.filter(|sealed| sealed.first <= largest).map(|sealed| sealed.generation)
    }

    /// Notes that `pn` was opened. `false` when a lower packet number came with newer keys (RFC 9001 §6.4).
    #[inline]
    pub(super) fn on_opened(&mut self, generation: u64, pn: u64) -> bool {
        let Some(opened) = &mut self.opened else {
            self.opened = Some(Opened { generation, lowest: pn, highest: pn, older: None });
            return true;
        };
        if generation < opened.generation {
            opened.older = opened.older.max(Some(pn));
            return pn <= opened.lowest;
        }
        if generation > opened.generation {
            let older = opened.older.max(Some(opened.highest));
            *opened = Opened { generation, lowest: pn, highest: pn, older };
        }
        opened.lowest = opened.lowest.min(pn);
        opened.highest = opened.highest.max(pn);
        opened.older.is_none_or(|older| older <= pn)
    }

    /// The lowest packet opened with `generation`, while no newer one was used here.
    #[inline]
    pub(super) fn lowest_opened(&self, generation: u64) -> Option<u64> {
        self.opened.filter(|opened| opened.generation == generation).map(|opened| opened.lowest)
    }
}

/// A generation relative to the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Previous,
    Current,
    Next,
}

/// Which keys protect packet `pn`? (RFC 9001 §6.5, MP-045)
///
/// `same_phase`: its key phase bit is that of the current keys. `lowest`: the lowest number opened with the current
/// keys on its own path. Exactly one key is tried for every packet, so that the time taken does not tell the bit
/// (RFC 9001 §6.3).
#[inline]
pub(super) fn turn_of(
    same_phase: bool,
    have_previous: bool,
    have_next: bool,
    lowest: Option<u64>,
    pn: u64,
) -> Turn {
    if same_phase {
        return Turn::Current;
    }
    let after_update = have_next && lowest.is_some_and(|lowest| lowest < pn);
    if have_previous && !after_update { Turn::Previous } else { Turn::Next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_bit_of_the_current_keys_settles_it() {
        for (previous, next) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(turn_of(true, previous, next, Some(5), 9), Turn::Current);
        }
    }

    #[test]
    fn the_other_bit_means_old_before_the_update_and_new_behind_it() {
        assert_eq!(turn_of(false, true, true, Some(5), 4), Turn::Previous);
        assert_eq!(turn_of(false, true, true, Some(5), 6), Turn::Next);
    }

    /// MP-045
    #[test]
    fn a_path_without_a_packet_of_this_phase_goes_by_the_guard_time() {
        assert_eq!(turn_of(false, true, true, None, 9_990), Turn::Previous);
        assert_eq!(turn_of(false, false, true, None, 0), Turn::Next);
    }

    #[test]
    fn without_the_next_keys_the_previous_ones_stand_in() {
        assert_eq!(turn_of(false, true, false, Some(5), 6), Turn::Previous);
    }

    #[test]
    fn numbers_must_rise_when_sealing() {
        let mut mark = PhaseMark::default();
        assert!(mark.on_sealed(0, 0) && mark.on_sealed(0, 2));
        assert!(!mark.on_sealed(0, 2) && !mark.on_sealed(1, 1));
        assert!(mark.on_sealed(1, 3) && mark.on_sealed(1, 4));
        assert_eq!(mark.generation_sealing(2), None);
        assert_eq!((mark.generation_sealing(3), mark.generation_sealing(9)), (Some(1), Some(1)));
    }

    #[test]
    fn reordering_around_an_update_is_no_error() {
        let mut mark = PhaseMark::default();
        let arrivals = [(0, 3), (0, 1), (1, 7), (0, 6), (1, 6 + 4), (0, 2), (1, 9)];
        assert!(arrivals.iter().all(|&(generation, pn)| mark.on_opened(generation, pn)));
        assert_eq!((mark.lowest_opened(1), mark.lowest_opened(0)), (Some(7), None));
    }

    #[test]
    fn old_keys_on_a_newer_packet_are_seen_in_either_order() {
        let mut mark = PhaseMark::default();
        assert!(mark.on_opened(1, 5));
        assert!(!mark.on_opened(0, 6), "old keys after new ones");
        let mut mark = PhaseMark::default();
        assert!(mark.on_opened(1, 7) && mark.on_opened(1, 5));
        assert!(!mark.on_opened(0, 6), "between two with new keys");
        let mut mark = PhaseMark::default();
        assert!(mark.on_opened(0, 6));
        assert!(!mark.on_opened(1, 5), "new keys before old ones");
        let mut mark = PhaseMark::default();
        assert!(mark.on_opened(0, 6) && mark.on_opened(2, 8) && mark.on_opened(1, 7));
        assert!(!mark.on_opened(2, 6), "below the highest of an older generation");
    }
}
