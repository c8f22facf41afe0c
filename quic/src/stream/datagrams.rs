//! Datagrams: the application's bytes in one piece, sent once or never (RFC 9221).
//!
//! Owns what waits to leave (in `lanes`), what arrived and was not read, and the results that were asked for. Repeats
//! nothing: a lost datagram is only told of. Does not know how packets travel, only how much fits in one of them. Hot
//! path: a datagram costs its own bytes and no other allocation.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::lanes::{Lanes, Outlook, Waiting};
use crate::base::time::Instant;
use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::event::Event;
use crate::id::PathId;
use crate::stats::DatagramStats;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::receipt::{Receipt, Receipts};
use crate::wire::varint::varint_len;

/// Datagrams that wait to leave at most, whatever their size; more are refused.
pub const DATAGRAMS_WAITING_MAX: usize = 4096;

/// Datagrams that arrived and wait to be read at most, whatever their size; more push the oldest out.
pub const DATAGRAMS_UNREAD_MAX: usize = 4096;

/// Results that wait to be fetched at most; more push the oldest out.
pub const DATAGRAM_RESULTS_MAX: usize = 1 << 16;

/// One packet of so many lets streams go first, so that a flood of datagrams does not starve them.
const STREAMS_FIRST_EVERY: u8 = 4;

/// Empty queues that have room for more than this are memory worth giving back.
const QUEUE_KEPT: usize = 16;

/// Names a datagram that was given to `send_datagram`; ascending on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatagramId(pub u64);

/// How a datagram is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramOptions {
    /// Only on this path, whether the scheduler would use it now or not, suspect or not; `None` for the scheduler's
    /// choice.
    pub on_path: Option<PathId>,
    /// Drop it if it could not leave for this long; `None` for never. Zero drops it at once.
    pub lifetime: Option<Duration>,
    /// Tell what became of it: `Event::DatagramsSettled` and `datagram_result`. Costs nothing until it is settled.
    pub report: bool,
}

/// What became of a datagram. Each one that was sent with `report` gets exactly one result, unless the connection ends
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DatagramResult {
    /// The peer's transport has it; whether its application reads it, nobody tells.
    Acked,
    /// Its packet was declared lost. It may still arrive, in rare cases; that is not told.
    Lost,
    /// It did not leave: its lifetime was over.
    Expired,
    /// It did not leave: no path that is left carries packets of this size (MP-299).
    TooLarge,
    /// It did not leave: the path that it was bound to is gone.
    PathGone,
}

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendDatagramError {
    /// The handshake is not complete yet, or the connection is over.
    NotConnected,
    /// The peer takes no datagrams.
    Unsupported,
    /// It is larger than the peer or any usable path (or the one asked for) takes.
    TooLarge {
        /// The largest that would be taken now, in bytes.
        max: usize,
    },
    /// Too many wait already (`TransportConfig::datagram_send_buffer`, [`DATAGRAMS_WAITING_MAX`]); it was dropped.
    /// `Event::DatagramsUnblocked` follows.
    Full,
    /// There is no such path, or it was given up.
    NoSuchPath,
}

impl fmt::Display for SendDatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("the connection is not there to send datagrams on"),
            Self::Unsupported => f.write_str("the peer takes no datagrams"),
            Self::TooLarge { max } => write!(f, "the datagram is larger than {max} bytes"),
            Self::Full => f.write_str("too many datagrams wait to be sent; this one was dropped"),
            Self::NoSuchPath => f.write_str("there is no such path"),
        }
    }
}

impl std::error::Error for SendDatagramError {}

/// Where in a packet datagrams are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In front of everything: the last packet had too much else in it.
    First,
    /// Before stream data: what is late is worth less.
    BeforeStreams,
    /// Behind stream data, for once.
    AfterStreams,
}

