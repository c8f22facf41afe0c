//! Somebody beside a link who sees what passes and sends copies of it from an address of his own.
//!
//! Owns what is copied and when the copies arrive (RFC 9000 §9.3.3). Opens nothing, since he has no keys, and stops
//! nothing: the originals arrive as if he were not there.

use std::time::Duration;

use braid_quic::Instant;

use super::Way;
use super::wire::FaceId;

/// An attacker who copies datagrams of one direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attacker {
    way: Way,
    datagrams: u64,
    timing: Timing,
    relays: bool,
}

/// When a copy arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    Ahead(Duration),
    Behind(Duration),
}

impl Attacker {
    /// Copies the next `datagrams` of this direction; each copy arrives just after its original.
    pub fn copying(way: Way, datagrams: u64) -> Self {
        Self { way, datagrams, timing: Timing::Behind(Duration::ZERO), relays: false }
    }

    /// Copies arrive this much before their originals, but not before these are sent: the attacker wins the race.
    #[must_use]
    pub fn ahead(mut self, span: Duration) -> Self {
        self.timing = Timing::Ahead(span);
        self
    }

    /// Copies arrive this much after their originals.
    #[must_use]
    pub fn behind(mut self, span: Duration) -> Self {
        self.timing = Timing::Behind(span);
        self
    }

    /// Forwards what is sent to his address to the end that he imitates: he has put himself on the path.
    #[must_use]
    pub fn relaying(mut self) -> Self {
        self.relays = true;
        self
    }

    pub(super) fn way(self) -> Way {
        self.way
    }

    pub(super) fn relays(self) -> bool {
        self.relays
    }
}

/// An attacker at work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attack {
    attacker: Attacker,
    left: u64,
    face: FaceId,
}

impl Attack {
    /// His copies come from the address `face`.
    pub(super) fn new(attacker: Attacker, face: FaceId) -> Self {
        Self { attacker, left: attacker.datagrams, face }
    }

    /// A datagram leaves that arrives at `arrives`: when its copy arrives, and from where.
    pub(super) fn copy(&mut self, now: Instant, arrives: Instant) -> Option<(Instant, FaceId)> {
        self.left = self.left.checked_sub(1)?;
        let at = match self.attacker.timing {
            Timing::Ahead(span) => now.max(Instant::ZERO + arrives.since(Instant::ZERO).saturating_sub(span)),
            Timing::Behind(span) => arrives + span,
        };
        Some((at, self.face))
    }
}
