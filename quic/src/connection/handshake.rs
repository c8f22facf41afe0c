//! The scaffolding of a connection: Initial and Handshake keys, number spaces and handshake data.
//!
//! Owns both levels and the probe timer that keeps a handshake from getting stuck (RFC 9002 §6.2). All of it rides on
//! path 0 and is dropped once the handshake is confirmed. TLS itself is `shake`'s.

use std::time::Duration;

use super::race::Race;
use crate::base::address::RouteId;
use crate::base::time::Instant;
use crate::crypto::Level;
use crate::crypto::crypto_stream::CryptoStream;
use crate::crypto::protect::LevelKeys;
use crate::crypto::tls::Params;
use crate::id::Role;
use crate::path::loss::probe_after;
use crate::path::space::Space;
use crate::wire::cid_bytes::Cid;

/// One of the two levels before 1-RTT.
#[derive(Debug, Default)]
pub(super) struct Rung {
    pub(super) keys: Option<LevelKeys>,
    pub(super) space: Space,
    pub(super) crypto: CryptoStream,
    /// Ack-eliciting packets to send because a probe timeout fired.
    pub(super) probes: u8,
    discarded: bool,
}

impl Rung {
    /// Has it something to send?
    fn wants(&self) -> bool {
        self.keys.is_some() && (self.crypto.wants() || self.space.acks.is_due() || self.probes > 0)
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.discarded
    }
}

/// Initial and Handshake levels.
#[derive(Debug)]
pub(super) struct Handshake {
    first: Rung,
    second: Rung,
    original: Cid,
    timeouts: u32,
    last_sent_at: Option<Instant>,
    /// A Handshake packet of ours was acknowledged: the peer is not waiting for leave to send.
    proven: bool,
    /// The server's Initial was processed: its choice of connection ID stands (RFC 9000 §7.2).
    pub(super) heard: bool,
    /// The race of routes, at a client that has heard nothing.
    pub(super) race: Option<Race>,
    /// What a server declares, for its log: which form of it the client gets is known only when the client was heard.
    pub(super) declared: Option<Box<Params>>,
}

impl Handshake {
    pub(super) fn new(keys: LevelKeys, original: Cid) -> Self {
        Self {
            first: Rung { keys: Some(keys), ..Rung::default() },
            second: Rung::default(),
            original,
            timeouts: 0,
            last_sent_at: None,
            proven: false,
            heard: false,
            race: None,
            declared: None,
        }
    }

    /// When the race of routes goes on.
    pub(super) fn race_at(&self) -> Option<Instant> {
        self.race.as_ref().and_then(Race::deadline)
    }

    /// May the first answer come on this route?
    pub(super) fn races_on(&self, route: &RouteId) -> bool {
        self.race.as_ref().is_some_and(|race| race.has(route))
    }

    /// Did a Handshake packet leave? Until then a client may still be anywhere (RFC 9000 §8.1).
    pub(super) fn is_committed(&self) -> bool {
        self.second.discarded || self.second.space.peek_number() > 0
    }

    /// The destination that the client chose for its first packets.
    pub(super) fn original(&self) -> Cid {
        self.original
    }

    /// The level's state; there is none for 1-RTT here.
    pub(super) fn rung(&mut self, level: Level) -> Option<&mut Rung> {
        match level {
            Level::Initial => Some(&mut self.first),
            Level::Handshake => Some(&mut self.second),
            Level::OneRtt => None,
        }
    }

