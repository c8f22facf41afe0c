//! What the endpoint lends a connection for one visit: the time, the table of connection IDs, randomness.
//!
//! With it a connection mints and retires connection IDs in place; nothing of it may be kept.

use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::cid::{CidOwner, CidTable};
use crate::id::PathId;
use crate::wire::cid_bytes::Cid;

/// One visit to one connection.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) slot: u32,
    pub(crate) cids: &'a mut CidTable,
    pub(crate) rng: &'a mut Rng,
}

impl Turn<'_> {
    /// A new connection ID of this connection for `path`, and its reset token.
    pub(crate) fn mint(&mut self, path: PathId, sequence: u64) -> (Cid, [u8; 16]) {
        let owner = CidOwner { slot: self.slot, path, sequence };
        self.cids.mint(owner, self.rng)
    }
}
