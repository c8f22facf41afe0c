//! For tests only: makes a connection say what its logic never would, and writes down what it said and heard.
//!
//! Owns packets that are sealed like any other but carry whatever bytes a test wants, and the record of each packet that
//! was written or opened. Not there outside `cfg(test)`; nothing in the crate may depend on it. `duet` is its user.

#![allow(dead_code, reason = "a toolbox: not every tool is in use at every time")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::Connection;
use super::build::{Filled, Written};
use super::frames::Place;
use super::transmit::Transmission;
use crate::base::address::RouteId;
use crate::base::time::Instant;
use crate::crypto::nonce::Ppn;
use crate::crypto::phase::PhaseMark;
use crate::crypto::{Level, TAG_LEN};
use crate::id::{PathId, Role};
use crate::path::leg::Leg;
use crate::path::sent::{Carriage, Departure};
use crate::path::set::Paths;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::code_points::CodePoints;
use crate::wire::cursor::Writer;
use crate::wire::frame::{Frame, Frames};
use crate::wire::header::LongKind;
use crate::wire::header_write::{encode_long, encode_short, patch_length};
use crate::wire::packet::{PacketKind, VERSION_1};
use crate::wire::receipt::Receipts;

/// A packet that was written or opened.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) kind: PacketKind,
    pub(crate) path: PathId,
    pub(crate) number: u64,
    /// Its destination, at the end that opened it.
    pub(crate) dcid: Cid,
    /// All frames up to the first one that cannot be decoded.
    pub(crate) frames: Vec<Frame<'static>>,
    /// Where it came in, at the end that opened it.
    pub(crate) route: Option<RouteId>,
    /// The packet's size at the end that wrote it, the whole datagram's at the end that opened it.
    pub(crate) bytes: usize,
    pub(crate) at: Instant,
}

/// A packet that a test puts into a connection's mouth.
#[derive(Clone, Debug)]
pub(crate) struct Say {
    pub(crate) kind: PacketKind,
    pub(crate) path: PathId,
    pub(crate) payload: Vec<u8>,
    /// Bring the packet to this size with PADDING.
    pub(crate) pad_to: usize,
    /// Instead of the connection ID of the peer that the path uses.
    pub(crate) dcid: Option<Cid>,
    /// Instead of the path's route; needed for a path that this end has not opened.
    pub(crate) route: Option<RouteId>,
    /// Instead of the next packet number; the packet is then not in the path's books.
    pub(crate) number: Option<u64>,
}

impl Say {
    pub(crate) fn new(kind: PacketKind, path: PathId, payload: Vec<u8>) -> Self {
        Self { kind, path, payload, pad_to: 0, dcid: None, route: None, number: None }
    }
}

/// What a connection was told to say, and what it said and heard.
#[derive(Debug, Default)]
pub(crate) struct Hook {
    pub(crate) says: VecDeque<Say>,
    /// Packets written since the last look, in order.
    pub(crate) written: Vec<Packet>,
    /// Packets opened since the last look, in order.
    pub(crate) opened: Vec<Packet>,
    arrival: Option<(RouteId, usize)>,
    /// Packet numbers used on paths that this end has not opened.
    strays: Vec<PathId>,
    /// The numbers that multipath frames have, once agreed.
    code_points: CodePoints,
    /// Send nothing but what was put into its mouth.
    pub(crate) mute: bool,
}

thread_local! {
    static TAMPER: RefCell<Option<Tamper>> = const { RefCell::new(None) };
    static BRIEF: Cell<bool> = const { Cell::new(false) };
    static NAMELESS: Cell<Option<Role>> = const { Cell::new(None) };
}

/// From now on the long headers of this role have no source, as if its connection ID were empty.
pub(crate) fn leave_out_source(of: Role) {
    NAMELESS.set(Some(of));
}

/// The source in a long header.
pub(super) fn source(role: Role, scid: Cid) -> Cid {
    if NAMELESS.get() == Some(role) { Cid::EMPTY } else { scid }
}

/// From now on no record of this thread has the frames of its packets: they would stay in memory.
pub(crate) fn keep_no_frames() {
    BRIEF.set(true);
}

/// Changes the transport parameters that an end is about to declare.
pub(crate) type Tamper = Box<dyn FnMut(Role, &mut Vec<u8>)>;

/// From now on each connection of this thread lets `tamper` change its encoded transport parameters.
pub(crate) fn tamper_with_parameters(tamper: Option<Tamper>) {
    TAMPER.with(|it| *it.borrow_mut() = tamper);
}

