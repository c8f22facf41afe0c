//! A packet protection that protects nothing and costs next to nothing, for sweeps and instruction counts.
//!
//! Owns a cipher suite whose packets stay in the clear under a 16-byte checksum over key, path, packet number, header
//! and payload, so that a corrupted or misdirected packet is dropped as a real AEAD would drop it. It watches what an
//! AEAD cannot: that no (path, packet number) is sealed twice under one key. TLS itself stays real. It exists only in
//! this crate, so no server can be built with it.

use std::sync::{LazyLock, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};
use rustls::{CipherSuiteCommon, Error, SupportedCipherSuite, Tls13CipherSuite};

use crate::hash::Hash;

const TAG_BYTES: usize = 16;
/// The limits of `AES_128_GCM` (RFC 9001 §6.6), so that the code that watches them runs.
const SEALED_MAX: u64 = 1 << 23;
const FORGED_MAX: u64 = 1 << 52;

/// Whether a packet's tag is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A packet with a wrong checksum does not open.
    Checksum,
    /// Every packet opens.
    Everything,
}

/// The cipher suite `TLS_AES_128_GCM_SHA256` with null packet protection in QUIC.
pub(crate) fn suite(trust: Trust) -> SupportedCipherSuite {
    static CHECKED: LazyLock<Tls13CipherSuite> = LazyLock::new(|| with_quic(&NullAlgorithm(Trust::Checksum)));
    static BLIND: LazyLock<Tls13CipherSuite> = LazyLock::new(|| with_quic(&NullAlgorithm(Trust::Everything)));
    SupportedCipherSuite::Tls13(match trust {
        Trust::Checksum => &CHECKED,
        Trust::Everything => &BLIND,
    })
}

/// aws-lc-rs's suite with another packet protection.
fn with_quic(quic: &'static dyn Algorithm) -> Tls13CipherSuite {
    let real = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: real.common.suite,
            hash_provider: real.common.hash_provider,
            confidentiality_limit: real.common.confidentiality_limit,
        },
        hkdf_provider: real.hkdf_provider,
        aead_alg: real.aead_alg,
        quic: Some(quic),
    }
}

struct NullAlgorithm(Trust);

impl Algorithm for NullAlgorithm {
    fn packet_key(&self, key: AeadKey, iv: Iv) -> Box<dyn PacketKey> {
        let mut hash = Hash::new(0);
        hash.add_bytes(key.as_ref());
        hash.add_bytes(iv.as_ref());
        Box::new(NullKey { trust: self.0, key: hash, sealed: Mutex::new(Vec::new()) })
    }

    fn header_protection_key(&self, _key: AeadKey) -> Box<dyn HeaderProtectionKey> {
        Box::new(NullHeader)
    }

    fn aead_key_len(&self) -> usize {
        16
    }
}

/// One direction's key of one phase.
struct NullKey {
    trust: Trust,
    key: Hash,
    /// Each path's highest packet number sealed so far.
    sealed: Mutex<Vec<(u32, u64)>>,
}

impl NullKey {
    fn tag(&self, path: u32, number: u64, header: &[u8], payload: &[u8]) -> [u8; TAG_BYTES] {
        let mut hash = self.key;
        hash.add_u64(u64::from(path));
        hash.add_u64(number);
        hash.add_bytes(header);
        hash.add_bytes(payload);
        let first = hash.finish();
        hash.add_u64(0);
        (u128::from(first) << 64 | u128::from(hash.finish())).to_be_bytes()
    }

    /// Refuses a packet number that is not above all before it: a nonce must never be used twice.
    fn on_sealed(&self, path: u32, number: u64) {
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        match sealed.iter_mut().find(|(id, _)| *id == path) {
            Some((_, highest)) => {
                assert!(number > *highest, "path {path}: packet {number} was sealed after {highest}");
                *highest = number;
            }
            None => sealed.push((path, number)),
        }
    }

    fn seal(&self, path: u32, number: u64, header: &[u8], payload: &[u8]) -> Tag {
        // A real packet has a payload; a key that is only tried out seals nothing.
        if !payload.is_empty() {
            self.on_sealed(path, number);
        }
        Tag::from(&self.tag(path, number, header, payload)[..])
    }