/// The datagrams of one connection, both ways.
#[derive(Debug)]
pub(crate) struct Datagrams {
    /// Largest frame that we offered to take; 0 for none.
    receive_max: u64,
    receive_buffer: u64,
    send_buffer: u64,
    /// Largest frame that the peer takes; 0 for none.
    peer_max: u64,
    next_id: u64,
    waiting: Lanes,
    /// One was refused, and the application was not told that there is room again.
    refused: bool,
    /// The one whose turn it was did not fit behind what else was in the packet.
    cramped: bool,
    packets: u8,
    unread: VecDeque<Bytes>,
    unread_bytes: u64,
    unread_told: bool,
    results: VecDeque<(DatagramId, DatagramResult)>,
    results_told: bool,
    stats: DatagramStats,
}

impl Datagrams {
    /// Takes what `config` says we offer, and sends nothing before `on_peer_limit`.
    pub(crate) fn new(config: &TransportConfig) -> Self {
        Self {
            receive_max: u64::from(config.datagram_receive_max),
            receive_buffer: config.datagram_receive_buffer,
            send_buffer: config.datagram_send_buffer,
            peer_max: 0,
            next_id: 0,
            waiting: Lanes::default(),
            refused: false,
            cramped: false,
            packets: 0,
            unread: VecDeque::new(),
            unread_bytes: 0,
            unread_told: false,
            results: VecDeque::new(),
            results_told: false,
            stats: DatagramStats::default(),
        }
    }

    /// The peer's `max_datagram_frame_size` became known (RFC 9221 §3).
    pub(crate) fn on_peer_limit(&mut self, frame_bytes: u64) {
        self.peer_max = frame_bytes;
    }

    /// The largest datagram for a packet with room for `frame_bytes` of frames; `None` if the peer takes none.
    pub(crate) fn max_in(&self, frame_bytes: usize) -> Option<usize> {
        largest_in(self.peer_max, frame_bytes)
    }

    /// Takes a datagram of the application; the largest that would be taken is `max`, `None` if the peer takes none.
    pub(crate) fn send(
        &mut self,
        bytes: Bytes,
        options: DatagramOptions,
        max: Option<usize>,
        now: Instant,
    ) -> Result<DatagramId, SendDatagramError> {
        let max = max.ok_or(SendDatagramError::Unsupported)?;
        if bytes.len() > max {
            return Err(SendDatagramError::TooLarge { max });
        }
        let held = self.waiting.bytes();
        let full = held > 0 && held + bytes.len() as u64 > self.send_buffer;
        if full || self.waiting.count() >= DATAGRAMS_WAITING_MAX {
            self.refused = true;
            return Err(SendDatagramError::Full);
        }
        let id = self.next_id;
        self.next_id += 1;
        let expires_at = options.lifetime.map_or(Instant::NEVER, |lifetime| now + lifetime);
        self.waiting.push(options.on_path, Waiting { id, bytes, expires_at, report: options.report });
        Ok(DatagramId(id))
    }

