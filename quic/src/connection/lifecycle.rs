//! How far a connection is, from its first packet to its last, and when silence ends it.
//!
//! Owns the closing and draining periods (RFC 9000 §10.2) and the idle timeout (§10.1). Which datagram carries a
//! `CONNECTION_CLOSE` is `build`'s.

use std::time::Duration;

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

/// The idle timeout of the whole connection (MP-300) and the keep-alive below it.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Zero for never.
    timeout: Duration,
    quiet_since: Instant,
    /// Nothing ack-eliciting was sent since the last packet arrived.
    sent_nothing: bool,
}

impl Idle {
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, quiet_since: now, sent_nothing: true }
    }

    /// The smaller of both ends' values holds; zero means none (RFC 9000 §10.1).
    pub(crate) fn on_peer_timeout(&mut self, peer: Duration) {
        if !peer.is_zero() {
            self.timeout = if self.timeout.is_zero() { peer } else { self.timeout.min(peer) };
        }
    }

    /// The timeout in force, if there is one.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        (!self.timeout.is_zero()).then_some(self.timeout)
    }

    /// When something last happened.
    pub(crate) fn quiet_since(&self) -> Instant {
        self.quiet_since
    }

    pub(crate) fn on_received(&mut self, now: Instant) {
        self.quiet_since = now;
        self.sent_nothing = true;
    }

    /// Only the first ack-eliciting packet after one arrived counts (RFC 9000 §10.1).
    pub(crate) fn on_sent(&mut self, now: Instant) {
        if self.sent_nothing {
            self.quiet_since = now;
            self.sent_nothing = false;
        }
    }

    /// When the connection is dropped; never before three probe timeouts passed (RFC 9000 §10.1).
    pub(crate) fn deadline(&self, probe_timeout: Duration) -> Option<Instant> {
        let timeout = self.timeout.max(probe_timeout * 3);
        (!self.timeout.is_zero()).then(|| self.quiet_since + timeout)
    }

    /// When a PING should leave, if nothing else did.
    pub(crate) fn keep_alive_at(&self, every: Option<Duration>) -> Option<Instant> {
        Some(self.quiet_since + every?).filter(|_| self.sent_nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

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

    #[test]
    fn the_smaller_timeout_holds_and_zero_means_none() {
        let mut idle = Idle::new(Duration::ZERO, at(0));
        assert_eq!(idle.deadline(ms(1)), None);
        idle.on_peer_timeout(ms(500));
        assert_eq!(idle.deadline(ms(1)), Some(at(500)));
        idle.on_peer_timeout(ms(900));
        idle.on_peer_timeout(Duration::ZERO);
        assert_eq!(idle.deadline(ms(1)), Some(at(500)));
        assert_eq!(idle.deadline(ms(300)), Some(at(900)), "three probe timeouts at least");
    }

    #[test]
    fn only_the_first_packet_sent_after_one_arrived_restarts_the_clock() {
        let mut idle = Idle::new(ms(100), at(0));
        idle.on_received(at(10));
        idle.on_sent(at(20));
        idle.on_sent(at(90));
        assert_eq!(idle.deadline(ms(1)), Some(at(120)));
        assert_eq!(idle.keep_alive_at(Some(ms(5))), None, "something is on its way");
        idle.on_received(at(95));
        assert_eq!(idle.keep_alive_at(Some(ms(5))), Some(at(100)));
    }
}
