//! Names for the routes of one path, so that what the system says of a datagram finds the route that it left on.
//!
//! Owns how names follow each other and how many bits they have. Who has which is the routes' (`route`, `migration`);
//! where the bits travel is the endpoint's.

/// Tells the routes of one path apart, for a while: which one a datagram left on is asked only until the system said
/// what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Leg(u8);

impl Leg {
    /// None of the path's routes.
    pub(crate) const NONE: Self = Self((1 << Self::BITS) - 1);

    /// Bits that it has.
    pub(crate) const BITS: u32 = 4;

    /// Of these low bits.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self((bits & u32::from(Self::NONE.0)) as u8)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0.into()
    }

    /// The one after it.
    pub(crate) fn next(self) -> Self {
        Self((self.0 + 1) % Self::NONE.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_routes_go_round_and_none_of_them_means_none() {
        let mut leg = Leg::default();
        for bits in (0..15).chain(0..3) {
            assert_eq!((leg.bits(), leg == Leg::NONE), (bits, false));
            assert_eq!(Leg::from_bits(leg.bits() | 1 << Leg::BITS), leg);
            leg = leg.next();
        }
    }
}
