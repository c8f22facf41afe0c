//! The way in: a datagram becomes opened packets.
//!
//! Unmask, open, account; reading the frames is `frames`' and acting on them the rooms'. Nothing is believed before it
//! was opened, and a packet that does not open changes nothing but a counter.

use std::time::Duration;

use super::Connection;
use super::frames::Place;
use super::handshake::Rung;
use crate::base::address::{Ecn, RouteId};
use crate::cid::CID_LEN;
use crate::config::PathOptions;
use crate::crypto::Level;
use crate::crypto::nonce::Ppn;
use crate::crypto::phase::PhaseMark;
use crate::error::{CloseReason, TransportError};
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::log::{DropReason, Initiator, Record};
use crate::path::frequency::Habit;
use crate::path::migration::{Origin, Patience};
use crate::path::route::Route;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::header::{LongHeader, LongKind};
use crate::wire::packet::{self, DATAGRAM_LEN_MIN, PacketKind, VERSION_1};

/// A datagram for this connection.
pub(crate) struct Arrival<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// The path that its connection ID was issued for (MP-035).
    pub(crate) path: PathId,
    pub(crate) route: RouteId,
    pub(crate) ecn: Ecn,
}

/// What is known of a datagram besides its bytes.
struct From {
    path: PathId,
    route: RouteId,
    origin: Origin,
    size: usize,
}

/// What became of a packet: taken, dropped without consequence, or the end of the connection.
type Verdict = Result<Result<(), DropReason>, TransportError>;

impl Connection {
    /// A datagram arrived.
    pub(crate) fn receive(&mut self, turn: &mut Turn<'_>, arrival: Arrival<'_>) {
        let Arrival { bytes, path, route, ecn } = arrival;
        #[cfg(test)]
        self.hook.on_datagram(route, bytes.len());
        let size = bytes.len();
        let origin = self.origin(path, &route, size);
        if self.lifecycle.is_ending() {
            self.lifecycle.on_heard();
            return;
        }
        let Some(origin) = origin else { return self.discard(path, size, DropReason::WrongRoute) };
        let opened_before = self.stats.packets_received;
        let from = From { path, route, origin, size };
        self.receive_packets(turn, bytes, &from, ecn);
        // Of what comes from elsewhere only what the peer sealed is its own.
        if origin == Origin::Present || self.stats.packets_received > opened_before {
            self.stats.bytes_received += size as u64;
            if let Some(path) = self.paths.get_mut(path) {
                path.counters.bytes_received += size as u64;
            }
        }
    }

    /// The packets of a datagram, one after the other.
    fn receive_packets(&mut self, turn: &mut Turn<'_>, bytes: &mut [u8], from: &From, ecn: Ecn) {
        let mut rest = bytes;
        let mut first_dcid = None;
        while !rest.is_empty() && !self.lifecycle.is_ending() {
            let (packet, tail, verdict) = if packet::is_long(rest[0]) {
                let head = match Head::parse(rest) {
                    Ok(head) => head,
                    Err(why) => return self.discard(from.path, rest.len(), why),
                };
                // Coalesced packets belong to one connection and one path (RFC 9000 §12.2, MP-310).
                if *first_dcid.get_or_insert(head.dcid) != head.dcid {
                    return self.discard(from.path, rest.len(), DropReason::WrongCid);
                }
                let (packet, tail) = rest.split_at_mut(head.packet_len);
                // Addresses do not change during the handshake (RFC 9000 §9), but clients may race for one.
                let late = from.origin != Origin::Present && self.confirmed;
                let verdict = if late {
                    Ok(Err(DropReason::WrongRoute))
                } else {
                    self.receive_long(turn, packet, &head, from, ecn)
                };
                (packet, tail, verdict)
            } else {
                let (packet, tail) = rest.split_at_mut(rest.len());
                let alone = first_dcid.is_none_or(|dcid| packet.get(1..=CID_LEN) == Some(&dcid[..]));
                let verdict = if alone {
                    self.receive_short(turn, packet, from, ecn)
                } else {
                    Ok(Err(DropReason::WrongCid))
                };
                (packet, tail, verdict)
            };
            match verdict {
                Ok(Ok(())) => {}
                Ok(Err(why)) => self.discard(from.path, packet.len(), why),
                Err(error) => self.fail(error, turn),
            }
            debug_assert!(!packet.is_empty());
            rest = tail;
        }
    }

    /// A packet, or what is left of a datagram, changes nothing but a counter.
    fn discard(&mut self, path: PathId, bytes: usize, reason: DropReason) {
        self.stats.packets_discarded += 1;
        self.log.record(|| Record::PacketDropped { path, bytes, reason });
    }

