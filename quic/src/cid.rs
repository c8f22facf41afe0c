//! Our own connection IDs: how they are laid out, minted and found again.
//!
//! The only file that knows the layout. Every ID of every path carries the worker that owns the connection within its
//! first eight octets, so that a packet finds its core whatever its 4-tuple. The mask hides the worker from casual
//! observers; it is obfuscation, not encryption. Peers' IDs are `path/cids`' business.
//!
//! ```text
//! octet 0       free for QUIC-LB (draft-ietf-quic-load-balancers); random here
//! octet 1       generation (2 bits), worker (6 bits), masked by a keyed hash of octets 2..8
//! octets 2..12  random
//! ```

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::rng::Rng;
use crate::config::Shard;
use crate::crypto::token::reset_token;
use crate::id::PathId;
use crate::wire::cid_bytes::Cid;

/// Length of every connection ID we issue, in octets.
pub const CID_LEN: usize = 12;

/// Which octet of a connection ID carries the masked shard.
pub const SHARD_OFFSET: usize = 1;

/// Workers that a shard octet can tell apart.
pub const WORKERS_MAX: usize = 1 << WORKER_BITS;

const WORKER_BITS: u32 = 6;
const MASKED_BY: std::ops::Range<usize> = 2..8;

/// The mask over the shard octet, from the six octets behind it.
///
/// Only operations that classic BPF has (32-bit multiply, add, exclusive or, shift), so that a kernel program can
/// undo it.
pub const fn shard_mask(key: &[u8; 16], behind: [u8; 6]) -> u8 {
    let [k0, k1, k2, k3] = mask_words(key);
    let a = u32::from_be_bytes([behind[0], behind[1], behind[2], behind[3]]);
    let b = (behind[4] as u32) << 8 | behind[5] as u32;
    let mut x = (a ^ k0).wrapping_mul(k1 | 1);
    x ^= x >> 15;
    x = (x ^ b).wrapping_mul(k2 | 1);
    x ^= x >> 13;
    x = x.wrapping_add(k3);
    x ^= x >> 16;
    x as u8
}

/// The key of [`shard_mask`] as the four numbers that it computes with.
pub const fn mask_words(key: &[u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    let mut i = 0;
    while i < 4 {
        words[i] = u32::from_be_bytes([key[4 * i], key[4 * i + 1], key[4 * i + 2], key[4 * i + 3]]);
        i += 1;
    }
    words
}

/// The unmasked shard octet of any connection ID of at least eight octets.
///
/// A client's first packets carry an ID of its own choice; read in the same way it names a worker too, always the
/// same one, so that repeats agree.
pub fn shard_octet(key: &[u8; 16], cid: &[u8]) -> Option<u8> {
    let behind: [u8; 6] = cid.get(MASKED_BY)?.try_into().ok()?;
    Some(cid[SHARD_OFFSET] ^ shard_mask(key, behind))
}

impl Shard {
    /// The octet that connection IDs carry, before masking.
    pub const fn octet(self) -> u8 {
        self.generation << WORKER_BITS | self.worker & (WORKERS_MAX - 1) as u8
    }

    /// The shard in an unmasked octet.
    pub const fn from_octet(octet: u8) -> Self {
        Self { generation: octet >> WORKER_BITS, worker: octet & (WORKERS_MAX - 1) as u8 }
    }
}

/// Who a connection ID of ours belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CidOwner {
    pub(crate) slot: u32,
    pub(crate) path: PathId,
    pub(crate) sequence: u64,
}

/// All connection IDs that one endpoint answers to, and the reset tokens it listens for.
pub(crate) struct CidTable {
    shard: Shard,
    key: [u8; 16],
    reset_key: [u8; 32],
    owners: HashMap<Cid, CidOwner, FixedState>,
    tokens: HashMap<[u8; 16], u32, FixedState>,
}

impl CidTable {
    pub(crate) fn new(shard: Shard, key: [u8; 16], reset_key: [u8; 32], hash_seed: u64) -> Self {
        let state = FixedState::with_seed(hash_seed);
        Self {
            shard,
            key,
            reset_key,
            owners: HashMap::with_hasher(state.clone()),
            tokens: HashMap::with_hasher(state),
        }
    }

