//! Builders: each writes one kind of datagram into the send buffer and seals it in place.
//!
//! All 1-RTT builders share `write_short`; only `build_train` knows trains of equal packets. What leaves is entered in
//! the books here: number spaces, credit, windows, idle timer. Initial and Handshake packets are `build_long`'s.

use smallvec::SmallVec;

use super::Connection;
use super::agreed::ACK_DELAY_EXPONENT;
use super::lifecycle::Farewell;
use super::tell;
use super::transmit::Transmission;
use crate::base::address::RouteId;
use crate::crypto::TAG_LEN;
use crate::crypto::nonce::Ppn;
use crate::id::PathId;
use crate::log::{Cause, Packet, PacketType, Record};
use crate::path::acks::AckForm;
use crate::path::cids::Post;
use crate::path::leg::Leg;
use crate::path::migration::Via;
use crate::path::route::DATAGRAM_SIZE_MIN;
use crate::path::sent::{Carriage, Departure};
use crate::path::{Path, Running};
use crate::stream::datagrams::Place;
use crate::turn::Turn;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::header_write::encode_short;
use crate::wire::packet::pn_len_for;
use crate::wire::receipt::{Receipt, ReceiptKind};

/// What goes into a 1-RTT packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// `bound`: of datagrams that are bound to the path, and nothing that could go elsewhere. `follower`: there is a packet
    /// before it in its train.
    Train {
        bound: bool,
        follower: bool,
    },
    Frames,
    Ack,
    /// Whatever waits, or else a PING.
    Probe,
    /// Challenge, response, and at most an acknowledgement with them.
    Validation {
        via: Via,
        challenge: Option<[u8; 8]>,
        response: Option<[u8; 8]>,
    },
    /// A PING, padded (RFC 9000 §14.4).
    MtuProbe,
    Close,
}

impl Load {
    /// The route that it takes.
    fn via(self) -> Via {
        match self {
            Self::Validation { via, .. } => via,
            _ => Via::Present,
        }
    }

    /// Does it take another route than the path's?
    fn is_aside(self) -> bool {
        self.via() != Via::Present
    }

    fn carriage(self) -> Carriage {
        match self {
            Self::Train { follower: true, .. } => Carriage::Follower,
            Self::MtuProbe => Carriage::MtuProbe,
            _ if self.is_aside() => Carriage::Aside,
            _ => Carriage::Leader,
        }
    }
}

/// A packet that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) bytes: usize,
    /// Its number.
    pub(super) number: u64,
    pub(super) in_flight: bool,
}

/// What a buffer holds so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled {
    pub(super) bytes: usize,
    pub(super) packets: usize,
    /// Of packets that count in flight.
    in_flight_bytes: u64,
    last_number: u64,
}

impl Filled {
    pub(super) fn add(&mut self, written: &Written) {
        self.bytes += written.bytes;
        self.packets += 1;
        self.last_number = written.number;
        if written.in_flight {
            self.in_flight_bytes += written.bytes as u64;
        }
    }
}

impl Connection {
    /// Stream data and datagrams: packets of equal size one behind the other, the last may be shorter (RFC 9002 §7.7).
    pub(super) fn build_train(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        bound: bool,
        buffer: &mut [u8],
        packets_max: usize,
    ) -> Option<Transmission> {
        use crate::path::route::Allowance;
        use crate::schedule::Scheduler as _;
        let route = &self.paths.get(id)?.running()?.route;
        let mut size = usize::from(route.datagram_size());
        let Allowance::Go { bytes: allowed } = route.allowance(turn.now) else { return None };
        let most = packets_max.min(usize::from(route.trains.packets_max(turn.now)));
        let limit = buffer.len().min(usize::try_from(allowed).unwrap_or(usize::MAX)).min(most * size);
        let mut filled = Filled::default();
        while filled.bytes + size <= limit && filled.packets < most {
            let room = &mut buffer[filled.bytes..filled.bytes + size];
            let load = Load::Train { bound, follower: filled.packets > 0 };
            let Some(written) = self.write_short(turn, id, load, 0, room) else { break };
            filled.add(&written);
            let datagrams = self.has_datagrams(id, bound, turn.now);
            if datagrams && filled.packets == 1 {
                size = written.bytes; // datagrams of one length make a train, whatever the length
            }
            let pending = self.streams.pending();
            let streams = !bound && pending.repair_bytes + pending.fresh_bytes > 0;
            if written.bytes < size || !(datagrams || streams) {
                break;
            }
        }
        self.scheduler.on_sent(id, filled.bytes as u64);
        let sent = self.depart(turn, id, filled, size);
        debug_assert!(
            self.paths
                .get(id)
                .and_then(Path::running)
                .is_none_or(|it| it.route.in_flight() <= it.route.window()),
            "only probes and acknowledgements may overdraw the window"
        );
        sent
    }