    /// Where a datagram for `path` came from; `None` if nothing may come from there. Counts it towards the credit of an
    /// unproven peer.
    fn origin(&mut self, path: PathId, route: &RouteId, size: usize) -> Option<Origin> {
        // A client's address may change, a server's may not (RFC 9000 §9).
        let may_move = self.role == Role::Server && self.confirmed;
        let may_open = self.role == Role::Server && self.paths.is_multipath();
        let races = self.handshake.as_ref().is_some_and(|handshake| handshake.races_on(route));
        let shaking = self.role == Role::Server && self.lifecycle.is_handshaking();
        let path = self.paths.get_mut(path)?;
        let abandoned = path.stage().is_abandoned();
        match path.running_mut() {
            Some(running) => {
                // Until the client is proven to be somewhere its first packets may come from several places.
                let may_come = may_move || races || shaking && !running.route.is_validated();
                Some(running.on_datagram(route, size)).filter(|it| may_come || *it != Origin::Unknown)
            }
            None => (may_open && !abandoned).then_some(Origin::Present),
        }
    }

    /// An Initial or Handshake packet.
    fn receive_long(
        &mut self,
        turn: &mut Turn<'_>,
        bytes: &mut [u8],
        head: &Head,
        from: &From,
        ecn: Ecn,
    ) -> Verdict {
        let Some(handshake) = &mut self.handshake else { return Ok(Err(DropReason::NoKeys)) };
        if self.role == Role::Client && handshake.heard && self.peer_scid != Some(head.scid) {
            return Ok(Err(DropReason::WrongSource)); // RFC 9000 §7.2
        }
        if self.role == Role::Server && head.level == Level::Initial && from.size < DATAGRAM_LEN_MIN {
            return Ok(Err(DropReason::SmallDatagram)); // RFC 9000 §14.1
        }
        let Some(rung) = handshake.rung(head.level) else { return Ok(Err(DropReason::NoKeys)) };
        let (number, payload) = match open_long(rung, bytes, head)? {
            Ok(opened) => opened,
            Err(why) => return Ok(Err(why)),
        };
        if self.role == Role::Client && !handshake.heard {
            handshake.heard = true;
            self.peer_scid = Some(head.scid);
            if let Some(path) = self.paths.get_mut(PathId::ZERO) {
                path.remote.adopt(head.scid);
            }
        }
        if self.role == Role::Client {
            self.end_race(from.route);
        }
        if self.role == Role::Server && from.origin != Origin::Present {
            self.on_client_elsewhere(from);
        }
        if self.role == Role::Server && head.level == Level::Handshake {
            self.on_client_proven();
        }
        let place = Place {
            kind: if head.level == Level::Initial { PacketKind::Initial } else { PacketKind::Handshake },
            path: PathId::ZERO,
            dcid: head.dcid,
            generation: 0,
            route: from.route,
            datagram_bytes: from.size,
        };
        self.on_opened(PathId::ZERO, turn);
        self.tell_received(&place, number, bytes.len(), &bytes[payload.clone()]);
        #[cfg(test)]
        self.hook.on_opened(&place, number, &bytes[payload.clone()], turn.now);
        let eliciting = self.read_frames(turn, &place, &bytes[payload])?.eliciting;
        if let Some(rung) = self.handshake.as_mut().and_then(|handshake| handshake.rung(head.level))
            && !rung.is_discarded()
        {
            rung.space.acks.on_received(number, eliciting, ecn, Habit::usual(Duration::ZERO), turn.now);
        }
        Ok(Ok(()))
    }

