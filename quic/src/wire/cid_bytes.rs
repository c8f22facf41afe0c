//! The bytes of a connection ID: 0 to 20 of them, held in place.
//!
//! Owns storage and comparison. What our own connection IDs mean is known to `cid` alone.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The longest connection ID of QUIC version 1 (RFC 9000 §17.2).
pub(crate) const CID_LEN_MAX: usize = 20;

/// A connection ID. Hashes and compares like the slice of its bytes, so a map can be asked with a slice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cid {
    len: u8,
    /// Zero beyond `len`, so that equal IDs have equal arrays.
    bytes: [u8; CID_LEN_MAX],
}

impl Cid {
    /// The connection ID of no bytes.
    pub(crate) const EMPTY: Self = Self { len: 0, bytes: [0; CID_LEN_MAX] };

    /// The connection ID with these bytes; `None` if they are more than 20.
    #[inline]
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let mut cid = Self { len: bytes.len() as u8, ..Self::EMPTY };
        cid.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(cid)
    }
}

impl Deref for Cid {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Borrow<[u8]> for Cid {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Hash for Cid {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("(empty)");
        }
        self.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn twenty_bytes_fit_and_twenty_one_do_not() {
        let bytes = [7; 21];
        assert_eq!(&*Cid::new(&bytes[..20]).unwrap(), &bytes[..20]);
        assert_eq!(Cid::new(&bytes), None);
        assert_eq!(Cid::new(&[0; 276]), None, "a length that wraps in eight bits");
    }

    #[test]
    fn zeros_at_the_end_are_part_of_the_id() {
        assert_ne!(Cid::new(&[1]), Cid::new(&[1, 0]));
        assert_eq!(Cid::new(&[]), Some(Cid::EMPTY));
    }

    #[test]
    fn a_map_is_asked_with_a_slice() {
        let map = HashMap::from([(Cid::new(&[1, 2, 3]).unwrap(), "found")]);
        assert_eq!(map.get(&[1, 2, 3][..]), Some(&"found"));
        assert_eq!(map.get(&[1, 2, 3, 0][..]), None);
    }

    #[test]
    fn it_is_shown_in_hexadecimal() {
        assert_eq!(format!("{:?} {:?}", Cid::new(&[0, 0xab]).unwrap(), Cid::EMPTY), "00ab (empty)");
    }
}