    /// Frames that are no stream data, one datagram of them.
    pub(super) fn build_frames(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        buffer: &mut [u8],
    ) -> Option<Transmission> {
        self.build_single(turn, id, Load::Frames, 0, buffer)
    }

    /// Nothing but an acknowledgement.
    pub(super) fn build_ack(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        buffer: &mut [u8],
    ) -> Option<Transmission> {
        self.build_single(turn, id, Load::Ack, 0, buffer)
    }

    /// Something ack-eliciting on a path that is silent (RFC 9002 §6.2.4), in a datagram that every route must carry: it
    /// may be for their size that others vanished.
    pub(super) fn build_probe(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        buffer: &mut [u8],
    ) -> Option<Transmission> {
        let most = buffer.len().min(usize::from(DATAGRAM_SIZE_MIN));
        let sent = self.build_single(turn, id, Load::Probe, 0, &mut buffer[..most]);
        if let Some(running) = self.paths.get_mut(id).and_then(|path| path.running_mut()) {
            running.on_probe_sent();
        }
        sent
    }

    /// A PING in a datagram larger than all before.
    pub(super) fn build_mtu_probe(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        buffer: &mut [u8],
    ) -> Option<Transmission> {
        let size = self.paths.get(id)?.running()?.route.mtu_probe_due(turn.now)?;
        let Some(room) = buffer.get_mut(..usize::from(size)) else {
            self.paths.get_mut(id)?.running_mut()?.on_mtu_probe_refused(turn.now);
            return None;
        };
        let written = self.write_short(turn, id, Load::MtuProbe, room.len(), room)?;
        let mut filled = Filled::default();
        filled.add(&written);
        let route = &mut self.paths.get_mut(id)?.running_mut()?.route;
        route.mtu.on_probe_sent(size, written.number, turn.now);
        let sent = self.depart(turn, id, filled, filled.bytes)?;
        Some(Transmission { mtu_probe: true, ..sent })
    }

    /// Challenge and response, padded to the size that the path must carry (RFC 9000 §8.2.1, MP-107, MP-108).
    pub(super) fn build_validation(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        via: Via,
        buffer: &mut [u8],
    ) -> Option<Transmission> {
        let path = self.paths.get_mut(id)?;
        let running = path.running_mut()?;
        let response = running.take_response(via);
        let here = running.route.id();
        let size = path.validation_size(via, response.as_ref()).min(buffer.len());
        let (now, rng) = (turn.now, &mut *turn.rng);
        let route = path.running_mut()?.route_via(via);
        let owes = route.filter(|route| route.owes_challenge(now));
        let padded = size >= usize::from(DATAGRAM_SIZE_MIN);
        let challenge = owes.and_then(|route| Some(route.challenge_mut()?.next(rng, padded, now)));
        let to = response.map_or(here, |owed| owed.route);
        let load = Load::Validation { via, challenge, response: response.map(|owed| owed.data) };
        if via == Via::Present {
            return self.build_single(turn, id, load, usize::from(DATAGRAM_SIZE_MIN), buffer);
        }
        let written = self.write_short(turn, id, load, size, &mut buffer[..size])?;
        self.depart_via(id, via, to, &written)
    }

    /// `CONNECTION_CLOSE`, at every level the peer may be able to read (RFC 9000 §10.2.3), on the best path (MP-051).
    pub(super) fn build_close(&mut self, turn: &mut Turn<'_>, buffer: &mut [u8]) -> Option<Transmission> {
        let farewell = self.lifecycle.farewell_owed()?.clone();
        let sent = if self.handshake.is_some() && !self.confirmed {
            self.build_long_close(turn, &farewell.veiled(), buffer)
        } else {
            // One that is not proven yet is better than one that was given up.
            let running = self.paths.iter().filter(|path| path.running().is_some());
            let other = || running.min_by_key(|path| path.stage().is_abandoned()).map(Path::id);
            let id = self.frames_path().or_else(other)?;
            self.build_single(turn, id, Load::Close, 0, buffer)
        };
        if sent.is_some() {
            self.lifecycle.on_farewell_sent();
        }
        sent
    }

