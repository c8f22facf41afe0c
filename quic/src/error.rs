//! Who is to blame, and how a connection ends.
//!
//! A bad packet is discarded and counted. A bad peer is a `TransportError`. The end of a connection is a
//! `CloseReason`. Our own mistake is an assertion. No text here is made from what a peer sent.

use std::fmt;

/// A violation of the protocol by the peer; it closes the connection (RFC 9000 §20.1, RFC 9001 §4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// What kind of violation.
    pub code: TransportErrorCode,
    /// The type of the frame that caused it; 0 when it was no frame.
    pub frame_type: u64,
    /// What was wrong, for people.
    pub reason: &'static str,
}

impl TransportError {
    pub(crate) const fn new(code: TransportErrorCode, reason: &'static str) -> Self {
        Self { code, frame_type: 0, reason }
    }

    pub(crate) const fn protocol_violation(reason: &'static str) -> Self {
        Self::new(TransportErrorCode::PROTOCOL_VIOLATION, reason)
    }

    pub(crate) const fn frame_encoding(reason: &'static str) -> Self {
        Self::new(TransportErrorCode::FRAME_ENCODING_ERROR, reason)
    }

    /// The same error, with the frame type that caused it, unless one is named already.
    #[must_use]
    pub(crate) const fn in_frame(self, frame_type: u64) -> Self {
        if self.frame_type == 0 { Self { frame_type, ..self } } else { self }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for TransportError {}

/// A transport error code (RFC 9000 §20.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransportErrorCode(pub u64);

macro_rules! codes {
    ($($name:ident = $value:literal, $what:literal;)*) => {
        impl TransportErrorCode {
            $(#[doc = $what] pub const $name: Self = Self($value);)*

            /// The name in the registry, where there is one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    NO_ERROR = 0x00, "The connection ended as wished.";
    INTERNAL_ERROR = 0x01, "The peer met a fault of its own.";
    CONNECTION_REFUSED = 0x02, "The server takes no new connection.";
    FLOW_CONTROL_ERROR = 0x03, "More was sent than was allowed.";
    STREAM_LIMIT_ERROR = 0x04, "More streams were opened than were allowed.";
    STREAM_STATE_ERROR = 0x05, "A frame for a stream that cannot take it.";
    FINAL_SIZE_ERROR = 0x06, "A stream changed its final size.";
    FRAME_ENCODING_ERROR = 0x07, "A frame was malformed.";
    TRANSPORT_PARAMETER_ERROR = 0x08, "A transport parameter was malformed, absent or not allowed.";
    CONNECTION_ID_LIMIT_ERROR = 0x09, "More connection IDs than allowed.";
    PROTOCOL_VIOLATION = 0x0a, "Another rule of the protocol was broken.";
    INVALID_TOKEN = 0x0b, "A token in an Initial packet was not ours.";
    APPLICATION_ERROR = 0x0c, "The application closed the connection during the handshake.";
    CRYPTO_BUFFER_EXCEEDED = 0x0d, "More handshake data than we keep.";
    KEY_UPDATE_ERROR = 0x0e, "A key update came too early, or old keys were used again.";
    AEAD_LIMIT_REACHED = 0x0f, "A key protected or failed to open as many packets as it may.";
    NO_VIABLE_PATH = 0x10, "No path is left that could carry the connection.";
}

impl TransportErrorCode {
    /// The code that carries a TLS alert (RFC 9001 §4.8).
    pub const fn crypto(alert: u8) -> Self {
        Self(0x0100 | alert as u64)
    }
}

impl fmt::Debug for TransportErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TransportErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None if self.0 & !0xff == 0x0100 => write!(f, "CRYPTO_ERROR (TLS alert {})", self.0 & 0xff),
            None => write!(f, "transport error {:#x}", self.0),
        }
    }
}

/// Why a path was abandoned: the code in a `PATH_ABANDON` frame (draft-ietf-quic-multipath-21 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathErrorCode(pub u64);

impl PathErrorCode {
    /// No error.
    pub const NO_ERROR: Self = Self(0);
    /// The application asked for it (MP-271).
    pub const APPLICATION_ABANDON_PATH: Self = Self(0x3e);
    /// The endpoint cannot hold the resources (MP-272).
    pub const PATH_RESOURCE_LIMIT_REACHED: Self = Self(0x3e75);
    /// Unstable interface, poor performance or failed validation (MP-273).
    pub const PATH_UNSTABLE_OR_POOR: Self = Self(0x3e76);
    /// The peer gave no connection ID for the path (MP-274).
    pub const NO_CID_AVAILABLE_FOR_PATH: Self = Self(0x3e77);
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// We closed it: the application's code.
    LocalApplication {
        /// The application's code.
        code: u64,
    },
    /// We closed it, because the peer broke the protocol.
    LocalTransport(TransportError),
    /// The peer's application closed it.
    PeerApplication {
        /// The peer application's code.
        code: u64,
        /// The peer's words, at most 256 octets of them.
        reason: Vec<u8>,
    },
    /// The peer's transport closed it.
    PeerTransport {
        /// The error it saw.
        code: TransportErrorCode,
        /// The frame type it blames, 0 for none.
        frame_type: u64,
        /// The peer's words, at most 256 octets of them.
        reason: Vec<u8>,
    },
    /// Nothing arrived for the idle timeout (RFC 9000 §10.1).
    IdleTimeout,
    /// The handshake did not complete in time.
    HandshakeTimeout,
    /// The peer has lost the connection and said so (RFC 9000 §10.3).
    StatelessReset,
    /// The server speaks no version that we speak (RFC 9000 §6).
    VersionMismatch,
    /// The endpoint dropped the connection at once, for instance because a limit was reached.
    Refused,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalApplication { code } => write!(f, "closed by us with code {code}"),
            Self::LocalTransport(error) => write!(f, "closed by us: {error}"),
            Self::PeerApplication { code, reason } => {
                write!(f, "closed by the peer's application with code {code}{}", Words(reason))
            }
            Self::PeerTransport { code, reason, .. } => {
                write!(f, "closed by the peer: {code}{}", Words(reason))
            }
            Self::IdleTimeout => f.write_str("idle timeout"),
            Self::HandshakeTimeout => f.write_str("the handshake timed out"),
            Self::StatelessReset => f.write_str("stateless reset by the peer"),
            Self::VersionMismatch => f.write_str("the peer speaks no QUIC version that we speak"),
            Self::Refused => f.write_str("refused: a limit was reached"),
        }
    }
}

impl std::error::Error for CloseReason {}

/// A peer's words in a message: printable ASCII only, behind a separator.
struct Words<'a>(&'a [u8]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str(": ")?;
        self.0.iter().try_for_each(|&byte| {
            let shown = if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '?' };
            fmt::Write::write_char(f, shown)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_registry() {
        assert_eq!(TransportErrorCode(0x0a).to_string(), "PROTOCOL_VIOLATION");
        assert_eq!(TransportErrorCode::crypto(42).to_string(), "CRYPTO_ERROR (TLS alert 42)");
        assert_eq!(TransportErrorCode(0x4000).to_string(), "transport error 0x4000");
    }

    #[test]
    fn a_peers_words_cannot_control_a_terminal() {
        let reason = CloseReason::PeerApplication { code: 1, reason: b"bad \x1b[2J".to_vec() };
        assert_eq!(reason.to_string(), "closed by the peer's application with code 1: bad ?[2J");
    }

    #[test]
    fn the_first_frame_named_is_the_one_blamed() {
        let error = TransportError::protocol_violation("x").in_frame(0x3e75).in_frame(6);
        assert_eq!(error.frame_type, 0x3e75);
    }
}
