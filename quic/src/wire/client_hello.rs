//! What a TLS `ClientHello` says about QUIC, before TLS has read it (RFC 8446 §4.1.2, RFC 9001 §8.2).
//!
//! Owns the way to one extension and nothing else: no judgement, and nothing is believed; TLS reads the same bytes
//! afterwards. Needed only where our own parameters depend on the client's.

use super::cursor::Reader;

const CLIENT_HELLO: u8 = 1;
const QUIC_TRANSPORT_PARAMETERS: u16 = 57;

/// The client's transport parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared<'a> {
    /// The message is not complete.
    NotYet,
    /// There are none, or this is no `ClientHello`.
    Nothing,
    These(&'a [u8]),
}

/// Looks for the transport parameters in the first handshake message of `bytes`.
pub(crate) fn declared(bytes: &[u8]) -> Declared<'_> {
    let mut reader = Reader::new(bytes);
    let Some([kind, high, middle, low]) = reader.array() else { return Declared::NotYet };
    if kind != CLIENT_HELLO {
        return Declared::Nothing;
    }
    match reader.take(u32::from_be_bytes([0, high, middle, low]) as usize) {
        Some(body) => extension(body).map_or(Declared::Nothing, Declared::These),
        None => Declared::NotYet,
    }
}

fn extension(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    reader.take(2 + 32)?; // version and random
    let session = reader.u8()?;
    reader.take(session.into())?;
    let suites = reader.u16()?;
    reader.take(suites.into())?;
    let compressions = reader.u8()?;
    reader.take(compressions.into())?;
    let len = reader.u16()?;
    let mut extensions = Reader::new(reader.take(len.into())?);
    loop {
        let (kind, len) = (extensions.u16()?, extensions.u16()?);
        let value = extensions.take(len.into())?;
        if kind == QUIC_TRANSPORT_PARAMETERS {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Level;
    use crate::crypto::fixture::client_tls;
    use crate::crypto::tls::Tls;

    fn hello(params: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut tls = Tls::client(&client_tls(), "localhost".try_into().unwrap(), params.to_vec()).unwrap();
        assert!(tls.write(&mut out).is_none());
        assert_eq!(tls.write_level(), Level::Initial);
        out
    }

    #[test]
    fn the_parameters_are_found_when_the_message_is_complete_and_not_before() {
        let bytes = hello(b"parameters");
        for len in 0..bytes.len() {
            assert_eq!(declared(&bytes[..len]), Declared::NotYet);
        }
        assert_eq!(declared(&bytes), Declared::These(b"parameters"));
        assert_eq!(declared(&[&bytes[..], b"more"].concat()), Declared::These(b"parameters"));
    }

    #[test]
    fn other_messages_declare_nothing() {
        assert_eq!(declared(&[2, 0, 0, 0]), Declared::Nothing);
        assert_eq!(declared(&[1, 0, 0, 0]), Declared::Nothing);
        let mut bytes = hello(b"parameters");
        let len = bytes.len();
        // Every octet changed once: nothing panics, whatever it says.
        for at in 0..len {
            bytes[at] ^= 0xff;
            let _ = declared(&bytes);
            bytes[at] ^= 0xff;
        }
    }
}
