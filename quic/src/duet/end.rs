//! One end of a `Duet`: an endpoint, what it told its application, what it said and what it heard.
//!
//! Owns the record. Whatever a test asks of an end goes through here; time is the `Duet`'s.

use std::net::SocketAddr;

use super::wire::Datagram;
use crate::base::address::LocalId;
use crate::base::time::Instant;
use crate::connection::Connection;
use crate::connection::hook::{Packet, Say};
use crate::datagram::{Fate, Outbox, Train};
use crate::endpoint::{ConnectionGuard, ConnectionKey, Endpoint};
use crate::error::CloseReason;
use crate::event::Event;
use crate::id::{PathId, Role, StreamId};
use crate::path::Path;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::packet::{DATAGRAM_LEN_MIN, PacketKind};

/// One end.
pub(crate) struct End {
    pub(crate) role: Role,
    pub(crate) endpoint: Endpoint,
    /// Of its first connection, once that is there.
    pub(crate) key: Option<ConnectionKey>,
    pub(crate) events: Vec<Event>,
    /// Every packet it opened.
    pub(crate) heard: Vec<Packet>,
    /// Every packet it wrote, lost ones included.
    pub(crate) said: Vec<Packet>,
    /// Every datagram it sent, lost ones included.
    pub(crate) sent: Vec<Datagram>,
    /// Its system takes no larger datagrams: trains of such do not leave, and it is told so.
    pub(crate) takes_bytes: usize,
    /// Its system knows no way from these interfaces to these addresses: trains do not leave, and it is told so.
    pub(crate) unreachable: Vec<(LocalId, SocketAddr)>,
    pub(super) now: Instant,
}

/// More refusals at one time are a busy loop.
const REFUSALS_MAX: u32 = 1000;

/// A train that left, and the packets in it.
type Departed = (Train, Vec<u8>, Vec<Packet>);

/// The bytes of `frames`, one behind the other.
pub(crate) fn encoded(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = vec![0; frames.iter().map(Frame::len).sum()];
    let mut w = Writer::new(&mut bytes);
    for frame in frames {
        frame.write(&mut w);
    }
    bytes
}

impl End {
    pub(super) fn new(role: Role, endpoint: Endpoint, now: Instant) -> Self {
        let (events, heard, said, sent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (takes_bytes, unreachable) = (usize::MAX, Vec::new());
        Self { role, endpoint, key: None, events, heard, said, sent, takes_bytes, unreachable, now }
    }

    /// The connection, as an application reaches it.
    pub(crate) fn connection(&mut self) -> ConnectionGuard<'_> {
        let (key, now) = (self.key.expect("a connection"), self.now);
        self.endpoint.connection(key, now).expect("the connection is gone")
    }

    /// The connection, as only tests reach it.
    pub(crate) fn inside(&mut self) -> &mut Connection {
        let key = self.key.expect("a connection");
        self.endpoint.inside(key).expect("the connection is gone")
    }

    /// The state of a path, `None` if nothing is kept of it.
    pub(crate) fn path(&mut self, id: u32) -> Option<&Path> {
        self.inside().paths().get(PathId(id))
    }

    /// Is the connection there and not closing?
    pub(crate) fn is_alive(&mut self) -> bool {
        let Some(key) = self.key else { return false };
        self.endpoint.inside(key).is_some_and(|connection| !connection.is_closing())
    }

    /// How it ended, if it did.
    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    /// Did this happen?
    pub(crate) fn saw(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    /// Did the last state of this path go?
    pub(crate) fn saw_closed(&self, id: u32) -> bool {
        let is = |event: &Event| matches!(event, Event::PathClosed { stats } if stats.id == PathId(id));
        self.events.iter().any(is)
    }

    /// Forgets what it said and heard so far; events are kept.
    pub(crate) fn forget(&mut self) {
        (self.heard, self.said, self.sent) = (Vec::new(), Vec::new(), Vec::new());
    }
}

/// Putting words into its mouth. Each leaves in a packet of its own, ahead of all that it has to say itself.
impl End {
    /// A 1-RTT packet with `frames` on a path that it has open.
    pub(crate) fn says(&mut self, path: u32, frames: &[Frame<'_>]) {
        self.says_raw(PacketKind::OneRtt, path, &encoded(frames));
    }

    /// A packet with any bytes as its payload, even none. A client's first packets fill their datagram, or nobody would
    /// read them (RFC 9000 §14.1).
    pub(crate) fn says_raw(&mut self, kind: PacketKind, path: u32, payload: &[u8]) {
        let pads = self.role == Role::Client && kind == PacketKind::Initial;
        let pad_to = if pads { DATAGRAM_LEN_MIN } else { 0 };
        self.says_so(Say { pad_to, ..Say::new(kind, PathId(path), payload.to_vec()) });
    }

    /// A packet with everything chosen by the test.
    pub(crate) fn says_so(&mut self, say: Say) {
        self.inside().hook.says.push_back(say);
    }

    /// A `PATH_NEW_CONNECTION_ID` for it to say: a new ID of its own that is to take the place of all before it.
    pub(crate) fn rotation(&mut self, path: u32) -> Frame<'static> {
        let key = self.key.expect("a connection");
        Frame::NewConnectionId(self.endpoint.issue(key, PathId(path)))
    }

