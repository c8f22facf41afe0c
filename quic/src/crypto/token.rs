//! Stateless reset tokens: made from a connection ID and a key, so that nobody has to remember them.
//!
//! Owns the derivation and the comparison that tells an attacker nothing by its timing (RFC 9000 §10.3). Which token
//! belongs to which path, and when it no longer matches, is the business of whoever holds the connection ID.

use aws_lc_rs::hmac;

/// How long a token is.
pub(crate) const RESET_TOKEN_LEN: usize = 16;

/// The token for connection ID `cid`: HMAC-SHA256 under `key`, cut to 16 octets (RFC 9000 §10.3.2).
#[must_use]
pub(crate) fn reset_token(key: &[u8; 32], cid: &[u8]) -> [u8; RESET_TOKEN_LEN] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, cid);
    std::array::from_fn(|index| tag.as_ref()[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_front_of_an_hmac() {
        // RFC 4231 §4.2 has a key of 20 octets; zero padding to 32 is the same HMAC key.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected =
            [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b];
        assert_eq!(reset_token(&key, b"Hi There"), expected);
    }

    #[test]
    fn another_key_or_connection_id_gives_another_token() {
        let token = reset_token(&[1; 32], &[7; 12]);
        assert_eq!(token, reset_token(&[1; 32], &[7; 12]));
        assert_ne!(token, reset_token(&[2; 32], &[7; 12]));
        assert_ne!(token, reset_token(&[1; 32], &[7; 11]));
    }
}
