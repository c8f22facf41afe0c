//! Builders of Initial and Handshake packets, the only ones that are coalesced (RFC 9000 §12.2).
//!
//! Both levels share `write_long`. A datagram with an Initial in it is brought to 1200 bytes by its last packet (RFC 9000
//! §14.1); nothing here is left once the handshake is confirmed.

use smallvec::SmallVec;

use super::Connection;
use super::agreed::ACK_DELAY_EXPONENT;
use super::build::{Filled, Load, Written, write_close_frame};
use super::lifecycle::Farewell;
use super::tell;
use super::transmit::Transmission;
use crate::crypto::{Level, TAG_LEN};
use crate::id::{PathId, Role};
use crate::log::{Packet, Record};
use crate::path::acks::AckForm;
use crate::path::route::DATAGRAM_SIZE_MIN;
use crate::path::sent::{Carriage, Departure};
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::code_points::CodePoints;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::header::LongKind;
use crate::wire::header_write::{LONG_LENGTH_MAX, encode_long, long_header_len, patch_length};
use crate::wire::packet::{VERSION_1, pn_len_for};

/// Room behind an Initial packet below which no Handshake packet is expected to fit in the same datagram.
const FOLLOWER_MIN: usize = 100;

/// How a packet with a long header is brought to size.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// The least it must have in bytes, tag included.
    least: usize,
    /// Another packet is to follow in the datagram and brings that to size, unless too little room is left for it.
    follower: bool,
}

impl Connection {
    /// Coalesces what both levels have to say in one datagram (RFC 9000 §12.2, §14.1).
    pub(super) fn build_handshake(&mut self, turn: &mut Turn<'_>, buffer: &mut [u8]) -> Option<Transmission> {
        let wanting = self.handshake.as_ref()?.wanting();
        let size = self.long_datagram_size(buffer)?;
        let levels: SmallVec<[Level; 2]> = wanting.into_iter().flatten().collect();
        let has_initial = levels.contains(&Level::Initial);
        let mut filled = Filled::default();
        for (at, &level) in levels.iter().enumerate() {
            // The last packet brings a datagram with an Initial in it to its least size.
            let least =
                if has_initial { usize::from(DATAGRAM_SIZE_MIN).saturating_sub(filled.bytes) } else { 0 };
            let want = Size { least, follower: at + 1 < levels.len() };
            let room = &mut buffer[filled.bytes..size];
            let Some(written) = self.write_long(turn, level, want, None, room) else { break };
            filled.add(&written);
        }
        if !has_initial && filled.packets == levels.len() {
            self.add_short_probe(turn, &mut filled, &mut buffer[..size]);
        }
        let sent = self.depart(turn, PathId::ZERO, filled, filled.bytes);
        if let Some(race) = self.handshake.as_mut().and_then(|handshake| handshake.race.as_mut()) {
            race.on_sent();
        }
        if self.role == Role::Client && levels.contains(&Level::Handshake) && filled.packets >= levels.len() {
            self.drop_level(Level::Initial); // RFC 9001 §4.9.1
        }
        sent
    }

    /// A client that repeats its last handshake packets may talk to a server that is done and has dropped their keys. A
    /// PING that it can read shows where the client is now, should a NAT have moved it (RFC 9002 §6.2.4).
    fn add_short_probe(&mut self, turn: &mut Turn<'_>, filled: &mut Filled, buffer: &mut [u8]) {
        let repeats = self.handshake.as_ref().is_some_and(|handshake| handshake.is_repeating());
        if self.role == Role::Server || !repeats || self.keys.is_none() || self.tls.is_handshaking() {
            return;
        }
        if let Some(written) =
            self.write_short(turn, PathId::ZERO, Load::Probe, 0, &mut buffer[filled.bytes..])
        {
            filled.add(&written);
        }
    }

    pub(super) fn build_long_close(
        &mut self,
        turn: &mut Turn<'_>,
        farewell: &Farewell,
        buffer: &mut [u8],
    ) -> Option<Transmission> {
        let size = self.long_datagram_size(buffer)?;
        let mut filled = Filled::default();
        let handshake = self.handshake.as_mut()?;
        let mut levels: SmallVec<[Level; 2]> = SmallVec::from_slice(&[Level::Initial, Level::Handshake]);
        levels.retain(|level| handshake.rung(*level).is_some_and(|rung| rung.keys.is_some()));
        // The peer may have dropped the handshake's keys already (RFC 9000 §10.2.3).
        let short = self.keys.is_some() && !self.tls.is_handshaking();
        let pads = self.role == Role::Client && levels.contains(&Level::Initial);
        let least = |filled: &Filled| {
            if pads { usize::from(DATAGRAM_SIZE_MIN).saturating_sub(filled.bytes) } else { 0 }
        };
        for (at, &level) in levels.iter().enumerate() {
            let want = Size { least: least(&filled), follower: short || at + 1 < levels.len() };
            let Some(written) =
                self.write_long(turn, level, want, Some(farewell), &mut buffer[filled.bytes..size])
            else {
                break;
            };
            filled.add(&written);
        }
        let room = &mut buffer[filled.bytes..size];
        if short
            && let Some(written) = self.write_short(turn, PathId::ZERO, Load::Close, least(&filled), room)
        {
            filled.add(&written);
        }
        self.depart(turn, PathId::ZERO, filled, filled.bytes)
    }