pub(super) fn tamper(role: Role, encoded: &mut Vec<u8>) {
    TAMPER.with(|it| {
        if let Some(tamper) = &mut *it.borrow_mut() {
            tamper(role, encoded);
        }
    });
}

/// The frames of a payload, kept for the rest of the test's life: so they can be compared like any others.
fn kept(payload: &[u8], code_points: CodePoints) -> Vec<Frame<'static>> {
    if BRIEF.get() {
        return Vec::new();
    }
    let payload: &'static [u8] = Box::leak(payload.to_vec().into_boxed_slice());
    Frames::with_code_points(payload, code_points).map_while(Result::ok).map(|(_, frame)| frame).collect()
}

impl Hook {
    pub(super) fn on_datagram(&mut self, route: RouteId, bytes: usize) {
        self.arrival = Some((route, bytes));
    }

    pub(super) fn on_opened(&mut self, place: &Place, number: u64, payload: &[u8], at: Instant) {
        let (route, bytes) = self.arrival.map_or((None, 0), |(route, bytes)| (Some(route), bytes));
        let (kind, path, dcid) = (place.kind, place.path, place.dcid);
        let frames = kept(payload, self.code_points);
        self.opened.push(Packet { kind, path, number, dcid, frames, route, bytes, at });
    }

    /// `packet` is about to be sealed; its last 16 bytes are room for the tag.
    pub(super) fn on_written(
        &mut self,
        (level, path, number): (Level, PathId, u64),
        dcid: Cid,
        packet: &[u8],
        header_len: usize,
        at: Instant,
    ) {
        let kind = match level {
            Level::Initial => PacketKind::Initial,
            Level::Handshake => PacketKind::Handshake,
            Level::OneRtt => PacketKind::OneRtt,
        };
        let frames = kept(&packet[header_len..packet.len() - TAG_LEN], self.code_points);
        let bytes = packet.len();
        self.written.push(Packet { kind, path, number, dcid, frames, route: None, bytes, at });
    }

    pub(super) fn on_code_points(&mut self, code_points: CodePoints) {
        self.code_points = code_points;
    }

    fn next_stray(&mut self, id: PathId) -> u64 {
        let number = self.strays.iter().filter(|stray| **stray == id).count();
        self.strays.push(id);
        number as u64
    }

    /// Does the packet written last ask for an acknowledgement? One that cannot be read counts as if it did.
    fn is_last_eliciting(&self) -> bool {
        let last = self.written.last().map_or(&[][..], |packet| &packet.frames);
        last.is_empty() || last.iter().any(Frame::is_ack_eliciting)
    }
}

/// What tests may look at.
impl Connection {
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    pub(crate) fn paths_mut(&mut self) -> &mut Paths {
        &mut self.paths
    }

    pub(crate) fn keys_mut(&mut self) -> Option<&mut crate::crypto::keyring::KeyRing> {
        self.keys.as_deref_mut()
    }

    pub(crate) fn peer_parameters(&self) -> &[u8] {
        self.tls.peer_params().unwrap_or_default()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lifecycle.is_ending()
    }
}

/// What tests make it say.
impl Connection {
    /// The next packet that a test asked for, if its keys are there; or on as usual.
    pub(super) fn transmit_said(
        &mut self,
        turn: &mut Turn<'_>,
        buffer: &mut [u8],
    ) -> ControlFlow<Option<Transmission>> {
        let otherwise = if self.hook.mute { ControlFlow::Break(None) } else { ControlFlow::Continue(()) };
        let Some(kind) = self.hook.says.front().map(|say| say.kind) else { return otherwise };
        let ready = match kind {
            // What overtakes the client's Finished would be dropped.
            PacketKind::OneRtt => {
                let busy = self.handshake.as_ref().is_some_and(|it| it.wanting() != [None; 2]);
                self.keys.is_some() && !self.lifecycle.is_handshaking() && !busy
            }
            PacketKind::Initial => self.has_keys(Level::Initial),
            PacketKind::Handshake => self.has_keys(Level::Handshake),
            PacketKind::ZeroRtt => false,
        };
        let Some(say) = self.hook.says.pop_front_if(|_| ready) else { return otherwise };
        ControlFlow::Break(match kind {
            PacketKind::OneRtt => self.say_short(turn, &say, buffer),
            _ => self.say_long(turn, &say, buffer),
        })
    }

