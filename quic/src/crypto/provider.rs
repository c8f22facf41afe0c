//! The ciphers behind packet protection, as the crypto provider of the TLS configuration brings them.
//!
//! Owns the thin shells around the keys of rustls: one place to put another implementation. Counts nothing, knows no
//! key phase and no packet layout; `protect` and `keyring` do. Hot path: no allocation.

use rustls::Side;
use rustls::crypto::CryptoProvider;
use rustls::quic;

use super::nonce::{PACKET_NUMBER_END, Ppn};
use super::{SAMPLE_LEN, TAG_LEN};
use crate::id::{PathId, Role};

/// Seals or opens the payloads of one direction.
pub(super) struct PacketKey(Box<dyn quic::PacketKey>);

impl PacketKey {
    pub(super) fn new(key: Box<dyn quic::PacketKey>) -> Self {
        debug_assert_eq!(key.tag_len(), TAG_LEN);
        Self(key)
    }

    /// Encrypts `payload` in place and returns its tag; `None` when the cipher refuses, because the payload is too
    /// long or because it knows no paths above 0.
    #[inline]
    pub(super) fn seal(&self, ppn: Ppn, header: &[u8], payload: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let sealed = match ppn.path {
            PathId::ZERO => self.0.encrypt_in_place(ppn.pn, header, payload),
            path => self.0.encrypt_in_place_for_path(path.0, ppn.pn, header, payload),
        };
        sealed.ok()?.as_ref().try_into().ok()
    }

    /// Decrypts `payload`, which ends with its tag, in place; returns the length without it, or `None` when it is not
    /// authentic. `payload` is worthless then.
    #[inline]
    pub(super) fn open(&self, ppn: Ppn, header: &[u8], payload: &mut [u8]) -> Option<usize> {
        let opened = match ppn.path {
            PathId::ZERO => self.0.decrypt_in_place(ppn.pn, header, payload),
            path => self.0.decrypt_in_place_for_path(path.0, ppn.pn, header, payload),
        };
        Some(opened.ok()?.len())
    }

    /// Can it protect packets of paths above 0 (MP-037)? The number used here belongs to no packet that is ever sent,
    /// so trying repeats no nonce.
    pub(super) fn supports_paths(&self) -> bool {
        let ppn = Ppn::new(PathId(u32::MAX), PACKET_NUMBER_END - 1);
        let sealed = self.seal(ppn, &[], &mut []);
        sealed.is_some_and(|mut tag| self.open(ppn, &[], &mut tag) == Some(0))
    }

    /// How many packets it may seal (RFC 9001 §6.6).
    pub(super) fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    /// How many packets may fail to open (RFC 9001 §6.6).
    pub(super) fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}

/// Hides or reveals packet numbers and the low bits of first bytes, in one direction.
pub(super) struct HeaderKey(Box<dyn quic::HeaderProtectionKey>);

impl HeaderKey {
    pub(super) fn new(key: Box<dyn quic::HeaderProtectionKey>) -> Self {
        debug_assert_eq!(key.sample_len(), SAMPLE_LEN);
        Self(key)
    }

    /// Hides `first` and the packet number `pn`; `None` when the cipher refuses.
    #[inline]
    pub(super) fn mask(&self, sample: &[u8], first: &mut u8, pn: &mut [u8]) -> Option<()> {
        self.0.encrypt_in_place(sample, first, pn).ok()
    }

    /// Reveals `first` and as many bytes of `pn` as the revealed `first` tells.
    #[inline]
    pub(super) fn unmask(&self, sample: &[u8], first: &mut u8, pn: &mut [u8]) -> Option<()> {
        self.0.decrypt_in_place(sample, first, pn).ok()
    }
}

/// Both keys of one direction.
pub(super) struct DirectionKeys {
    pub(super) header: HeaderKey,
    pub(super) packet: PacketKey,
}

impl From<quic::DirectionalKeys> for DirectionKeys {
    fn from(keys: quic::DirectionalKeys) -> Self {
        Self { header: HeaderKey::new(keys.header), packet: PacketKey::new(keys.packet) }
    }
}

/// The packet keys of both directions for one key phase.
pub(super) struct PhaseKeys {
    pub(super) local: PacketKey,
    pub(super) remote: PacketKey,
}

/// The secrets from which the keys of all later phases follow (RFC 9001 §6.1).
pub(super) struct KeySource(quic::Secrets);

impl KeySource {
    pub(super) fn new(secrets: quic::Secrets) -> Self {
        Self(secrets)
    }

    /// The keys of the phase after the one derived last. Costs some microseconds and allocates.
    pub(super) fn derive(&mut self) -> PhaseKeys {
        let keys = self.0.next_packet_keys();
        PhaseKeys { local: PacketKey::new(keys.local), remote: PacketKey::new(keys.remote) }
    }
}

/// What makes the keys of Initial packets: AES-128-GCM with SHA-256, from the configured provider (RFC 9001 §5.2).
#[derive(Clone, Copy)]
pub(super) struct InitialSuite(quic::Suite);

impl InitialSuite {
    /// The suite in `provider`, if it has it.
    pub(super) fn of(provider: &CryptoProvider) -> Option<Self> {
        let mut suites = provider.cipher_suites.iter().filter_map(rustls::SupportedCipherSuite::tls13);
        let suite =
            suites.find(|suite| suite.common.suite == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256)?;
        suite.quic_suite().map(Self)
    }

    /// Our keys and the peer's, for the destination connection ID of the client's first packet.
    pub(super) fn keys(self, dcid: &[u8], role: Role) -> (DirectionKeys, DirectionKeys) {
        let side = match role {
            Role::Client => Side::Client,
            Role::Server => Side::Server,
        };
        let keys = self.0.keys(dcid, side, quic::Version::V1);
        (keys.local.into(), keys.remote.into())
    }
}