    /// A 1-RTT packet.
    fn receive_short(&mut self, turn: &mut Turn<'_>, bytes: &mut [u8], from: &From, ecn: Ecn) -> Verdict {
        let id = from.path;
        // Not before the handshake is complete (RFC 9001 §5.7).
        if self.lifecycle.is_handshaking() {
            return Ok(Err(DropReason::NoKeys));
        }
        if bytes.len() <= CID_LEN || !packet::has_fixed_bit(bytes[0]) {
            return Ok(Err(DropReason::Malformed));
        }
        let pto_max = self.longest_probe_timeout();
        let Some(keys) = &mut self.keys else { return Ok(Err(DropReason::NoKeys)) };
        let pn_offset = 1 + CID_LEN;
        let Some(unmasked) = keys.unmask(bytes, pn_offset) else { return Ok(Err(DropReason::Malformed)) };
        let Some(path) = self.paths.get_mut(id) else { return Ok(Err(DropReason::WrongRoute)) };
        let mut fresh = PhaseMark::default();
        let (expected, duplicate, mark) = match path.running_mut() {
            Some(running) => {
                let expected = running.space.acks.expected();
                let number = packet::expand_pn(unmasked.truncated_pn, unmasked.pn_len, expected);
                (expected, running.space.acks.is_duplicate(number), &mut running.space.phase)
            }
            None => (0, false, &mut fresh),
        };
        let number = packet::expand_pn(unmasked.truncated_pn, unmasked.pn_len, expected);
        if duplicate {
            return Ok(Err(DropReason::Duplicate));
        }
        let offset = pn_offset + unmasked.pn_len;
        let generation = keys.generation();
        let opened = match keys.open(Ppn::new(id, number), bytes, offset, mark, turn.now, pto_max) {
            Ok(opened) => opened,
            Err(error) => return error.blame().map_or(Ok(Err(DropReason::NotAuthentic)), Err),
        };
        if opened.generation > generation {
            let (by, generation) = (Initiator::Remote, opened.generation);
            self.log.record(|| Record::KeysUpdated { by, generation });
        }
        if path.running().is_none() {
            self.on_path_opened_by_peer(turn, from, fresh);
        }
        let place = Place {
            kind: PacketKind::OneRtt,
            path: id,
            dcid: Cid::new(&bytes[1..=CID_LEN]).unwrap_or(Cid::EMPTY),
            generation: opened.generation,
            route: from.route,
            datagram_bytes: from.size,
        };
        self.on_opened(id, turn);
        let frames = &bytes[opened.payload];
        self.tell_received(&place, number, bytes.len(), frames);
        #[cfg(test)]
        self.hook.on_opened(&place, number, frames, turn.now);
        let reading = self.read_frames(turn, &place, frames)?;
        let habit = self.frequency.habit();
        let Some(path) = self.paths.get_mut(id) else { return Ok(Ok(())) };
        let abandoned = path.stage().is_abandoned();
        let Some(running) = path.running_mut() else { return Ok(Ok(())) };
        let newest = running.space.acks.largest().is_none_or(|largest| number > largest);
        running.space.acks.on_received(number, reading.eliciting, ecn, habit, turn.now);
        if abandoned {
            running.space.acks.hurry(); // MP-170
        } else if from.origin != Origin::Present && newest && !reading.probing {
            self.on_peer_moved(turn, from);
        }
        if reading.hurried {
            self.paths.hurry_acks();
        }
        Ok(Ok(()))
    }

    /// The peer is somewhere else now (RFC 9000 §9.3, MP-117, MP-118).
    fn on_peer_moved(&mut self, turn: &mut Turn<'_>, from: &From) {
        if self.role == Role::Client || self.lifecycle.is_ending() {
            return;
        }
        let patience = self.patience();
        let mut fresh = Route::new(from.route, &self.config, false);
        fresh.on_peer_maximum(self.peer_datagram_max);
        if let Some(path) = self.paths.get_mut(from.path) {
            // The handshake's packets in front of it in the datagram may have told so.
            if path.running_mut().is_none_or(|running| running.route.recognises(&from.route)) {
                return;
            }
            path.on_peer_moved(turn, fresh, from.size, patience);
            self.announce(Event::PathMigrated(from.path));
        }
    }

    /// A packet was opened.
    fn on_opened(&mut self, id: PathId, turn: &Turn<'_>) {
        self.stats.packets_received += 1;
        if let Some(path) = self.paths.get_mut(id) {
            path.on_packet(turn.now);
        }
        self.idle.on_received(turn.now);
    }

