//! Moving handshake data between TLS and the levels, and what follows from it: keys, parameters, confirmation.
//!
//! Owns no state; it is the part of the corridor that is walked until the handshake is confirmed, and for tickets.

use std::time::Duration;

use super::Connection;
use super::agreed;
use super::lifecycle::Lifecycle;
use super::tell;
use crate::crypto::Level;
use crate::crypto::tls::NewKeys;
use crate::error::TransportError;
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::log::{Initiator, Parameters, Record};
use crate::path::cids::Post;
use crate::stream::PeerLimits;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::params::TransportParameters;

impl Connection {
    /// CRYPTO data came at `level`.
    pub(super) fn on_crypto(
        &mut self,
        turn: &mut Turn<'_>,
        level: Level,
        offset: u64,
        data: &[u8],
    ) -> Result<(), TransportError> {
        let stream = match (level, &mut self.handshake) {
            (Level::OneRtt, _) => &mut self.tickets,
            (_, Some(handshake)) => match handshake.rung(level) {
                Some(rung) if !rung.is_discarded() => &mut rung.crypto,
                _ => return Ok(()),
            },
            (_, None) => return Ok(()),
        };
        stream.on_frame(offset, data)?;
        let Some(bytes) = stream.take_readable() else { return Ok(()) };
        self.tls.read(level, &bytes)?;
        self.pump_tls(turn)
    }

    /// Takes from TLS what it wants to say, and its new keys.
    pub(super) fn pump_tls(&mut self, turn: &mut Turn<'_>) -> Result<(), TransportError> {
        loop {
            let mut said = std::mem::take(&mut self.scratch.tls);
            said.clear();
            let level = self.tls.write_level();
            let keys = self.tls.write(&mut said);
            let quiet = said.is_empty() && keys.is_none();
            match (level, &mut self.handshake) {
                (Level::OneRtt, _) => self.tickets.queue(&said),
                (_, Some(handshake)) => {
                    if let Some(rung) = handshake.rung(level) {
                        rung.crypto.queue(&said);
                    }
                }
                (_, None) => {}
            }
            self.scratch.tls = said;
            self.take_keys(keys)?;
            if quiet {
                break;
            }
        }
        self.take_parameters(turn)?;
        self.on_maybe_complete(turn)
    }

    fn take_keys(&mut self, keys: Option<NewKeys>) -> Result<(), TransportError> {
        match (keys, &mut self.handshake) {
            (Some(NewKeys::Handshake(keys)), Some(handshake)) => {
                if handshake.rung(Level::Initial).is_some_and(|rung| !rung.crypto.is_drained()) {
                    return Err(TransportError::protocol_violation(
                        "handshake data left at a level that is over",
                    ));
                }
                if let Some(rung) = handshake.rung(Level::Handshake) {
                    rung.keys = Some(keys);
                }
            }
            (Some(NewKeys::OneRtt(mut ring)), _) => {
                let failures = self.handshake_failures();
                let _ = ring.add_failures(failures);
                self.keys = Some(ring);
            }
            _ => {}
        }
        Ok(())
    }

    /// Packets that failed to open before there were 1-RTT keys; the limit is the connection's (RFC 9001 §6.6).
    fn handshake_failures(&mut self) -> u64 {
        let Some(handshake) = &mut self.handshake else { return 0 };
        let levels = [Level::Initial, Level::Handshake];
        levels.into_iter().filter_map(|level| Some(handshake.rung(level)?.keys.as_ref()?.failures())).sum()
    }

