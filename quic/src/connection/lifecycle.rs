//! How far a connection is, from its first packet to its last.
//!
//! Owns the closing and draining periods (RFC 9000 §10.2). When silence ends it is `path/idle`'s; which datagram carries
//! a `CONNECTION_CLOSE` is `build`'s.

use crate::base::time::Instant;
use crate::error::{TransportError, TransportErrorCode};

/// Longest reason that we send, in octets.
pub(crate) const REASON_MAX: usize = 256;

/// The frame that a closing connection repeats.
#[derive(Clone, Debug)]
pub(crate) struct Farewell {
    pub(crate) application: bool,
    pub(crate) code: u64,
    pub(crate) frame_type: u64,
    pub(crate) reason: Vec<u8>,
}

impl Farewell {
    /// What Initial and Handshake packets may say of it (RFC 9000 §10.2.3).
    pub(crate) fn veiled(&self) -> Self {
        if !self.application {
            return self.clone();
        }
        let code = TransportErrorCode::APPLICATION_ERROR.0;
        Self { application: false, code, frame_type: 0, reason: Vec::new() }
    }
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) enum Lifecycle {
    Handshaking {
        until: Instant,
    },
    Open,
    /// We closed; packets that still arrive are answered, ever more rarely.
    Closing {
        farewell: Box<Farewell>,
        until: Instant,
        owed: bool,
        heard: u32,
    },
    /// The peer closed; nothing is sent.
    Draining {
        until: Instant,
    },
    Gone,
}

impl Lifecycle {
    pub(crate) fn handshaking(until: Instant) -> Self {
        Self::Handshaking { until }
    }

    pub(crate) fn closing_by_error(error: TransportError, until: Instant) -> Self {
        Self::closing(
            Farewell {
                application: false,
                code: error.code.0,
                frame_type: error.frame_type,
                reason: error.reason.as_bytes().to_vec(),
            },
            until,
        )
    }

    pub(crate) fn closing_by_application(code: u64, reason: &[u8], until: Instant) -> Self {
        let reason = reason[..reason.len().min(REASON_MAX)].to_vec();
        Self::closing(Farewell { application: true, code, frame_type: 0, reason }, until)
    }

    fn closing(farewell: Farewell, until: Instant) -> Self {
        Self::Closing { farewell: Box::new(farewell), until, owed: true, heard: 0 }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Handshaking { .. })
    }

    /// Closing, draining or gone?
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self, Self::Closing { .. } | Self::Draining { .. } | Self::Gone)
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    /// A packet arrived after the end: repeat the farewell, for the first, second, fourth, ... one (RFC 9000 §10.2.1).
    pub(crate) fn on_heard(&mut self) {
        if let Self::Closing { owed, heard, .. } = self {
            *heard = heard.saturating_add(1);
            *owed |= heard.is_power_of_two();
        }
    }

    /// The farewell, if it is to leave now.
    pub(crate) fn farewell_owed(&self) -> Option<&Farewell> {
        match self {
            Self::Closing { farewell, owed: true, .. } => Some(farewell),
            _ => None,
        }
    }

    /// The farewell, whether it is owed or was sent.
    pub(crate) fn farewell(&self) -> Option<&Farewell> {
        match self {
            Self::Closing { farewell, .. } => Some(farewell),
            _ => None,
        }
    }

    pub(crate) fn on_farewell_sent(&mut self) {
        if let Self::Closing { owed, .. } = self {
            *owed = false;
        }
    }

    /// When this state ends by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Handshaking { until } | Self::Closing { until, .. } | Self::Draining { until } => {
                Some(*until)
            }
            Self::Open | Self::Gone => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// MP-049
    #[test]
    fn a_closing_connection_answers_ever_more_rarely() {
        let mut closing = Lifecycle::closing_by_application(7, b"bye", at(1));
        closing.on_farewell_sent();
        let answers = (1..=100).filter(|_| {
            closing.on_heard();
            let owed = closing.farewell_owed().is_some();
            closing.on_farewell_sent();
            owed
        });
        assert_eq!(answers.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn the_handshake_hides_what_the_application_said() {
        let farewell = Farewell { application: true, code: 7, frame_type: 0, reason: b"secret".to_vec() };
        let veiled = farewell.veiled();
        assert_eq!((veiled.application, veiled.code, veiled.reason.len()), (false, 0x0c, 0));
    }

    #[test]
    fn a_long_reason_is_cut() {
        let closing = Lifecycle::closing_by_application(7, &[b'x'; 5000], at(1));
        assert_eq!(closing.farewell_owed().unwrap().reason.len(), REASON_MAX);
    }
}
