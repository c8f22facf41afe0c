//! Reading: each frame of an opened packet goes to the room that owns it.
//!
//! One exhaustive match, one call an arm. Which frame may stand in which packet is checked here; all else is the
//! rooms'.

use super::Connection;
use crate::base::address::RouteId;
use crate::crypto::Level;
use crate::error::{CloseReason, TransportError};
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::path::challenge::Owed;
use crate::path::route::amplified;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::frame::{Frame, Frames};
use crate::wire::packet::PacketKind;

/// Octets of a peer's closing words that are kept.
const REASON_KEPT: usize = 256;

/// The packet that frames are read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) kind: PacketKind,
    pub(super) path: PathId,
    pub(super) dcid: Cid,
    /// Of the keys that opened it.
    pub(super) generation: u64,
    /// Where it came from.
    pub(super) route: RouteId,
    /// Size of the datagram in bytes.
    pub(super) datagram_bytes: usize,
}

/// What the frames of a packet were like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// One of them asks for an acknowledgement.
    pub(super) eliciting: bool,
    /// They only probe a route and move no path (RFC 9000 §9.1, MP-121).
    pub(super) probing: bool,
    /// One of them wants the acknowledgements at once.
    pub(super) hurried: bool,
}

impl Place {
    fn level(&self) -> Level {
        match self.kind {
            PacketKind::Initial => Level::Initial,
            PacketKind::Handshake => Level::Handshake,
            PacketKind::ZeroRtt | PacketKind::OneRtt => Level::OneRtt,
        }
    }

    /// The answer that a challenge in this packet asks for.
    fn owed(&self, data: [u8; 8]) -> Owed {
        Owed { data, route: self.route, credit: amplified(self.datagram_bytes) }
    }
}

impl Connection {
    /// Reads all frames of a packet.
    pub(super) fn read_frames(
        &mut self,
        turn: &mut Turn<'_>,
        place: &Place,
        payload: &[u8],
    ) -> Result<Reading, TransportError> {
        if payload.is_empty() {
            return Err(TransportError::protocol_violation("packet without frames"));
        }
        let mut reading = Reading { eliciting: false, probing: true, hurried: false };
        for frame in Frames::with_code_points(payload, self.agreed.code_points) {
            let (frame_type, frame) = frame?;
            if frame.is_multipath() && !self.paths.is_multipath() {
                return Err(self.unexpected_multipath(place).in_frame(frame_type));
            }
            if frame.is_ack_frequency() && !self.frequency.is_offered() {
                return Err(TransportError::frame_encoding("unknown frame type").in_frame(frame_type));
            }
            if !frame.allowed_in(place.kind) {
                return Err(TransportError::protocol_violation("frame in a packet of the wrong kind")
                    .in_frame(frame_type));
            }
            reading.eliciting |= frame.is_ack_eliciting();
            reading.probing &= frame.is_probing();
            reading.hurried |= matches!(frame, Frame::ImmediateAck);
            self.on_frame(turn, place, &frame).map_err(|error| error.in_frame(frame_type))?;
            if self.lifecycle.is_ending() {
                break;
            }
        }
        Ok(reading)
    }

    /// A frame of the extension that is not in use (MP-018), or not in this packet (MP-200).
    fn unexpected_multipath(&self, place: &Place) -> TransportError {
        if self.config.max_paths > 1 || place.kind != PacketKind::OneRtt {
            TransportError::protocol_violation("multipath frame without multipath")
        } else {
            TransportError::frame_encoding("unknown frame type")
        }
    }

    fn on_frame(
        &mut self,
        turn: &mut Turn<'_>,
        place: &Place,
        frame: &Frame<'_>,
    ) -> Result<(), TransportError> {
        match *frame {
            Frame::Ack(ref ack) => match place.kind {
                PacketKind::OneRtt => self.on_ack(turn, ack, place.generation),
                _ => self.on_handshake_ack(turn, ack, place.level()),
            },
            Frame::Stream { id, offset, fin, data } => {
                let fresh = self.streams.on_stream(id, offset, data, fin)?;
                self.count_stream_bytes(place.path, fresh, data.len() as u64);
                Ok(())
            }
            Frame::Datagram { data, .. } => self.datagrams.on_datagram(frame, data),
            Frame::Crypto { offset, data } => self.on_crypto(turn, place.level(), offset, data),
            Frame::ResetStream { id, code, final_size } => self.streams.on_reset_stream(id, code, final_size),
            Frame::StopSending { id, code } => self.streams.on_stop_sending(id, code),
            Frame::MaxData(maximum) => {
                self.streams.on_max_data(maximum);
                Ok(())
            }
            Frame::MaxStreamData { id, max } => self.streams.on_max_stream_data(id, max),
            Frame::MaxStreams { direction, max } => self.streams.on_max_streams(direction, max),
            Frame::DataBlocked(_) => {
                self.streams.on_data_blocked();
                Ok(())
            }
            Frame::StreamDataBlocked { id, .. } => self.streams.on_stream_data_blocked(id),
            Frame::StreamsBlocked { direction, limit } => self.streams.on_streams_blocked(direction, limit),
            Frame::NewToken { .. } if self.role == Role::Server => {
                Err(TransportError::protocol_violation("NEW_TOKEN from a client"))
            }
            // Tokens are for the next connection; we keep none.
            Frame::Padding | Frame::Ping | Frame::ImmediateAck | Frame::NewToken { .. } => Ok(()),
            Frame::AckFrequency(ref wish) => self.frequency.on_frame(wish),
            Frame::HandshakeDone => self.on_handshake_done(turn),
            Frame::ConnectionClose { application, code, frame_type, reason } => {
                self.on_close(turn, application, code, frame_type, reason);
                Ok(())
            }
            _ => self.on_path_frame(turn, place, frame),
        }
    }

