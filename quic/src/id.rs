//! The numbers by which both peers name things: paths and streams.

use std::fmt;

/// Names one path of a connection for life (draft-ietf-quic-multipath-21 §3; MP-176: never reused).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PathId(pub u32);

impl PathId {
    /// The path of the handshake.
    pub const ZERO: Self = Self(0);
}

impl fmt::Debug for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path {}", self.0)
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that opened the connection; only it opens paths (MP-100).
    Client,
    /// The end that accepted it.
    Server,
}

impl Role {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// In which directions a stream carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ends send.
    Bidirectional,
    /// Only the end that opened it sends.
    Unidirectional,
}

/// Names a stream: a 62-bit number whose low two bits tell who opened it and its direction (RFC 9000 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The stream number `index` (from 0) of this kind.
    pub const fn new(opened_by: Role, direction: Direction, index: u64) -> Self {
        let role = matches!(opened_by, Role::Server) as u64;
        let direction = matches!(direction, Direction::Unidirectional) as u64;
        Self(index << 2 | direction << 1 | role)
    }

    /// The stream with this number on the wire, which is below 2^62.
    pub const fn from_wire(number: u64) -> Self {
        Self(number)
    }

    /// The number on the wire.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Which end opened it.
    pub const fn opened_by(self) -> Role {
        if self.0 & 1 == 0 { Role::Client } else { Role::Server }
    }

    /// Whether one or both ends send on it.
    pub const fn direction(self) -> Direction {
        if self.0 & 2 == 0 { Direction::Bidirectional } else { Direction::Unidirectional }
    }

    /// How many streams of the same kind come before it.
    pub const fn index(self) -> u64 {
        self.0 >> 2
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_ids_follow_the_table_of_rfc_9000_section_2_1() {
        assert_eq!(StreamId::new(Role::Client, Direction::Bidirectional, 0).as_u64(), 0);
        assert_eq!(StreamId::new(Role::Server, Direction::Bidirectional, 0).as_u64(), 1);
        assert_eq!(StreamId::new(Role::Client, Direction::Unidirectional, 0).as_u64(), 2);
        assert_eq!(StreamId::new(Role::Server, Direction::Unidirectional, 1).as_u64(), 7);
        let id = StreamId::from_wire(7);
        assert_eq!(
            (id.opened_by(), id.direction(), id.index()),
            (Role::Server, Direction::Unidirectional, 1)
        );
    }
}
