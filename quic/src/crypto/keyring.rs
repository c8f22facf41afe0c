//! The keys of 1-RTT packets, for all paths of a connection, and their updates (RFC 9001 §6).
//!
//! Owns the key phases, when an update is allowed or due, how long old keys are kept, and the AEAD limits, which count
//! the packets of all paths together (MP-307). What is per path stays in the path's `PhaseMark`. Sets no timer and
//! closes no connection: it answers what the corridor asks.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::nonce::Ppn;
use super::phase::{PhaseMark, Turn, turn_of};
use super::protect::{self, KEY_UPDATE, OpenError, SealError, Unmasked};
use super::provider::{DirectionKeys, HeaderKey, KeySource, PacketKey, PhaseKeys};
use crate::base::time::Instant;
use crate::error::TransportError;

/// The bit of a short header that tells the key phase (RFC 9000 §17.3.1).
const KEY_PHASE_BIT: u8 = 0x04;

/// No key seals more than twice this many packets when updates are possible, whatever its own limit.
const UPDATE_AFTER: u64 = 1 << 22;

/// Packets held back below the confidentiality limit, so that the close that tells of it can still be sealed.
const CLOSE_RESERVE: u64 = 64;

/// Old keys are kept, and updates are kept apart, for this many of the largest PTO (RFC 9001 §6.5, MP-040, MP-042).
const GUARD_PTOS: u32 = 3;

/// How often keys may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyLimits {
    /// Packets sealed with one key after which an update is due.
    pub(crate) update_after: u64,
    /// Packets that one key may seal.
    pub(crate) seals_max: u64,
    /// Packets of the connection that may fail to open.
    pub(crate) failures_max: u64,
}

impl KeyLimits {
    fn of(local: &PacketKey, remote: &PacketKey) -> Self {
        let seals_max = local.confidentiality_limit();
        let update_after = UPDATE_AFTER.min(seals_max / 2);
        Self { update_after, seals_max, failures_max: remote.integrity_limit() }
    }

    /// So close to the end of the key that courtesy to reordered packets must not stop an update.
    const fn is_urgent(self, sealed: u64) -> bool {
        sealed >= self.seals_max - self.seals_max / 8
    }
}

/// Why keys are not updated now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// The handshake is not confirmed yet (RFC 9001 §6.1).
    NotConfirmed,
    /// The peer has not acknowledged a packet that was sealed with the current keys (RFC 9001 §6.1, MP-043).
    Unacknowledged,
    /// Packets with older keys may still be on their way (RFC 9001 §6.5, MP-040).
    TooEarly {
        /// When it will be time.
        until: Instant,
    },
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConfirmed => "the handshake is not confirmed",
            Self::Unacknowledged => "nothing sealed with the current keys was acknowledged",
            Self::TooEarly { .. } => "the last key update is too recent",
        })
    }
}

impl std::error::Error for UpdateError {}

/// A packet that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Where its frames are.
    pub(crate) payload: Range<usize>,
    /// The keys that opened it: acknowledgements in it are judged by them (`KeyRing::on_acked`).
    pub(crate) generation: u64,
}

/// The peer's keys before the current ones.
struct Previous {
    remote: PacketKey,
    /// Never, while the peer has not answered our update.
    until: Instant,
}

/// The keys of 1-RTT packets.
pub(crate) struct KeyRing {
    header_local: HeaderKey,
    header_remote: HeaderKey,
    local: PacketKey,
    remote: PacketKey,
    /// For packets that were under way when keys changed.
    previous: Option<Previous>,
    /// Derived before they are needed; absent for up to a PTO after an update.
    next: Option<PhaseKeys>,
    derive_next_at: Instant,
    source: KeySource,
    generation: u64,
    /// When the peer first acknowledged a packet of this generation.
    acked_at: Option<Instant>,
    /// We acknowledged a packet of this generation, so the peer may update.
    answered: bool,
    confirmed: bool,
    closing: bool,
    /// Packets of all paths, sealed with the current key.
    sealed: u64,
    /// Packets of all paths that no key opened, ever.
    failures: u64,
    limits: KeyLimits,
}