    fn has_keys(&mut self, level: Level) -> bool {
        self.handshake.as_mut().and_then(|it| it.rung(level)).is_some_and(|rung| rung.keys.is_some())
    }

    fn say_short(&mut self, turn: &mut Turn<'_>, say: &Say, buffer: &mut [u8]) -> Option<Transmission> {
        let id = say.path;
        let open = self.paths.get(id).and_then(|path| Some(path.running()?.route.id()));
        let theirs = self.paths.get(id).and_then(|path| path.remote.current());
        let dcid = say.dcid.or(theirs).expect("no connection ID of the peer for this path: say which");
        let route = say.route.or(open).expect("the path is not open: say which route to take");
        let rng = &mut *turn.rng;
        // What has a number of the test's choice, or no path, is in nobody's books.
        let running = self.paths.get_mut(id).and_then(|path| path.running_mut());
        let mut running = running.filter(|_| say.number.is_none());
        let number = match (&mut running, say.number) {
            (Some(running), _) => running.space.next_number(|bound| rng.below(bound), turn.now),
            (None, Some(number)) => number,
            (None, None) => self.hook.next_stray(id),
        };
        let keys = self.keys.as_mut()?;
        let mut w = Writer::new(buffer);
        let pn_offset = encode_short(&mut w, &dcid, false, keys.key_phase(), number, 4);
        let header_len = w.len();
        w.slice(&say.payload);
        w.zeros(say.pad_to.saturating_sub(w.len() + TAG_LEN));
        let bytes = w.len() + TAG_LEN;
        self.hook.on_written((Level::OneRtt, id, number), dcid, &buffer[..bytes], header_len, turn.now);
        let eliciting = self.hook.is_last_eliciting();
        let mut stray = PhaseMark::default();
        let mark = running.as_mut().map_or(&mut stray, |running| &mut running.space.phase);
        keys.seal(Ppn::new(id, number), &mut buffer[..bytes], pn_offset, 4, mark).expect("it can be sealed");
        let departure = Departure {
            at: turn.now,
            bytes: bytes as u16,
            eliciting,
            in_flight: eliciting,
            carriage: Carriage::Leader,
        };
        let sent = match running {
            Some(running) => {
                running.space.on_sent(departure, &Receipts::default());
                let mut filled = Filled::default();
                filled.add(&Written { bytes, number, in_flight: eliciting });
                self.depart(turn, id, filled, bytes)?
            }
            None => Transmission::single((id, Leg::NONE), &route, bytes),
        };
        Some(Transmission {
            local_id: route.local_id(),
            source: route.source(),
            remote: route.remote(),
            ..sent
        })
    }

    fn say_long(&mut self, turn: &mut Turn<'_>, say: &Say, buffer: &mut [u8]) -> Option<Transmission> {
        let path = self.paths.get(PathId::ZERO)?;
        let (dcid, scid) = (path.remote.current()?, path.local.first());
        let (level, kind) = match say.kind {
            PacketKind::Initial => (Level::Initial, LongKind::Initial { token: &[] }),
            _ => (Level::Handshake, LongKind::Handshake),
        };
        let rung = self.handshake.as_mut()?.rung(level)?;
        let number = rung.space.peek_number();
        let mut w = Writer::new(buffer);
        let slot = encode_long(&mut w, kind, VERSION_1, &dcid, &scid, number, 4);
        let header_len = w.len();
        w.slice(&say.payload);
        w.zeros(say.pad_to.saturating_sub(w.len() + TAG_LEN));
        let bytes = w.len() + TAG_LEN;
        patch_length(&mut buffer[..bytes], slot, bytes - slot.pn_offset());
        self.hook.on_written((level, PathId::ZERO, number), dcid, &buffer[..bytes], header_len, turn.now);
        let eliciting = self.hook.is_last_eliciting();
        rung.keys
            .as_mut()?
            .seal(number, &mut buffer[..bytes], slot.pn_offset(), 4)
            .expect("it can be sealed");
        let departure = Departure {
            at: turn.now,
            bytes: bytes as u16,
            eliciting,
            in_flight: eliciting,
            carriage: Carriage::Leader,
        };
        rung.space.on_sent(departure, &Receipts::default());
        let mut filled = Filled::default();
        filled.add(&Written { bytes, number, in_flight: eliciting });
        self.depart(turn, PathId::ZERO, filled, bytes)
    }
}