    /// One 1-RTT packet in a datagram of its own.
    fn build_single(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        load: Load,
        pad_to: usize,
        buffer: &mut [u8],
    ) -> Option<Transmission> {
        let route = &self.paths.get(id)?.running()?.route;
        let size =
            usize::from(route.datagram_size()).min(usize::try_from(route.credit()).unwrap_or(usize::MAX));
        let size = size.min(buffer.len());
        let written = self.write_short(turn, id, load, pad_to.min(size), &mut buffer[..size])?;
        let mut filled = Filled::default();
        filled.add(&written);
        self.depart(turn, id, filled, filled.bytes)
    }

    /// Enters what leaves in the route's books.
    pub(super) fn depart(
        &mut self,
        turn: &Turn<'_>,
        id: PathId,
        filled: Filled,
        segment_size: usize,
    ) -> Option<Transmission> {
        let Filled { bytes, packets, in_flight_bytes, last_number } = filled;
        if packets == 0 {
            return None;
        }
        let path = self.paths.get_mut(id)?;
        path.counters.packets_sent += packets as u64;
        path.counters.bytes_sent += bytes as u64;
        self.stats.packets_sent += packets as u64;
        self.stats.bytes_sent += bytes as u64;
        let route = &mut path.running_mut()?.route;
        route.on_sent(bytes as u64, in_flight_bytes, last_number, turn.now);
        let (leg, route) = (route.leg(), route.id());
        let segment_size = segment_size.min(bytes);
        self.tell_metrics(id, Cause::Sent);
        Some(Transmission { segment_size, packets, ..Transmission::single((id, leg), &route, bytes) })
    }

    /// Enters what leaves on another route than the path's in that route's books: it is no part of the path's window.
    fn depart_via(&mut self, id: PathId, via: Via, to: RouteId, written: &Written) -> Option<Transmission> {
        let path = self.paths.get_mut(id)?;
        path.counters.packets_sent += 1;
        path.counters.bytes_sent += written.bytes as u64;
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += written.bytes as u64;
        let (leg, route) = match path.running_mut()?.route_via(via) {
            Some(route) => {
                route.on_sent_aside(written.bytes as u64);
                (route.leg(), route.id())
            }
            None => (Leg::NONE, to),
        };
        Some(Transmission::single((id, leg), &route, written.bytes))
    }