    /// Does none wait?
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.count() == 0
    }

    /// How much waits for any path: bytes, where a datagram without any counts as 1.
    #[inline]
    pub(crate) fn unbound_load(&self) -> u64 {
        self.waiting.unbound_load()
    }

    /// The paths that datagrams are bound to.
    pub(crate) fn bound_paths(&self) -> impl Iterator<Item = PathId> {
        self.waiting.bound_paths()
    }

    /// Could one leave on `path`, whose packets have room for `frame_bytes` of frames?
    pub(crate) fn has_for(&self, path: PathId, frame_bytes: usize, bound_only: bool, now: Instant) -> bool {
        self.max_in(frame_bytes).is_some_and(|max| self.waiting.has_for(path, max, bound_only, now))
    }

    /// Where the next packet has its datagrams.
    pub(crate) fn place(&mut self) -> Place {
        self.packets = (self.packets + 1) % STREAMS_FIRST_EVERY;
        match (std::mem::take(&mut self.cramped), self.packets) {
            (true, _) => Place::First,
            (false, 0) => Place::AfterStreams,
            (false, _) => Place::BeforeStreams,
        }
    }

    /// Writes those that fit, oldest first; with `bound_only` those that are bound to `path`. `frame_bytes` is the room
    /// that an empty packet of the path has: what does not fit there waits for another path and holds up nobody.
    pub(crate) fn write(
        &mut self,
        w: &mut Writer<'_>,
        receipts: &mut Receipts,
        path: PathId,
        frame_bytes: usize,
        bound_only: bool,
        now: Instant,
    ) {
        let Some(max) = self.max_in(frame_bytes) else { return };
        let mut any = false;
        while let Some(len) = self.waiting.peek(path, max, bound_only, now) {
            let room = w.remaining();
            if 1 + len > room {
                self.cramped = !any && receipts.iter().next().is_some();
                return;
            }
            let Some(waiting) = self.waiting.take(path, max, bound_only, now) else { return };
            let sized = 1 + varint_len(len as u64) + len <= room;
            if !sized {
                // Without a length it ends the packet, so what is left over goes in front of it.
                w.zeros(room - 1 - len);
            }
            Frame::Datagram { sized, data: &waiting.bytes }.write(w);
            receipts.push(Receipt::datagram(waiting.id, len, waiting.report));
            self.stats.sent += 1;
            any = true;
        }
    }

    /// When `prune` has something to look for, though nothing else happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.deadline()
    }

    /// Drops what cannot leave any more; `outlook` tells how much fits on the path that a lane is bound to, or for `None`
    /// on the largest, in bytes of frames.
    pub(crate) fn prune(&mut self, now: Instant, outlook: impl Fn(Option<PathId>) -> Outlook) {
        let peer_max = self.peer_max;
        let outlook = |bound_to| match outlook(bound_to) {
            Outlook::UpTo(frame_bytes) => Outlook::UpTo(largest_in(peer_max, frame_bytes).unwrap_or(0)),
            other => other,
        };
        let (results, stats) = (&mut self.results, &mut self.stats);
        self.waiting.prune(now, outlook, |waiting, result| {
            stats.dropped_unsent += 1;
            if waiting.report {
                report(results, stats, waiting.id, result);
            }
        });
    }

    /// The peer acknowledged the packet with this datagram.
    #[inline]
    pub(crate) fn on_acked(&mut self, receipt: &Receipt) {
        if receipt.report() {
            report(&mut self.results, &mut self.stats, receipt.value(), DatagramResult::Acked);
        }
    }

    /// The packet with this datagram was declared lost. That its path is suspect is no reason to say so.
    pub(crate) fn on_lost(&mut self, receipt: &Receipt) {
        self.stats.lost += 1;
        if receipt.report() {
            report(&mut self.results, &mut self.stats, receipt.value(), DatagramResult::Lost);
        }
    }

    /// A DATAGRAM frame (RFC 9221 §3, §4). Lengths in more bytes than they need are not held against the peer.
    #[inline]
    pub(crate) fn on_datagram(&mut self, frame: &Frame<'_>, data: &[u8]) -> Result<(), TransportError> {
        if self.receive_max == 0 {
            return Err(TransportError::protocol_violation("DATAGRAM without our offer"));
        }
        if frame.len() as u64 > self.receive_max {
            return Err(TransportError::protocol_violation("DATAGRAM larger than we allowed"));
        }
        let len = data.len() as u64;
        while self.unread.len() >= DATAGRAMS_UNREAD_MAX || self.unread_bytes + len > self.receive_buffer {
            let Some(oldest) = self.unread.pop_front() else { break };
            self.unread_bytes -= oldest.len() as u64;
            self.stats.dropped_unread += 1;
        }
        self.unread.push_back(Bytes::copy_from_slice(data));
        self.unread_bytes += len;
        self.stats.received += 1;
        Ok(())
    }

    /// The oldest datagram that was not read.
    pub(crate) fn read(&mut self) -> Option<Bytes> {
        let Some(bytes) = self.unread.pop_front() else {
            self.unread_told = false;
            return None;
        };
        self.unread_bytes -= bytes.len() as u64;
        Some(bytes)
    }

    /// The oldest result that was not fetched.
    pub(crate) fn take_result(&mut self) -> Option<(DatagramId, DatagramResult)> {
        let result = self.results.pop_front();
        self.results_told &= result.is_some();
        result
    }

    /// Is something to be told to the application?
    #[inline]
    pub(crate) fn has_event(&self) -> bool {
        !self.unread_told && !self.unread.is_empty()
            || !self.results_told && !self.results.is_empty()
            || self.refused && self.is_roomy()
    }

    /// The next thing to be told. Each waits here at most once, however long the application does not ask.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        if !self.unread_told && !self.unread.is_empty() {
            self.unread_told = true;
            return Some(Event::DatagramReceived);
        }
        if !self.results_told && !self.results.is_empty() {
            self.results_told = true;
            return Some(Event::DatagramsSettled);
        }
        if self.refused && self.is_roomy() {
            self.refused = false;
            return Some(Event::DatagramsUnblocked);
        }
        None
    }

    /// Is a quarter of the queue free? Less is not worth waking the application for.
    fn is_roomy(&self) -> bool {
        self.waiting.count() <= DATAGRAMS_WAITING_MAX * 3 / 4
            && self.waiting.bytes() <= self.send_buffer - self.send_buffer / 4
    }

    /// What was counted.
    pub(crate) fn stats(&self) -> DatagramStats {
        self.stats
    }

    /// Is memory kept that `trim` would give back?
    pub(crate) fn has_spare(&self) -> bool {
        self.waiting.has_spare()
            || self.unread.is_empty() && self.unread.capacity() > QUEUE_KEPT
            || self.results.is_empty() && self.results.capacity() > QUEUE_KEPT
    }

    /// Gives back memory that is kept for speed; for a connection that has gone quiet.
    pub(crate) fn trim(&mut self) {
        self.waiting.trim();
        if self.unread.is_empty() {
            self.unread = VecDeque::new();
        }
        if self.results.is_empty() {
            self.results = VecDeque::new();
        }
    }

    /// Checks that what is counted is what is there; for the simulator and tests.
    pub(crate) fn audit(&self) -> Result<(), &'static str> {
        self.waiting.audit()?;
        if self.unread.iter().map(|bytes| bytes.len() as u64).sum::<u64>() != self.unread_bytes {
            return Err("the datagrams that were not read are not the sum of their bytes");
        }
        if self.waiting.count() > DATAGRAMS_WAITING_MAX
            || self.unread.len() > DATAGRAMS_UNREAD_MAX
            || self.results.len() > DATAGRAM_RESULTS_MAX
        {
            return Err("more datagrams or results than are kept");
        }
        Ok(())
    }
}

