//! The way in: a datagram becomes opened packets.
//!
//! Unmask, open, account; reading the frames is `frames`' and acting on them the rooms'. Nothing is believed before it
//! was opened, and a packet that does not open changes nothing but a counter.

use super::Connection;
use super::frames::Place;
use super::handshake::Rung;
use crate::base::address::{Ecn, RouteId};
use crate::cid::CID_LEN;
use crate::crypto::Level;
use crate::crypto::nonce::Ppn;
use crate::crypto::phase::PhaseMark;
use crate::error::{CloseReason, TransportError};
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::path::challenge::Challenge;
use crate::path::route::Route;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::header::{LongHeader, LongKind};
use crate::wire::packet::{self, PacketKind, VERSION_1};

/// A datagram for this connection.
pub(crate) struct Arrival<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// The path that its connection ID was issued for (MP-035).
    pub(crate) path: PathId,
    pub(crate) route: RouteId,
    pub(crate) ecn: Ecn,
}

/// A packet that was dropped without consequence.
struct Dropped;

type Verdict = Result<Result<(), Dropped>, TransportError>;

const DROPPED: Verdict = Ok(Err(Dropped));

impl Connection {
    /// A datagram arrived.
    pub(crate) fn receive(&mut self, turn: &mut Turn<'_>, arrival: Arrival<'_>) {
        let Arrival { bytes, path, route, ecn } = arrival;
        if self.lifecycle.is_ending() {
            self.is_expected(path, &route, bytes.len());
            self.lifecycle.on_heard();
            return;
        }
        if !self.is_expected(path, &route, bytes.len()) {
            self.stats.packets_discarded += 1;
            return;
        }
        self.stats.bytes_received += bytes.len() as u64;
        let size = bytes.len();
        let mut rest = bytes;
        let mut first_dcid = None;
        while !rest.is_empty() && !self.lifecycle.is_ending() {
            let (packet, tail, verdict) = if packet::is_long(rest[0]) {
                let Some(head) = Head::parse(rest) else {
                    self.stats.packets_discarded += 1;
                    return;
                };
                // Coalesced packets belong to one connection and one path (RFC 9000 §12.2, MP-310).
                if *first_dcid.get_or_insert(head.dcid) != head.dcid {
                    self.stats.packets_discarded += 1;
                    return;
                }
                let (packet, tail) = rest.split_at_mut(head.packet_len);
                let verdict = self.receive_long(turn, packet, &head, ecn);
                (packet, tail, verdict)
            } else {
                let (packet, tail) = rest.split_at_mut(rest.len());
                let alone = first_dcid.is_none_or(|dcid| packet.get(1..=CID_LEN) == Some(&dcid[..]));
                let verdict =
                    if alone { self.receive_short(turn, packet, path, &route, ecn, size) } else { DROPPED };
                (packet, tail, verdict)
            };
            match verdict {
                Ok(Ok(())) => {}
                Ok(Err(Dropped)) => self.stats.packets_discarded += 1,
                Err(error) => self.fail(error, turn),
            }
            debug_assert!(!packet.is_empty());
            rest = tail;
        }
    }

    /// May a datagram come for `path` on `route`? Counts it towards the credit of an unproven peer.
    fn is_expected(&mut self, path: PathId, route: &RouteId, size: usize) -> bool {
        let may_open = self.role == Role::Server && self.paths.is_multipath();
        let Some(path) = self.paths.get_mut(path) else { return false };
        let abandoned = path.stage().is_abandoned();
        let Some(running) = path.running_mut() else { return may_open && !abandoned };
        let known = running.route.recognises(route);
        if known {
            running.route.on_received(size);
            path.counters.bytes_received += size as u64;
        }
        known
    }

    /// An Initial or Handshake packet.
    fn receive_long(&mut self, turn: &mut Turn<'_>, bytes: &mut [u8], head: &Head, ecn: Ecn) -> Verdict {
        let Some(handshake) = &mut self.handshake else { return DROPPED };
        if self.role == Role::Client && handshake.heard && self.peer_scid != Some(head.scid) {
            return DROPPED; // RFC 9000 §7.2
        }
        let Some(rung) = handshake.rung(head.level) else { return DROPPED };
        let Some((number, payload)) = open_long(rung, bytes, head)? else { return DROPPED };
        if self.role == Role::Client && !handshake.heard {
            handshake.heard = true;
            self.peer_scid = Some(head.scid);
            if let Some(path) = self.paths.get_mut(PathId::ZERO) {
                path.remote.adopt(head.scid);
            }
        }
        if self.role == Role::Server && head.level == Level::Handshake {
            self.on_client_proven();
        }
        let place = Place {
            kind: if head.level == Level::Initial { PacketKind::Initial } else { PacketKind::Handshake },
            path: PathId::ZERO,
            dcid: head.dcid,
            generation: 0,
        };
        self.on_opened(PathId::ZERO, turn);
        let eliciting = self.read_frames(turn, &place, &bytes[payload])?;
        if let Some(rung) = self.handshake.as_mut().and_then(|handshake| handshake.rung(head.level))
            && !rung.is_discarded()
        {
            rung.space.acks.on_received(number, eliciting, ecn, std::time::Duration::ZERO, turn.now);
        }
        Ok(Ok(()))
    }