    /// The peer's transport parameters, as soon as they are there.
    fn take_parameters(&mut self, turn: &mut Turn<'_>) -> Result<(), TransportError> {
        if self.agreed.known {
            return Ok(());
        }
        let Some(encoded) = self.tls.peer_params() else { return Ok(()) };
        let theirs =
            TransportParameters::decode(encoded, self.role.peer(), self.config.multipath_code_points)?;
        let zero = self.paths.get_mut(PathId::ZERO);
        let peer = zero.and_then(|path| path.remote.current()).unwrap_or(Cid::EMPTY);
        self.log.record(|| Record::Parameters(Initiator::Remote, Parameters(&theirs)));
        if let Some(ours) = self.handshake.as_mut().and_then(|handshake| handshake.declared.take()) {
            tell::declared(&mut self.log, self.role, ours.answer(encoded));
        }
        agreed::check(&theirs, self.role, self.original, peer, self.config.max_paths > 1)?;
        self.agreed.known = true;
        self.frequency.on_peer(theirs.max_ack_delay_ms, theirs.min_ack_delay_us)?;
        self.agreed.ack_delay_exponent = theirs.ack_delay_exponent as u8;
        self.agreed.migration_forbidden = theirs.disable_active_migration;
        let offered = self.config.max_paths > 1 && !peer.is_empty();
        if let Some((code_points, limit)) = agreed::common(&theirs).filter(|_| offered) {
            self.agreed.multipath = Some(limit);
            self.agreed.code_points = code_points;
            #[cfg(test)]
            self.hook.on_code_points(code_points);
        }
        self.idle.on_peer_timeout(Duration::from_millis(theirs.max_idle_timeout_ms));
        self.paths.on_peer_cid_limit(theirs.active_connection_id_limit);
        self.streams.on_peer_params(&stream_limits(&theirs));
        self.datagrams.on_peer_limit(theirs.max_datagram_frame_size);
        if let Some(path) = self.paths.get_mut(PathId::ZERO) {
            if let Some(token) = theirs.stateless_reset_token {
                path.remote.adopt_token(turn, token);
            }
            if let Some(running) = path.running_mut() {
                running.route.on_peer_maximum(theirs.max_udp_payload_size);
            }
        }
        self.peer_datagram_max = theirs.max_udp_payload_size;
        self.tell_datagram_size(PathId::ZERO);
        Ok(())
    }

    /// Is the handshake complete, and was it not before?
    fn on_maybe_complete(&mut self, turn: &mut Turn<'_>) -> Result<(), TransportError> {
        if !self.lifecycle.is_handshaking() || self.tls.is_handshaking() || self.keys.is_none() {
            return Ok(());
        }
        if !self.agreed.known {
            return Err(TransportError::new(
                crate::error::TransportErrorCode::crypto(109),
                "transport parameters are missing",
            ));
        }
        self.lifecycle = Lifecycle::Open;
        self.stats.resumed = self.tls.is_resumed();
        if let Some(limit) = self.agreed.multipath {
            if !self.keys.as_ref().is_some_and(|keys| keys.supports_paths()) {
                return Err(TransportError::new(
                    crate::error::TransportErrorCode::TRANSPORT_PARAMETER_ERROR,
                    "the cipher cannot protect several paths",
                ));
            }
            self.paths.on_negotiated(u64::from(limit));
        }
        if let Some(alpn) = self.tls.alpn() {
            self.log.record(|| Record::Alpn(alpn));
        }
        self.announce(Event::Connected { multipath: self.paths.is_multipath() });
        if self.role == Role::Server {
            self.handshake_done = Some(Post::Queued);
            self.confirm(turn);
        }
        Ok(())
    }

    /// The handshake is confirmed: its scaffolding goes (RFC 9001 §4.1.2, §4.9.2).
    pub(super) fn confirm(&mut self, turn: &mut Turn<'_>) {
        if self.confirmed {
            return;
        }
        self.confirmed = true;
        if let Some(keys) = &mut self.keys {
            keys.confirm();
        }
        self.drop_level(Level::Initial);
        self.drop_level(Level::Handshake);
        self.handshake = None;
        if self.role == Role::Server {
            self.tls.retire(); // its tickets wait in their stream
        }
        self.prove_address(turn);
        self.move_stranded(turn);
        self.paths.reserve(turn);
        self.announce(Event::Confirmed);
    }

    /// A client whose address changed during the handshake is asked whether it is there (RFC 9000 §8.2).
    fn prove_address(&mut self, turn: &Turn<'_>) {
        let patience = self.patience();
        if let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut()) {
            running.ask_where_unproven(patience, turn.now);
        }
    }

    /// Drops the keys of a level and takes what was in flight there off the books (RFC 9002 §6.4).
    pub(super) fn drop_level(&mut self, level: Level) {
        let Some(bytes) = self.handshake.as_mut().and_then(|it| it.discard(level)) else { return };
        if let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut()) {
            running.route.on_discarded(bytes);
            running.reset_timeouts();
        }
    }
}

/// What the peer's parameters allow us on streams.
fn stream_limits(theirs: &TransportParameters) -> PeerLimits {
    PeerLimits {
        max_data: theirs.initial_max_data,
        stream_data_bidi_local: theirs.initial_max_stream_data_bidi_local,
        stream_data_bidi_remote: theirs.initial_max_stream_data_bidi_remote,
        stream_data_uni: theirs.initial_max_stream_data_uni,
        max_streams_bidi: theirs.initial_max_streams_bidi,
        max_streams_uni: theirs.initial_max_streams_uni,
    }
}