    /// Drops the level's keys (RFC 9001 §4.9). Returns the bytes that were in flight, which count no longer; `None` if the
    /// keys were dropped before, which starts no timer anew.
    pub(super) fn discard(&mut self, level: Level) -> Option<u64> {
        let rung = self.rung(level).filter(|rung| !rung.discarded)?;
        let bytes = rung.space.in_flight_bytes();
        *rung = Rung { discarded: true, ..Rung::default() };
        self.timeouts = 0;
        Some(bytes)
    }

    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.first.space.in_flight_bytes() + self.second.space.in_flight_bytes()
    }

    /// The levels that have something to send, in order.
    pub(super) fn wanting(&self) -> [Option<Level>; 2] {
        [self.first.wants().then_some(Level::Initial), self.second.wants().then_some(Level::Handshake)]
    }

    /// Is there something that congestion control does not hold back: an acknowledgement or a probe? New handshake data
    /// may share its datagram; one datagram beyond the window is what a probe costs anyway.
    pub(super) fn wants_free(&self) -> bool {
        [&self.first, &self.second]
            .iter()
            .any(|rung| rung.keys.is_some() && (rung.probes > 0 || rung.space.acks.is_due()))
    }

    pub(super) fn on_sent(&mut self, eliciting: bool, now: Instant) {
        if eliciting {
            self.last_sent_at = Some(now);
        }
    }

    /// Something was acknowledged: the peer hears us. To a client an Initial packet proves too little: as long as the
    /// server has not validated its address, probes back off (RFC 9002 §6.2.1).
    pub(super) fn on_progress(&mut self, role: Role, level: Level) {
        if role == Role::Server || level == Level::Handshake {
            self.timeouts = 0;
        }
        self.proven |= level == Level::Handshake;
    }

    /// When the probe timeout fires. `stuck` says that a client must probe although nothing is in flight, since only
    /// its packets give the server leave to send (RFC 9002 §6.2.2.1).
    pub(super) fn probe_at(&self, base: Duration, stuck: bool) -> Option<Instant> {
        if self.first.probes > 0 || self.second.probes > 0 {
            return None;
        }
        let sent = [&self.first, &self.second].into_iter().filter_map(|rung| rung.space.last_eliciting_at());
        let waiting =
            [&self.first, &self.second].into_iter().any(|rung| rung.keys.is_some() && rung.crypto.wants());
        let from = sent.max().or(self.last_sent_at.filter(|_| stuck && !self.proven || waiting))?;
        Some(from + probe_after(base, self.timeouts))
    }

    pub(super) fn loss_at(&self) -> Option<Instant> {
        [self.first.space.loss_at(), self.second.space.loss_at()].into_iter().flatten().min()
    }

    /// The probe timeout fired: send what is unacknowledged again, or at least something (RFC 9002 §6.2.4).
    pub(super) fn on_probe_timeout(&mut self) {
        self.timeouts = self.timeouts.saturating_add(1);
        self.repeat();
    }

    /// Did the probe timeout fire since the peer was last heard to make progress?
    pub(super) fn is_repeating(&self) -> bool {
        self.timeouts > 0
    }

    /// Sends everything unacknowledged again.
    pub(super) fn repeat(&mut self) {
        let mut any = false;
        for rung in [&mut self.first, &mut self.second] {
            if rung.keys.is_some()
                && (rung.space.awaits_ack() || rung.crypto.has_unacked() || rung.crypto.wants())
            {
                rung.crypto.resend_all();
                rung.probes = 2;
                any = true;
            }
        }
        if !any {
            let rung = if self.second.keys.is_some() { &mut self.second } else { &mut self.first };
            rung.probes = u8::from(rung.keys.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::fixture::server_tls;

    #[test]
    fn lost_handshake_data_that_waits_to_be_sent_again_keeps_the_probe_timer_running() {
        let keys = || server_tls().initial_keys(&[1; 8]);
        let mut handshake = Handshake::new(keys(), Cid::EMPTY);
        let (sent_at, base) = (Instant::from_nanos(1_000_000), Duration::from_millis(100));
        handshake.on_sent(true, sent_at);
        handshake.on_progress(Role::Client, Level::Handshake);
        assert_eq!(handshake.probe_at(base, true), None, "all is acknowledged and the peer hears us");
        let rung = handshake.rung(Level::Handshake).unwrap();
        rung.keys = Some(keys());
        rung.crypto.queue(b"Finished");
        assert_eq!(handshake.probe_at(base, false), Some(sent_at + base));
        handshake.on_probe_timeout();
        assert!(handshake.wants_free(), "a probe is free of the congestion window");
    }

    /// RFC 9002 §6.2.2
    #[test]
    fn keys_are_dropped_once_and_probes_back_off_from_there() {
        let mut handshake = Handshake::new(server_tls().initial_keys(&[1; 8]), Cid::EMPTY);
        let base = Duration::from_millis(100);
        handshake.rung(Level::Handshake).unwrap().keys = Some(server_tls().initial_keys(&[1; 8]));
        handshake.on_sent(true, Instant::ZERO);
        handshake.on_probe_timeout();
        assert_eq!(handshake.discard(Level::Initial), Some(0));
        handshake.rung(Level::Handshake).unwrap().probes = 0;
        assert_eq!(handshake.probe_at(base, true), Some(Instant::ZERO + base));
        handshake.on_probe_timeout();
        assert_eq!(handshake.discard(Level::Initial), None);
        handshake.rung(Level::Handshake).unwrap().probes = 0;
        assert_eq!(handshake.probe_at(base, true), Some(Instant::ZERO + 2 * base));
    }

    #[test]
    fn a_client_probes_until_a_handshake_packet_is_acknowledged() {
        let mut handshake = Handshake::new(server_tls().initial_keys(&[1; 8]), Cid::EMPTY);
        let base = Duration::from_millis(100);
        handshake.on_sent(true, Instant::ZERO);
        assert_eq!(handshake.probe_at(base, true), Some(Instant::ZERO + base));
        handshake.on_probe_timeout();
        handshake.rung(Level::Initial).unwrap().probes = 0;
        handshake.on_progress(Role::Client, Level::Initial);
        assert_eq!(
            handshake.probe_at(base, true),
            Some(Instant::ZERO + 2 * base),
            "Initial packets prove too little"
        );
    }
}
