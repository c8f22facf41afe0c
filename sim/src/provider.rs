//! A TLS crypto provider whose every random choice follows from a seed.
//!
//! Owns the seeded randomness and the seeded X25519 key shares; all else is aws-lc-rs. It refuses suites and groups
//! beyond one each, so that nothing is left to negotiate. For tests only: its keys can be guessed from the seed.
//!
//! rustls wants `&'static dyn SecureRandom`, and state per world must not be shared between worlds that run on several
//! threads. So each provider leaks one `Dice` (about 50 bytes) and one group that refers to it: a process may build a
//! million of them, and no registry can mix two worlds up.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::agreement;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
    aws_lc_rs as backend,
};
use rustls::{Error, NamedGroup};

use crate::null::{self, Trust};
use crate::rng::Rng;

/// The size of an ML-KEM-768 encapsulation key, by which a wide key share is longer.
const WIDE_SHARE_EXTRA_BYTES: usize = 1_184;
/// A group number for private use (RFC 8446 §4.2.7).
const WIDE_GROUP: NamedGroup = NamedGroup::Unknown(0xfe17);

/// How packets are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// `AES_128_GCM`, as on the real network.
    Real,
    /// A checksum instead of encryption: cheap, and corrupted packets are still dropped.
    #[default]
    Null,
    /// No check at all: a mutated packet reaches the frame parser.
    Blind,
}

/// How long the client's first message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hello {
    /// Fits one Initial packet.
    #[default]
    Short,
    /// Carries a key share as long as a post-quantum one, and so needs two Initial packets.
    Wide,
}

/// A provider with one cipher suite and one group, which draws all its randomness from `seed`.
pub fn provider(seed: u64, protection: Protection, hello: Hello) -> Arc<CryptoProvider> {
    let dice: &'static Dice = Box::leak(Box::new(Dice(Mutex::new(Rng::labelled(seed, "tls")))));
    let group: &'static SeededGroup = Box::leak(Box::new(SeededGroup { hello, dice }));
    let suite = match protection {
        Protection::Real => backend::cipher_suite::TLS13_AES_128_GCM_SHA256,
        Protection::Null => null::suite(Trust::Checksum),
        Protection::Blind => null::suite(Trust::Everything),
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![suite],
        kx_groups: vec![group],
        secure_random: dice,
        ..backend::default_provider()
    })
}

/// Randomness that a seed determines; one per provider, for good.
#[derive(Debug)]
struct Dice(Mutex<Rng>);

impl Dice {
    fn roll(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

impl SecureRandom for Dice {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.roll(bytes);
        Ok(())
    }
}

/// X25519 with private keys from the dice, and on request with a key share that zeros make longer.
struct SeededGroup {
    hello: Hello,
    dice: &'static Dice,
}

impl SupportedKxGroup for SeededGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut private = [0; 32];
        self.dice.roll(&mut private);
        let broken = |_| Error::General("no X25519 key from 32 octets".to_owned());
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, &private)
            .map_err(|_| Error::General("32 octets were refused as an X25519 key".to_owned()))?;
        let mut share = private.compute_public_key().map_err(broken)?.as_ref().to_vec();
        share.resize(share_bytes(self.hello), 0);
        Ok(Box::new(SeededExchange { hello: self.hello, private, share }))
    }

    fn name(&self) -> NamedGroup {
        match self.hello {
            Hello::Short => NamedGroup::X25519,
            Hello::Wide => WIDE_GROUP,
        }
    }
}

impl fmt::Debug for SeededGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seeded {:?}", self.name())
    }
}

/// A key exchange that has begun.
struct SeededExchange {
    hello: Hello,
    private: agreement::PrivateKey,
    share: Vec<u8>,
}

impl ActiveKeyExchange for SeededExchange {
    fn complete(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
        let bad_share = || Error::from(rustls::PeerMisbehaved::InvalidKeyShare);
        if peer_share.len() != share_bytes(self.hello) {
            return Err(bad_share());
        }
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, &peer_share[..32]);
        agreement::agree(&self.private, peer, bad_share(), |secret| Ok(SharedSecret::from(secret)))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        match self.hello {
            Hello::Short => NamedGroup::X25519,
            Hello::Wide => WIDE_GROUP,
        }
    }
}

fn share_bytes(hello: Hello) -> usize {
    match hello {
        Hello::Short => 32,
        Hello::Wide => 32 + WIDE_SHARE_EXTRA_BYTES,
    }
}
