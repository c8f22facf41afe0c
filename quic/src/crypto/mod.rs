//! Everything that needs a key: packet protection, key updates, the TLS handshake, stateless reset tokens.
//!
//! A packet comes in as one contiguous slice, is sealed or opened in place, and nothing is allocated for it. Packet
//! numbers, paths, timers and acknowledgements belong to others, who report to the `KeyRing` what happened. The types
//! of rustls stay in `tls` and `provider`. Imports `base`, `wire`, `id` and `error`.

pub(crate) mod backend;
pub(crate) mod crypto_stream;
pub(crate) mod keyring;
pub(crate) mod nonce;
pub(crate) mod phase;
pub(crate) mod protect;
mod provider;
pub(crate) mod tls;
pub(crate) mod token;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod keyring_tests;
#[cfg(test)]
mod tls_tests;
#[cfg(test)]
mod vectors;

/// How long the authentication tag at the end of every packet is (RFC 9001 §5.3).
pub(crate) const TAG_LEN: usize = 16;

/// How many bytes of ciphertext the header protection looks at (RFC 9001 §5.4.2).
const SAMPLE_LEN: usize = 16;

/// The sample starts this far behind the start of the packet number, however long that is (RFC 9001 §5.4.2).
const SAMPLE_OFFSET: usize = 4;

/// Which keys protect a packet, and which of the three streams of handshake data it belongs to (RFC 9001 §4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Keys that everybody can compute.
    Initial,
    /// Keys of the handshake.
    Handshake,
    /// Keys of the application.
    OneRtt,
}

impl Level {
    /// The level whose keys come after these.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Initial => Self::Handshake,
            Self::Handshake | Self::OneRtt => Self::OneRtt,
        }
    }
}