    /// Room for a datagram of the handshake. None is larger than every route must carry, whatever the paths are said to
    /// carry: nothing is known of this one yet, and a lost handshake shows nothing of the reason.
    fn long_datagram_size(&self, buffer: &[u8]) -> Option<usize> {
        let credit = self.paths.get(PathId::ZERO)?.running()?.route.credit();
        let credit = usize::try_from(credit).unwrap_or(usize::MAX);
        Some(usize::from(DATAGRAM_SIZE_MIN).min(credit).min(buffer.len()))
    }

    /// Writes and seals one Initial or Handshake packet at the front of `buffer`.
    fn write_long(
        &mut self,
        turn: &Turn<'_>,
        level: Level,
        want: Size,
        farewell: Option<&Farewell>,
        buffer: &mut [u8],
    ) -> Option<Written> {
        let path = self.paths.get(PathId::ZERO)?;
        let (dcid, scid): (Cid, Cid) = (path.remote.current()?, path.local.first());
        #[cfg(test)]
        let scid = super::hook::source(self.role, scid);
        let handshake = self.handshake.as_mut()?;
        let rung = handshake.rung(level)?;
        let number = rung.space.peek_number();
        let pn_len = pn_len_for(number, rung.space.largest_acked());
        let kind =
            if level == Level::Initial { LongKind::Initial { token: &[] } } else { LongKind::Handshake };
        if buffer.len() < long_header_len(kind, &dcid, &scid, pn_len) + TAG_LEN + 16 {
            return None;
        }
        let room = buffer.len().min(LONG_LENGTH_MAX) - TAG_LEN;
        let mut w = Writer::new(&mut buffer[..room]);
        let slot = encode_long(&mut w, kind, VERSION_1, &dcid, &scid, number, pn_len);
        let header_len = w.len();
        let receipts = &mut self.scratch.receipts;
        receipts.clear();
        let mut eliciting = false;
        if let Some(farewell) = farewell {
            write_close_frame(farewell, &mut w);
        } else {
            let form = AckForm { multipath: false, delay_exponent: ACK_DELAY_EXPONENT };
            if rung.space.acks.is_owed() {
                rung.space.acks.write(&mut w, receipts, PathId::ZERO, form, turn.now);
            }
            eliciting = rung.crypto.write(&mut w, receipts);
            if !eliciting && rung.probes > 0 && w.remaining() > 0 {
                Frame::Ping.write(&mut w);
                eliciting = true;
            }
        }
        if w.len() == header_len {
            return None;
        }
        // A server pads only what asks for an acknowledgement (RFC 9000 §14.1).
        let alone = !want.follower || w.remaining() < FOLLOWER_MIN;
        let pads = alone && (self.role == Role::Client || eliciting);
        let pad_to = if pads { want.least } else { 0 };
        let padded = pad_to.saturating_sub(TAG_LEN).max(slot.pn_offset() + 4);
        let padding = padded.saturating_sub(w.len()).min(w.remaining());
        w.zeros(padding);
        let bytes = w.len() + TAG_LEN;
        patch_length(&mut buffer[..bytes], slot, bytes - slot.pn_offset());
        self.log.record(|| {
            Record::PacketSent(Packet {
                path: PathId::ZERO,
                kind: tell::packet_type(level),
                number,
                bytes,
                key_phase: None,
                mtu_probe: false,
                frames: tell::payload(&buffer[header_len..bytes - TAG_LEN], CodePoints::Final),
            })
        });
        #[cfg(test)]
        self.hook.on_written((level, PathId::ZERO, number), dcid, &buffer[..bytes], header_len, turn.now);
        let sealed = rung.keys.as_mut()?.seal(number, &mut buffer[..bytes], slot.pn_offset(), pn_len);
        if let Err(error) = sealed {
            self.fail(error.blame(), turn);
            return None;
        }
        let in_flight = eliciting || padding > 0 && pad_to > 0;
        let departure =
            Departure { at: turn.now, bytes: bytes as u16, eliciting, in_flight, carriage: Carriage::Leader };
        rung.space.on_sent(departure, receipts);
        if eliciting {
            rung.probes = rung.probes.saturating_sub(1);
            self.idle.on_sent(turn.now);
        }
        handshake.on_sent(eliciting, turn.now);
        Some(Written { bytes, number, in_flight })
    }
}
