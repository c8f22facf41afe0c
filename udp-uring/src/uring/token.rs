//! What a completion belongs to, as the 64 bits that travel through the kernel.
//!
//! Owns the coding and nothing else. Pure; bits that we did not write are not believed.

use crate::SocketIndex;
use crate::lanes::{Mood, Piece};

/// The owner of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A socket's multishot receive.
    Receive(SocketIndex),
    /// The poll of the waker's eventfd.
    Wake,
    /// A piece of a train.
    Send(Piece, Mood),
    /// Nothing: its arrival is all it says.
    Signal,
}

impl Token {
    pub(super) fn encode(self) -> u64 {
        match self {
            Self::Receive(socket) => u64::from(socket.0),
            Self::Wake => 1 << 56,
            Self::Send(piece, mood) => {
                let kind = if mood == Mood::Eager { 2 } else { 3 };
                kind << 56 | u64::from(piece.index) << 16 | u64::from(piece.slot)
            }
            Self::Signal => 4 << 56,
        }
    }

    pub(super) fn decode(bits: u64) -> Self {
        let piece = Piece { slot: bits as u16, index: (bits >> 16) as u16 };
        match bits >> 56 {
            0 => Self::Receive(SocketIndex(bits as u16)),
            1 => Self::Wake,
            2 => Self::Send(piece, Mood::Eager),
            3 => Self::Send(piece, Mood::Patient),
            _ => Self::Signal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back_as_itself() {
        let piece = Piece { slot: 0xfedc, index: 63 };
        for token in [
            Token::Receive(SocketIndex(0)),
            Token::Receive(SocketIndex(u16::MAX)),
            Token::Wake,
            Token::Send(piece, Mood::Eager),
            Token::Send(piece, Mood::Patient),
            Token::Signal,
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