    /// A 1-RTT packet.
    fn receive_short(
        &mut self,
        turn: &mut Turn<'_>,
        bytes: &mut [u8],
        id: PathId,
        route: &RouteId,
        ecn: Ecn,
        size: usize,
    ) -> Verdict {
        // Not before the handshake is complete (RFC 9001 §5.7).
        if self.lifecycle.is_handshaking() || bytes.len() <= CID_LEN || !packet::has_fixed_bit(bytes[0]) {
            return DROPPED;
        }
        let pto_max = self.longest_probe_timeout();
        let Some(keys) = &mut self.keys else { return DROPPED };
        let pn_offset = 1 + CID_LEN;
        let Some(unmasked) = keys.unmask(bytes, pn_offset) else { return DROPPED };
        let Some(path) = self.paths.get_mut(id) else { return DROPPED };
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
            return DROPPED;
        }
        let offset = pn_offset + unmasked.pn_len;
        let opened = match keys.open(Ppn::new(id, number), bytes, offset, mark, turn.now, pto_max) {
            Ok(opened) => opened,
            Err(error) => return error.blame().map_or(DROPPED, Err),
        };
        if path.running().is_none() {
            self.on_path_opened_by_peer(turn, id, route, fresh, size);
        }
        let dcid = Cid::new(&bytes[1..=CID_LEN]).unwrap_or(Cid::EMPTY);
        let place = Place { kind: PacketKind::OneRtt, path: id, dcid, generation: opened.generation };
        self.on_opened(id, turn);
        let eliciting = self.read_frames(turn, &place, &bytes[opened.payload])?;
        let delay = self.config.max_ack_delay;
        if let Some(path) = self.paths.get_mut(id) {
            let abandoned = path.stage().is_abandoned();
            if let Some(running) = path.running_mut() {
                running.space.acks.on_received(number, eliciting, ecn, delay, turn.now);
                if abandoned {
                    running.space.acks.hurry(); // MP-170
                }
            }
        }
        Ok(Ok(()))
    }

    /// A packet was opened.
    fn on_opened(&mut self, id: PathId, turn: &Turn<'_>) {
        self.stats.packets_received += 1;
        if let Some(path) = self.paths.get_mut(id) {
            path.counters.packets_received += 1;
        }
        self.idle.on_received(turn.now);
    }

    /// The client sent a Handshake packet, so it received ours: it is at its address (RFC 9000 §8.1).
    fn on_client_proven(&mut self) {
        if let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut()) {
            running.route.on_validated();
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
    fn on_path_opened_by_peer(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        route: &RouteId,
        mark: PhaseMark,
        size: usize,
    ) {
        let timeouts = self.validation_timeouts();
        let mut fresh = Route::new(*route, &self.config, false);
        fresh.on_received(size);
        fresh.on_peer_maximum(self.peer_datagram_max);
        if let Some(path) = self.paths.get_mut(id) {
            path.start(fresh, Some(Challenge::new(timeouts.0, timeouts.1, turn.now)));
            path.counters.bytes_received += size as u64;
            if let Some(running) = path.running_mut() {
                running.space.phase = mark;
            }
        }
        self.paths.count_opened();
        self.paths.reserve(turn);
        self.announce(Event::PathOpened(id));
    }

    /// How long to wait for the answer to a first challenge: by what other paths are like, and by the book (MP-113).
    pub(super) fn validation_timeouts(&self) -> (std::time::Duration, std::time::Duration) {
        (self.longest_probe_timeout(), self.config.initial_rtt * 3)
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
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.get(1..5)? != VERSION_1.to_be_bytes() {
            return None;
        }
        let header = LongHeader::parse(bytes).ok()?;
        let level = match header.kind {
            LongKind::Initial { .. } => Level::Initial,
            LongKind::Handshake => Level::Handshake,
            LongKind::ZeroRtt | LongKind::Retry => return None,
        };
        let LongHeader { dcid, scid, pn_offset, packet_len, .. } = header;
        Some(Self { level, dcid, scid, pn_offset, packet_len })
    }
}

/// Opens a packet of a level: its number and where its frames are; `None` to drop it.
fn open_long(
    rung: &mut Rung,
    bytes: &mut [u8],
    head: &Head,
) -> Result<Option<(u64, std::ops::Range<usize>)>, TransportError> {
    let Some(keys) = &mut rung.keys else { return Ok(None) };
    let Some(unmasked) = keys.unmask(bytes, head.pn_offset) else { return Ok(None) };
    let number = packet::expand_pn(unmasked.truncated_pn, unmasked.pn_len, rung.space.acks.expected());
    if rung.space.acks.is_duplicate(number) {
        return Ok(None);
    }
    match keys.open(number, bytes, head.pn_offset + unmasked.pn_len) {
        Ok(payload) => Ok(Some((number, payload))),
        Err(error) => error.blame().map_or(Ok(None), Err),
    }
}