    /// Writes and seals one 1-RTT packet for path `id` at the front of `buffer`; `None` if it would carry nothing.
    pub(super) fn write_short(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        load: Load,
        pad_to: usize,
        buffer: &mut [u8],
    ) -> Option<Written> {
        let path = self.paths.get_mut(id)?;
        let aside = load.is_aside();
        let dcid = path.cid_via(load.via())?;
        let running = path.running_mut()?;
        let rng = &mut *turn.rng;
        let number = running.space.next_number(|bound| rng.below(bound), turn.now);
        let pn_len = pn_len_for(number, running.space.largest_acked());
        let key_phase = self.keys.as_ref()?.key_phase();
        if buffer.len() < 1 + dcid.len() + pn_len + TAG_LEN + 4 {
            return None;
        }
        let room = buffer.len() - TAG_LEN;
        let mut w = Writer::with_code_points(&mut buffer[..room], self.agreed.code_points);
        let pn_offset = encode_short(&mut w, &dcid, false, key_phase, number, pn_len);
        let header_len = w.len();
        self.scratch.receipts.clear();
        let (ping, abandoned) = self.fill(turn, id, load, &mut w);
        let only_acks = self.scratch.receipts.iter().all(|receipt| receipt.kind() == ReceiptKind::Ack);
        // A datagram on another route asks for no acknowledgement on this one: whether it arrives says nothing about the
        // path, and an answer is its own.
        let eliciting = !aside && (ping || !only_acks || matches!(load, Load::Validation { .. }));
        let carriage = load.carriage();
        if w.len() == header_len {
            return None;
        }
        // Header protection samples 16 bytes from 4 behind the start of the number (RFC 9001 §5.4.2).
        let padded = pad_to.saturating_sub(TAG_LEN).max(pn_offset + 4);
        let padding = padded.saturating_sub(w.len()).min(w.remaining());
        w.zeros(padding);
        let bytes = w.len() + TAG_LEN;
        let generation = self.keys.as_ref()?.generation();
        self.log.record(|| {
            Record::PacketSent(Packet {
                path: id,
                kind: PacketType::OneRtt,
                number,
                bytes,
                key_phase: Some(generation),
                mtu_probe: carriage == Carriage::MtuProbe,
                frames: tell::payload(&buffer[header_len..bytes - TAG_LEN], self.agreed.code_points),
            })
        });
        #[cfg(test)]
        self.hook.on_written(
            (crate::crypto::Level::OneRtt, id, number),
            dcid,
            &buffer[..bytes],
            header_len,
            turn.now,
        );
        let path = self.paths.get_mut(id)?;
        let running = path.running_mut()?;
        let sealed = self.keys.as_mut()?.seal(
            Ppn::new(id, number),
            &mut buffer[..bytes],
            pn_offset,
            pn_len,
            &mut running.space.phase,
        );
        if let Err(error) = sealed {
            self.fail(error.blame(), turn);
            return None;
        }
        let in_flight = !aside && (eliciting || padding > 0 && pad_to > 0);
        let departure = Departure { at: turn.now, bytes: bytes as u16, eliciting, in_flight, carriage };
        running.space.on_sent(departure, &self.scratch.receipts);
        if eliciting {
            running.space.acks.on_eliciting_sent();
            running.upkeep.on_sent(turn.now);
            self.idle.on_sent(turn.now);
        }
        for id in abandoned {
            self.on_abandon_sent(turn, id);
        }
        Some(Written { bytes, number, in_flight })
    }

    /// Writes the frames of a 1-RTT packet. Returns whether a PING is among them, and the paths whose `PATH_ABANDON` is.
    fn fill(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        load: Load,
        w: &mut Writer<'_>,
    ) -> (bool, SmallVec<[PathId; 2]>) {
        let mut abandoned = SmallVec::new();
        let mut ping = false;
        let mut place = Place::BeforeStreams;
        if let Load::Train { bound, .. } = load {
            place = self.datagrams.place();
            if place == Place::First {
                self.write_datagrams(id, bound, turn.now, w);
            }
        }
        if matches!(load, Load::Close) {
            self.write_farewell(w);
            return (false, abandoned);
        }
        if matches!(load, Load::MtuProbe) {
            Frame::Ping.write(w);
            return (false, abandoned); // nothing that would be missed, and no timer but its own
        }
        if let Load::Validation { challenge, response, .. } = load {
            if let Some(data) = response {
                Frame::PathResponse(data).write(w);
            }
            if let Some(data) = challenge {
                Frame::PathChallenge(data).write(w);
            }
        }
        if load.is_aside() {
            return (false, abandoned); // nothing that would move the path (RFC 9000 §9.1)
        }
        ping |= self.write_acks(turn, id, w);
        match load {
            Load::Ack | Load::Validation { .. } | Load::MtuProbe | Load::Close => {}
            Load::Frames => {
                ping |= self.write_control(id, w, &mut abandoned);
            }
            Load::Train { bound, .. } => {
                ping |= self.write_control(id, w, &mut abandoned);
                if place == Place::BeforeStreams {
                    self.write_datagrams(id, bound, turn.now, w);
                }
                if !bound {
                    self.write_stream_data(id, w);
                }
                if place == Place::AfterStreams {
                    self.write_datagrams(id, bound, turn.now, w);
                }
            }
            Load::Probe => {
                if self.frequency.is_obeyed() && w.remaining() > 0 {
                    Frame::ImmediateAck.write(w);
                    ping = true;
                }
                // What a doubted path carries may be lost: there only if no other is better.
                let open = |path: &Path| matches!(path.stage(), crate::path::stage::Stage::Open);
                if self.paths.get(id).is_some_and(open) || !self.paths.has_alternative(id) {
                    if self.paths.get(id).and_then(Path::running).is_some_and(Running::is_first_probe) {
                        self.repeat_for_probe(id);
                    }
                    ping |= self.write_control(id, w, &mut abandoned);
                    self.write_stream_data(id, w);
                }
                let nothing = self.scratch.receipts.iter().all(|receipt| receipt.kind() == ReceiptKind::Ack);
                if nothing && !ping && w.remaining() > 0 {
                    Frame::Ping.write(w);
                    ping = true;
                }
            }
        }
        (ping, abandoned)
    }