impl KeyRing {
    pub(super) fn new(local: DirectionKeys, remote: DirectionKeys, mut source: KeySource) -> Self {
        let limits = KeyLimits::of(&local.packet, &remote.packet);
        let next = source.derive();
        Self {
            header_local: local.header,
            header_remote: remote.header,
            local: local.packet,
            remote: remote.packet,
            previous: None,
            next: Some(next),
            derive_next_at: Instant::NEVER,
            source,
            generation: 0,
            acked_at: None,
            answered: true, // the first update needs only a confirmed handshake
            confirmed: false,
            closing: false,
            sealed: 0,
            failures: 0,
            limits,
        }
    }

    /// Lowers limits; raises none.
    #[cfg(test)]
    pub(crate) fn lower_limits(&mut self, limits: KeyLimits) {
        self.limits.update_after = self.limits.update_after.min(limits.update_after);
        self.limits.seals_max = self.limits.seals_max.min(limits.seals_max);
        self.limits.failures_max = self.limits.failures_max.min(limits.failures_max);
    }

    /// Seals a packet whose number is at `pn_offset` in `pn_len` bytes, writing the key phase bit on the way. The last
    /// 16 bytes of `packet` are room for the tag. `mark` is that of the packet's path.
    pub(crate) fn seal(
        &mut self,
        ppn: Ppn,
        packet: &mut [u8],
        pn_offset: usize,
        pn_len: usize,
        mark: &mut PhaseMark,
    ) -> Result<(), SealError> {
        if self.sealed >= self.seals_allowed() {
            return Err(SealError::LimitReached);
        }
        if !mark.on_sealed(self.generation, ppn.pn) {
            return Err(SealError::Refused); // worse than a dead connection: a nonce used twice
        }
        self.sealed += 1;
        if let Some(first) = packet.first_mut() {
            *first = *first & !KEY_PHASE_BIT | u8::from(self.key_phase()) << 2;
        }
        protect::seal(&self.local, &self.header_local, ppn, packet, pn_offset, pn_len)
    }

    /// Removes header protection from `packet`, which ends where the datagram ends; `None` when it is too short.
    pub(crate) fn unmask(&self, packet: &mut [u8], pn_offset: usize) -> Option<Unmasked> {
        protect::unmask(&self.header_remote, packet, pn_offset)
    }

    /// Opens an unmasked packet and follows the peer's key update. `mark` is that of the packet's path; `pto_max` is
    /// the largest PTO of all paths.
    pub(crate) fn open(
        &mut self,
        ppn: Ppn,
        packet: &mut [u8],
        payload_offset: usize,
        mark: &mut PhaseMark,
        now: Instant,
        pto_max: Duration,
    ) -> Result<Opened, OpenError> {
        if self.failures > self.limits.failures_max {
            return Err(OpenError::LimitReached);
        }
        self.on_deadline(now);
        let turn = self.turn(ppn.pn, packet, mark);
        let key = match (turn, &self.previous) {
            (Turn::Previous, Some(previous)) => &previous.remote,
            (Turn::Next, _) => &self.next.get_or_insert_with(|| self.source.derive()).remote,
            _ => &self.remote,
        };
        let payload = match protect::open(key, ppn, packet, payload_offset) {
            Ok(payload) => payload,
            Err(OpenError::Failed) => return Err(self.add_failures(1)),
            Err(error) => return Err(error),
        };
        let generation = match turn {
            Turn::Previous => self.generation - 1,
            Turn::Current => self.generation,
            Turn::Next => self.follow_peer()?,
        };
        if !mark.on_opened(generation, ppn.pn) {
            return Err(OpenError::KeyUpdate);
        }
        if generation == self.generation {
            self.on_peer_has_current(now, pto_max);
        }
        Ok(Opened { payload, generation })
    }