    fn open<'a>(
        &self,
        path: u32,
        number: u64,
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        let (payload, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Error::DecryptError)?;
        if self.trust == Trust::Checksum && *tag != self.tag(path, number, header, payload) {
            return Err(Error::DecryptError);
        }
        Ok(payload)
    }
}

impl PacketKey for NullKey {
    fn encrypt_in_place(&self, number: u64, header: &[u8], payload: &mut [u8]) -> Result<Tag, Error> {
        Ok(self.seal(0, number, header, payload))
    }

    fn encrypt_in_place_for_path(
        &self,
        path: u32,
        number: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<Tag, Error> {
        Ok(self.seal(path, number, header, payload))
    }

    fn decrypt_in_place<'a>(
        &self,
        number: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        self.open(0, number, header, payload)
    }

    fn decrypt_in_place_for_path<'a>(
        &self,
        path: u32,
        number: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        self.open(path, number, header, payload)
    }

    fn tag_len(&self) -> usize {
        TAG_BYTES
    }

    fn confidentiality_limit(&self) -> u64 {
        SEALED_MAX
    }

    fn integrity_limit(&self) -> u64 {
        FORGED_MAX
    }
}

/// Leaves headers as they are.
struct NullHeader;

impl HeaderProtectionKey for NullHeader {
    fn encrypt_in_place(&self, _sample: &[u8], _first: &mut u8, _number: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    fn decrypt_in_place(&self, _sample: &[u8], _first: &mut u8, _number: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    fn sample_len(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(trust: Trust, secret: u8) -> Box<dyn PacketKey> {
        NullAlgorithm(trust).packet_key(AeadKey::from([secret; 32]), Iv::from([1; 12]))
    }

    /// A sealed packet: header and payload with its tag.
    fn sealed(path: u32, number: u64) -> (Vec<u8>, Vec<u8>) {
        let (header, mut payload) = (b"header".to_vec(), b"payload of a packet".to_vec());
        let tag =
            key(Trust::Checksum, 1).encrypt_in_place_for_path(path, number, &header, &mut payload).unwrap();
        payload.extend_from_slice(tag.as_ref());
        (header, payload)
    }

    #[test]
    fn what_was_sealed_opens_under_the_same_key_path_and_number_only() {
        let (header, packet) = sealed(3, 77);
        let opens = |secret, path, number| {
            let mut packet = packet.clone();
            key(Trust::Checksum, secret).decrypt_in_place_for_path(path, number, &header, &mut packet).is_ok()
        };
        assert!(opens(1, 3, 77));
        assert!(!opens(2, 3, 77), "another key");
        assert!(!opens(1, 2, 77), "another path");
        assert!(!opens(1, 3, 78), "another number");
    }

    #[test]
    fn the_opened_payload_is_the_sealed_one() {
        let (header, mut packet) = sealed(0, 5);
        let opened = key(Trust::Checksum, 1).decrypt_in_place(5, &header, &mut packet).unwrap();
        assert_eq!(opened, b"payload of a packet");
    }

    #[test]
    fn every_flipped_bit_of_header_payload_or_tag_is_noticed() {
        let (header, packet) = sealed(1, 9);
        let key = key(Trust::Checksum, 1);
        for bit in 0..(header.len() + packet.len()) * 8 {
            let (mut header, mut packet) = (header.clone(), packet.clone());
            match header.get_mut(bit / 8) {
                Some(octet) => *octet ^= 1 << (bit % 8),
                None => packet[bit / 8 - header.len()] ^= 1 << (bit % 8),
            }
            assert!(key.decrypt_in_place_for_path(1, 9, &header, &mut packet).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_packet_shorter_than_its_tag_does_not_open() {
        assert!(key(Trust::Everything, 1).decrypt_in_place(0, b"", &mut [0; 15]).is_err());
        assert!(key(Trust::Everything, 1).decrypt_in_place(0, b"", &mut [0; 16]).is_ok());
    }

    #[test]
    #[should_panic(expected = "path 2: packet 4 was sealed after 4")]
    fn a_packet_number_used_twice_on_a_path_is_caught() {
        let key = key(Trust::Checksum, 1);
        for (path, number) in [(0, 4), (2, 4), (1, 4), (2, 4)] {
            let _ = key.encrypt_in_place_for_path(path, number, b"header", &mut [0]);
        }
    }
}
