//! Whose code protects packets: the same ciphers exist in two libraries, and which is faster depends on the CPU.
//!
//! Owns the choice and the crypto providers that follow from it. TLS itself, with its key exchanges, signatures and key
//! derivation, is always that of aws-lc-rs; only the AEAD and the header protection of packets may come from ring.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use rustls::{SupportedCipherSuite, Tls13CipherSuite};

/// Whose AES-GCM and ChaCha20-Poly1305 protect packets.
///
/// aws-lc has AES-GCM for AVX-512 and for plain AES instructions, ring one for AVX2 with VAES. A CPU that has VAES but no
/// AVX-512 (AMD's Zen 3, Intel's client models) seals packets faster with ring, every other one with aws-lc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketProtection {
    /// Whichever is expected to be faster on this CPU.
    #[default]
    Fastest,
    /// That of aws-lc-rs.
    AwsLc,
    /// That of ring.
    Ring,
}

impl PacketProtection {
    /// The library that is used on this CPU: never `Fastest`.
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::Fastest => preferred(&Features::of_this_cpu()),
            other => other,
        }
    }

    /// A provider for TLS configurations: the TLS 1.3 suites of aws-lc-rs, packets protected as chosen.
    ///
    /// Cheap after the first call; the suites live as long as the program.
    #[must_use]
    pub fn provider(self) -> CryptoProvider {
        static WITH_RING: OnceLock<Vec<SupportedCipherSuite>> = OnceLock::new();
        let base = aws_lc_rs::default_provider();
        match self.resolved() {
            Self::Ring => {
                let suites = WITH_RING.get_or_init(|| {
                    let packets = ring::default_provider().cipher_suites;
                    base.cipher_suites.iter().filter_map(|suite| exchanged(*suite, &packets)).collect()
                });
                CryptoProvider { cipher_suites: suites.clone(), ..base }
            }
            _ => base,
        }
    }
}

impl fmt::Display for PacketProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fastest => "fastest",
            Self::AwsLc => "aws-lc-rs",
            Self::Ring => "ring",
        })
    }
}

impl FromStr for PacketProtection {
    type Err = UnknownPacketProtection;

    fn from_str(name: &str) -> Result<Self, UnknownPacketProtection> {
        match name {
            "fastest" => Ok(Self::Fastest),
            "aws-lc-rs" => Ok(Self::AwsLc),
            "ring" => Ok(Self::Ring),
            _ => Err(UnknownPacketProtection(name.to_owned())),
        }
    }
}

/// There is no packet protection of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPacketProtection(String);

impl fmt::Display for UnknownPacketProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown packet protection {:?}: choose fastest, aws-lc-rs or ring", self.0)
    }
}

impl std::error::Error for UnknownPacketProtection {}

/// What matters for the choice.
struct Features {
    vaes: bool,
    avx512: bool,
}

impl Features {
    #[cfg(target_arch = "x86_64")]
    fn of_this_cpu() -> Self {
        Self {
            vaes: is_x86_feature_detected!("vaes")
                && is_x86_feature_detected!("vpclmulqdq")
                && is_x86_feature_detected!("avx2"),
            avx512: is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_this_cpu() -> Self {
        Self { vaes: false, avx512: false }
    }
}

fn preferred(features: &Features) -> PacketProtection {
    if features.vaes && !features.avx512 { PacketProtection::Ring } else { PacketProtection::AwsLc }
}

/// The TLS 1.3 suite `suite` with the packet protection that its namesake among `packets` has; none if there is none.
fn exchanged(suite: SupportedCipherSuite, packets: &[SupportedCipherSuite]) -> Option<SupportedCipherSuite> {
    let ours = suite.tls13()?;
    let theirs = packets
        .iter()
        .filter_map(SupportedCipherSuite::tls13)
        .find(|it| it.common.suite == ours.common.suite)?;
    let mixed = Tls13CipherSuite {
        common: rustls::CipherSuiteCommon {
            suite: ours.common.suite,
            hash_provider: ours.common.hash_provider,
            confidentiality_limit: ours.common.confidentiality_limit,
        },
        hkdf_provider: ours.hkdf_provider,
        aead_alg: ours.aead_alg,
        quic: theirs.quic,
    };
    Some(SupportedCipherSuite::Tls13(Box::leak(Box::new(mixed))))
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;

    use super::*;
    use crate::crypto::nonce::Ppn;
    use crate::crypto::provider::InitialSuite;
    use crate::id::{PathId, Role};

    #[test]
    fn ring_is_preferred_where_there_are_vector_aes_and_no_512_bits() {
        for (vaes, avx512, expected) in [
            (false, false, PacketProtection::AwsLc),
            (true, false, PacketProtection::Ring),
            (true, true, PacketProtection::AwsLc),
        ] {
            assert_eq!(preferred(&Features { vaes, avx512 }), expected);
        }
        assert_ne!(PacketProtection::Fastest.resolved(), PacketProtection::Fastest);
    }

    #[test]
    fn each_choice_is_read_by_the_name_that_it_shows() {
        for choice in [PacketProtection::Fastest, PacketProtection::AwsLc, PacketProtection::Ring] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let unknown = "boring".parse::<PacketProtection>().unwrap_err().to_string();
        assert!(unknown.contains("boring") && unknown.contains("aws-lc-rs"), "{unknown}");
    }

    #[test]
    fn all_suites_of_tls_1_3_exist_with_either() {
        for choice in [PacketProtection::AwsLc, PacketProtection::Ring, PacketProtection::Fastest] {
            let provider = choice.provider();
            let tls13: Vec<_> =
                provider.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13).collect();
            for name in [
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                CipherSuite::TLS13_AES_256_GCM_SHA384,
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            ] {
                let suite = tls13.iter().find(|suite| suite.common.suite == name);
                assert!(suite.is_some_and(|suite| suite.quic.is_some()), "{choice}: {name:?}");
            }
        }
    }

    #[test]
    fn what_one_seals_the_other_opens() {
        let keys = |choice: PacketProtection, role| {
            InitialSuite::of(&choice.provider()).unwrap().keys(&[7; 8], role)
        };
        let (sealing, _) = keys(PacketProtection::Ring, Role::Client);
        let (_, opening) = keys(PacketProtection::AwsLc, Role::Server);
        let mut packet = *b"0123456789................";
        let ppn = Ppn::new(PathId(3), 77);
        let tag = sealing.packet.seal(ppn, b"header", &mut packet[..10]).unwrap();
        packet[10..].copy_from_slice(&tag);
        assert_ne!(&packet[..10], b"0123456789");
        assert_eq!(opening.packet.open(ppn, b"header", &mut packet), Some(10));
        assert_eq!(&packet[..10], b"0123456789");
        let (mut first, mut number) = (0x43, [1, 2, 3, 4]);
        sealing.header.mask(&[9; 16], &mut first, &mut number).unwrap();
        opening.header.unmask(&[9; 16], &mut first, &mut number).unwrap();
        assert_eq!((first, number), (0x43, [1, 2, 3, 4]));
    }
}