    /// From now on it says nothing of its own accord.
    pub(crate) fn mute(&mut self, mute: bool) {
        self.inside().hook.mute = mute;
    }
}

/// What it heard, and what it said.
impl End {
    /// Did it hear such a frame?
    pub(crate) fn heard(&self, is: impl Fn(&Frame<'static>) -> bool) -> bool {
        self.heard_times(is) > 0
    }

    /// How many such frames it heard.
    pub(crate) fn heard_times(&self, is: impl Fn(&Frame<'static>) -> bool) -> usize {
        self.heard.iter().flat_map(|packet| &packet.frames).filter(|frame| is(frame)).count()
    }

    /// The packets with such a frame that it heard, in order.
    pub(crate) fn heard_in(&self, is: impl Fn(&Frame<'static>) -> bool) -> Vec<&Packet> {
        self.heard.iter().filter(|packet| packet.frames.iter().any(&is)).collect()
    }

    /// Did it say such a frame?
    pub(crate) fn said(&self, is: impl Fn(&Frame<'static>) -> bool) -> bool {
        self.said_times(is) > 0
    }

    /// How many such frames it said.
    pub(crate) fn said_times(&self, is: impl Fn(&Frame<'static>) -> bool) -> usize {
        self.said.iter().flat_map(|packet| &packet.frames).filter(|frame| is(frame)).count()
    }

    /// The packets with such a frame that it said, in order.
    pub(crate) fn said_in(&self, is: impl Fn(&Frame<'static>) -> bool) -> Vec<&Packet> {
        self.said.iter().filter(|packet| packet.frames.iter().any(&is)).collect()
    }

    /// The packets that it said on a path.
    pub(crate) fn said_on(&self, path: u32) -> Vec<&Packet> {
        self.said.iter().filter(|it| it.kind == PacketKind::OneRtt && it.path == PathId(path)).collect()
    }

    /// The datagrams with such a frame that it sent, in order.
    pub(crate) fn sent_with(&self, is: impl Fn(&Frame<'static>) -> bool) -> Vec<&Datagram> {
        self.sent.iter().filter(|datagram| datagram.carries(&is)).collect()
    }

    /// Reads all that a stream has now.
    pub(crate) fn read(&mut self, stream: StreamId) -> Vec<u8> {
        let mut guard = self.connection();
        let mut all = Vec::new();
        while let Ok(slices) = guard.read(stream) {
            let (more, fin) = ([slices.first, slices.second].concat(), slices.fin);
            let consumed = guard.consume(stream, more.len());
            all.extend(more);
            if fin || consumed == 0 {
                break;
            }
        }
        all
    }

    /// Takes over what happened.
    pub(super) fn collect(&mut self) {
        if self.key.is_none() {
            self.key = self.endpoint.connections().next();
        }
        if let Some(connection) = self.key.and_then(|key| self.endpoint.inside(key)) {
            self.heard.append(&mut connection.hook.opened);
        }
        while let Some((key, event)) = self.endpoint.next_event() {
            if Some(key) == self.key {
                self.events.push(event);
            }
        }
    }

    /// Sends what it has: trains and the packets in them.
    pub(super) fn transmit(&mut self) -> Vec<Departed> {
        let mut out = Vec::new();
        let mut refusals = 0;
        while self.transmit_once(&mut out) {
            refusals += 1;
            assert!(refusals < REFUSALS_MAX, "{:?} goes on sending what its system refuses", self.role);
        }
        out
    }

    /// `true` if the system refused some of it, so that there may be more to send.
    fn transmit_once(&mut self, out: &mut Vec<Departed>) -> bool {
        let mut refused = false;
        let mut buffer = Trains::default();
        self.endpoint.transmit(&mut buffer, self.now);
        for (train, bytes) in buffer.sent {
            let mut packets = Vec::new();
            if let Some(connection) = self.endpoint.sender(train.tag) {
                let mut len = 0;
                let written = &mut connection.hook.written;
                while len < train.bytes {
                    let packet = written.remove(0);
                    len += packet.bytes;
                    packets.push(packet);
                }
                assert_eq!(len, train.bytes, "a train is the packets that were written for it");
            }
            if train.segment_size > self.takes_bytes {
                self.endpoint.on_fate(train.tag, Fate::TooBig, self.now);
                refused = true;
                continue;
            }
            if self.unreachable.contains(&(train.local_id, train.remote)) {
                self.endpoint.on_fate(train.tag, Fate::Unreachable, self.now);
                refused = true;
                continue;
            }
            out.push((train, bytes, packets));
        }
        refused
    }
}

/// Keeps what an endpoint sends.
#[derive(Default)]
struct Trains {
    buffer: Vec<u8>,
    sent: Vec<(Train, Vec<u8>)>,
}

impl Outbox for Trains {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        self.buffer.resize(65_507, 0);
        Some(&mut self.buffer)
    }

    fn send(&mut self, train: Train) {
        self.sent.push((train, self.buffer[..train.bytes].to_vec()));
    }
}