    /// Counts packets that failed to open, here or at an earlier level: the limit is the connection's (RFC 9001 §6.6).
    pub(crate) fn add_failures(&mut self, count: u64) -> OpenError {
        self.failures = self.failures.saturating_add(count);
        if self.failures > self.limits.failures_max { OpenError::LimitReached } else { OpenError::Failed }
    }

    /// The handshake is confirmed: updates are allowed (RFC 9001 §6.1).
    pub(crate) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// The connection closes: the packets held back for this may be used.
    pub(crate) fn on_closing(&mut self) {
        self.closing = true;
    }

    /// The peer acknowledged, in a packet opened with the keys of `carried_in`, up to packet `largest` of the path
    /// that `mark` belongs to.
    pub(crate) fn on_acked(
        &mut self,
        mark: &PhaseMark,
        largest: u64,
        carried_in: u64,
        now: Instant,
    ) -> Result<(), TransportError> {
        let Some(sealed_with) = mark.generation_sealing(largest) else { return Ok(()) };
        if sealed_with > carried_in {
            return Err(KEY_UPDATE); // it has the newer keys and does not use them (RFC 9001 §6.2)
        }
        if sealed_with == self.generation && self.acked_at.is_none() {
            self.acked_at = Some(now);
        }
        Ok(())
    }

    /// We wrote an acknowledgement up to packet `largest` of the path that `mark` belongs to.
    pub(crate) fn on_ack_written(&mut self, mark: &PhaseMark, largest: u64) {
        self.answered |= mark.lowest_opened(self.generation).is_some_and(|lowest| lowest <= largest);
    }

    /// Has the current key sealed so much that it should be replaced? (RFC 9001 §6.6)
    pub(crate) fn update_due(&self) -> bool {
        self.sealed >= self.limits.update_after
    }

    /// Updates our keys; the peer learns of it from the next packet on any path (MP-041).
    pub(crate) fn initiate_update(&mut self, now: Instant, pto_max: Duration) -> Result<(), UpdateError> {
        let urgent = self.limits.is_urgent(self.sealed);
        may_update(self.confirmed, self.generation, self.acked_at, urgent, now, pto_max)?;
        self.advance();
        Ok(())
    }

    /// When `on_deadline` has something to do; `Instant::NEVER` for nothing.
    pub(crate) fn deadline(&self) -> Instant {
        let until = self.previous.as_ref().map_or(Instant::NEVER, |previous| previous.until);
        self.derive_next_at.min(until)
    }