/// Keeps a result for the application; the oldest goes if it never asks.
fn report(
    results: &mut VecDeque<(DatagramId, DatagramResult)>,
    stats: &mut DatagramStats,
    id: u64,
    result: DatagramResult,
) {
    if results.len() >= DATAGRAM_RESULTS_MAX {
        results.pop_front();
        stats.dropped_results += 1;
    }
    results.push_back((DatagramId(id), result));
}

/// The largest datagram in a packet with room for `frame_bytes` of frames, for a peer that takes frames of `peer_max`.
fn largest_in(peer_max: u64, frame_bytes: usize) -> Option<usize> {
    Some(payload_max(peer_max)?.min(frame_bytes.checked_sub(1)?))
}

/// The largest datagram in a frame of at most `frame_bytes` with a length; `None` if there is none.
const fn payload_max(frame_bytes: u64) -> Option<usize> {
    let len = match frame_bytes {
        0 | 1 => return None,
        2..=65 => frame_bytes - 2,
        66 => 63,
        67..=16_386 => frame_bytes - 3,
        16_387 | 16_388 => 16_383,
        _ => frame_bytes - 5,
    };
    Some(if len > u16::MAX as u64 { u16::MAX as usize } else { len as usize })
}

#[cfg(test)]
#[path = "datagrams_tests.rs"]
mod tests;