    /// A new connection ID for `owner`, registered, with its stateless reset token.
    pub(crate) fn mint(&mut self, owner: CidOwner, rng: &mut Rng) -> (Cid, [u8; 16]) {
        loop {
            let cid = self.draw(rng);
            if self.register(cid, owner) {
                return (cid, self.reset_token(&cid));
            }
        }
    }

    /// Lets `cid`, chosen by a client for its first packets, lead to `owner`; `false` if it is taken.
    pub(crate) fn register(&mut self, cid: Cid, owner: CidOwner) -> bool {
        match self.owners.entry(cid) {
            hashbrown::hash_map::Entry::Occupied(_) => false,
            hashbrown::hash_map::Entry::Vacant(free) => {
                free.insert(owner);
                true
            }
        }
    }

    /// Forgets `cid`: packets for it are strangers from now on.
    pub(crate) fn release(&mut self, cid: &Cid) {
        self.owners.remove(cid);
    }

    #[inline]
    pub(crate) fn owner(&self, cid: &[u8]) -> Option<CidOwner> {
        self.owners.get(&Cid::new(cid)?).copied()
    }

    /// The token that would reset a peer that still uses `cid` (RFC 9000 §10.3.2).
    pub(crate) fn reset_token(&self, cid: &[u8]) -> [u8; 16] {
        reset_token(&self.reset_key, cid)
    }

    /// A peer's token that ends the connection in `slot`.
    pub(crate) fn listen_for(&mut self, token: [u8; 16], slot: u32) {
        self.tokens.insert(token, slot);
    }

    pub(crate) fn stop_listening_for(&mut self, token: &[u8; 16]) {
        self.tokens.remove(token);
    }

    /// The connection that a datagram ending in `tail` resets, if any.
    pub(crate) fn reset_by(&self, tail: &[u8; 16]) -> Option<u32> {
        self.tokens.get(tail).copied()
    }

    /// Connection IDs registered, and reset tokens listened for; for audits.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.owners.len(), self.tokens.len())
    }

    fn draw(&self, rng: &mut Rng) -> Cid {
        let mut bytes: [u8; CID_LEN] = rng.array();
        let behind: [u8; 6] = bytes[MASKED_BY].try_into().expect("six octets");
        bytes[SHARD_OFFSET] = self.shard.octet() ^ shard_mask(&self.key, behind);
        Cid::new(&bytes).expect("12 octets fit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: CidOwner = CidOwner { slot: 7, path: PathId(3), sequence: 1 };

    fn table(shard: Shard) -> CidTable {
        CidTable::new(shard, [9; 16], [1; 32], 5)
    }

    #[test]
    fn every_minted_id_carries_its_worker() {
        let shard = Shard { generation: 2, worker: 41 };
        let (mut table, mut rng) = (table(shard), Rng::new([0; 32]));
        for _ in 0..1000 {
            let (cid, _) = table.mint(OWNER, &mut rng);
            assert_eq!(cid.len(), CID_LEN);
            assert_eq!(Shard::from_octet(shard_octet(&[9; 16], &cid).unwrap()), shard);
            assert_eq!(table.owner(&cid), Some(OWNER));
        }
        assert_eq!(table.sizes().0, 1000);
    }

    #[test]
    fn the_masked_octet_shows_no_constant() {
        let (mut table, mut rng) = (table(Shard::default()), Rng::new([0; 32]));
        let mut seen = [false; 256];
        for _ in 0..4000 {
            seen[usize::from(table.mint(OWNER, &mut rng).0[SHARD_OFFSET])] = true;
        }
        assert_eq!(seen.iter().filter(|&&s| s).count(), 256);
    }

    #[test]
    fn a_released_id_is_a_stranger_and_short_ids_have_no_shard() {
        let (mut table, mut rng) = (table(Shard::default()), Rng::new([0; 32]));
        let (cid, token) = table.mint(OWNER, &mut rng);
        assert_eq!(token, table.reset_token(&cid));
        table.release(&cid);
        assert_eq!(table.owner(&cid), None);
        assert_eq!(shard_octet(&[0; 16], &[1; 7]), None);
        assert_eq!(table.owner(&[0; 21]), None);
    }

    #[test]
    fn a_chosen_id_is_registered_once() {
        let mut table = table(Shard::default());
        let cid = Cid::new(&[1; 8]).unwrap();
        assert!(table.register(cid, OWNER));
        assert!(!table.register(cid, CidOwner { slot: 8, ..OWNER }));
        assert_eq!(table.owner(&[1; 8]), Some(OWNER));
    }
}