    /// Frames about paths and connection IDs.
    fn on_path_frame(
        &mut self,
        turn: &mut Turn<'_>,
        place: &Place,
        frame: &Frame<'_>,
    ) -> Result<(), TransportError> {
        match *frame {
            Frame::NewConnectionId(ref new) => {
                self.paths.on_new_cid(turn, new)?;
                self.move_stranded(turn);
                Ok(())
            }
            Frame::RetireConnectionId { path, sequence, .. } => {
                let carried_by: &[u8] = if path == u64::from(place.path.0) { &place.dcid } else { &[] };
                self.paths.on_retire_cid(turn, path, sequence, carried_by)
            }
            Frame::PathChallenge(data) => {
                let path = self.paths.get_mut(place.path).filter(|path| !path.stage().is_abandoned());
                if let Some(running) = path.and_then(|path| path.running_mut()) {
                    running.on_challenge(place.owed(data));
                }
                Ok(())
            }
            Frame::PathResponse(data) => {
                self.on_path_response(turn, place.path, data);
                Ok(())
            }
            Frame::PathAbandon { path, code } => self.on_path_abandon(turn, path, code),
            Frame::PathStatus { path, sequence, backup } => {
                if self.paths.on_status(path, sequence, backup)? {
                    let path = PathId(path as u32);
                    self.announce(Event::PathStatus { path, backup });
                }
                Ok(())
            }
            Frame::MaxPathId(maximum) => self.paths.on_max_path_id(turn, maximum),
            Frame::PathsBlocked(maximum) => self.paths.on_paths_blocked(maximum),
            Frame::PathCidsBlocked { path, next_sequence } => self.paths.on_cids_blocked(path, next_sequence),
            _ => {
                debug_assert!(false, "{frame:?} has no owner");
                Ok(())
            }
        }
    }

    fn count_stream_bytes(&mut self, path: PathId, fresh: u64, all: u64) {
        self.stats.stream_bytes_received += fresh;
        self.stats.stream_bytes_repeated += all - fresh;
        if let Some(path) = self.paths.get_mut(path) {
            path.counters.stream_bytes_received += fresh;
        }
    }

    fn on_handshake_done(&mut self, turn: &mut Turn<'_>) -> Result<(), TransportError> {
        if self.role == Role::Server {
            return Err(TransportError::protocol_violation("HANDSHAKE_DONE from a client"));
        }
        self.confirm(turn);
        Ok(())
    }

    fn on_close(&mut self, turn: &Turn<'_>, application: bool, code: u64, frame_type: u64, reason: &[u8]) {
        let reason = reason[..reason.len().min(REASON_KEPT)].to_vec();
        self.drain(turn);
        self.end(if application {
            CloseReason::PeerApplication { code, reason }
        } else {
            CloseReason::PeerTransport { code: crate::error::TransportErrorCode(code), frame_type, reason }
        });
    }

    /// The peer gives a path up; what was in flight there goes elsewhere at once (MP-163, MP-170).
    fn on_path_abandon(&mut self, turn: &mut Turn<'_>, path: u64, code: u64) -> Result<(), TransportError> {
        let until = turn.now + self.longest_probe_timeout() * 3;
        let last = self.is_last_path(path);
        if last {
            // Nothing could carry a reply: end the connection while this path still speaks (MP-167).
            let code = crate::error::TransportErrorCode::NO_VIABLE_PATH;
            return Err(TransportError::new(code, "the peer abandoned the last path"));
        }
        if let Some((id, first)) = self.paths.on_peer_abandon(turn, path, until)? {
            self.hand_over(id);
            self.note_pathless(turn.now);
            if first {
                let code = crate::error::PathErrorCode(code);
                self.announce(Event::PathAbandoned { path: id, code, by_peer: true });
            }
        }
        Ok(())
    }

    /// Is `path` the only one that carries or may soon carry the connection?
    fn is_last_path(&mut self, path: u64) -> bool {
        let Ok(Some(path)) = self.paths.named(path) else { return false };
        let (id, alive) = (path.id(), path.stage().is_usable());
        let other = |path: &crate::path::Path| {
            path.id() != id
                && (path.stage().is_usable() || matches!(path.stage(), crate::path::stage::Stage::Probing))
        };
        alive && !self.paths.iter().any(other)
    }
}