    /// Acknowledgements for path `on`, and for those that cannot send their own. `true` if a PING asks for a reply.
    fn write_acks(&mut self, turn: &Turn<'_>, on: PathId, w: &mut Writer<'_>) -> bool {
        let form = AckForm { multipath: self.paths.is_multipath(), delay_exponent: ACK_DELAY_EXPONENT };
        let mut ping = false;
        for id in self.paths.ids() {
            let owed = self
                .paths
                .get(id)
                .is_some_and(|path| path.running().is_some_and(|it| it.space.acks.is_owed()));
            if !owed || (id != on && self.ack_path(id) != Some(on)) {
                continue;
            }
            let Some(running) = self.paths.get_mut(id).and_then(|path| path.running_mut()) else { continue };
            if running.space.acks.write(w, &mut self.scratch.receipts, id, form, turn.now) {
                if let (Some(keys), Some(largest)) = (&mut self.keys, running.space.acks.largest()) {
                    keys.on_ack_written(&running.space.phase, largest);
                }
                if running.space.acks.wants_reply() && w.remaining() > 0 {
                    Frame::Ping.write(w);
                    ping = true;
                }
            }
        }
        ping
    }

    /// Frames that may travel on any path.
    fn write_control(
        &mut self,
        on: PathId,
        w: &mut Writer<'_>,
        abandoned: &mut SmallVec<[PathId; 2]>,
    ) -> bool {
        if !self.wants_frames() {
            return false;
        }
        let receipts = &mut self.scratch.receipts;
        let mut ping = false;
        if self.handshake_done == Some(Post::Queued) && w.remaining() > 0 {
            Frame::HandshakeDone.write(w);
            receipts.push(Receipt::handshake_done());
            self.handshake_done = Some(Post::Sent);
        }
        if self.tickets.wants() {
            self.tickets.write(w, receipts);
        }
        if self.confirmed {
            *abandoned = self.paths.write_frames(w, receipts, on);
        }
        self.frequency.write(w, receipts);
        self.streams.write_control(w, receipts);
        if self.ping_owed && w.remaining() > 0 {
            Frame::Ping.write(w);
            self.ping_owed = false;
            ping = true;
        }
        ping
    }

    fn write_stream_data(&mut self, id: PathId, w: &mut Writer<'_>) {
        let bytes = self.streams.write_data(w, &mut self.scratch.receipts, true) as u64;
        self.stats.stream_bytes_sent += bytes;
        if let Some(path) = self.paths.get_mut(id) {
            path.counters.stream_bytes_sent += bytes;
        }
    }

    fn write_farewell(&self, w: &mut Writer<'_>) {
        if let Some(farewell) = self.lifecycle.farewell() {
            write_close_frame(farewell, w);
        }
    }

    /// Our `PATH_ABANDON` left: silence on that path, and late packets are waited for (MP-161, MP-164).
    fn on_abandon_sent(&mut self, turn: &mut Turn<'_>, id: PathId) {
        let until = turn.now + self.longest_probe_timeout() * 3;
        if let Some(path) = self.paths.get_mut(id) {
            path.remote.drop_all(turn);
            path.on_abandon_sent(until);
            if let Some(running) = path.running_mut() {
                running.space.acks.hurry();
            }
        }
    }
}

pub(super) fn write_close_frame(farewell: &Farewell, w: &mut Writer<'_>) {
    let mut frame = Frame::ConnectionClose {
        application: farewell.application,
        code: farewell.code,
        frame_type: farewell.frame_type,
        reason: &farewell.reason,
    };
    if frame.len() > w.remaining() {
        frame = Frame::ConnectionClose {
            application: farewell.application,
            code: farewell.code,
            frame_type: farewell.frame_type,
            reason: &[],
        };
    }
    if frame.len() <= w.remaining() {
        frame.write(w);
    }
}