    /// Derives the next keys, away from the packet that could tell an observer (RFC 9001 §6.3), and forgets old ones.
    /// Opening a packet does this too; the timer matters only to a connection that hears nothing.
    #[inline]
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        if self.derive_next_at <= now {
            self.derive_next_at = Instant::NEVER;
            self.next.get_or_insert_with(|| self.source.derive());
        }
        if self.previous.as_ref().is_some_and(|previous| previous.until <= now) {
            self.previous = None;
        }
    }

    /// The key phase bit of the packets we seal now.
    pub(crate) const fn key_phase(&self) -> bool {
        self.generation & 1 == 1
    }

    /// How many updates there were, ours and the peer's.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Can the negotiated cipher protect packets of paths above 0 (MP-037)? Tries it: ask once.
    #[must_use]
    pub(crate) fn supports_paths(&self) -> bool {
        self.local.supports_paths() && self.remote.supports_paths()
    }

    /// How many packets the current key may seal as things stand.
    fn seals_allowed(&self) -> u64 {
        let max = self.limits.seals_max;
        if self.closing { max } else { max - CLOSE_RESERVE.min(max / 8) }
    }

    #[inline]
    fn turn(&self, pn: u64, packet: &[u8], mark: &PhaseMark) -> Turn {
        let phase = packet.first().is_some_and(|first| first & KEY_PHASE_BIT != 0);
        let same_phase = phase == self.key_phase();
        let lowest = mark.lowest_opened(self.generation);
        turn_of(same_phase, self.previous.is_some(), self.next.is_some(), lowest, pn)
    }

    /// The peer updated its keys, so we do (RFC 9001 §6.2). Twice without our acknowledgement is once too often.
    fn follow_peer(&mut self) -> Result<u64, OpenError> {
        if !self.answered {
            return Err(OpenError::KeyUpdate);
        }
        self.advance();
        Ok(self.generation)
    }

    /// Makes the next keys the current ones, both ways and on all paths.
    fn advance(&mut self) {
        let next = self.next.take().unwrap_or_else(|| self.source.derive());
        let remote = std::mem::replace(&mut self.remote, next.remote);
        self.local = next.local;
        self.previous = Some(Previous { remote, until: Instant::NEVER });
        self.derive_next_at = Instant::NEVER;
        self.generation += 1;
        self.acked_at = None;
        self.answered = false;
        self.sealed = 0;
    }

    /// A packet with the current keys came: the guard time of older ones starts, once (RFC 9001 §6.5).
    #[inline]
    fn on_peer_has_current(&mut self, now: Instant, pto_max: Duration) {
        let Some(previous) = &mut self.previous else { return };
        if previous.until == Instant::NEVER {
            previous.until = now + pto_max * GUARD_PTOS;
            self.derive_next_at = now + pto_max;
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("generation", &self.generation)
            .field("sealed", &self.sealed)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// May we update keys now? (RFC 9001 §6.1, §6.5)
fn may_update(
    confirmed: bool,
    generation: u64,
    acked_at: Option<Instant>,
    urgent: bool,
    now: Instant,
    pto_max: Duration,
) -> Result<(), UpdateError> {
    if !confirmed {
        return Err(UpdateError::NotConfirmed);
    }
    let Some(acked_at) = acked_at else { return Err(UpdateError::Unacknowledged) };
    let until = acked_at + pto_max * GUARD_PTOS;
    if generation > 0 && !urgent && now < until {
        return Err(UpdateError::TooEarly { until });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTO: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn no_update_before_the_handshake_is_confirmed() {
        assert_eq!(may_update(false, 0, Some(ms(0)), true, ms(999), PTO), Err(UpdateError::NotConfirmed));
        assert_eq!(may_update(true, 0, Some(ms(0)), false, ms(0), PTO), Ok(()));
    }

    #[test]
    fn no_update_before_the_phase_was_acknowledged_however_urgent() {
        assert_eq!(may_update(true, 0, None, false, ms(999), PTO), Err(UpdateError::Unacknowledged));
        assert_eq!(may_update(true, 3, None, true, ms(999), PTO), Err(UpdateError::Unacknowledged));
    }

    /// MP-040
    #[test]
    fn updates_are_three_ptos_apart_unless_the_key_runs_out() {
        let early = Err(UpdateError::TooEarly { until: ms(310) });
        assert_eq!(may_update(true, 1, Some(ms(10)), false, ms(309), PTO), early);
        assert_eq!(may_update(true, 1, Some(ms(10)), false, ms(310), PTO), Ok(()));
        assert_eq!(may_update(true, 1, Some(ms(10)), true, ms(11), PTO), Ok(()));
    }

    #[test]
    fn a_key_is_urgent_in_the_last_eighth() {
        let limits = KeyLimits { update_after: 1, seals_max: 800, failures_max: 0 };
        assert!(!limits.is_urgent(699) && limits.is_urgent(700));
        let endless = KeyLimits { seals_max: u64::MAX, ..limits };
        assert!(!endless.is_urgent(1 << 62));
    }

    #[test]
    fn limits_start_at_what_the_cipher_bears_and_are_never_raised() {
        let (mut ring, _) = crate::crypto::fixture::rings();
        let aes = KeyLimits { update_after: 1 << 22, seals_max: 1 << 23, failures_max: 1 << 52 };
        assert_eq!(ring.limits, aes);
        ring.lower_limits(KeyLimits { update_after: u64::MAX, seals_max: u64::MAX, failures_max: u64::MAX });
        assert_eq!(ring.limits, aes);
    }
}