    /// A client that nobody has proven to be anywhere sent from another address: it races, and hears us there perhaps. Or
    /// somebody copied what it sent.
    fn on_client_elsewhere(&mut self, from: &From) {
        let mut fresh = Route::new(from.route, &self.config, false);
        fresh.on_peer_maximum(self.peer_datagram_max);
        if let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut())
            && !running.route.is_validated()
            && !running.route.recognises(&from.route)
        {
            running.redirect_in_doubt(fresh, from.size);
            self.log.record(|| Record::Redirected { path: PathId::ZERO, route: from.route });
            if let Some(handshake) = &mut self.handshake {
                handshake.repeat(); // what went to the other address may be lost
            }
        }
    }

    /// The client sent a Handshake packet, so it received ours: it is at its address (RFC 9000 §8.1).
    fn on_client_proven(&mut self) {
        if let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut()) {
            running.route.on_read_by_peer();
        }
        if self
            .handshake
            .as_mut()
            .and_then(|it| it.rung(Level::Initial))
            .is_some_and(|rung| !rung.is_discarded())
        {
            self.drop_level(Level::Initial);
        }
    }

    /// The client uses a path for the first time (MP-106): answer, and prove its address before data goes there
    /// (MP-104).
    fn on_path_opened_by_peer(&mut self, turn: &mut Turn<'_>, from: &From, mark: PhaseMark) {
        let challenge = self.patience().challenge(turn.now);
        let mut fresh = Route::new(from.route, &self.config, false);
        fresh.on_received(from.size);
        fresh.on_peer_maximum(self.peer_datagram_max);
        if let Some(path) = self.paths.get_mut(from.path) {
            let upkeep = super::upkeep(&self.config, &PathOptions::default(), turn);
            path.start(fresh, Some(challenge), upkeep);
            if let Some(running) = path.running_mut() {
                running.space.phase = mark;
            }
        }
        self.log.record(|| Record::PathOpened { path: from.path, route: from.route, by: Initiator::Remote });
        self.tell_datagram_size(from.path);
        self.paths.count_opened();
        self.paths.reserve(turn);
        self.announce(Event::PathOpened(from.path));
    }

    /// How long to wait for the answer to a first challenge: by what other paths are like, and by the book (MP-113).
    pub(super) fn patience(&self) -> Patience {
        Patience { probe_timeout: self.longest_probe_timeout(), initial: self.config.initial_rtt * 3 }
    }

    /// The peer does not know this connection any more (RFC 9000 §10.3.1).
    pub(crate) fn on_stateless_reset(&mut self, turn: &Turn<'_>) {
        if !self.lifecycle.is_ending() {
            self.drain(turn);
            self.end(CloseReason::StatelessReset);
        }
    }

    /// A Version Negotiation packet: the server speaks none of our versions (RFC 9000 §6.2).
    pub(crate) fn on_version_negotiation(&mut self, offers_ours: bool) {
        let early = self.handshake.as_ref().is_some_and(|handshake| !handshake.heard);
        if self.role == Role::Client && early && !offers_ours && !self.lifecycle.is_ending() {
            self.lifecycle = super::lifecycle::Lifecycle::Gone;
            self.end(CloseReason::VersionMismatch);
        }
    }

    /// Sends nothing any more, and waits for late packets to pass by (RFC 9000 §10.2.2).
    pub(super) fn drain(&mut self, turn: &Turn<'_>) {
        let until = turn.now + self.longest_probe_timeout() * 3;
        self.lifecycle = super::lifecycle::Lifecycle::Draining { until };
    }
}

/// What a long header says, apart from the packet's bytes.
struct Head {
    level: Level,
    dcid: Cid,
    scid: Cid,
    pn_offset: usize,
    packet_len: usize,
}

impl Head {
    /// The header of a version 1 Initial or Handshake packet at the front of `bytes`.
    fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        if bytes.get(1..5).is_some_and(|version| version != VERSION_1.to_be_bytes()) {
            return Err(DropReason::Unsupported);
        }
        let header = LongHeader::parse(bytes).map_err(|_| DropReason::Malformed)?;
        let level = match header.kind {
            LongKind::Initial { .. } => Level::Initial,
            LongKind::Handshake => Level::Handshake,
            LongKind::ZeroRtt | LongKind::Retry => return Err(DropReason::Unsupported),
        };
        let LongHeader { dcid, scid, pn_offset, packet_len, .. } = header;
        Ok(Self { level, dcid, scid, pn_offset, packet_len })
    }
}

/// Opens a packet of a level: its number and where its frames are, or why it is dropped.
fn open_long(
    rung: &mut Rung,
    bytes: &mut [u8],
    head: &Head,
) -> Result<Result<(u64, std::ops::Range<usize>), DropReason>, TransportError> {
    let Some(keys) = &mut rung.keys else { return Ok(Err(DropReason::NoKeys)) };
    let Some(unmasked) = keys.unmask(bytes, head.pn_offset) else { return Ok(Err(DropReason::Malformed)) };
    let number = packet::expand_pn(unmasked.truncated_pn, unmasked.pn_len, rung.space.acks.expected());
    if rung.space.acks.is_duplicate(number) {
        return Ok(Err(DropReason::Duplicate));
    }
    match keys.open(number, bytes, head.pn_offset + unmasked.pn_len) {
        Ok(payload) => Ok(Ok((number, payload))),
        Err(error) => error.blame().map_or(Ok(Err(DropReason::NotAuthentic)), Err),
    }
}
