//! The packets of a ceiling measurement: eight octets of number, payload, and a tag where they are sealed.
//!
//! Owns the two libraries behind one verb each. The key is known to everybody: this measures work and protects nothing.

use aws_lc_rs::aead as aws;
use braid_quic::PacketProtection;
use ring::aead as ring;

/// Octets of the packet number in front.
const NUMBER_BYTES: usize = 8;
/// Octets of the AEAD's tag.
const TAG_BYTES: usize = 16;
/// The key, which is no secret.
const KEY: [u8; 16] = [7; 16];

/// Writes packets and reads them back, sealed with AES-128-GCM or plain.
pub(super) struct Seal(Kind);

enum Kind {
    Plain,
    AwsLc(aws::LessSafeKey),
    Ring(Box<ring::LessSafeKey>),
}

impl Seal {
    pub(super) fn new(sealed: Option<PacketProtection>) -> Self {
        Self(match sealed.map(PacketProtection::resolved) {
            None => Kind::Plain,
            Some(PacketProtection::Ring) => {
                let key = ring::UnboundKey::new(&ring::AES_128_GCM, &KEY).expect("a key of 16 octets");
                Kind::Ring(Box::new(ring::LessSafeKey::new(key)))
            }
            Some(_) => {
                let key = aws::UnboundKey::new(&aws::AES_128_GCM, &KEY).expect("a key of 16 octets");
                Kind::AwsLc(aws::LessSafeKey::new(key))
            }
        })
    }

    /// Makes `packet` the one with this number. Its payload is whatever the buffer holds.
    pub(super) fn write(&self, packet: &mut [u8], number: u64) {
        let (head, body) = packet.split_at_mut(NUMBER_BYTES);
        head.copy_from_slice(&number.to_be_bytes());
        let (payload, tag) = body.split_at_mut(body.len() - TAG_BYTES);
        match &self.0 {
            Kind::Plain => {}
            Kind::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce(number));
                let made = key.seal_in_place_separate_tag(nonce, aws::Aad::from(head), payload);
                tag.copy_from_slice(made.expect("a packet is shorter than the AEAD's limit").as_ref());
            }
            Kind::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce(number));
                let made = key.seal_in_place_separate_tag(nonce, ring::Aad::from(head), payload);
                tag.copy_from_slice(made.expect("a packet is shorter than the AEAD's limit").as_ref());
            }
        }
    }

    /// The number of a packet; `None` if it is none of ours.
    pub(super) fn read(&self, packet: &mut [u8]) -> Option<u64> {
        let (head, body) = packet.split_at_mut_checked(NUMBER_BYTES)?;
        let number = u64::from_be_bytes((&*head).try_into().ok()?);
        match &self.0 {
            Kind::Plain => {}
            Kind::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce(number));
                key.open_in_place(nonce, aws::Aad::from(&*head), body).ok()?;
            }
            Kind::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce(number));
                key.open_in_place(nonce, ring::Aad::from(&*head), body).ok()?;
            }
        }
        Some(number)
    }
}

fn nonce(number: u64) -> [u8; 12] {
    let mut octets = [0; 12];
    octets[4..].copy_from_slice(&number.to_be_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Option<PacketProtection>; 3] =
        [None, Some(PacketProtection::AwsLc), Some(PacketProtection::Ring)];

    #[test]
    fn packets_read_back_sealed_and_plain() {
        for sealed in ALL {
            let seal = Seal::new(sealed);
            let mut packet = vec![9; 1200];
            seal.write(&mut packet, 77);
            assert_eq!(seal.read(&mut packet), Some(77));
        }
    }

    #[test]
    fn both_libraries_do_the_same() {
        let mut packet = vec![9; 1200];
        Seal::new(Some(PacketProtection::Ring)).write(&mut packet, 5);
        assert_eq!(Seal::new(Some(PacketProtection::AwsLc)).read(&mut packet), Some(5));
    }

    #[test]
    fn a_sealed_packet_that_was_changed_does_not_count() {
        for sealed in &ALL[1..] {
            let seal = Seal::new(*sealed);
            for position in [0, 8, 1199] {
                let mut packet = vec![0; 1200];
                seal.write(&mut packet, 5);
                packet[position] ^= 1;
                assert_eq!(seal.read(&mut packet), None, "{position}");
            }
            assert_eq!(
                (seal.read(&mut []), seal.read(&mut [0; 7]), seal.read(&mut [0; 9])),
                (None, None, None)
            );
        }
    }
}
